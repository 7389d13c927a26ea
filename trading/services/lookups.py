"""How Kraken is asked for lost orders: those of one key in the same read."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from trading.kraken.endpoints import PAGE_SIZE, PrivateClient
from trading.kraken.errors import KrakenError, Unparsable
from trading.kraken.values import OrdersPage, TradesPage, VenueOrder
from trading.models import Order
from trading.services import private
from trading.services.clock import Clock
from trading.services.lanes import Purpose

SEARCH_BEFORE = timedelta(seconds=60)
SEARCH_AFTER = timedelta(seconds=10)

#: Orders of one account by its key.
Group = Mapping[uuid.UUID, Sequence[Order]]
#: Lost orders with what Kraken has of them.
Found = list[tuple[Order, VenueOrder]]
T = TypeVar("T")
logger = logging.getLogger(__name__)


def searched_since(order: Order, *, offset: timedelta) -> datetime:
    """From when on Kraken's lists are read for it, by Kraken's clock, which is `offset` before ours.

    Our clock may have been set between the sending and now, so that one of the two offsets does not fit the instant.
    """
    earlier = min(offset, timedelta(milliseconds=order.sent_offset_ms))
    return (order.sent_at or order.created_at) + earlier - SEARCH_BEFORE


def ask(
    wanted: Group,
    read: Callable[[Sequence[Order], PrivateClient, int], Awaitable[T]],
    *,
    cost: int,
    clock: Clock,
    room: int = 0,
) -> dict[uuid.UUID, tuple[Sequence[Order], T]]:
    """The answers by key, and of which orders they tell. A failed read is no look: it only waits its turn; a busy lane does
    not even that. One about several that cannot be understood, because of an order of somebody else, is made for one alone."""
    requests = {key: partial(read, orders) for key, orders in wanted.items()}
    answers = private.call_each(requests, purpose=Purpose.UNKNOWN, cost=cost, clock=clock, room=room)
    told: dict[uuid.UUID, tuple[Sequence[Order], T]] = {}
    failed: list[int] = []
    alone: dict[uuid.UUID, Sequence[Order]] = {}
    for key, answer in answers.items():
        if not isinstance(answer, KrakenError):
            told[key] = wanted[key], answer
        elif isinstance(answer, Unparsable) and len(wanted[key]) > 1:
            alone[key] = wanted[key][:1]
        else:
            failed += [order.pk for order in wanted[key]]
    if failed:
        logger.warning("orders %s are still unknown: Kraken did not answer", failed)
        Order.objects.filter(pk__in=failed).update(looked_up_at=clock.now())
    return told | (ask(alone, read, cost=cost, clock=clock) if alone else {})


def _name(several: Sequence[Order]) -> str | None:
    """The client order id to ask for, when one order is looked for."""
    return str(several[0].client_order_id) if len(several) == 1 else None


async def read_open(several: Sequence[Order], kraken: PrivateClient, nonce: int) -> OrdersPage:
    return await kraken.open_orders(nonce=nonce, cl_ord_id=_name(several))


async def read_closed(several: Sequence[Order], kraken: PrivateClient, nonce: int, *, offset: timedelta) -> OrdersPage:
    since = min(searched_since(order, offset=offset) for order in several)
    return await kraken.closed_orders(nonce=nonce, cl_ord_id=_name(several), start=since)


async def read_trades(several: Sequence[Order], kraken: PrivateClient, nonce: int, *, offset: timedelta) -> TradesPage:
    """The next page. What was traded later than the deciding look would only move the pages: Kraken's deadline had passed."""
    since = min(searched_since(order, offset=offset) for order in several)
    first, decided_at = several[0].history_pages * PAGE_SIZE, several[0].absent_at
    assert decided_at is not None, "trades are read after the look that decides"
    return await kraken.trades_history(nonce=nonce, start=since, end=decided_at + SEARCH_AFTER, ofs=first)


async def read_named(
    several: Sequence[Order], kraken: PrivateClient, nonce: int, *, to_name: Mapping[int, Sequence[str]]
) -> dict[str, VenueOrder]:
    return await kraken.query_orders(to_name[several[0].account_id], nonce=nonce)


def matching(found: Iterable[VenueOrder], order: Order) -> VenueOrder | None:
    """The one with our client order id."""
    wanted = str(order.client_order_id)
    return next((venue for venue in found if venue.cl_ord_id == wanted), None)
