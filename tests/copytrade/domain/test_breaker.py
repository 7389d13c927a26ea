"""When the global breaker trips: properties of the decision."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from copytrade.domain.breaker import FannedOut, Limits, trip

signals = st.builds(FannedOut, signal=st.integers(1, 99), followers=st.integers(0, 1_000), orders=st.integers(0, 1_000))
right = signals.filter(lambda fanned: fanned.orders <= fanned.followers)
outcomes = st.integers(0, 500).flatmap(lambda ended: st.tuples(st.just(ended), st.integers(0, ended)))
limits = st.builds(Limits, failure_percent=st.integers(1, 100), entries_min=st.integers(1, 50))


@given(st.lists(signals), outcomes, limits)
def test_more_orders_than_followers_always_trip(
    given_signals: list[FannedOut], told: tuple[int, int], limit: Limits
) -> None:
    wrong = FannedOut(signal=7, followers=3, orders=4)
    assert trip([*given_signals, wrong], ended=told[0], failed=told[1], limits=limit)


@given(st.lists(right), outcomes, limits)
def test_it_trips_exactly_above_the_share_of_enough_entries(
    given_signals: list[FannedOut], told: tuple[int, int], limit: Limits
) -> None:
    ended, failed = told
    above = ended >= limit.entries_min and failed / ended * 100 > limit.failure_percent + 1e-9
    assert bool(trip(given_signals, ended=ended, failed=failed, limits=limit)) == above


@given(st.lists(right), outcomes, limits)
def test_one_failure_less_never_trips_what_did_not(
    given_signals: list[FannedOut], told: tuple[int, int], limit: Limits
) -> None:
    ended, failed = told
    if failed and not trip(given_signals, ended=ended, failed=failed, limits=limit):
        assert not trip(given_signals, ended=ended, failed=failed - 1, limits=limit)


def test_the_default_trips_at_four_of_six_and_not_at_three() -> None:
    default = Limits(failure_percent=50, entries_min=6)
    assert trip([], ended=6, failed=3, limits=default) == ""
    assert trip([], ended=5, failed=5, limits=default) == ""
    assert "4 of the last 6 copied entries failed" in trip([], ended=6, failed=4, limits=default)
