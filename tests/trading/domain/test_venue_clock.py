from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.domain import venue_clock
from trading.domain.venue_clock import Bounds, Sample

NOON = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)


def _sample(*, offset_us: int, sent_us: int, there_us: int = 15_000, back_us: int = 15_000) -> Sample:
    """What is seen when Kraken's clock is `offset_us` ahead and the answer is written `there_us` after the question."""
    sent_at = NOON + timedelta(microseconds=sent_us)
    written = sent_at + timedelta(microseconds=there_us + offset_us)
    return Sample(sent_at, sent_at + timedelta(microseconds=there_us + back_us), int(written.timestamp() // 1))


@given(
    offset_us=st.integers(-5_000_000, 5_000_000),
    sent=st.lists(st.integers(0, 1_400_000), min_size=1, max_size=6),
    there_us=st.integers(1, 400_000),
    back_us=st.integers(1, 400_000),
)
def test_the_true_offset_lies_within_the_bounds_of_any_samples(
    offset_us: int, sent: list[int], there_us: int, back_us: int
) -> None:
    samples = [_sample(offset_us=offset_us, sent_us=at, there_us=there_us, back_us=back_us) for at in sent]
    found = venue_clock.intersect([b for s in samples if (b := venue_clock.bounds_of(s))])
    assert found is not None
    assert found.low_us < offset_us < found.high_us + 1
    assert abs(found.offset_ms * 1000 - offset_us) <= found.error_ms * 1000


def test_one_sample_says_no_more_than_half_a_second_either_way() -> None:
    bounds = venue_clock.bounds_of(_sample(offset_us=0, sent_us=250_000))
    assert bounds is not None
    assert bounds.error_ms == 515


def test_samples_at_different_fractions_of_a_second_narrow_the_offset_down() -> None:
    sent = (0, 150_000, 460_000, 850_000, 1_080_000, 1_530_000)
    bounds = [venue_clock.bounds_of(_sample(offset_us=40_000, sent_us=at)) for at in sent]
    found = venue_clock.intersect([each for each in bounds if each])
    assert found is not None
    assert found.error_ms < 200
    assert abs(found.offset_ms - 40) <= found.error_ms


def test_samples_before_and_after_a_clock_was_stepped_contradict_each_other() -> None:
    before = venue_clock.bounds_of(_sample(offset_us=0, sent_us=0))
    after = venue_clock.bounds_of(_sample(offset_us=3_000_000, sent_us=200_000))
    assert before is not None
    assert after is not None
    assert venue_clock.intersect([before, after]) is None


def test_a_sample_over_which_our_own_clock_went_backwards_says_nothing() -> None:
    assert venue_clock.bounds_of(Sample(NOON, NOON - timedelta(milliseconds=1), int(NOON.timestamp()))) is None


def test_no_samples_say_nothing() -> None:
    assert venue_clock.intersect([]) is None


@given(low=st.integers(-(10**9), 10**9), width=st.integers(1, 10**7), age_s=st.integers(0, 60))
def test_a_stored_measurement_never_claims_more_than_was_measured(low: int, width: int, age_s: int) -> None:
    measured = Bounds(low, low + width)
    again = Bounds.around(measured.offset_ms, error_ms=measured.error_ms, age=timedelta(seconds=age_s))
    assert again.low_us <= measured.low_us
    assert again.high_us >= measured.high_us


@pytest.mark.parametrize(
    ("offset_ms", "age_s", "words"),
    [
        (None, 0, "has not been measured"),
        (10, 61, "61 s ago"),
        (501, 1, "501 ms behind"),
        (-900, 1, "900 ms ahead"),
        (500, 60, None),
        (-500, 0, None),
    ],
)
def test_entries_need_an_offset_that_is_known_recent_and_small(
    offset_ms: int | None, age_s: int, words: str | None
) -> None:
    measured_at = None if offset_ms is None else NOON - timedelta(seconds=age_s)
    found = venue_clock.problem(offset_ms=offset_ms, measured_at=measured_at, now=NOON)
    assert (found is None) if words is None else (words in (found or ""))
