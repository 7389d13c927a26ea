"""What the master trades on Kraken outside NIJA: found, given a row, booked and signalled like any other order.

His balance is read every few seconds, for one point of the key's rate budget; his orders are read when it moved in a way
that our bookings do not explain, and now and then anyway (docs/adr/0019). Only the master's account is ever looked at.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from django.conf import settings
from django.db import IntegrityError, transaction

from trading import doorbell
from trading.domain import order_state
from trading.domain.instrument import Side
from trading.domain.money import Money, Quantity
from trading.domain.order_state import OrderState
from trading.kraken.endpoints import (
    CLOSED_ORDERS,
    OPEN_ORDERS,
    PAGE_SIZE,
    QUERY_TRADES,
    QUERY_TRADES_MAX,
    PrivateClient,
)
from trading.kraken.errors import KrakenError
from trading.kraken.values import OrdersPage, VenueOrder, VenueTrade
from trading.models import (
    Account,
    AssetBalance,
    Event,
    EventKind,
    Execution,
    Instrument,
    Order,
    OrderKind,
    OrderOrigin,
    Position,
    Role,
)
from trading.selectors import equity
from trading.services import alerts, balances, booking, lanes, market, positions, private, turns, unexplained
from trading.services.alerts import Alarm
from trading.services.asking import Report
from trading.services.clock import Clock
from trading.services.lanes import Purpose

#: The row by which readers take turns; no look follows another sooner.
TURN = "outside-look"
TURN_EVERY = timedelta(seconds=4)
#: After an unexplained change the orders are read at once, and again, since reads may lag.
READ_AGAIN_AFTER = timedelta(seconds=4)
SWEEP_EVERY = timedelta(seconds=60)
#: What was finished so long before a complete reading began is known; later reads begin here.
OVERLAP = timedelta(seconds=60)
PAGES_MAX = 10
TRADES_MAX = 100
ALERT_AFTER = timedelta(seconds=120)
BOUGHT = "Bought on Kraken outside NIJA"
SOLD = "Sold on Kraken outside NIJA"
INSTRUMENTS_TASK = "trading.tasks.refresh_instruments"
UNREAD = "The master's orders at Kraken are not wholly read"

T = TypeVar("T")
logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Reading:
    """One pass over the master's orders. Not `complete`: something was not told or could not be booked yet."""

    account: Account
    key: uuid.UUID
    purpose: Purpose
    clock: Clock
    complete: bool = True
    orders: dict[str, VenueOrder] = field(default_factory=dict)
    unread: set[str] = field(default_factory=set)

    def ask(self, request: private.Request[T], *, purpose: Purpose, cost: int, room: int = 0) -> T | None:
        answers = private.call_each({self.key: request}, purpose=purpose, cost=cost, clock=self.clock, room=room)
        answer = answers.get(self.key)
        if answer is None or isinstance(answer, KrakenError):
            logger.info("the master's orders are not read: %s", answer or "its lane is not free")
            self.complete = False
            return None
        return answer


@dataclass(frozen=True, slots=True)
class _Found:
    """An order with executions that are not booked; `row` None: nobody has seen it before."""

    row: Order | None
    venue: VenueOrder
    instrument: Instrument


def look(*, clock: Clock) -> int:
    """One look at the master's account; how many orders were found or had something to book."""
    account = Account.objects.select_related("user__risk").filter(venue=settings.VENUE, role=Role.MASTER).first()
    if account is None or not turns.take(TURN, now=clock.now(), lasting=TURN_EVERY):
        return 0
    key = lanes.active_keys([account]).get(account.pk)
    if key is None:
        return 0
    if account.trades_known_until is None:
        # Known to an older version already: what was traded before this look was counted by balances.
        Account.objects.filter(pk=account.pk).update(trades_known_until=clock.now())
    starved = balances.is_starved(account, now=clock.now())
    balances.refresh([account], clock=clock, purpose=Purpose.BOOKING if starved else Purpose.REFRESH)
    account.refresh_from_db()
    purpose = _why_read(account, now=clock.now())
    if purpose is None:
        return 0
    reading = _Reading(account, key.pk, purpose, clock)
    found = _read(reading)
    if reading.complete:
        balances.compare_again(account)
    else:
        _alert_if_unread(account, now=clock.now())
    return found


def _why_read(account: Account, *, now: datetime) -> Purpose | None:
    """BOOKING: the balance moved in a way we cannot explain. REFRESH: it is time for a sweep. None: all is explained."""
    read_at, changed = account.trades_read_at, unexplained.changed_at()
    if read_at is None:
        return Purpose.BOOKING
    if changed is not None:
        instants = [changed, changed + READ_AGAIN_AFTER]
        if balances.is_short(account):
            instants.append(changed + balances.READ_LAG)
        if any(read_at < instant <= now for instant in instants):
            return Purpose.BOOKING
    return Purpose.REFRESH if read_at <= now - SWEEP_EVERY else None


def _read(reading: _Reading) -> int:
    """Read, book, and remember how far everything is known."""
    account, started = reading.account, reading.clock.now()
    known = market.kraken_now(reading.clock) - OVERLAP
    _read_orders(reading)
    found = _sort(reading)
    trades = _read_trades(reading, found)
    _book(reading, found, trades)
    if reading.complete:
        Account.objects.filter(pk=account.pk).update(trades_read_at=started)
        Account.objects.filter(pk=account.pk, trades_known_until__lt=known).update(trades_known_until=known)
    return len(found)


def _read_orders(reading: _Reading) -> None:
    """Open orders first: one that closes between the two reads is then in both, never in neither.

    An open order holds what it may trade, so without any hold there is none; a sweep looks all the same.
    """
    account, both = reading.account, CLOSED_ORDERS.cost + QUERY_TRADES.cost
    holds = AssetBalance.objects.filter(account=account).values_list("hold", flat=True)
    if reading.purpose is Purpose.REFRESH or any(holds):
        # With room for what must follow: alone it would be paid for at every look and keep the rest from ever fitting.
        opened = reading.ask(_open_orders, purpose=reading.purpose, cost=OPEN_ORDERS.cost, room=OPEN_ORDERS.cost + both)
        if opened is None:
            return
        reading.orders = {order.txid: order for order in opened.orders}
    since = account.trades_known_until
    assert since is not None, "the first look sets it"
    for page_number in range(PAGES_MAX):
        # Further pages are rare, after a long absence, and are worth more of the budget than starting over.
        purpose = Purpose.BOOKING if page_number else reading.purpose
        request = partial(_closed_orders, since, page_number * PAGE_SIZE)
        page = reading.ask(request, purpose=purpose, cost=CLOSED_ORDERS.cost, room=both)
        if page is None:
            return
        reading.orders |= {order.txid: order for order in page.orders}
        if len(page.orders) < PAGE_SIZE:
            return
    reading.complete = False


async def _open_orders(kraken: PrivateClient, nonce: int) -> OrdersPage:
    return await kraken.open_orders(nonce=nonce)


async def _closed_orders(since: datetime, offset: int, kraken: PrivateClient, nonce: int) -> OrdersPage:
    return await kraken.closed_orders(nonce=nonce, start=since, ofs=offset)


def _sort(reading: _Reading) -> list[_Found]:
    """Which of these orders are to be booked by this path, oldest first; the others are told or left to their owner."""
    account = reading.account
    executed = sorted((o for o in reading.orders.values() if o.executed), key=lambda order: order.opened_at)
    ours = Order.objects.filter(account=account)
    by_txid = {row.venue_order_id: row for row in ours.filter(venue_order_id__in=[o.txid for o in executed])}
    ids = {client_id for order in executed if (client_id := _uuid(order.cl_ord_id)) is not None}
    by_client_id = {row.client_order_id: row for row in ours.filter(client_order_id__in=ids)}
    names = {order.altname for order in executed}
    instruments = {i.altname: i for i in Instrument.objects.filter(venue=settings.VENUE, altname__in=names)}
    found: list[_Found] = []
    for venue in executed:
        row, instrument = by_txid.get(venue.txid), instruments.get(venue.altname)
        client_id = _uuid(venue.cl_ord_id)
        sent = by_client_id.get(client_id) if client_id is not None else None
        if row is not None:
            unbooked = row.filled != venue.executed.value or venue.is_final
            if row.origin == OrderOrigin.OUTSIDE and row.state not in order_state.FINAL and unbooked:
                found.append(_Found(row, venue, row.instrument))
        elif sent is not None:
            _leave_to_reconciliation(sent, venue, now=reading.clock.now())
        elif venue.closed_at is not None and venue.closed_at < account.created_at:
            continue
        elif venue.on_margin:
            _tell_once(account, venue, "it was traded on margin, and NIJA trades with what is there", reading.clock)
        elif instrument is None:
            _tell_unsupported(reading, venue)
        else:
            found.append(_Found(None, venue, instrument))
    return found


def _uuid(text: str | None) -> uuid.UUID | None:
    try:
        return uuid.UUID(text or "")
    except ValueError:
        return None


def _leave_to_reconciliation(order: Order, venue: VenueOrder, *, now: datetime) -> None:
    """An order of ours whose answer was lost. One that was proved absent is a person's case."""
    if order.state in order_state.FINAL:
        message = f"Order {order.pk}: Kraken executed it as {venue.txid}, though it is {order.state} here"
        alerts.hold(order.account, message, order=order, now=now)
        alerts.tell({f"executed:{order.pk}": Alarm(message, order.account_id, order.pk)}, now=now)


def _tell_unsupported(reading: _Reading, venue: VenueOrder) -> None:
    listed = Instrument.objects.filter(venue=settings.VENUE, updated_at__gt=venue.opened_at)
    if listed.exists():
        sentence = f"UNSUPPORTED_QUOTE: {venue.altname} is not a pair quoted in US dollars that NIJA knows"
        _tell_once(reading.account, venue, sentence, reading.clock)
    else:
        # A pair may be newer than our list of pairs.
        reading.complete = False
        doorbell.ring(INSTRUMENTS_TASK)


def _tell_once(account: Account, venue: VenueOrder, why: str, clock: Clock) -> None:
    message = f"The master's order {venue.txid} ({venue.side.value} {venue.altname}) was not copied: {why}"
    with transaction.atomic(durable=True):
        Account.objects.select_for_update().get(pk=account.pk)
        told = Event.objects.filter(account=account, kind=EventKind.ALERT, message__contains=venue.txid)
        if not told.exists():
            logger.warning("%s", message)
            Event.objects.create(at=clock.now(), kind=EventKind.ALERT, account=account, message=message[:500])
            doorbell.changed([])


def _read_trades(reading: _Reading, found: Sequence[_Found]) -> dict[str, VenueTrade]:
    """The executions of these orders that are not booked yet, so many as one look may ask for."""
    wanted = [trade_id for item in _that_matter(reading.account, found) for trade_id in item.venue.trade_ids]
    known = Execution.objects.filter(account=reading.account, trade_id__in=wanted)
    booked = set(known.values_list("trade_id", flat=True))
    wanted = [trade_id for trade_id in wanted if trade_id not in booked]
    trades: dict[str, VenueTrade] = {}
    for start in range(0, min(len(wanted), TRADES_MAX), QUERY_TRADES_MAX):
        part = wanted[start : min(start + QUERY_TRADES_MAX, TRADES_MAX)]
        answer = reading.ask(partial(_query_trades, part), purpose=Purpose.BOOKING, cost=QUERY_TRADES.cost)
        trades |= answer or {}
    reading.unread = set(wanted) - trades.keys()
    return trades


def _that_matter(account: Account, found: Sequence[_Found]) -> list[_Found]:
    """All but sales of what is not managed, which are not worth a read."""
    managed = set(Position.objects.filter(account=account, is_open=True).values_list("instrument_id", flat=True))
    managed |= {item.instrument.pk for item in found if item.row is not None or item.venue.side is Side.BUY}
    return [item for item in found if item.instrument.pk in managed]


async def _query_trades(trade_ids: Sequence[str], kraken: PrivateClient, nonce: int) -> dict[str, VenueTrade]:
    return await kraken.query_trades(trade_ids, nonce=nonce)


def _book(reading: _Reading, found: Sequence[_Found], trades: dict[str, VenueTrade]) -> None:
    """In the order of trading. What has to wait holds back what came after it in the same instrument."""
    account, now = reading.account, reading.clock.now()
    by_order: dict[str, list[VenueTrade]] = {}
    for trade in trades.values():
        if trade.at >= account.created_at:
            by_order.setdefault(trade.order_txid, []).append(trade)
    equity_before = _equity_before(account, [t for mine in by_order.values() for t in mine], found, now=now)
    waiting: set[int] = set()
    for item in sorted(found, key=lambda item: _first_at(by_order.get(item.venue.txid, ()), item.venue)):
        mine = tuple(by_order.get(item.venue.txid, ()))
        if item.instrument.pk in waiting:
            continue
        row = item.row
        if row is None and item.venue.side is Side.SELL and not _sells_managed(account, item, mine):
            done = not positions.is_busy(account.pk, item.instrument.pk)
        elif row is None and not mine:
            done = True
        else:
            row = row or _adopt(account, item, mine, equity_before=equity_before, now=now)
            done = row is not None and booking.book_report(Report(row, item.venue, mine), now=reading.clock.now())
        if not done or reading.unread.intersection(item.venue.trade_ids):
            waiting.add(item.instrument.pk)
            reading.complete = False


def _first_at(trades: Iterable[VenueTrade], venue: VenueOrder) -> tuple[datetime, str]:
    return min((trade.at for trade in trades), default=venue.opened_at), venue.txid


def _sells_managed(account: Account, item: _Found, trades: Sequence[VenueTrade]) -> bool:
    """A sale of nothing that was managed is the master's own affair, and leaves no row."""
    position = Position.objects.filter(account=account, instrument=item.instrument).first()
    managed = Quantity(position.managed) if position is not None else Quantity.zero()
    place = {"account_id": account.pk, "instrument_id": item.instrument.pk}
    return any(positions.managed_part(trade, managed=managed, **place) is not None for trade in trades)


def _equity_before(
    account: Account, trades: Sequence[VenueTrade], found: Sequence[_Found], *, now: datetime
) -> Money | None:
    """The master's copy equity before all of these trades; None while it is not known.

    The newest balance shows what they paid and brought, the books do not have the coins yet: what purchases paid is
    added back, what sales of managed coins brought is taken off. Trades later than the balance are not in it.
    """
    # Anew: reading took seconds, in which his balance may have been read and other orders of his booked.
    account.refresh_from_db(fields=["balances_as_of", "last_fill_at", "taker_fee"])
    figures = equity.figures_of([account.pk])
    known = equity.worth_of([account], now=now, figures=figures)[account.pk]
    if known.total is None or known.as_of is None:
        return None
    pairs = {item.instrument.pair_id: item.instrument.pk for item in found}
    managed = {instrument for instrument, _, _ in figures[account.pk].positions}
    before = known.total
    for trade in trades:
        if trade.at > known.as_of:
            continue
        if trade.side is Side.BUY:
            before += trade.cost + trade.fee
        elif pairs.get(trade.pair_id) in managed:
            before -= trade.cost - trade.fee
    allocation = account.user.risk.allocation
    return min(before, Money(allocation)) if allocation else before


def _adopt(
    account: Account, item: _Found, trades: Sequence[VenueTrade], *, equity_before: Money | None, now: datetime
) -> Order | None:
    """A row for an order that Kraken has and NIJA did not send: it begins its life ACKED. None: wait for the equity."""
    venue = item.venue
    buys = venue.side is Side.BUY
    if buys and (equity_before is None or not equity_before > Money.zero()):
        logger.warning("order %s waits: the master's equity is not known", venue.txid)
        return None
    quantity = sum((t.quantity for t in trades), Quantity.zero()) if venue.in_quote else venue.quantity
    try:
        with transaction.atomic(durable=True):
            return Order.objects.create(
                account=account,
                instrument=item.instrument,
                kind=OrderKind.ENTRY if buys else OrderKind.EXIT,
                origin=OrderOrigin.OUTSIDE,
                side=venue.side,
                quantity=quantity.value,
                reason=BOUGHT if buys else SOLD,
                state=OrderState.ACKED,
                venue_order_id=venue.txid,
                equity_before=equity_before.value if buys and equity_before is not None else None,
                created_at=now,
                answered_at=now,
                booking_tried_at=now,
            )
    except IntegrityError:
        # Another reader was quicker; the constraint is on account and venue order id.
        return Order.objects.get(account=account, venue_order_id=venue.txid)


def _alert_if_unread(account: Account, *, now: datetime) -> None:
    since = account.trades_read_at or account.created_at
    told = Event.objects.filter(account=account, kind=EventKind.ALERT, at__gt=since, message__startswith=UNREAD)
    if now - since > ALERT_AFTER and not told.exists():
        message = f"{UNREAD} since {since:%H:%M:%S} UTC: what he trades there outside NIJA is not copied"
        logger.error("%s", message)
        Event.objects.create(at=now, kind=EventKind.ALERT, account=account, message=message)
        doorbell.changed([])
