"""Booking: what Kraken executed, each trade once, folded into positions under their locks.

Many reports are booked in one transaction of a fixed number of statements; one report is a batch of one.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Case, F, Max, Q, QuerySet, When

from trading import doorbell
from trading.domain import position as fold
from trading.domain.instrument import Side
from trading.domain.money import Money, Quantity
from trading.domain.order_state import FINAL, OrderEvent, OrderState
from trading.kraken.endpoints import QUERY_ORDERS_MAX
from trading.kraken.values import VenueOrder, VenueStatus, VenueTrade
from trading.models import (
    Account,
    Execution,
    Order,
    OrderKind,
    OrderOrigin,
    Position,
    Role,
    Signal,
    SignalKind,
)
from trading.services import alerts, asking, bulk, orders, positions, signals
from trading.services.asking import ASK_AGAIN, ASK_AGAIN_LATER, Report
from trading.services.clock import Clock

BATCH_MAX = 200
#: Reports in one transaction: what it locks waits for all of them.
TOGETHER_MAX = 125
#: Orders in one bell: their accounts are asked side by side, and not more than there are senders for.
RUNG_MAX = 125
BOOK_TASK = "trading.tasks.book_answered"
AT_VENUE = (OrderState.ACKED, OrderState.PARTIAL)
YOUNG_FOR = timedelta(seconds=15)
#: Those outside NIJA are looked at by `outside.look`; this finishes what it could not.
ASK_OUTSIDE_AGAIN = timedelta(seconds=15)
#: Kraken's list of a final order's trades is whole by then, though reads may lag.
LISTED_AFTER = timedelta(seconds=10)
#: Final at Kraken, yet its executions do not add up: told after this long.
ALERT_AFTER = timedelta(seconds=60)
#: What a booking changes of an order.
_ORDER = ("filled", "filled_notional", "fee", "venue_status", "booked_at", "closed_at", "refusal")

_FINAL_EVENTS = {
    VenueStatus.CLOSED: OrderEvent.CLOSED,
    VenueStatus.CANCELED: OrderEvent.CANCELED,
    VenueStatus.EXPIRED: OrderEvent.EXPIRED,
}

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Entry:
    """One report with the rows it changes, read under the position's lock.

    `trades` are those not booked yet, in the order of trading; `booked` are all executions of the order, `fresh` the new ones.
    """

    report: Report
    order: Order
    position: Position
    trades: list[VenueTrade]
    booked: list[Execution]
    fresh: list[Execution] = field(default_factory=list)

    @property
    def is_masters(self) -> bool:
        return bool(self.order.account.role == Role.MASTER)

    @property
    def is_outside_sale(self) -> bool:
        return bool(self.order.origin == OrderOrigin.OUTSIDE and self.order.side == Side.SELL)


def ring(order_ids: Sequence[int]) -> None:
    """Once the current transaction has committed, ask for these to be booked. A bell that is lost is `book_due`'s."""
    for start in range(0, len(order_ids), RUNG_MAX):
        doorbell.ring(BOOK_TASK, list(order_ids[start : start + RUNG_MAX]))


def book_answered(order_ids: Collection[int], *, clock: Clock) -> int:
    """Book those that Kraken has just taken, unless somebody asked for them already; how many were booked.

    The master's are booked whoever's bell was heard, since everybody waits for them.
    """
    unasked = Order.objects.filter(state__in=AT_VENUE, account__venue=settings.VENUE, booking_tried_at__isnull=True)
    # Two looks: for one with an `or` the database reads everybody's.
    his = unasked.filter(account__role=Role.MASTER).values_list("pk", flat=True)
    wanted = {*order_ids, *his}
    return _book_masters_first(unasked.filter(pk__in=wanted).order_by("pk"), clock=clock)


def book_due(*, clock: Clock) -> int:
    """Ask for every order that is at Kraken and was not asked for a while; how many were booked."""
    now = clock.now()
    young = Q(sent_at__gt=now - YOUNG_FOR) & Q(booking_tried_at__lt=now - ASK_AGAIN)
    old = Q(booking_tried_at__lt=now - ASK_AGAIN_LATER)
    at_venue = Order.objects.filter(state__in=AT_VENUE, account__venue=settings.VENUE)
    outside = Q(origin=OrderOrigin.OUTSIDE)
    waiting = (~outside & (young | old)) | (outside & Q(booking_tried_at__lt=now - ASK_OUTSIDE_AGAIN))
    due = at_venue.filter(waiting | Q(booking_tried_at__isnull=True))
    # The master's before the cut, however many of others wait. PostgreSQL would have those last that nobody was asked for.
    his_first = Case(When(account__role=Role.MASTER, then=0), default=1)
    return _book_masters_first(due.order_by(his_first, F("booking_tried_at").asc(nulls_first=True), "pk"), clock=clock)


def _book_masters_first(due: QuerySet[Order], *, clock: Clock) -> int:
    """The master's alone: no follower's slow answer may hold them up."""
    by_role: dict[str, list[int]] = {Role.MASTER: [], Role.FOLLOWER: []}
    for order_id, role in due.values_list("pk", "account__role")[:BATCH_MAX]:
        by_role[role].append(order_id)
    return sum(book(ids, clock=clock) for ids in by_role.values())


def book(order_ids: Collection[int], *, clock: Clock) -> int:
    """Ask Kraken what became of these orders and book it; orders that are not at Kraken are passed over.

    So many at once as are asked side by side: nobody's booking waits for the questions about the rest.
    """
    ids = list(order_ids)
    return sum(_book_some(ids[start : start + RUNG_MAX], clock=clock) for start in range(0, len(ids), RUNG_MAX))


def _book_some(order_ids: Sequence[int], *, clock: Clock) -> int:
    """One question tells all of an account's orders for the same points of its key's budget, so all of them are asked for."""
    wanted = Order.objects.filter(pk__in=order_ids, state__in=AT_VENUE)
    found = Order.objects.filter(account__in=wanted.values("account"), state__in=AT_VENUE).select_related("account")
    by_account: dict[int, list[Order]] = defaultdict(list)
    for order in found.order_by(F("booking_tried_at").asc(nulls_first=True), "pk"):
        if order.origin == OrderOrigin.OUTSIDE and order.pk not in order_ids:
            continue
        if len(by_account[order.account_id]) < QUERY_ORDERS_MAX:
            by_account[order.account_id].append(order)
    if not by_account:
        return 0
    Order.objects.filter(pk__in=[o.pk for rows in by_account.values() for o in rows]).update(
        booking_tried_at=clock.now()
    )
    reports = asking.ask(by_account, clock=clock)
    book_reports(reports, now=clock.now())
    return len(reports)


def book_reports(reports: Sequence[Report], *, now: datetime) -> None:
    """Book what can be booked. A report that cannot holds its own account and nobody else's report back."""
    for batch in _batches(reports):
        try:
            _book(batch, now=now)
        except (OperationalError, InterfaceError):
            # The database is away or had to choose between two: nothing is wrong with the reports, they come again.
            raise
        except Exception:
            logger.exception("a batch of %s reports could not be booked together", len(batch))
            for report in batch:
                _book_alone(report, now=now)


def book_report(report: Report, *, now: datetime) -> bool:
    """Executions, position, order and signal change together or not at all. False: it could not be booked now."""
    return report.order.pk in _book([report], now=now)


def _batches(reports: Sequence[Report]) -> Iterator[list[Report]]:
    """The master's one by one, since the signals of a position keep the order of its bookings; followers' together."""
    masters = [report for report in reports if report.order.account.role == Role.MASTER]
    yield from ([report] for report in masters)
    others = [report for report in reports if report.order.account.role != Role.MASTER]
    yield from (others[start : start + TOGETHER_MAX] for start in range(0, len(others), TOGETHER_MAX))


def _book_alone(report: Report, *, now: datetime) -> None:
    try:
        _book([report], now=now)
    except (OperationalError, InterfaceError):
        raise
    except orders.LostRace:
        logger.warning("order %s changed while it was booked; it is asked for again", report.order.pk)
    except Exception as error:
        logger.exception("order %s could not be booked", report.order.pk)
        why = f"What Kraken reported of order {report.order.pk} could not be booked: {type(error).__name__}"
        with transaction.atomic(durable=True):
            alerts.hold(report.order.account, why, order=report.order, now=now)


def _book(reports: Sequence[Report], *, now: datetime) -> frozenset[int]:
    """Book these in one transaction; the orders of which nothing is left to do."""
    with transaction.atomic(durable=True):
        entries = _locked(reports, now=now)
        final = [entry.order.pk for entry in entries if entry.order.state in FINAL]
        possible = [entry for entry in entries if entry.order.state not in FINAL and not _must_wait(entry)]
        for entry in possible:
            if entry.is_masters:
                signals.emit_owing(entry.position, besides=entry.order, now=now)
        done = [entry for entry in possible if _fold(entry, now=now)]
        _write(done, now=now)
        _move(done, now=now)
        for entry in done:
            if entry.is_masters:
                signals.emit_if_due(entry.order, entry.position, now=now)
        _tell(done)
    return frozenset([*final, *(entry.order.pk for entry in done)])


def _locked(reports: Sequence[Report], *, now: datetime) -> list[_Entry]:
    """The rows of these reports, read once their positions are locked."""
    places = {(report.order.account_id, report.order.instrument_id) for report in reports}
    locked = positions.lock(places, now=now)
    ids = [report.order.pk for report in reports]
    rows = Order.objects.select_related("account", "instrument", "signal").in_bulk(ids)
    trade_ids = [trade.trade_id for report in reports for trade in report.trades]
    accounts = {account_id for account_id, _ in places}
    known = Execution.objects.filter(Q(order__in=ids) | Q(account__in=accounts, trade_id__in=trade_ids))
    by_order: dict[int, list[Execution]] = defaultdict(list)
    seen: set[tuple[int, str]] = set()
    for execution in known:
        by_order[execution.order_id].append(execution)
        seen.add((execution.account_id, execution.trade_id))
    entries = []
    for report in reports:
        order = rows[report.order.pk]
        since = order.account.created_at if order.origin == OrderOrigin.OUTSIDE else None
        trades = [
            trade
            for trade in sorted(report.trades, key=lambda trade: (trade.at, trade.trade_id))
            if (order.account_id, trade.trade_id) not in seen and (since is None or trade.at >= since)
        ]
        position = locked[order.account_id, order.instrument_id]
        entries.append(_Entry(report, order, position, trades, by_order[order.pk]))
    return entries


def _must_wait(entry: _Entry) -> bool:
    return entry.is_outside_sale and positions.is_busy(entry.order.account_id, entry.order.instrument_id)


def _fold(entry: _Entry, *, now: datetime) -> bool:
    """Fold the trades into the position, in memory; False when they cannot be explained and the account is held instead."""
    order, position = entry.order, entry.position
    state = positions.state_of(position)
    change = fold.bought if order.side == Side.BUY else fold.sold
    rows = []
    for trade in entry.trades:
        if trade.side != order.side or trade.pair_id != order.instrument.pair_id:
            alerts.hold(order.account, f"Execution {trade.trade_id} does not match its order", order=order, now=now)
            return False
        part: VenueTrade | None = trade
        if entry.is_outside_sale:
            place = {"account_id": order.account_id, "instrument_id": order.instrument_id}
            part = positions.managed_part(trade, managed=state.managed, **place)
        if part is None:
            continue
        try:
            state = change(state, quantity=part.quantity, notional=part.cost, fee=part.fee)
        except fold.OverSold as error:
            alerts.hold(order.account, f"Execution {trade.trade_id}: {error}", order=order, now=now)
            return False
        rows.append(_execution(order, part, now=now))
    if not rows:
        return True
    if order.side == Side.BUY and order.signal is not None:
        first = order.signal.sequence
        position.opened_sequence = min(first, position.opened_sequence or first)
    positions.apply(position, state, now=now)
    for row in rows:
        row.round_trip = position.round_trip
    entry.fresh = rows
    entry.booked += rows
    return True


def _execution(order: Order, trade: VenueTrade, *, now: datetime) -> Execution:
    return Execution(
        account_id=order.account_id,
        instrument_id=order.instrument_id,
        order=order,
        trade_id=trade.trade_id,
        side=trade.side.value,
        quantity=trade.quantity.value,
        price=trade.price.value,
        notional=trade.cost.value,
        fee=trade.fee.value,
        maker=bool(trade.maker),
        executed_at=trade.at,
        booked_at=now,
    )


def _write(entries: Sequence[_Entry], *, now: datetime) -> None:
    """The executions, the positions they changed, and when their accounts' balances changed."""
    fresh = [execution for entry in entries for execution in entry.fresh]
    if not fresh:
        return
    Execution.objects.bulk_create(fresh)
    changed = {entry.position.pk: entry.position for entry in entries if entry.fresh}
    bulk.update_each(changed.values(), positions.FOLDED)
    # Locked in the order of their pks: two batches of the same accounts, in other instruments, must not wait for each other.
    accounts = Account.objects.filter(pk__in={execution.account_id for execution in fresh})
    in_order = accounts.select_for_update(no_key=True).order_by("pk").values("pk")
    Account.objects.filter(pk__in=in_order).update(last_fill_at=now)


def _move(entries: Sequence[_Entry], *, now: datetime) -> None:
    """Final only when Kraken's status is final and everything executed is booked; otherwise it waits, and is told."""
    moved: dict[OrderEvent, list[Order]] = defaultdict(list)
    for entry in entries:
        event = _event(entry, now=now)
        if event is not None:
            moved[event].append(entry.order)
    for event, rows in moved.items():
        orders.move_every(rows, event, fields=_ORDER)


def _event(entry: _Entry, *, now: datetime) -> OrderEvent | None:
    """What this report makes of its order, whose figures are changed to match; None: nothing yet."""
    order, venue = entry.order, entry.report.venue
    filled = sum((Quantity(e.quantity) for e in entry.booked), Quantity.zero())
    order.filled = filled.value
    order.filled_notional = sum((Money(e.notional) for e in entry.booked), Money.zero()).value
    order.fee = sum((Money(e.fee) for e in entry.booked), Money.zero()).value
    order.venue_status = venue.raw_status[:12]
    if entry.fresh:
        order.booked_at = now
    seen = {e.trade_id for e in entry.booked} | {trade.trade_id for trade in entry.report.trades}
    complete = venue.is_final and (filled == venue.executed or _rest_is_own(order, venue, seen=seen, now=now))
    if complete:
        order.closed_at = now
        if venue.reason and not filled:
            order.refusal = venue.reason[:300]
        return _FINAL_EVENTS[venue.status]
    since = order.sent_at or order.created_at
    if venue.is_final and since < now - ALERT_AFTER:
        alerts.raise_once(order, "unbooked", "Kraken calls it final, but its executions do not add up", now=now)
    return OrderEvent.FILLED_PART if filled else None


def _rest_is_own(order: Order, venue: VenueOrder, *, seen: Collection[str], now: datetime) -> bool:
    """Of an order outside NIJA: what Kraken lists, was looked at and is not booked, was the owner's own business."""
    if order.origin != OrderOrigin.OUTSIDE or venue.closed_at is None or not venue.trade_ids:
        return False
    return venue.closed_at <= now - LISTED_AFTER and set(venue.trade_ids) <= set(seen)


def _tell(entries: Sequence[_Entry]) -> None:
    """Wake who plans exits when one may be owed since, and tell open pages."""
    changed = [entry for entry in entries if entry.fresh or entry.order.state in FINAL]
    if changed and _may_owe(changed):
        doorbell.executions_booked()
    if changed:
        doorbell.changed({entry.order.account.user_id for entry in changed})


def _may_owe(entries: Sequence[_Entry]) -> bool:
    """Whether a follower may owe an exit by these: the next after one that was booked, or what a late entry has to sell.

    The sweep looks at all of them every second; a bell for each entry would have it look at everything in vain.
    """
    followers = [entry for entry in entries if not entry.is_masters]
    if any(entry.order.kind == OrderKind.EXIT for entry in followers):
        return True
    bought = [entry.order for entry in followers if entry.fresh]
    if not bought:
        return False
    exits = Signal.objects.filter(instrument__in={order.instrument_id for order in bought}, kind=SignalKind.EXIT)
    last = dict(exits.order_by().values_list("instrument").annotate(Max("sequence")))
    return any(order.signal is None or last.get(order.instrument_id, 0) > order.signal.sequence for order in bought)
