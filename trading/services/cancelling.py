"""Cancelling our own open entry orders after a stop. A user's other orders are never touched."""

from __future__ import annotations

from functools import partial

from django.conf import settings

from trading.domain.order_state import OrderState
from trading.kraken.endpoints import CANCEL_ORDER, PrivateClient
from trading.kraken.values import CancelledOrder
from trading.models import Order, OrderKind, OrderOrigin
from trading.services import booking, halts, lanes, private
from trading.services.clock import Clock
from trading.services.lanes import Purpose

BATCH_MAX = 200


def cancel_stopped_entries(*, clock: Clock) -> int:
    """Cancel entries that are open at Kraken and whose account, or everybody, is stopped; how many were asked for."""
    entries = Order.objects.filter(
        kind=OrderKind.ENTRY, state__in=(OrderState.ACKED, OrderState.PARTIAL), account__venue=settings.VENUE
    ).select_related("account")
    # What the master left open on Kraken by hand is his own to cancel.
    entries = entries.exclude(origin=OrderOrigin.OUTSIDE)
    if halts.control().stopped_at is None:
        entries = entries.filter(account__user__risk__stopped_at__isnull=False)
    resting = list(entries.order_by("pk")[:BATCH_MAX])
    keys = lanes.active_keys([order.account for order in resting])
    first = {keys[order.account_id].pk: order for order in reversed(resting) if order.account_id in keys}
    private.call_each(
        {key: partial(_cancel, order.venue_order_id) for key, order in first.items()},
        purpose=Purpose.CANCEL,
        cost=CANCEL_ORDER.cost,
        clock=clock,
    )
    # Whatever the answers were, Kraken's own account of the order decides.
    booking.book([order.pk for order in first.values()], clock=clock)
    return len(first)


async def _cancel(txid: str, kraken: PrivateClient, nonce: int) -> CancelledOrder:
    return await kraken.cancel_order(nonce=nonce, txid=txid)
