"""Telling people: events that the operator's page shows, and holding an account whose state we cannot explain."""

from __future__ import annotations

import logging
from datetime import datetime

from trading import doorbell
from trading.models import Account, Event, EventKind, Order

logger = logging.getLogger(__name__)


def hold(account: Account, reason: str, *, now: datetime, order: Order | None = None) -> None:
    """No further entries for this account until a person has looked; its exits go on. Told once per reason."""
    changed = Account.objects.filter(pk=account.pk, held_at__isnull=True).update(held_at=now, held_reason=reason[:300])
    if changed:
        logger.error("account %s is held: %s", account.pk, reason)
        Event.objects.create(at=now, kind=EventKind.HELD, account=account, order=order, message=reason[:500])
        doorbell.changed([account.user_id])


def raise_once(order: Order, message: str, *, now: datetime) -> None:
    """An alert about one order, the first time only."""
    if Order.objects.filter(pk=order.pk, alerted_at__isnull=True).update(alerted_at=now):
        logger.error("order %s: %s", order.pk, message)
        Event.objects.create(
            at=now, kind=EventKind.ALERT, account_id=order.account_id, order=order, message=message[:500]
        )
        doorbell.changed([])
