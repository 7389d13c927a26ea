from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.kraken import endpoints
from trading.kraken.limits import Budget, Tier, after, allows, decayed, exhausted

NOW = datetime(2026, 11, 22, 11, 0, tzinfo=UTC)
TIERS = st.sampled_from(Tier)
POINTS = st.decimals(min_value=0, max_value=40, places=3)


@pytest.mark.parametrize(
    ("tier", "left"), [(Tier.STARTER, "6.7"), (Tier.INTERMEDIATE, "5"), (Tier.PRO, "0")], ids=lambda value: str(value)
)
def test_ten_seconds_take_away_what_the_tier_says(tier: Tier, left: str) -> None:
    later = NOW + timedelta(seconds=10)
    assert decayed(Budget(points=Decimal(10), at=NOW), now=later, tier=tier).points == Decimal(left)


def test_a_starter_key_affords_fifteen_calls_at_once_and_no_more() -> None:
    budget = Budget.fresh(NOW)
    made = 0
    while allows(budget, cost=1, now=NOW, tier=Tier.STARTER):
        budget = after(budget, cost=1, now=NOW, tier=Tier.STARTER)
        made += 1
    assert made == 15


def test_a_reserve_is_left_for_calls_that_matter_more() -> None:
    budget = Budget(points=Decimal(12), at=NOW)
    assert allows(budget, cost=1, now=NOW, tier=Tier.STARTER)
    assert not allows(budget, cost=1, now=NOW, tier=Tier.STARTER, reserve=4)


def test_an_order_costs_nothing_and_always_fits() -> None:
    full = exhausted(now=NOW, tier=Tier.PRO)
    assert allows(full, cost=endpoints.ADD_ORDER.cost, now=NOW, tier=Tier.PRO, reserve=5)
    assert not allows(full, cost=endpoints.BALANCE_EX.cost, now=NOW, tier=Tier.PRO)


def test_history_calls_are_counted_at_the_dearer_of_krakens_two_prices() -> None:
    assert endpoints.TRADES_HISTORY.cost == 4
    assert endpoints.CLOSED_ORDERS.cost == 1
    assert endpoints.CANCEL_ORDER.cost == 0


def test_a_clock_that_went_back_takes_nothing_away_and_the_counter_goes_on_from_there() -> None:
    hour_ago = NOW - timedelta(hours=1)
    budget = decayed(Budget(points=Decimal(10), at=NOW), now=hour_ago, tier=Tier.PRO)
    assert budget == Budget(points=Decimal(10), at=hour_ago)
    assert decayed(budget, now=hour_ago + timedelta(seconds=4), tier=Tier.PRO).points == 6


@given(POINTS, TIERS, st.integers(0, 10**9), st.integers(0, 10**9))
def test_waiting_in_two_parts_equals_waiting_at_once(
    points: Decimal, tier: Tier, first_us: int, second_us: int
) -> None:
    budget = Budget(points=points, at=NOW)
    middle = NOW + timedelta(microseconds=first_us)
    end = middle + timedelta(microseconds=second_us)
    in_parts = decayed(decayed(budget, now=middle, tier=tier), now=end, tier=tier)
    assert in_parts == decayed(budget, now=end, tier=tier)


@given(POINTS, TIERS, st.integers(0, 4), st.integers(0, 10**9))
def test_the_counter_is_never_negative_and_a_call_adds_exactly_its_cost(
    points: Decimal, tier: Tier, cost: int, later_us: int
) -> None:
    budget, now = Budget(points=points, at=NOW), NOW + timedelta(microseconds=later_us)
    before = decayed(budget, now=now, tier=tier)
    assert before.points >= 0
    assert after(budget, cost=cost, now=now, tier=tier).points == before.points + cost


@given(st.lists(st.tuples(st.integers(0, 5_000_000), st.sampled_from([1, 4])), max_size=60), TIERS)
def test_a_key_that_asks_first_never_exceeds_its_maximum(calls: list[tuple[int, int]], tier: Tier) -> None:
    budget, now = Budget.fresh(NOW), NOW
    for wait_us, cost in calls:
        now += timedelta(microseconds=wait_us)
        if allows(budget, cost=cost, now=now, tier=tier):
            budget = after(budget, cost=cost, now=now, tier=tier)
        assert budget.points <= tier.points_max
