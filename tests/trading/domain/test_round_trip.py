"""The latest round trip is found from its end, and nothing before it is counted."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from trading.domain.money import Quantity
from trading.domain.round_trip import length

lots = st.lists(st.integers(1, 10**9), min_size=1, max_size=6)


def q(n: int) -> Quantity:
    return Quantity(Decimal(n).scaleb(-8))


def whole(bought: list[int]) -> list[int]:
    """Bought in parts and sold in one."""
    return [*bought, -sum(bought)]


@settings(max_examples=60)
@given(st.lists(lots, min_size=1, max_size=4))
def test_of_finished_trips_the_last_one_counts(trips: list[list[int]]) -> None:
    changes = [n for bought in trips for n in whole(bought)]
    assert length(managed=q(0), changes=map(q, reversed(changes))) == len(trips[-1]) + 1


@settings(max_examples=60)
@given(st.lists(lots, max_size=4), lots)
def test_the_trip_under_way_counts_and_no_earlier_one(before: list[list[int]], now: list[int]) -> None:
    changes = [n for bought in before for n in whole(bought)] + now
    assert length(managed=q(sum(now)), changes=map(q, reversed(changes))) == len(now)


def test_an_account_that_never_traded_has_none() -> None:
    assert length(managed=q(0), changes=[]) == 0
