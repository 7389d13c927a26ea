"""What became of an order whose outcome is unknown (DESIGN section 4, Resolving UNKNOWN). Asks; never resends."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q

from trading import doorbell
from trading.domain import venue_clock
from trading.domain.order_state import OrderEvent, OrderState
from trading.kraken.endpoints import (
    CLOSED_ORDERS,
    OPEN_ORDERS,
    PAGE_SIZE,
    QUERY_ORDERS,
    QUERY_ORDERS_MAX,
    TRADES_HISTORY,
    PrivateClient,
)
from trading.kraken.errors import KrakenError
from trading.kraken.values import OrdersPage, TradesPage, VenueOrder
from trading.models import Order, OrderKind
from trading.services import alerts, booking, lanes, market, orders, private
from trading.services.clock import Clock
from trading.services.lanes import Purpose
from trading.services.private import Session

BATCH_MAX = 200
UNKNOWN_MAX = 2_000
#: One look at once and one when reads show it at the latest; then the deciding one and, after it, a look now and then. Each
#: costs two points of the key's budget, which several orders may need.
EARLY_LOOKS = 2
LOOK_AGAIN = timedelta(seconds=5)
LOOK_AGAIN_LATER = timedelta(seconds=5)
#: Reads may lag 5 s behind the engine; the deciding look comes this long after the order's deadline.
SETTLED_AFTER = timedelta(seconds=10)
SEARCH_BEFORE = timedelta(seconds=60)
SEARCH_AFTER = timedelta(seconds=10)
HISTORY_PAGES_MAX = 10
ALERT_AFTER = timedelta(seconds=60)

#: Orders of one account by its key.
Group = Mapping[uuid.UUID, Sequence[Order]]
T = TypeVar("T")
logger = logging.getLogger(__name__)


def adopt_orphans(*, clock: Clock) -> int:
    """A SENDING row without a live owner is UNKNOWN: its worker died, and nobody knows whether it wrote."""
    now = clock.now()
    orphaned = (
        Q(lane__isnull=True)
        | ~Q(lane__epoch=F("lane_epoch"))
        | Q(lane__leased_until__isnull=True)
        | Q(lane__leased_until__lte=clock.shared())
    )
    ids = list(
        Order.objects.filter(orphaned, state=OrderState.SENDING, account__venue=settings.VENUE).values_list(
            "pk", flat=True
        )[:BATCH_MAX]
    )
    return orders.move(ids, OrderEvent.LOST, unknown_at=now, refusal="Its sender ended before the answer came")


def resolve_due(*, clock: Clock) -> int:
    """One look at every order whose outcome is unknown and whose turn it is, side by side; how many were resolved."""
    adopt_orphans(clock=clock)
    now = clock.now()
    unknown = Order.objects.filter(state=OrderState.UNKNOWN, account__venue=settings.VENUE)
    waiting = unknown.select_related("account", "instrument").order_by(F("looked_up_at").asc(nulls_first=True), "pk")
    offset = market.kraken_now(clock) - now
    due: list[Order] = []
    for order in waiting[:UNKNOWN_MAX]:
        _alert_if_old(order, now=now)
        if _next_look_at(order, now=now, offset=offset) <= now and len(due) < BATCH_MAX:
            due.append(order)
    return resolve(due, clock=clock) if due else 0


def resolve(looked_for: Sequence[Order], *, clock: Clock) -> int:
    """Look once for these orders, those of one account in the same reads; how many outcomes are known now.

    The first read's nonce invalidates a request that is still on the wire.
    """
    started = clock.now()
    keys = lanes.active_keys([order.account for order in looked_for])
    # For those the lists have said all they can, and reading them again would spend what the last read needs.
    looking, decided = dict[uuid.UUID, list[Order]](), dict[uuid.UUID, list[Order]]()
    for order in looked_for:
        if order.account_id in keys:
            side = looking if order.absent_at is None else decided
            side.setdefault(keys[order.account_id].pk, []).append(order)
    offset = market.kraken_now(clock) - clock.now()
    found, absent = _look(looking, offset=offset, clock=clock)
    missing = [order for orders in absent.values() for order in orders]
    settled = _settled([order for order in missing if order.lookups_empty >= 1], started, clock=clock)
    now = clock.now()
    Order.objects.filter(pk__in=[order.pk for order in missing]).update(
        looked_up_at=now, lookups_empty=F("lookups_empty") + 1
    )
    Order.objects.filter(pk__in=[order.pk for order in settled]).update(absent_at=now)
    for order in settled:
        order.absent_at = now
        decided.setdefault(keys[order.account_id].pk, []).append(order)
    more, proven = _search(decided, offset=market.kraken_now(clock) - clock.now(), clock=clock)
    resolved = sum(_adopt(order, venue, clock=clock) for order, venue in [*found, *more])
    return resolved + sum(_conclude_absent(order, now=clock.now()) for order in proven)


def _look(
    looking: Group, *, offset: timedelta, clock: Clock
) -> tuple[list[tuple[Order, VenueOrder]], dict[uuid.UUID, list[Order]]]:
    """Read the lists of open and of closed orders: (found, those that are in neither, by key)."""
    found: list[tuple[Order, VenueOrder]] = []

    def left(pages: Mapping[uuid.UUID, OrdersPage], orders: Group) -> dict[uuid.UUID, list[Order]]:
        matches = {
            order: match for k, page in pages.items() for order in orders[k] if (match := matching(page.orders, order))
        }
        found.extend(matches.items())
        rest = {key: [order for order in orders[key] if order not in matches] for key in pages}
        return {key: several for key, several in rest.items() if several}

    # A full page about several proves nothing of those that are not on it: one is asked for by name, the others come later.
    # There is room for all that may be read, or it would be begun again and again and never come to its end.
    closed = CLOSED_ORDERS.cost * (2 if any(len(orders) > 1 for orders in looking.values()) else 1)
    room = OPEN_ORDERS.cost + closed
    absent = left(_ask(looking, _read_open, cost=OPEN_ORDERS.cost, clock=clock, room=room), looking)
    read_closed = partial(_read_closed, offset=offset)
    pages = _ask(absent, read_closed, cost=CLOSED_ORDERS.cost, clock=clock, room=closed)
    full = {key for key, page in pages.items() if len(absent[key]) > 1 and len(page.orders) >= PAGE_SIZE}
    missing = left(pages, absent)
    alone = {key: missing[key][:1] for key in full & missing.keys()}
    missing = {key: orders for key, orders in missing.items() if key not in full}
    return found, missing | left(_ask(alone, read_closed, cost=CLOSED_ORDERS.cost, clock=clock), alone)


def _next_look_at(order: Order, *, now: datetime, offset: timedelta) -> datetime:
    """Often at first, when it is most likely to appear; then the look that decides; each one costs the key's rate budget."""
    if order.looked_up_at is None or order.looked_up_at > now:
        return now
    if order.lookups_empty < EARLY_LOOKS:
        return order.looked_up_at + LOOK_AGAIN
    return max(order.looked_up_at + LOOK_AGAIN_LATER, _settled_at(order, offset=offset))


def _settled_at(order: Order, *, offset: timedelta) -> datetime:
    """By our clock, which Kraken's is `offset` before; it may have been set since the order was sent."""
    set_back = timedelta(milliseconds=order.sent_offset_ms) - offset
    if abs(set_back) <= timedelta(milliseconds=venue_clock.OFFSET_MAX_MS):
        # Within what the measurement itself may be wrong, and what an entry is sent with.
        set_back = timedelta(0)
    return (order.deadline or order.created_at) + set_back + SETTLED_AFTER


def _settled(missing: Sequence[Order], started: datetime, *, clock: Clock) -> list[Order]:
    """Those whose deadline had passed long enough when the look began.

    Ours may have been set since they were sent: Kraken's is measured anew before anything is concluded from it.
    """

    def long_ago(found: Sequence[Order]) -> list[Order]:
        offset = market.kraken_now(clock) - clock.now()
        return [order for order in found if started >= _settled_at(order, offset=offset)]

    seemingly = long_ago(missing)
    return long_ago(seemingly) if seemingly and market.measure_venue_clock(clock=clock) else []


def searched_since(order: Order, *, offset: timedelta) -> datetime:
    """From when on Kraken's lists are read for it, by Kraken's clock, which is `offset` before ours.

    Our clock may have been set between the sending and now, so that one of the two offsets does not fit the instant.
    """
    earlier = min(offset, timedelta(milliseconds=order.sent_offset_ms))
    return (order.sent_at or order.created_at) + earlier - SEARCH_BEFORE


def _alert_if_old(order: Order, *, now: datetime) -> None:
    if order.unknown_at is not None and order.unknown_at < now - ALERT_AFTER:
        alerts.raise_once(order, "unknown", "The outcome of this order has been unknown for a minute", now=now)


def _ask(
    wanted: Group,
    read: Callable[[Sequence[Order], PrivateClient, int], Awaitable[T]],
    *,
    cost: int,
    clock: Clock,
    room: int = 0,
) -> dict[uuid.UUID, T]:
    """The answers by key. A failed read is no look: it only waits its turn; a busy lane does not even that."""
    requests = {key: partial(read, orders) for key, orders in wanted.items()}
    answers = private.call_each(requests, purpose=Purpose.UNKNOWN, cost=cost, clock=clock, room=room)
    told = {key: answer for key, answer in answers.items() if not isinstance(answer, KrakenError)}
    failed = [order.pk for key in answers if key not in told for order in wanted[key]]
    if failed:
        logger.warning("orders %s are still unknown: Kraken did not answer", failed)
        Order.objects.filter(pk__in=failed).update(looked_up_at=clock.now())
    return told


def _name(several: Sequence[Order]) -> str | None:
    """The client order id to ask for, when one order is looked for."""
    return str(several[0].client_order_id) if len(several) == 1 else None


async def _read_open(several: Sequence[Order], kraken: PrivateClient, nonce: int) -> OrdersPage:
    return await kraken.open_orders(nonce=nonce, cl_ord_id=_name(several))


async def _read_closed(several: Sequence[Order], kraken: PrivateClient, nonce: int, *, offset: timedelta) -> OrdersPage:
    since = min(searched_since(order, offset=offset) for order in several)
    return await kraken.closed_orders(nonce=nonce, cl_ord_id=_name(several), start=since)


async def _read_trades(several: Sequence[Order], kraken: PrivateClient, nonce: int, *, offset: timedelta) -> TradesPage:
    """The next page. What was traded later than the deciding look would only move the pages: Kraken's deadline had passed."""
    since = min(searched_since(order, offset=offset) for order in several)
    first, decided_at = several[0].history_pages * PAGE_SIZE, several[0].absent_at
    assert decided_at is not None, "trades are read after the look that decides"
    until = decided_at + offset + SEARCH_AFTER
    return await kraken.trades_history(nonce=nonce, start=since, end=until, ofs=first)


async def _read_named(
    several: Sequence[Order], kraken: PrivateClient, nonce: int, *, to_name: Mapping[int, Sequence[str]]
) -> dict[str, VenueOrder]:
    return await kraken.query_orders(to_name[several[0].account_id], nonce=nonce)


def _search(decided: Group, *, offset: timedelta, clock: Clock) -> tuple[list[tuple[Order, VenueOrder]], list[Order]]:
    """The next page of the accounts' trades, of which mostly the first tells all: (found, proved absent).

    How many pages were searched is kept, so that a key with little budget left goes on where it had to break off.
    """
    found: list[tuple[Order, VenueOrder]] = []
    proven: list[Order] = []
    wanted = {key: _together(orders) for key, orders in decided.items()}
    read_trades = partial(_read_trades, offset=offset)
    room = TRADES_HISTORY.cost + QUERY_ORDERS.cost
    pages = _ask(wanted, read_trades, cost=TRADES_HISTORY.cost, clock=clock, room=room)
    strange = {key: _strange(wanted[key][0], {t.order_txid for t in page.trades}) for key, page in pages.items()}
    to_name = {key: txids for key, txids in strange.items() if txids}
    named = partial(_read_named, to_name={wanted[key][0].account_id: txids for key, txids in to_name.items()})
    answers = _ask({key: wanted[key] for key in to_name}, named, cost=QUERY_ORDERS.cost, clock=clock)
    for key, page in pages.items():
        told = answers.get(key, {})
        for order in wanted[key]:
            match = matching(told.values(), order)
            if match is not None:
                found.append((order, match))
            elif not told.keys() >= set(strange[key]):
                # One that Kraken did not name could still be the lost one.
                continue
            elif len(page.trades) < PAGE_SIZE:
                proven.append(order)
            elif order.history_pages < HISTORY_PAGES_MAX - 1:
                Order.objects.filter(pk=order.pk).update(history_pages=F("history_pages") + 1)
    return found, proven


def _together(decided: Sequence[Order]) -> Sequence[Order]:
    """Those of an account in whose trades is searched at once: all that begin, or those that go on as they began.

    Pages are counted from the newest trade, so that they are the same for all whose search ends at the same look.
    """
    first = decided[0]
    if first.history_pages:
        return [o for o in decided if (o.history_pages, o.absent_at) == (first.history_pages, first.absent_at)]
    begin = [order for order in decided if not order.history_pages]
    last = max(order.absent_at for order in begin if order.absent_at is not None)
    for order in begin:
        order.absent_at = last
    Order.objects.filter(pk__in=[order.pk for order in begin]).update(absent_at=last)
    return begin


def _strange(order: Order, txids: Collection[str]) -> list[str]:
    """Those of these venue orders that are not known to be ours."""
    ours = Order.objects.filter(account_id=order.account_id, venue_order_id__in=txids)
    return sorted(set(txids) - set(ours.values_list("venue_order_id", flat=True)))


def search_history(
    order: Order, session: Session, *, since: datetime, pages_max: int
) -> tuple[VenueOrder | None, bool]:
    """The order among those behind the account's trades, as an id we do not know may be the lost one's; whether all
    pages were read and every unknown order told."""
    txids: set[str] = set()
    complete = False
    for page_number in range(pages_max):
        offset = page_number * PAGE_SIZE
        page = session.call(
            lambda kraken, nonce, offset=offset: kraken.trades_history(nonce=nonce, start=since, ofs=offset),  # type: ignore[misc]
            cost=TRADES_HISTORY.cost,
        )
        txids |= {trade.order_txid for trade in page.trades}
        if len(page.trades) < PAGE_SIZE:
            complete = True
            break
    unknown = _strange(order, txids)
    for start in range(0, len(unknown), QUERY_ORDERS_MAX):
        part = unknown[start : start + QUERY_ORDERS_MAX]
        answer = session.call(
            lambda kraken, nonce, part=part: kraken.query_orders(part, nonce=nonce),  # type: ignore[misc]
            cost=QUERY_ORDERS.cost,
        )
        found = matching(answer.values(), order)
        if found is not None:
            return found, False
        complete = complete and answer.keys() >= set(part)
    return None, complete


def matching(found: Iterable[VenueOrder], order: Order) -> VenueOrder | None:
    """The one with our client order id."""
    wanted = str(order.client_order_id)
    return next((venue for venue in found if venue.cl_ord_id == wanted), None)


def _adopt(order: Order, venue: VenueOrder, *, clock: Clock) -> bool:
    moved = orders.move([order.pk], OrderEvent.FOUND, venue_order_id=venue.txid, answered_at=clock.now(), refusal="")
    booking.book([order.pk], clock=clock)
    return bool(moved)


def _conclude_absent(order: Order, *, now: datetime) -> bool:
    word = "The entry" if order.kind == OrderKind.ENTRY else "The exit"
    with transaction.atomic(durable=True):
        moved = orders.move(
            [order.pk],
            OrderEvent.PROVEN_ABSENT,
            closed_at=now,
            refusal=f"{word} never reached Kraken: {order.refusal}"[:300],
        )
        doorbell.executions_booked()
        doorbell.changed([order.account.user_id])
    return bool(moved)
