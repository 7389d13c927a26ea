"""The master's own sales when Kraken does not take them, and closing everything while something of his is on its way."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest

from copytrade.services import closing, watch
from tests.functional.scenario import BEAM, Fleet, gather, gather_holding
from tests.support.world import World
from trading.domain.instrument import Side
from trading.domain.order_state import OrderState
from trading.models import Event, EventKind, Order, OrderKind, OrderOrigin
from trading.services import alerts, balances, halts

pytestmark = pytest.mark.django_db(transaction=True)

D = Decimal


def test_coins_on_hold_keep_the_free_rest_from_nobody(make_world: Callable[..., World]) -> None:
    """A tenth is on hold for an order of the master's own on Kraken's page, for which Kraken refuses a sale of the whole."""
    fleet = _holding(make_world)
    whole = fleet.held(fleet.master)
    tenth = _on_hold(fleet, whole / 10)
    _close_everybody(fleet)
    _live(fleet, 12)
    refused, sold, *_ = fleet.orders(fleet.master, OrderKind.EXIT)
    assert refused.state == OrderState.REJECTED
    assert (sold.state, sold.filled) == (OrderState.FILLED, whole - tenth)
    assert fleet.held(fleet.master) == tenth
    assert fleet.held(fleet["ada"]) == 0


def test_what_a_person_asks_to_sell_is_not_cut_to_what_is_free(make_world: Callable[..., World]) -> None:
    fleet = _holding(make_world)
    whole = fleet.held(fleet.master)
    _on_hold(fleet, whole / 10)
    for _ in range(2):
        refused = fleet.sell()
        _live(fleet, 6)
        refused.refresh_from_db()
        assert (refused.state, refused.quantity) == (OrderState.REJECTED, whole)
    assert fleet.held(fleet.master) == whole


def test_a_sale_of_the_masters_that_goes_on_failing_is_told_until_one_sells(make_world: Callable[..., World]) -> None:
    fleet = _holding(make_world)
    for _ in range(2):
        fleet.spoil("error:EOrder:Trading agreement required")
        fleet.sell()
        _live(fleet, 8)
    watch.look(clock=fleet.world.clock)
    [told] = alerts.standing("unsold:")
    assert "The master's last 2 sales of BEAM-USD sold nothing" in told.message
    assert "Trading agreement required" in told.message
    fleet.sell()
    _live(fleet, 3)
    watch.look(clock=fleet.world.clock)
    assert not alerts.standing("unsold:").exists()
    assert fleet.held(fleet["ada"]) == 0


def test_what_an_entry_in_doubt_still_bought_is_sold_when_everybody_was_closed(
    make_world: Callable[..., World],
) -> None:
    fleet = gather(make_world, "ada")
    fleet.spoil("drop_after")
    fleet.buy()
    fleet.world.send(OrderKind.ENTRY)
    assert _close_everybody(fleet).positions == 1
    assert fleet.held(fleet.master) > 0
    _live(fleet, 40)
    assert fleet.held(fleet.master) == fleet.held(fleet["ada"]) == 0
    assert len(fleet.at_exchange(fleet.master, "sell")) == 1


def test_what_is_left_after_a_sale_that_was_under_way_is_sold_when_everybody_was_closed(
    make_world: Callable[..., World],
) -> None:
    fleet = _holding(make_world)
    fleet.sell(fraction="1/4")
    report = _close_everybody(fleet)
    assert (report.positions, report.refused) == (2, ())
    _live(fleet, 10)
    assert fleet.held(fleet.master) == fleet.held(fleet["ada"]) == 0
    assert len(fleet.at_exchange(fleet.master, "sell")) == 2


def test_a_close_that_kraken_refuses_is_tried_again(make_world: Callable[..., World]) -> None:
    fleet = _holding(make_world)
    fleet.spoil("error:EService:Unavailable", times=1)
    fleet.spoil("error:EOrder:Orders limit exceeded", times=2)
    _close_everybody(fleet)
    _live(fleet, 60)
    assert fleet.held(fleet.master) == fleet.held(fleet["ada"]) == 0


def test_what_he_bought_on_krakens_page_before_a_close_is_sold_though_it_is_found_after_it(
    make_world: Callable[..., World],
) -> None:
    fleet = _holding(make_world)
    fleet.by_hand("master", Side.BUY, quantity="500")
    fleet.world.move(0.5)
    _close_everybody(fleet)
    _live(fleet, 60)
    assert fleet.held(fleet.master) == fleet.world.managed(fleet.master, BEAM) == 0
    assert fleet.held(fleet["ada"]) == 0


def test_an_order_he_left_at_kraken_that_fills_after_a_close_is_kept(make_world: Callable[..., World]) -> None:
    fleet = _holding(make_world)
    _close_everybody(fleet)
    _live(fleet, 12)
    fleet.by_hand("master", Side.BUY, quantity="5000")
    _live(fleet, 12)
    # Its row is older than the close, as of an order that had filled in part before it.
    bought = Order.objects.get(account=fleet.master.account, origin=OrderOrigin.OUTSIDE)
    Order.objects.filter(pk=bought.pk).update(created_at=bought.created_at - timedelta(hours=1))
    _live(fleet, 12)
    assert fleet.held(fleet.master) == fleet.world.managed(fleet.master, BEAM) == D(5000)


def test_an_order_he_left_at_kraken_that_fills_while_a_close_is_refused_keeps_nothing_else_from_being_sold(
    make_world: Callable[..., World],
) -> None:
    fleet = _holding(make_world)
    before = fleet.held(fleet.master)
    fleet.spoil("error:EOrder:Orders limit exceeded", times=3)
    _close_everybody(fleet)
    _live(fleet, 3)
    assert fleet.held(fleet.master) == before
    fleet.by_hand("master", Side.BUY, quantity="5000")
    _live(fleet, 60)
    assert fleet.held(fleet.master) == fleet.world.managed(fleet.master, BEAM) == D(5000)
    assert sum(D(sale["vol_exec"]) for sale in fleet.at_exchange(fleet.master, "sell")) == before
    assert fleet.held(fleet["ada"]) == 0


def test_what_the_master_buys_after_a_close_is_kept(make_world: Callable[..., World]) -> None:
    fleet = _holding(make_world)
    _close_everybody(fleet)
    _live(fleet, 10)
    halts.resume_platform(actor="operator", clock=fleet.world.clock)
    fleet.buy()
    _live(fleet, 40)
    assert fleet.held(fleet.master) == fleet.world.managed(fleet.master, BEAM) > 0
    assert fleet.held(fleet["ada"]) > 0


def _holding(make_world: Callable[..., World]) -> Fleet:
    fleet = gather_holding(make_world, "ada")
    # Until then a balance could be older than the purchase.
    fleet.live(12)
    balances.refresh_due(clock=fleet.world.clock)
    return fleet


def _on_hold(fleet: Fleet, quantity: Decimal) -> Decimal:
    rounded = quantity.quantize(D("0.00001"))
    fleet.by_hand("master", Side.SELL, quantity=str(rounded), price="0.012")
    return rounded


def _live(fleet: Fleet, seconds: int) -> None:
    """With what the timetable rings besides."""
    for second in range(seconds):
        if second % 5 == 0:
            balances.refresh_due(clock=fleet.world.clock)
        closing.close_master_on(clock=fleet.world.clock)
        fleet.live(1)


def _close_everybody(fleet: Fleet) -> closing.ClosingReport:
    halts.stop_platform(actor="operator", reason="a drill", clock=fleet.world.clock)
    report = closing.close_everybody(actor="operator", clock=fleet.world.clock)
    assert Event.objects.filter(kind=EventKind.CLOSE_ALL).count() == 1
    return report
