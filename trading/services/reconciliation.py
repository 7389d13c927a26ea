"""What became of an order whose outcome is unknown (DESIGN section 4, Resolving UNKNOWN). Asks; never resends."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q

from trading import doorbell
from trading.domain.order_state import OrderEvent, OrderState
from trading.kraken.endpoints import (
    CLOSED_ORDERS,
    OPEN_ORDERS,
    PAGE_SIZE,
    QUERY_ORDERS,
    QUERY_ORDERS_MAX,
    TRADES_HISTORY,
)
from trading.kraken.errors import KrakenError
from trading.kraken.values import VenueOrder
from trading.models import Order, OrderKind
from trading.services import alerts, booking, lanes, orders, private
from trading.services.clock import Clock
from trading.services.lanes import Purpose
from trading.services.private import LaneBusy, Session

BATCH_MAX = 50
LOOK_AGAIN = timedelta(seconds=2)
#: Reads may lag 5 s behind the engine; the deciding look comes this long after the order's deadline.
SETTLED_AFTER = timedelta(seconds=10)
SEARCH_BEFORE = timedelta(seconds=60)
HISTORY_PAGES_MAX = 10
ALERT_AFTER = timedelta(seconds=60)

logger = logging.getLogger(__name__)


def adopt_orphans(*, clock: Clock) -> int:
    """A SENDING row without a live owner is UNKNOWN: its worker died, and nobody knows whether it wrote."""
    now = clock.now()
    orphaned = (
        Q(lane__isnull=True)
        | ~Q(lane__epoch=F("lane_epoch"))
        | Q(lane__leased_until__isnull=True)
        | Q(lane__leased_until__lte=now)
    )
    ids = list(
        Order.objects.filter(orphaned, state=OrderState.SENDING, account__venue=settings.VENUE).values_list(
            "pk", flat=True
        )[:BATCH_MAX]
    )
    return orders.move(ids, OrderEvent.LOST, unknown_at=now, refusal="Its sender ended before the answer came")


def resolve_due(*, clock: Clock) -> int:
    """One look at every order whose outcome is unknown; how many were resolved."""
    adopt_orphans(clock=clock)
    now = clock.now()
    waiting = Order.objects.filter(state=OrderState.UNKNOWN, account__venue=settings.VENUE).filter(
        Q(looked_up_at__isnull=True) | Q(looked_up_at__lte=now - LOOK_AGAIN)
    )
    due = list(waiting.select_related("account", "instrument").order_by("looked_up_at", "pk")[:BATCH_MAX])
    return sum(resolve(order, clock=clock) for order in due)


def resolve(order: Order, *, clock: Clock) -> bool:
    """Look once. True when the order's outcome is now known."""
    now = clock.now()
    if order.unknown_at is not None and order.unknown_at < now - ALERT_AFTER:
        alerts.raise_once(order, "The outcome of this order has been unknown for a minute", now=now)
    key = lanes.active_keys([order.account]).get(order.account_id)
    if key is None:
        return False
    try:
        with private.session(key.pk, purpose=Purpose.UNKNOWN, cost=OPEN_ORDERS.cost, clock=clock) as session:
            found, absent = _look(order, session, clock=clock)
    except LaneBusy:
        return False
    except KrakenError as error:
        logger.warning("order %s is still unknown: %s", order.pk, error)
        Order.objects.filter(pk=order.pk).update(looked_up_at=clock.now())
        return False
    return _conclude(order, found, proven_absent=absent, now=clock.now(), clock=clock)


def _look(order: Order, session: Session, *, clock: Clock) -> tuple[VenueOrder | None, bool]:
    """(the order at Kraken, whether its absence is proved). Its first read's nonce invalidates a request still on the wire."""
    started = clock.now()
    wanted = str(order.client_order_id)
    since = (order.sent_at or order.created_at) - SEARCH_BEFORE
    page = session.call(lambda kraken, nonce: kraken.open_orders(nonce=nonce, cl_ord_id=wanted), cost=OPEN_ORDERS.cost)
    found = _matching(page.orders, wanted)
    if found is None:
        closed = session.call(
            lambda kraken, nonce: kraken.closed_orders(nonce=nonce, cl_ord_id=wanted, start=since),
            cost=CLOSED_ORDERS.cost,
        )
        found = _matching(closed.orders, wanted)
    if found is not None:
        return found, False
    settled = started >= (order.deadline or order.created_at) + SETTLED_AFTER
    Order.objects.filter(pk=order.pk).update(looked_up_at=clock.now(), lookups_empty=F("lookups_empty") + 1)
    if not settled or order.lookups_empty < 1:
        return None, False
    return _search_history(order, session, wanted=wanted, since=since)


def _search_history(order: Order, session: Session, *, wanted: str, since: datetime) -> tuple[VenueOrder | None, bool]:
    """One pass over the account's trades: an order id we do not know may be the lost one."""
    txids: set[str] = set()
    complete = False
    for page_number in range(HISTORY_PAGES_MAX):
        offset = page_number * PAGE_SIZE
        page = session.call(
            lambda kraken, nonce, offset=offset: kraken.trades_history(nonce=nonce, start=since, ofs=offset),  # type: ignore[misc]
            cost=TRADES_HISTORY.cost,
        )
        txids |= {trade.order_txid for trade in page.trades}
        if len(page.trades) < PAGE_SIZE:
            complete = True
            break
    ours = Order.objects.filter(account_id=order.account_id, venue_order_id__in=txids)
    unknown = sorted(txids - set(ours.values_list("venue_order_id", flat=True)))
    for start in range(0, len(unknown), QUERY_ORDERS_MAX):
        part = unknown[start : start + QUERY_ORDERS_MAX]
        answer = session.call(
            lambda kraken, nonce, part=part: kraken.query_orders(part, nonce=nonce),  # type: ignore[misc]
            cost=QUERY_ORDERS.cost,
        )
        found = _matching(answer.values(), wanted)
        if found is not None:
            return found, False
    return None, complete


def _matching(found: Iterable[VenueOrder], wanted: str) -> VenueOrder | None:
    return next((order for order in found if order.cl_ord_id == wanted), None)


def _conclude(order: Order, found: VenueOrder | None, *, proven_absent: bool, now: datetime, clock: Clock) -> bool:
    if found is not None:
        moved = orders.move([order.pk], OrderEvent.FOUND, venue_order_id=found.txid, answered_at=now, refusal="")
        booking.book([order.pk], clock=clock)
        return bool(moved)
    if not proven_absent:
        return False
    with transaction.atomic(durable=True):
        word = "The entry" if order.kind == OrderKind.ENTRY else "The exit"
        moved = orders.move(
            [order.pk],
            OrderEvent.PROVEN_ABSENT,
            closed_at=now,
            refusal=f"{word} never reached Kraken: {order.refusal}"[:300],
        )
        doorbell.executions_booked()
        doorbell.changed([order.account.user_id])
    return bool(moved)
