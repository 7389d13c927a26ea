"""What Kraken says of our orders: each account's are asked for in one question, the accounts side by side."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from trading.kraken.endpoints import QUERY_ORDERS, QUERY_TRADES, QUERY_TRADES_MAX, PrivateClient
from trading.kraken.errors import KrakenError
from trading.kraken.values import VenueOrder, VenueTrade
from trading.models import Execution, Order
from trading.services import lanes, private
from trading.services.clock import Clock
from trading.services.lanes import Purpose

#: A young order is asked for often, a resting one less often.
ASK_AGAIN = timedelta(seconds=1)
ASK_AGAIN_LATER = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Report:
    """What Kraken says of one of our orders, with the executions we have not booked yet.

    `order` is our row as it was before Kraken was asked; its identity counts, what may change is read again.
    """

    order: Order
    venue: VenueOrder
    trades: tuple[VenueTrade, ...]


def ask(by_account: Mapping[int, Sequence[Order]], *, clock: Clock) -> list[Report]:
    """Two rounds over all accounts side by side: their orders, then the executions we lack.

    The second is needed for an order of a single execution, too: reads may lag, and a list of one that has to become two
    would be booked twice from the order's own totals.
    """
    keys = lanes.active_keys({o.account.pk: o.account for rows in by_account.values() for o in rows}.values())
    account_of = {key.pk: account_id for account_id, key in keys.items()}
    queries: dict[uuid.UUID, private.Request[dict[str, VenueOrder]]] = {
        key: partial(_query_orders, [o.venue_order_id for o in by_account[account_id]])
        for key, account_id in account_of.items()
    }
    both = QUERY_ORDERS.cost + QUERY_TRADES.cost
    answers = private.call_each(queries, purpose=Purpose.BOOKING, cost=QUERY_ORDERS.cost, clock=clock, room=both)
    told = {account_of[key]: answer for key, answer in answers.items() if not isinstance(answer, KrakenError)}
    # Nobody was asked for these: they come again at once, not after the pause of those that were.
    passed_over = [o.pk for key, account_id in account_of.items() if key not in answers for o in by_account[account_id]]
    if passed_over:
        again = clock.now() - ASK_AGAIN_LATER + ASK_AGAIN
        Order.objects.filter(pk__in=passed_over).update(booking_tried_at=again)
    wanted = {
        keys[account_id].pk: ids[:QUERY_TRADES_MAX] for account_id, ids in _unknown_trades(by_account, told).items()
    }
    trades = private.call_each(
        {key: partial(_query_trades, ids) for key, ids in wanted.items()},
        purpose=Purpose.BOOKING,
        cost=QUERY_TRADES.cost,
        clock=clock,
    )
    reports = []
    for account_id, venue_orders in told.items():
        answer = trades.get(keys[account_id].pk, {})
        mine = {} if isinstance(answer, KrakenError) else answer
        for order in by_account[account_id]:
            venue = venue_orders.get(order.venue_order_id)
            if venue is not None:
                own = tuple(t for t in mine.values() if t.order_txid == order.venue_order_id)
                reports.append(Report(order=order, venue=venue, trades=own))
    return reports


def _unknown_trades(
    by_account: Mapping[int, Sequence[Order]], told: Mapping[int, Mapping[str, VenueOrder]]
) -> dict[int, list[str]]:
    """Of the accounts that Kraken told of: the trades that are not booked."""
    known = set(
        Execution.objects.filter(
            account_id__in=told, order__in=[o.pk for rows in by_account.values() for o in rows]
        ).values_list("account_id", "trade_id")
    )
    listed = {
        account_id: [t for v in venue_orders.values() for t in v.trade_ids if (account_id, t) not in known]
        for account_id, venue_orders in told.items()
    }
    return {account_id: ids for account_id, ids in listed.items() if ids}


async def _query_orders(txids: Sequence[str], kraken: PrivateClient, nonce: int) -> dict[str, VenueOrder]:
    return await kraken.query_orders(txids, nonce=nonce)


async def _query_trades(trade_ids: Sequence[str], kraken: PrivateClient, nonce: int) -> dict[str, VenueTrade]:
    return await kraken.query_trades(trade_ids, nonce=nonce)
