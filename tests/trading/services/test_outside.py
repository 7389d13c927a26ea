"""Orders the master made on Kraken by hand, as Kraken tells them: what of them is booked, and what is his own."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.trading.services import master_books
from tests.trading.services.master_books import NOW, MovedClock
from trading.domain.instrument import Side
from trading.domain.money import Money, Price, Quantity
from trading.domain.order_state import OrderState
from trading.kraken.values import VenueOrder, VenueStatus, VenueTrade
from trading.models import (
    Account,
    Adjustment,
    AdjustmentKind,
    Event,
    Execution,
    Instrument,
    Order,
    OrderKind,
    OrderOrigin,
    Position,
    Signal,
)
from trading.services import booking, outside
from trading.services.asking import Report
from trading.services.lanes import Purpose

pytestmark = pytest.mark.django_db

D = Decimal
LATER = timedelta(seconds=30)


@pytest.fixture
def account() -> Account:
    return master_books.master()


@pytest.fixture
def beam(account: Account) -> Instrument:
    return master_books.instrument()


def trade(trade_id: str, side: Side, quantity: str, *, at: datetime = NOW + LATER) -> VenueTrade:
    """At a price of 2 and a fee of one per cent."""
    amount = D(quantity)
    return VenueTrade(
        trade_id=trade_id,
        order_txid="O-HAND",
        pair_id="BEAMUSD",
        side=side,
        quantity=Quantity(amount),
        price=Price(D(2)),
        cost=Money(amount * 2),
        fee=Money(amount * 2 / 100),
        at=at,
        maker=False,
    )


def venue_order(side: Side, *trades: VenueTrade, **changes: Any) -> VenueOrder:
    """Final a minute before `now` is asked in these tests."""
    executed = sum((t.quantity for t in trades), Quantity.zero())
    values: dict[str, Any] = {
        "txid": "O-HAND",
        "cl_ord_id": None,
        "status": VenueStatus.CLOSED,
        "raw_status": "closed",
        "side": side,
        "altname": "BEAMUSD",
        "quantity": executed,
        "executed": executed,
        "cost": sum((t.cost for t in trades), Money.zero()),
        "fee": sum((t.fee for t in trades), Money.zero()),
        "average_price": Price(D(2)),
        "reason": "",
        "opened_at": NOW + LATER,
        "closed_at": NOW + LATER,
        "trade_ids": tuple(t.trade_id for t in trades),
    }
    return VenueOrder(**values | changes)


def row(account: Account, instrument: Instrument, side: Side, quantity: str) -> Order:
    return Order.objects.create(
        account=account,
        instrument=instrument,
        kind=OrderKind.ENTRY if side is Side.BUY else OrderKind.EXIT,
        origin=OrderOrigin.OUTSIDE,
        side=side,
        quantity=D(quantity),
        state=OrderState.ACKED,
        venue_order_id="O-HAND",
        equity_before=D(100) if side is Side.BUY else None,
        created_at=NOW,
    )


def book(order: Order, venue: VenueOrder, *trades: VenueTrade, after: timedelta = 2 * LATER) -> bool:
    done = booking.book_report(Report(order, venue, trades), now=NOW + after)
    order.refresh_from_db()
    return done


def test_a_purchase_for_an_amount_of_dollars_is_final_once_all_its_trades_are_booked(
    account: Account, beam: Instrument
) -> None:
    # Kraken counts such an order (viqc) in dollars, also what is executed of it.
    bought = trade("T1", Side.BUY, "10")
    venue = venue_order(Side.BUY, bought, quantity=Quantity(D(20)), executed=Quantity(D(20)), in_quote=True)
    order = row(account, beam, Side.BUY, "10")
    book(order, venue, bought, after=LATER + timedelta(seconds=5))
    assert (order.state, order.filled) == ("partial", 10), "its list of trades may not be whole yet"
    assert Signal.objects.get().quantity == 10, "which holds no copy up"
    book(order, venue)
    assert (order.state, order.filled) == ("filled", 10)
    assert Signal.objects.count() == 1


def test_of_a_sale_beyond_what_is_managed_cost_and_fee_are_booked_in_proportion(
    account: Account, beam: Instrument
) -> None:
    master_books.hold(account, beam, "6")
    sold = trade("T1", Side.SELL, "10")
    order = row(account, beam, Side.SELL, "10")
    assert book(order, venue_order(Side.SELL, sold), sold)
    execution = Execution.objects.get()
    assert (execution.quantity, execution.notional, execution.fee) == (6, D(12), D("0.12"))
    assert (order.state, order.filled, order.filled_notional) == ("filled", 6, D(12))
    signal = Signal.objects.get()
    assert (signal.quantity, signal.managed_before, signal.closed_fraction) == (6, 6, 1)
    assert Position.objects.get().managed == 0


def test_of_several_trades_the_first_take_what_is_managed(account: Account, beam: Instrument) -> None:
    master_books.hold(account, beam, "6")
    trades = [trade(f"T{n}", Side.SELL, "4", at=NOW + LATER + timedelta(seconds=n)) for n in range(3)]
    order = row(account, beam, Side.SELL, "12")
    venue = venue_order(Side.SELL, *trades)
    assert book(order, venue, *reversed(trades))
    assert [(e.trade_id, e.quantity) for e in Execution.objects.order_by("pk")] == [("T0", 4), ("T1", 2)]
    # Told again, when something else was bought since, the third still is his own.
    Position.objects.update(managed=D(50), is_open=True)
    buy = row_of_a_purchase(account, beam, "50", at=NOW + 3 * LATER)
    Order.objects.filter(pk=order.pk).update(state=OrderState.PARTIAL)
    assert book(order, venue, trades[2], after=4 * LATER)
    assert Execution.objects.exclude(order=buy).count() == 2
    assert Position.objects.get().managed == 50


def row_of_a_purchase(account: Account, instrument: Instrument, quantity: str, *, at: datetime) -> Order:
    order = Order.objects.create(
        account=account,
        instrument=instrument,
        kind=OrderKind.ENTRY,
        origin=OrderOrigin.STRATEGY,
        side=Side.BUY,
        quantity=D(quantity),
        state=OrderState.FILLED,
        venue_order_id="O-OURS",
        created_at=at,
    )
    Execution.objects.create(
        account=account,
        instrument=instrument,
        order=order,
        trade_id="T-OURS",
        side=Side.BUY,
        quantity=D(quantity),
        price=D(2),
        notional=D(quantity) * 2,
        fee=D(0),
        executed_at=at,
        booked_at=at,
    )
    return order


def test_a_sale_told_after_its_coins_were_missed_is_not_counted_twice(account: Account, beam: Instrument) -> None:
    master_books.hold(account, beam, "2")
    Adjustment.objects.create(
        account=account,
        instrument=beam,
        kind=AdjustmentKind.USER_REDUCED,
        managed_before=D(10),
        managed_after=D(2),
        after_sequence=0,
        created_at=NOW + 2 * LATER,
    )
    sold = trade("T1", Side.SELL, "8")
    order = row(account, beam, Side.SELL, "8")
    assert book(order, venue_order(Side.SELL, sold), sold, after=3 * LATER)
    assert Position.objects.get().managed == 2
    assert not Execution.objects.exists()
    assert not Signal.objects.exists()
    assert order.state == "filled"


def test_a_sale_waits_while_an_order_of_ours_may_change_what_is_managed(account: Account, beam: Instrument) -> None:
    master_books.hold(account, beam, "10")
    ours = Order.objects.create(
        account=account,
        instrument=beam,
        kind=OrderKind.EXIT,
        origin=OrderOrigin.STRATEGY,
        exit_number=1,
        side=Side.SELL,
        quantity=D(10),
        state=OrderState.UNKNOWN,
        created_at=NOW,
    )
    sold = trade("T1", Side.SELL, "4")
    order = row(account, beam, Side.SELL, "4")
    assert not book(order, venue_order(Side.SELL, sold), sold)
    assert order.state == "acked"
    Order.objects.filter(pk=ours.pk).update(state=OrderState.MANUAL)
    assert book(order, venue_order(Side.SELL, sold), sold), "a person's case is not waited for"
    assert Position.objects.get().managed == 6


def test_what_was_traded_on_margin_is_told_once_and_not_booked(account: Account, beam: Instrument) -> None:
    bought = trade("T1", Side.BUY, "10")
    for _ in range(2):
        reading = outside._Reading(account, uuid.uuid4(), Purpose.REFRESH, MovedClock())
        reading.orders = {"O-HAND": venue_order(Side.BUY, bought, on_margin=True)}
        assert outside._sort(reading) == []
        assert reading.complete
    event = Event.objects.get()
    assert event.kind == "alert"
    assert "O-HAND" in event.message
    assert "margin" in event.message


def test_an_order_of_ours_that_was_proved_absent_and_is_at_kraken_is_told(account: Account, beam: Instrument) -> None:
    lost = row(account, beam, Side.BUY, "10")
    Order.objects.filter(pk=lost.pk).update(state=OrderState.NOT_PLACED, venue_order_id="", origin="manual")
    reading = outside._Reading(account, uuid.uuid4(), Purpose.REFRESH, MovedClock())
    found = venue_order(Side.BUY, trade("T1", Side.BUY, "10"), cl_ord_id=str(lost.client_order_id))
    reading.orders = {"O-HAND": found}
    assert outside._sort(reading) == []
    assert "though it is not_placed here" in Event.objects.get(kind="alert").message
    assert "though it is not_placed here" in Account.objects.get(role="master").held_reason


def test_that_it_is_there_after_all_is_told_although_the_order_was_told_of_before(
    account: Account, beam: Instrument
) -> None:
    """While its outcome was unknown there was another alert, and this one says that money moved twice."""
    lost, clock = row(account, beam, Side.SELL, "10"), MovedClock()
    Order.objects.filter(pk=lost.pk).update(
        state=OrderState.NOT_PLACED, venue_order_id="", origin="manual", alerted_at=NOW - LATER
    )
    reading = outside._Reading(account, uuid.uuid4(), Purpose.REFRESH, clock)
    found = venue_order(Side.SELL, trade("T1", Side.SELL, "10"), cl_ord_id=str(lost.client_order_id))
    reading.orders = {"O-HAND": found}
    outside._sort(reading)
    outside._sort(reading)
    assert "Kraken executed it as O-HAND, though it is not_placed here" in Event.objects.get(kind="alert").message
