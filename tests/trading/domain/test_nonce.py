from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trading.domain.nonce import next_nonce

clocks = st.integers(0, 2**62)


@given(st.integers(0, 2**62), st.lists(clocks, max_size=20))
def test_nonces_rise_strictly_however_the_clock_jumps(previous: int, readings: list[int]) -> None:
    for reading in readings:
        nonce = next_nonce(previous=previous, clock_ns=reading)
        assert nonce > previous
        previous = nonce


@given(clocks)
def test_a_lost_counter_starts_again_from_the_clock(clock_ns: int) -> None:
    assert next_nonce(previous=0, clock_ns=clock_ns) == max(1, clock_ns)
