"""What became of an order whose outcome is unknown (DESIGN section 4, Resolving UNKNOWN). Asks; never resends."""

from __future__ import annotations

import logging
import uuid
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q

from accounts.models import Credential
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
)
from trading.kraken.values import OrdersPage, VenueOrder
from trading.models import Order, OrderKind
from trading.services import alerts, booking, lanes, lookups, market, orders
from trading.services.clock import Clock
from trading.services.lookups import Found, Group
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
    # All that is due of an account, since the same reads tell of it, but not of more accounts than are asked at once.
    accounts: set[int] = set()
    old: list[tuple[Order, str, str]] = []
    for order in waiting[:UNKNOWN_MAX]:
        if order.unknown_at is not None and order.unknown_at < now - ALERT_AFTER:
            old.append((order, "unknown", "The outcome of this order has been unknown for a minute"))
        is_due = _next_look_at(order, now=now, offset=offset) <= now
        if is_due and (order.account_id in accounts or len(accounts) < BATCH_MAX):
            accounts.add(order.account_id)
            due.append(order)
    alerts.raise_each(old, now=now)
    return resolve(due, clock=clock) if due else 0


def resolve(looked_for: Sequence[Order], *, clock: Clock) -> int:
    """Look once for these orders, those of one account in the same reads; how many outcomes are known now.

    The first read's nonce invalidates a request that is still on the wire.
    """
    keys = lanes.active_keys([order.account for order in looked_for])
    of_account = {account_id: key.pk for account_id, key in keys.items()}
    # Of those that are decided the lists have said all they can, and reading them again would spend what the last read
    # needs. That comes first: it may free a sale, and the looks for later orders would leave nothing for it.
    decided = _by_key([order for order in looked_for if order.absent_at is not None], of_account)
    undecided = _by_key([order for order in looked_for if order.absent_at is None], of_account)
    found, proven, searched = _search(decided, clock=clock)
    looking = {key: orders for key, orders in undecided.items() if key not in decided or key in searched}
    settled: list[Order] = []
    # Apart, so that who is looked for alone needs no more of its budget because others are not.
    for alone in (True, False):
        part = {key: several for key, several in looking.items() if (len(several) == 1) is alone}
        if part:
            there, missing = _read_lists(part, clock=clock)
            found += there
            settled += missing
    more, absent, _ = _search(_by_key(settled, of_account), clock=clock)
    resolved = sum(_adopt(order, venue, clock=clock) for order, venue in [*found, *more])
    told = _seen_by_all(keys, [*proven, *absent], clock=clock)
    return resolved + sum(_conclude_absent(order, now=clock.now()) for order in told)


def _seen_by_all(keys: Mapping[int, Credential], absent: Sequence[Order], *, clock: Clock) -> list[Order]:
    """Those whose key would have seen them. What another does not see proves nothing, and is given up to a person in time."""
    blind = [order.pk for order in absent if not keys[order.account_id].sees_all]
    if blind:
        Order.objects.filter(pk__in=blind).update(looked_up_at=clock.now())
    return [order for order in absent if order.pk not in blind]


def _by_key(orders: Sequence[Order], of_account: Mapping[int, uuid.UUID]) -> dict[uuid.UUID, list[Order]]:
    """Those whose account has an active key."""
    found: dict[uuid.UUID, list[Order]] = defaultdict(list)
    for order in orders:
        if order.account_id in of_account:
            found[of_account[order.account_id]].append(order)
    return found


def _read_lists(looking: Group, *, clock: Clock) -> tuple[Found, list[Order]]:
    """Read the lists of open and of closed orders: (found, those whose absence from both decides)."""
    started, offset = clock.now(), market.kraken_now(clock) - clock.now()
    found: Found = []
    # A full page about several proves nothing of those that are not on it: one is asked for by name, the others come later.
    # There is room for all that may be read, or it would be begun again and again and never come to its end.
    closed = CLOSED_ORDERS.cost * (2 if any(len(orders) > 1 for orders in looking.values()) else 1)
    opened = lookups.ask(looking, lookups.read_open, cost=OPEN_ORDERS.cost, clock=clock, room=OPEN_ORDERS.cost + closed)
    absent = _missing(opened, found)
    read_closed = partial(lookups.read_closed, offset=offset)
    pages = lookups.ask(absent, read_closed, cost=CLOSED_ORDERS.cost, clock=clock, room=closed)
    missing = _missing(pages, found)
    full = {key for key, (several, page) in pages.items() if len(several) > 1 and _is_cut(page)}
    by_name = {key: missing.pop(key)[:1] for key in full & missing.keys()}
    missing |= _missing(lookups.ask(by_name, read_closed, cost=CLOSED_ORDERS.cost, clock=clock), found)
    return found, _decided([order for orders in missing.values() for order in orders], started, clock=clock)


def _missing(
    pages: Mapping[uuid.UUID, tuple[Sequence[Order], OrdersPage]], found: Found
) -> dict[uuid.UUID, list[Order]]:
    """Those that are not on the pages, by key; those that are go to `found`."""
    left: dict[uuid.UUID, list[Order]] = defaultdict(list)
    for key, (several, page) in pages.items():
        for order in several:
            match = lookups.matching(page.orders, order)
            if match is None:
                left[key].append(order)
            else:
                found.append((order, match))
    return left


def _is_cut(page: OrdersPage) -> bool:
    return len(page.orders) >= PAGE_SIZE or (page.count is not None and page.count > len(page.orders))


def _decided(missing: Sequence[Order], started: datetime, *, clock: Clock) -> list[Order]:
    """Note that these were looked for in vain; those of which the lists have said all they can."""
    settled = beyond_deadline([order for order in missing if order.lookups_empty >= 1], started, clock=clock)
    now, kraken_now = clock.now(), market.kraken_now(clock)
    Order.objects.filter(pk__in=[order.pk for order in missing]).update(
        looked_up_at=now, lookups_empty=F("lookups_empty") + 1
    )
    Order.objects.filter(pk__in=[order.pk for order in settled]).update(absent_at=kraken_now)
    for order in settled:
        order.absent_at = kraken_now
    return settled


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


def beyond_deadline(unsettled: Sequence[Order], started: datetime, *, clock: Clock) -> list[Order]:
    """Those whose deadline had passed, when `started`, for so long that Kraken refuses a late request and reads show what it took.

    Ours may have been set since they were sent: Kraken's is measured anew before anything is concluded from it.
    """

    def long_ago(found: Sequence[Order]) -> list[Order]:
        offset = market.kraken_now(clock) - clock.now()
        return [order for order in found if started >= _settled_at(order, offset=offset)]

    seemingly = long_ago(unsettled)
    return long_ago(seemingly) if seemingly and market.measure_venue_clock(clock=clock) else []


def _search(decided: Group, *, clock: Clock) -> tuple[Found, list[Order], Collection[uuid.UUID]]:
    """The next page of the accounts' trades, of which mostly the first tells all: (found, proved absent, keys that answered).

    How many pages were searched is kept, so that a key with little budget left goes on where it had to break off.
    """
    if not decided:
        return [], [], ()
    found: Found = []
    proven: list[Order] = []
    wanted = {key: _together(orders) for key, orders in decided.items()}
    read_trades = partial(lookups.read_trades, offset=market.kraken_now(clock) - clock.now())
    room = TRADES_HISTORY.cost + QUERY_ORDERS.cost
    pages = lookups.ask(wanted, read_trades, cost=TRADES_HISTORY.cost, clock=clock, room=room)
    strange = {key: _strange(several[0], {t.order_txid for t in page.trades}) for key, (several, page) in pages.items()}
    to_name = {key: txids for key, txids in strange.items() if txids}
    named = partial(lookups.read_named, to_name={wanted[key][0].account_id: txids for key, txids in to_name.items()})
    answers = lookups.ask({key: pages[key][0] for key in to_name}, named, cost=QUERY_ORDERS.cost, clock=clock)
    stuck: list[int] = []
    for key, (several, page) in pages.items():
        told = answers[key][1] if key in answers else {}
        for order in several:
            match = lookups.matching(told.values(), order)
            if match is not None:
                found.append((order, match))
            elif not told.keys() >= set(strange[key]):
                # One that Kraken did not name could still be the lost one.
                stuck.append(order.pk)
            elif len(page.trades) < PAGE_SIZE:
                proven.append(order)
            elif not _turn_page(order):
                stuck.append(order.pk)
    # They come again after the others of their keys.
    Order.objects.filter(pk__in=stuck).update(looked_up_at=clock.now())
    return found, proven, pages.keys()


def _turn_page(order: Order) -> bool:
    """Whether there is another page to be searched, which is turned to unless somebody else did so meanwhile: two that read
    the same one must not together pass over the next."""
    if order.history_pages >= HISTORY_PAGES_MAX - 1:
        return False
    as_read = Order.objects.filter(pk=order.pk, history_pages=order.history_pages, absent_at=order.absent_at)
    as_read.update(history_pages=order.history_pages + 1)
    return True


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
    Order.objects.filter(pk__in=[order.pk for order in begin], history_pages=0).update(absent_at=last)
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
        found = lookups.matching(answer.values(), order)
        if found is not None:
            return found, False
        complete = complete and answer.keys() >= set(part)
    return None, complete


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
