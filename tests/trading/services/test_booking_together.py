"""Followers' reports booked in one transaction: as right as one by one, in statements that do not grow with their number."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoCaptureOnCommitCallbacks

from accounts.models import User
from tests.trading.services import master_books
from tests.trading.services.master_books import NOW
from trading import doorbell
from trading.domain.instrument import Side
from trading.domain.money import Money, Price, Quantity
from trading.domain.order_state import OrderState
from trading.kraken.values import VenueOrder, VenueStatus, VenueTrade
from trading.models import (
    Account,
    Event,
    Execution,
    Instrument,
    Order,
    OrderKind,
    OrderOrigin,
    Position,
    Role,
    Signal,
    SignalKind,
)
from trading.services import booking
from trading.services.asking import Report

pytestmark = pytest.mark.django_db

D = Decimal
LATER = timedelta(seconds=5)
#: Positions are read and locked, made and locked again; orders and executions are read; executions, positions, orders and
#: accounts are written; one look whether an exit may be owed.
STATEMENTS_MAX = 10
TRANSACTION = ("SAVEPOINT", "RELEASE", "BEGIN", "COMMIT")


@pytest.fixture
def beam() -> Instrument:
    return master_books.instrument()


@pytest.fixture
def signal(beam: Instrument) -> Signal:
    """The master bought, and that is what followers copy."""
    return master_signal(master_books.master(), beam, SignalKind.ENTRY, sequence=1)


def master_signal(master: Account, row: Instrument, kind: SignalKind, *, sequence: int) -> Signal:
    side = Side.BUY if kind == SignalKind.ENTRY else Side.SELL
    order = Order.objects.create(
        account=master,
        instrument=row,
        kind=OrderKind.ENTRY if side is Side.BUY else OrderKind.EXIT,
        origin=OrderOrigin.MANUAL,
        exit_number=None if side is Side.BUY else sequence,
        side=side,
        quantity=D(10),
        state=OrderState.FILLED,
        created_at=NOW,
    )
    return Signal.objects.create(
        account=master,
        instrument=row,
        order=order,
        sequence=sequence,
        kind=kind,
        quantity=D(10),
        price=D(2),
        notional=D(20),
        managed_before=None if side is Side.BUY else D(10),
        executed_at=NOW,
        created_at=NOW,
    )


def followers(count: int) -> list[Account]:
    first = Account.objects.count()
    return [
        Account.objects.create(
            user=User.objects.create_user(f"follower-{number}@example.com"),
            role=Role.FOLLOWER,
            venue=settings.VENUE,
            iban=f"F{number}",
            created_at=NOW,
        )
        for number in range(first, first + count)
    ]


def at_kraken(account: Account, row: Instrument, side: Side, *, signal: Signal | None = None) -> Order:
    number = Order.objects.count()
    return Order.objects.create(
        account=account,
        instrument=row,
        kind=OrderKind.ENTRY if side is Side.BUY else OrderKind.EXIT,
        origin=OrderOrigin.COPY,
        signal=signal,
        exit_number=None if side is Side.BUY else number,
        side=side,
        quantity=D(10),
        state=OrderState.ACKED,
        venue_order_id=f"O{number}",
        created_at=NOW,
        sent_at=NOW,
    )


def filled(order: Order, *quantities: str, side: Side | None = None, trade_id: str = "") -> Report:
    """Wholly filled at a price of 2 and a fee of one per cent, in executions of these quantities."""
    trades = [
        VenueTrade(
            trade_id=trade_id or f"T{order.pk}-{number}",
            order_txid=order.venue_order_id,
            pair_id=order.instrument.pair_id,
            side=side or Side(order.side),
            quantity=Quantity(D(quantity)),
            price=Price(D(2)),
            cost=Money(D(quantity) * 2),
            fee=Money(D(quantity) * 2 / 100),
            at=NOW + timedelta(milliseconds=number),
            maker=False,
        )
        for number, quantity in enumerate(quantities)
    ]
    return Report(order, venue_order(order, trades), tuple(trades))


def venue_order(order: Order, trades: Sequence[VenueTrade]) -> VenueOrder:
    executed = sum((t.quantity for t in trades), Quantity.zero())
    return VenueOrder(
        txid=order.venue_order_id,
        cl_ord_id=str(order.client_order_id),
        status=VenueStatus.CLOSED,
        raw_status="closed",
        side=Side(order.side),
        altname=order.instrument.altname,
        quantity=executed,
        executed=executed,
        cost=sum((t.cost for t in trades), Money.zero()),
        fee=sum((t.fee for t in trades), Money.zero()),
        average_price=Price(D(2)),
        reason="",
        opened_at=NOW,
        closed_at=NOW,
        trade_ids=tuple(t.trade_id for t in trades),
    )


def book(*reports: Report) -> int:
    """How many statements it took."""
    with CaptureQueriesContext(connection) as queries:
        booking.book_reports(reports, now=NOW + LATER)
    return len([query for query in queries if not query["sql"].startswith(TRANSACTION)])


def states(reports: Sequence[Report]) -> list[str]:
    return [Order.objects.get(pk=report.order.pk).state for report in reports]


def managed(account: Account, row: Instrument) -> Decimal:
    return Position.objects.get(account=account, instrument=row).managed


def test_forty_orders_are_booked_in_as_many_statements_as_four(signal: Signal, beam: Instrument) -> None:
    taken: dict[int, list[int]] = {}
    for count in (4, 40):
        accounts = followers(count)
        bought = [filled(at_kraken(account, beam, Side.BUY, signal=signal), "10") for account in accounts]
        first = book(*bought)
        sold = [filled(at_kraken(account, beam, Side.SELL), "10") for account in accounts]
        taken[count] = [first, book(*sold)]
        assert set(states(bought) + states(sold)) == {"filled"}
    assert taken[4] == taken[40]
    assert max(taken[40]) <= STATEMENTS_MAX
    assert Execution.objects.count() == 2 * 44


def test_a_batch_books_what_one_by_one_would(signal: Signal, beam: Instrument) -> None:
    ether = master_books.instrument("ETH-USD", quantity_min="0.002", tick="0.01")
    other = master_signal(signal.account, ether, SignalKind.ENTRY, sequence=1)
    ada, ben = followers(2)
    reports = [
        filled(at_kraken(ada, beam, Side.BUY, signal=signal), "4", "6"),
        filled(at_kraken(ben, ether, Side.BUY, signal=other), "10"),
        filled(at_kraken(ada, beam, Side.SELL), "3", "5"),
        filled(at_kraken(ada, ether, Side.BUY, signal=other), "7"),
    ]
    book(*reports)
    book(*reports)
    assert states(reports) == ["filled"] * 4
    assert (managed(ada, beam), managed(ada, ether), managed(ben, ether)) == (2, 7, 10)
    position = Position.objects.get(account=ada, instrument=beam)
    # 20.20 was paid for ten, 15.84 came back for eight of them.
    assert (position.cost, position.realised, position.fees) == (D("4.04"), D("-0.32"), D("0.36"))
    assert (position.opened_sequence, position.opened_at, position.is_open) == (1, NOW + LATER, True)
    assert Execution.objects.count() == 6
    ada.refresh_from_db()
    assert ada.last_fill_at == NOW + LATER


def test_a_report_that_does_not_match_its_order_holds_its_own_account_alone(signal: Signal, beam: Instrument) -> None:
    ada, ben, cid = followers(3)
    reports = [
        filled(at_kraken(ada, beam, Side.BUY, signal=signal), "10"),
        filled(at_kraken(ben, beam, Side.BUY, signal=signal), "10", side=Side.SELL),
        filled(at_kraken(cid, beam, Side.SELL), "1"),
    ]
    book(*reports)
    assert states(reports) == ["filled", "acked", "acked"]
    held = {account.pk: account.held_reason for account in Account.objects.filter(held_at__isnull=False)}
    assert held.keys() == {ben.pk, cid.pk}
    assert "does not match its order" in held[ben.pk]
    assert "were sold of 0 managed" in held[cid.pk]
    assert (managed(ada, beam), managed(ben, beam)) == (10, 0)
    assert Event.objects.filter(kind="held").count() == 2


def test_what_the_database_refuses_of_one_order_is_booked_of_the_others(signal: Signal, beam: Instrument) -> None:
    ada, ben = followers(2)
    again = master_signal(signal.account, beam, SignalKind.ENTRY, sequence=2)
    reports = [
        filled(at_kraken(ada, beam, Side.BUY, signal=signal), "10", trade_id="T-SAME"),
        filled(at_kraken(ada, beam, Side.BUY, signal=again), "10", trade_id="T-SAME"),
        filled(at_kraken(ben, beam, Side.BUY, signal=signal), "10"),
    ]
    book(*reports)
    assert states(reports) == ["filled", "acked", "filled"], "one trade is one execution"
    assert (managed(ada, beam), managed(ben, beam)) == (10, 10)


def rung(
    monkeypatch: pytest.MonkeyPatch, capture: DjangoCaptureOnCommitCallbacks, reports: Sequence[Report]
) -> tuple[list[str], list[list[int]]]:
    """The bells and the publications of one batch."""
    bells: list[str] = []
    pages: list[list[int]] = []
    with monkeypatch.context() as patched:
        patched.setattr(doorbell, "_send", lambda task, *_: bells.append(task))
        patched.setattr(doorbell, "_publish", pages.append)
        with capture(execute=True):
            book(*reports)
    return bells, pages


def test_exits_are_planned_after_a_booking_only_where_one_may_be_owed(
    signal: Signal,
    beam: Instrument,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    accounts = followers(3)
    plan = settings.DOORBELLS["executions"]
    everybody = sorted(account.user_id for account in accounts)

    def told(reports: Sequence[Report]) -> Any:
        return rung(monkeypatch, django_capture_on_commit_callbacks, reports)

    entries = [filled(at_kraken(account, beam, Side.BUY, signal=signal), "10") for account in accounts]
    assert told(entries) == ([], [everybody])
    assert told(entries) == ([], []), "nothing new"
    sales = [filled(at_kraken(account, beam, Side.SELL), "10") for account in accounts]
    assert told(sales) == ([plan], [everybody]), "the next sale may be owed"
    again = master_signal(signal.account, beam, SignalKind.ENTRY, sequence=2)
    late = [filled(at_kraken(account, beam, Side.BUY, signal=again), "10") for account in accounts]
    master_signal(signal.account, beam, SignalKind.EXIT, sequence=3)
    assert told(late) == ([plan], [everybody]), "the master has sold since"
