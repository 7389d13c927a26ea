"""Trades outside NIJA on bad days: lost answers, failing reads, crashes, two readers, coins that left without a trade."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from django.db import connection

from tests.functional.outside import (
    FOUND,
    alerts,
    assert_books_are_clean,
    at_rest,
    look_now,
    outside_orders,
    requests_of,
)
from tests.functional.scenario import BEAM, Fleet, gather
from tests.support.world import World
from trading import doorbell
from trading.domain.instrument import Side
from trading.models import (
    Account,
    Adjustment,
    Execution,
    Instrument,
    Order,
    OrderKind,
    Position,
    Signal,
)
from trading.services import booking, market, outside

pytestmark = [pytest.mark.django_db(transaction=True)]

D = Decimal


@pytest.fixture
def fleet(make_world: Callable[..., World]) -> Fleet:
    """A master and one follower, equally rich, both at rest."""
    return at_rest(gather(make_world, "ada", max_slippage=D("0.02")))


def test_an_order_of_ours_whose_answer_was_lost_is_not_adopted_as_one_outside(fleet: Fleet) -> None:
    fleet.spoil("drop_after")
    fleet.buy()
    for _ in range(4):
        fleet.world.send(OrderKind.ENTRY)
        look_now(fleet)
        fleet.world.move(1)
    (order,) = Order.objects.filter(account=fleet.master.account)
    assert (order.state, order.origin, order.venue_order_id) == ("unknown", "manual", "")
    fleet.live(20)
    order.refresh_from_db()
    assert (order.state, order.origin) == ("filled", "manual")
    assert outside_orders(fleet) == []
    fleet.assert_books_agree()


def test_a_sale_outside_waits_for_an_order_of_ours_and_then_takes_what_is_left(fleet: Fleet) -> None:
    fleet.buy()
    fleet.live(FOUND)
    managed = fleet.world.managed(fleet.master, BEAM)
    fleet.spoil("drop_after")
    fleet.sell(fraction="0.5")
    fleet.world.send(OrderKind.EXIT)
    fleet.by_hand("master", Side.SELL, quantity="1000")
    look_now(fleet)
    assert [o.filled for o in outside_orders(fleet)] in ([], [0])
    fleet.live(30)
    assert fleet.world.managed(fleet.master, BEAM) == fleet.held(fleet.master)
    assert abs(fleet.held(fleet.master) - (managed / 2 - 1000)) <= D("0.00000001")
    assert abs(fleet.held(fleet["ada"]) - fleet.held(fleet.master)) <= D("0.0000001")
    fleet.assert_books_agree()


def test_a_pair_that_is_not_quoted_in_dollars_is_told_once_and_not_booked(fleet: Fleet) -> None:
    # The paper exchange lists dollar pairs only; NIJA knows of this one no more than of one in euros.
    Instrument.objects.filter(symbol="ETH-USD").delete()
    fleet.world.paper("POST", "/market/pin", pair="ETHUSD", bid="1000", ask="1001")
    txid = fleet.by_hand("master", Side.BUY, quantity="0.1", pair="ETHUSD")
    Instrument.objects.update(updated_at=fleet.world.clock.now() + timedelta(seconds=1))
    fleet.live(20)
    assert outside_orders(fleet) == []
    (message,) = alerts()
    assert "UNSUPPORTED_QUOTE" in message
    assert txid in message
    assert "ETHUSD" in message
    assert not Signal.objects.exists()


def test_the_list_of_pairs_is_read_at_once_when_he_trades_one_that_is_not_in_it(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    Instrument.objects.filter(symbol="ETH-USD").delete()
    fleet.world.paper("POST", "/market/pin", pair="ETHUSD", bid="1000", ask="1001")
    fleet.by_hand("master", Side.BUY, quantity="0.01", pair="ETHUSD")
    rung: list[str] = []
    ring = doorbell.ring
    monkeypatch.setattr(doorbell, "ring", lambda task, *told: (rung.append(task), ring(task, *told)))
    look_now(fleet)
    assert outside.INSTRUMENTS_TASK in rung
    market.refresh_instruments(clock=fleet.world.clock)
    fleet.live(8)
    assert [order.instrument.symbol for order in outside_orders(fleet)] == ["ETH-USD"]
    assert alerts() == []


def test_orders_that_cannot_be_read_for_a_while_are_booked_when_they_can(fleet: Fleet) -> None:
    fleet.buy()
    fleet.live(FOUND)
    fleet.spoil("http_502_before", endpoint="ClosedOrders", times=40)
    fleet.by_hand("master", Side.SELL, quantity=str(fleet.held(fleet.master)))
    for _ in range(3):
        fleet.live(16)
        fleet.world.move(30)
    assert fleet.world.managed(fleet.master, BEAM) > 0, "a balance alone decides nothing"
    assert not Adjustment.objects.exists()
    assert [m for m in alerts() if m.startswith(outside.UNREAD)] == alerts()[:1]
    fleet.world.paper("DELETE", "/faults")
    fleet.live(FOUND)
    assert fleet.held(fleet.master) == fleet.held(fleet["ada"]) == 0
    assert fleet.world.managed(fleet.master, BEAM) == 0
    assert not Adjustment.objects.exists()
    fleet.assert_books_agree()


def test_executions_that_cannot_be_read_hold_back_what_came_after_them(fleet: Fleet) -> None:
    fleet.spoil("http_502_before", endpoint="QueryTrades", times=2)
    fleet.by_hand("master", Side.BUY, quantity="5000")
    fleet.world.move(1)
    fleet.by_hand("master", Side.SELL, quantity="5000")
    fleet.live(30)
    assert [signal.kind for signal in Signal.objects.order_by("pk")] == ["entry", "exit"]
    assert Signal.objects.get(kind="exit").closed_fraction == 1
    fleet.assert_books_agree()


def test_coins_withdrawn_are_a_reduction_once_no_trade_explains_it(fleet: Fleet) -> None:
    fleet.buy()
    fleet.live(FOUND)
    fleet.world.move(20)
    bought = fleet.held(fleet.master)
    fleet.world.paper("POST", f"/accounts/{fleet.master.paper_id}/deposit", asset="BEAM", amount="-4000")
    fleet.world.refresh()
    fleet.live(3)
    assert not Adjustment.objects.exists(), "the orders were not read after the balance yet"
    fleet.live(20)
    reduced = Adjustment.objects.get()
    assert (reduced.managed_before, reduced.managed_after) == (bought, bought - 4000)
    signal = Signal.objects.get(kind="exit")
    assert signal.closed_fraction == Fraction(4000) / Fraction(bought)
    assert (signal.order.origin, signal.order.state) == ("outside", "skipped")
    assert abs(fleet.held(fleet["ada"]) - fleet.held(fleet.master)) <= D("0.00000001")
    assert requests_of(fleet, "AddOrder") == 1
    assert_books_are_clean(fleet)


def test_a_withdrawal_and_a_sale_at_once_are_counted_once_each(fleet: Fleet) -> None:
    fleet.buy()
    fleet.live(FOUND)
    fleet.world.move(20)
    bought = fleet.held(fleet.master)
    fleet.by_hand("master", Side.SELL, quantity="2000")
    fleet.world.paper("POST", f"/accounts/{fleet.master.paper_id}/deposit", asset="BEAM", amount="-1000")
    fleet.live(30)
    assert fleet.world.managed(fleet.master, BEAM) == fleet.held(fleet.master) == bought - 3000
    assert [s.quantity for s in Signal.objects.filter(kind="exit").order_by("pk")] == [2000, 1000]
    assert abs(fleet.held(fleet["ada"]) - fleet.held(fleet.master)) <= D("0.00000001")


def test_a_crash_between_the_row_and_its_booking_is_made_good(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: Any, **__: Any) -> bool:
        raise SystemError("the process ends here")

    fleet.by_hand("master", Side.BUY, quantity="5000")
    with monkeypatch.context() as patched:
        patched.setattr(booking, "book_report", crash)
        with pytest.raises(SystemError):
            look_now(fleet)
    (order,) = outside_orders(fleet)
    assert (order.state, order.filled) == ("acked", 0)
    fleet.live(6)
    order.refresh_from_db()
    assert (order.state, order.filled) == ("filled", 5000)
    assert fleet.copy(fleet["ada"]).status == "ordered"
    fleet.live(FOUND)
    assert Signal.objects.count() == 1
    fleet.assert_books_agree()


def test_a_row_nobody_looks_at_any_more_is_finished_by_the_ordinary_booking(fleet: Fleet) -> None:
    fleet.by_hand("master", Side.BUY, quantity="5000")
    fleet.live(6)
    Order.objects.filter(origin="outside").update(
        state="acked", booking_tried_at=fleet.world.clock.now() - timedelta(seconds=16)
    )
    assert booking.book_due(clock=fleet.world.clock) == 1
    (order,) = outside_orders(fleet)
    assert order.state == "filled"
    assert Execution.objects.filter(order=order).count() == 1


def test_two_readers_at_once_book_every_trade_once(fleet: Fleet) -> None:
    fleet.by_hand("master", Side.BUY, quantity="5000")
    fleet.by_hand("master", Side.BUY, quantity="1000")
    for _ in range(3):
        with ThreadPoolExecutor(3) as readers:
            for done in [readers.submit(read_beside, fleet) for _ in range(3)]:
                done.result()
        fleet.world.move(1)
    fleet.live(FOUND)
    assert sorted(order.quantity for order in outside_orders(fleet)) == [1000, 5000]
    assert Execution.objects.filter(account=fleet.master.account).count() == 2
    assert fleet.world.managed(fleet.master, BEAM) == 6000
    fleet.assert_books_agree()


def read_beside(fleet: Fleet) -> None:
    try:
        look_now(fleet)
    finally:
        connection.close()


def test_the_same_orders_read_again_and_again_change_nothing(fleet: Fleet) -> None:
    fleet.by_hand("master", Side.BUY, quantity="5000")
    fleet.live(6)
    fleet.by_hand("master", Side.SELL, quantity="2000")
    fleet.live(FOUND)
    before = list(Position.objects.order_by("pk").values("managed", "cost", "realised", "fees", "signal_count"))
    for _ in range(3):
        Account.objects.filter(pk=fleet.master.account.pk).update(trades_read_at=None)
        look_now(fleet)
    assert list(Position.objects.order_by("pk").values("managed", "cost", "realised", "fees", "signal_count")) == before
    assert len(outside_orders(fleet)) == 2
