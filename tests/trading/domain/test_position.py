"""A position is what its executions and adjustments make it, whatever their number."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading.domain import position
from trading.domain.money import Money, Price, Quantity
from trading.domain.position import OverSold, PositionState

D = Decimal
FLAT = PositionState.flat()

lots = st.integers(1, 10**9).map(lambda n: D(n).scaleb(-8))
dollars = st.integers(0, 10**9).map(lambda n: D(n).scaleb(-5))
purchases = st.lists(st.tuples(lots, dollars, dollars), min_size=1, max_size=6)


def buy(state: PositionState, quantity: Decimal, notional: Decimal, fee: Decimal) -> PositionState:
    return position.bought(state, quantity=Quantity(quantity), notional=Money(notional), fee=Money(fee))


def sell(state: PositionState, quantity: Decimal, notional: Decimal, fee: Decimal) -> PositionState:
    return position.sold(state, quantity=Quantity(quantity), notional=Money(notional), fee=Money(fee))


def built(bought: list[tuple[Decimal, Decimal, Decimal]]) -> PositionState:
    state = FLAT
    for quantity, notional, fee in bought:
        state = buy(state, quantity, notional, fee)
    return state


@settings(max_examples=40)
@given(purchases)
def test_managed_cost_and_fees_are_the_sums_of_the_purchases(bought: list[tuple[Decimal, Decimal, Decimal]]) -> None:
    state = built(bought)
    assert state.managed.value == sum(quantity for quantity, _, _ in bought)
    assert state.cost.value == sum(notional + fee for _, notional, fee in bought)
    assert state.fees.value == sum(fee for _, _, fee in bought)
    assert state.realised == Money.zero()


@settings(max_examples=40)
@given(purchases, st.data())
def test_selling_all_in_any_parts_leaves_nothing_and_realises_income_minus_cost(
    bought: list[tuple[Decimal, Decimal, Decimal]], data: st.DataObject
) -> None:
    state = built(bought)
    paid, income = state.cost.value, D(0)
    for _ in range(data.draw(st.integers(0, 3))):
        part = D(data.draw(st.integers(0, int(state.managed.value.scaleb(8))))).scaleb(-8)
        state, income = sell(state, part, D(7), D(1)), income + 6
    state, income = sell(state, state.managed.value, D(9), D(1)), income + 8
    assert state.managed == Quantity.zero()
    assert state.cost == Money.zero()
    assert abs(state.realised.value - (income - paid)) < D("1e-20")


@settings(max_examples=40)
@given(purchases, lots)
def test_more_than_is_managed_is_never_sold(bought: list[tuple[Decimal, Decimal, Decimal]], beyond: Decimal) -> None:
    state = built(bought)
    with pytest.raises(OverSold):
        sell(state, state.managed.value + beyond, D(1), D(0))


@settings(max_examples=40)
@given(purchases, st.data())
def test_what_the_user_took_away_leaves_with_its_cost_and_profit_is_the_same_before_and_after(
    bought: list[tuple[Decimal, Decimal, Decimal]], data: st.DataObject
) -> None:
    state = built(bought)
    kept = D(data.draw(st.integers(0, int(state.managed.value.scaleb(8))))).scaleb(-8)
    bid = Price(D(data.draw(st.integers(1, 10**9))).scaleb(-6))
    gone = state.managed - Quantity(kept)
    unknown = position.reduced(state, managed_after=Quantity(kept), value=None)
    assert unknown.realised == state.realised
    reduced = position.reduced(state, managed_after=Quantity(kept), value=gone.at(bid))
    assert (reduced.managed.value, reduced.cost, reduced.fees) == (kept, unknown.cost, state.fees)
    before = state.realised + state.managed.at(bid) - state.cost
    after = reduced.realised + reduced.managed.at(bid) - reduced.cost
    assert abs((after - before).value) < D("1e-20")
    assert Money.zero() <= reduced.cost <= state.cost
    assert bool(reduced.cost) <= bool(kept)


def test_a_reduction_can_neither_add_nor_go_below_zero() -> None:
    state = buy(FLAT, D(5), D(10), D(0))
    for after in (D(6), D(-1)):
        with pytest.raises(OverSold):
            position.reduced(state, managed_after=Quantity(after), value=None)


def test_profit_is_net_of_the_fees_of_both_sides() -> None:
    state = buy(FLAT, D(10), D(100), D("0.8"))
    state = sell(state, D(10), D(110), D("0.88"))
    assert state.realised.value == D("8.32")
    assert state.fees.value == D("1.68")


@settings(max_examples=60)
@given(*[st.integers(0, 50)] * 4)
def test_of_a_sale_outside_only_what_was_managed_then_and_still_is_counts(
    sold: int, managed: int, since: int, taken: int
) -> None:
    part = position.managed_share(
        Quantity(D(sold)), managed=Quantity(D(managed)), bought_since=Quantity(D(since)), taken_since=Quantity(D(taken))
    )
    assert Quantity.zero() <= part <= Quantity(D(min(sold, managed)))
    if not since and not taken:
        assert part == Quantity(D(min(sold, managed)))
    if since >= managed or taken >= sold:
        assert part == Quantity.zero()
