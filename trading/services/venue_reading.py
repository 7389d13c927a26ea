"""What Kraken holds of many accounts, read side by side: balances, open orders, finished ones and their executions.

Each account is a small conversation, one request at a time on its key's lane, as a background refresh: within the rate
budget and behind everything more urgent. Accounts that have to wait hold nobody up.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from trading.kraken.endpoints import PAGE_SIZE, QUERY_TRADES_MAX, PrivateClient
from trading.kraken.errors import CredentialsRefused, KrakenError
from trading.kraken.values import Balances, OrdersPage, VenueOrder, VenueTrade
from trading.models import Account
from trading.services import lanes, private
from trading.services.clock import Clock
from trading.services.lanes import Purpose

#: 50 orders a page, newest first; what is older was looked at by earlier checks.
PAGES_MAX = 100
#: So often a request of one account is made again when Kraken does not answer.
FAILURES_MAX = 3
PAUSE_S = 3.0
#: Of BalanceEx, OpenOrders, ClosedOrders and QueryTrades alike.
COST = 1

Request = private.Request[Any]
Conversation = Generator[Request, Any, None]


@dataclass(slots=True)
class Seen:
    """What Kraken told of one account. `since` None: everything of ours; otherwise what was finished since then."""

    account: Account
    started_at: datetime
    since: datetime | None = None
    balances: Balances | None = None
    balances_at: datetime | None = None
    open: tuple[VenueOrder, ...] = ()
    closed: dict[str, VenueOrder] = field(default_factory=dict)
    trades: dict[str, VenueTrade] = field(default_factory=dict)
    has_page: bool = False
    problem: str = ""

    @property
    def is_usable(self) -> bool:
        return self.has_page


@dataclass(slots=True)
class _Talk:
    seen: Seen
    conversation: Conversation
    request: Request | None
    failures: int = 0


@dataclass(slots=True)
class Patience:
    """Seconds that may still be spent waiting for lanes and rate budgets, over everything that shares it."""

    left_s: float
    sleep: Callable[[float], None]

    def pause(self) -> bool:
        """False: no patience is left."""
        if self.left_s < PAUSE_S:
            return False
        self.left_s -= PAUSE_S
        self.sleep(PAUSE_S)
        return True


def read(
    accounts: Sequence[Account], *, first_orders: dict[int, datetime], patience: Patience, clock: Clock
) -> list[Seen]:
    """What Kraken holds of these accounts, which all have an active key, back to their first order of ours.

    Where patience or Kraken ended a conversation early, `problem` says so; what was read until then is there.
    """
    keys = lanes.active_keys(accounts)
    talks: dict[uuid.UUID, _Talk] = {}
    every: list[Seen] = []
    for account in accounts:
        seen = Seen(account, started_at=clock.now())
        every.append(seen)
        key = keys.get(account.pk)
        if key is None:
            seen.problem = "its key was disconnected meanwhile"
            continue
        conversation = _converse(seen, first_orders.get(account.pk), clock=clock)
        talks[key.pk] = _Talk(seen, conversation, next(conversation))
    while talks:
        progressed = _round(talks, clock=clock)
        talks = {key: talk for key, talk in talks.items() if talk.request is not None}
        if talks and not progressed and not patience.pause():
            for talk in talks.values():
                talk.seen.problem = talk.seen.problem or "its key was busy or out of rate budget all the time"
            break
    return every


def _round(talks: dict[uuid.UUID, _Talk], *, clock: Clock) -> bool:
    """One request of every account whose lane is free; whether any was answered."""
    requests = {key: talk.request for key, talk in talks.items() if talk.request is not None}
    answers = private.call_each(requests, purpose=Purpose.REFRESH, cost=COST, clock=clock)
    progressed = False
    for key, answer in answers.items():
        talk = talks[key]
        if isinstance(answer, KrakenError):
            talk.failures += 1
            talk.seen.problem = str(answer)
            if talk.failures >= FAILURES_MAX or isinstance(answer, CredentialsRefused):
                talk.request = None
            continue
        progressed, talk.failures, talk.seen.problem = True, 0, ""
        talk.request = next_request(talk.conversation, answer)
    return progressed


def next_request(conversation: Conversation, answer: Any) -> Request | None:
    try:
        return conversation.send(answer)
    except StopIteration:
        return None


def _converse(seen: Seen, first_order_at: datetime | None, *, clock: Clock) -> Conversation:
    """Newest things first, so that whatever ends it early, the newest are compared."""
    asked_at = clock.now()
    seen.balances = yield _balances
    seen.balances_at = asked_at
    if first_order_at is None:
        seen.has_page = True
        return
    opened: OrdersPage = yield _open
    seen.open = opened.orders
    for number in range(PAGES_MAX):
        page: OrdersPage = yield partial(_closed, first_order_at, number * PAGE_SIZE)
        wanted = [trade_id for order in page.orders for trade_id in order.trade_ids if trade_id not in seen.trades]
        trades: dict[str, VenueTrade] = {}
        for start in range(0, len(wanted), QUERY_TRADES_MAX):
            trades |= yield partial(_trades, wanted[start : start + QUERY_TRADES_MAX])
        seen.trades |= trades
        seen.closed |= {order.txid: order for order in page.orders}
        seen.has_page = True
        if len(page.orders) < PAGE_SIZE:
            seen.since = None
            return
        seen.since = min(order.closed_at or order.opened_at for order in page.orders)


async def _balances(kraken: PrivateClient, nonce: int) -> Balances:
    return await kraken.balance_ex(nonce=nonce)


async def _open(kraken: PrivateClient, nonce: int) -> OrdersPage:
    return await kraken.open_orders(nonce=nonce)


async def _closed(start: datetime, offset: int, kraken: PrivateClient, nonce: int) -> OrdersPage:
    return await kraken.closed_orders(nonce=nonce, start=start, ofs=offset)


async def _trades(ids: Sequence[str], kraken: PrivateClient, nonce: int) -> dict[str, VenueTrade]:
    return await kraken.query_trades(ids, nonce=nonce)
