"""Executions are booked once, whole, and only when they can be explained; signals say what they say."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from copytrade.services import watch
from tests.functional.scenario import BEAM, gather
from tests.support.world import World
from trading.models import Account, Event, Execution, Lane, Order, OrderKind, Position, Signal
from trading.services import balances, booking

pytestmark = pytest.mark.django_db(transaction=True)

D = Decimal


def test_an_order_of_many_executions_is_final_only_when_all_of_them_are_booked(
    make_world: Callable[..., World],
) -> None:
    fleet = gather(make_world, "ada")
    fleet.world.paper("POST", "/limits", pair="BEAMUSD", match_max="200")
    fleet.buy(notional="90")
    fleet.world.send(OrderKind.ENTRY)
    order = fleet.orders(fleet.master, OrderKind.ENTRY)[0]
    assert (order.state, Execution.objects.filter(order=order).count()) == ("partial", 20)
    fleet.live(6)
    order.refresh_from_db()
    assert (order.state, order.filled) == ("filled", order.quantity)
    assert Execution.objects.filter(order=order).count() == 45
    assert sum(signal.quantity for signal in Signal.objects.all()) == order.filled
    # What the first part cost in fees is missing from the equity that sizes the next.
    assert D("0.999") < fleet.held(fleet["ada"]) / fleet.held(fleet.master) <= 1
    fleet.assert_books_agree()


def test_the_master_is_booked_however_many_others_were_never_asked_for(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = gather(make_world, "ada", "ben")
    fleet.buy()
    fleet.live(3)
    orders = Order.objects.filter(state="filled")
    assert orders.count() == 3
    orders.update(state="acked", booking_tried_at=None)
    his = orders.model.objects.get(account=fleet.master.account)
    # A question about his came in vain, so that he is no longer among those nobody was asked for.
    Order.objects.filter(pk=his.pk).update(booking_tried_at=fleet.world.clock.now())
    fleet.world.move(6)
    monkeypatch.setattr(booking, "BATCH_MAX", 2)
    assert booking.book_due(clock=fleet.world.clock) == 2
    his.refresh_from_db()
    assert his.state == "filled"


def test_price_quantity_and_fee_come_from_the_exchange(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world)
    fleet.buy()
    fleet.live(2)
    order = fleet.orders(fleet.master, OrderKind.ENTRY)[0]
    (trade,) = fleet.world.at_exchange(fleet.master)["trades"]
    assert (order.filled, order.filled_notional, order.fee) == (D(trade["vol"]), D(trade["cost"]), D(trade["fee"]))
    assert order.limit_price is not None
    assert order.filled_notional < order.filled * order.limit_price
    position = Position.objects.get(account=fleet.master.account)
    assert position.cost == order.filled_notional + order.fee


def test_booking_again_and_again_changes_nothing(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada")
    fleet.buy()
    fleet.live(3)
    before = list(Position.objects.order_by("pk").values("managed", "cost", "fees", "realised"))
    Order.objects.filter(state="filled").update(state="acked")
    for _ in range(3):
        booking.book(list(Order.objects.values_list("pk", flat=True)), clock=fleet.world.clock)
    assert list(Position.objects.order_by("pk").values("managed", "cost", "fees", "realised")) == before
    assert Execution.objects.count() == 2
    assert Signal.objects.count() == 1
    assert set(Order.objects.values_list("state", flat=True)) == {"filled"}


def test_executions_that_cannot_be_read_yet_leave_the_order_open(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada")
    fleet.spoil("http_502_before", name="ada", endpoint="QueryTrades", times=3)
    fleet.buy()
    fleet.live(3)
    (order,) = fleet.orders(fleet["ada"], OrderKind.ENTRY)
    assert (order.state, order.filled) == ("acked", 0)
    fleet.live(12)
    order.refresh_from_db()
    assert order.state == "filled"
    fleet.assert_books_agree()


def test_a_sale_of_more_than_is_managed_holds_the_account_and_tells_once(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada")
    fleet.buy()
    fleet.live(3)
    fleet.sell()
    Position.objects.filter(account=fleet.master.account).update(managed=D(5))
    fleet.live(4)
    account = Account.objects.get(pk=fleet.master.account.pk)
    assert account.held_at is not None
    assert "were sold of 5 managed" in account.held_reason
    assert Event.objects.filter(kind="held").count() == 1
    assert not Signal.objects.filter(kind="exit").exists()
    assert fleet.world.managed(fleet.master, BEAM) == 5


def test_a_sale_that_is_not_finished_after_a_minute_is_told(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world)
    fleet.buy()
    fleet.live(2)
    fleet.world.paper("POST", "/limits", pair="BEAMUSD", order_max="500", market_orders_wait=True)
    fleet.sell()
    fleet.live(3)
    fleet.world.move(61)
    for _ in range(2):
        watch.look(clock=fleet.world.clock)
    assert Event.objects.get(kind="alert").message == "This sale is not finished for a minute"


def test_our_requests_stay_within_a_starter_accounts_rate_limits(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada", "ben", rate_tier="starter")
    fleet.world.move(60)
    fleet.spoil("drop_after", name="ada")
    fleet.spoil("drop_before", name="ben")
    fleet.buy()
    for _ in range(8):
        fleet.world.refresh()
        fleet.live(3)
    fleet.spoil("drop_before", name="ada")
    fleet.sell()
    for _ in range(16):
        fleet.world.refresh()
        fleet.live(3)
    results = {row["result"] for trader in fleet.followers.values() for row in fleet.log(trader)}
    assert not [result for result in results if "Rate limit" in result]
    assert fleet.held(fleet["ada"]) == 0
    fleet.assert_books_agree()


def _budget(fleet: Any, points: float) -> None:
    fleet.world.clock.move(0)
    Lane.objects.update(rate_points=points, rate_at=fleet.world.clock.now())


def test_one_question_tells_of_all_orders_of_an_account(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world)
    for symbol in ("BEAM-USD", "SOL-USD", "DOGE-USD"):
        fleet.buy(symbol=symbol, notional="20")
        # Orders cost no points; reading what became of them does.
        _budget(fleet, 15)
        fleet.world.send(OrderKind.ENTRY)
    first, *others = fleet.orders(fleet.master, OrderKind.ENTRY)
    assert [order.state for order in (first, *others)] == ["acked"] * 3
    _budget(fleet, 0)
    booking.book([first.pk], clock=fleet.world.clock)
    assert [order.state for order in fleet.orders(fleet.master, OrderKind.ENTRY)] == ["filled"] * 3
    assert (fleet.asked(fleet.master, "QueryOrders"), fleet.asked(fleet.master, "QueryTrades")) == (1, 1)


def test_an_order_that_nobody_was_asked_for_does_not_wait_for_its_next_turn(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world)
    fleet.buy()
    _budget(fleet, 15)
    fleet.world.send(OrderKind.ENTRY)
    fleet.world.move(30)
    _budget(fleet, 15)
    booking.book_due(clock=fleet.world.clock)
    assert fleet.orders(fleet.master, OrderKind.ENTRY)[0].state == "acked"
    _budget(fleet, 0)
    fleet.world.move(1.5)
    booking.book_due(clock=fleet.world.clock)
    assert fleet.orders(fleet.master, OrderKind.ENTRY)[0].state == "filled"


def test_a_balance_that_gave_way_to_bookings_long_enough_is_read(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world)
    before = Account.objects.get(pk=fleet.master.account.pk).balances_as_of
    for seconds, read in ((30, False), (15, True)):
        fleet.world.move(seconds)
        # More than a refresh may use up, less than a booking may.
        _budget(fleet, 9)
        balances.refresh_due(clock=fleet.world.clock)
        assert (Account.objects.get(pk=fleet.master.account.pk).balances_as_of != before) is read


def test_a_booking_leaves_points_for_a_lost_order_only_where_there_is_one(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world)
    fleet.buy()
    _budget(fleet, 15)
    fleet.world.send(OrderKind.ENTRY)
    (order,) = fleet.orders(fleet.master, OrderKind.ENTRY)
    lost = Order.objects.get(pk=order.pk)
    lost.pk, lost.client_order_id, lost.venue_order_id, lost.state = None, uuid.uuid4(), "", "unknown"
    lost.save()
    # Three points: enough for both calls of a booking, not for the look that proves an order absent as well.
    _budget(fleet, 12)
    booking.book([order.pk], clock=fleet.world.clock)
    assert fleet.orders(fleet.master, OrderKind.ENTRY)[0].state == "acked"
    lost.delete()
    booking.book([order.pk], clock=fleet.world.clock)
    assert fleet.orders(fleet.master, OrderKind.ENTRY)[0].state == "filled"
