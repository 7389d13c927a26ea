"""Profit net of fees: realised, plus what open positions would bring at the bid."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import OuterRef, Subquery

from trading.domain.money import CONTEXT, Money
from trading.models import Account, EquityPoint, MarketPrice, Position

#: Equity is recorded every half minute; a point from before midnight that is older tells of another day.
RECORDED_WITHIN = timedelta(minutes=10)


def totals(account_ids: Collection[int]) -> dict[int, Money]:
    """Profit since the start by account; an account with an open position whose price is unknown is absent."""
    fields = ("account_id", "instrument_id", "is_open", "managed", "cost", "realised")
    positions = list(Position.objects.filter(account_id__in=account_ids).values_list(*fields))
    held = {instrument_id for _, instrument_id, is_open, *_ in positions if is_open}
    bids = dict(MarketPrice.objects.filter(instrument_id__in=held).values_list("instrument_id", "bid"))
    found = {account_id: Decimal(0) for account_id in account_ids}
    unknown = set()
    for account_id, instrument_id, is_open, managed, cost, realised in positions:
        gained = realised
        if is_open and instrument_id in bids:
            gained += CONTEXT.multiply(managed, bids[instrument_id]) - cost
        elif is_open:
            unknown.add(account_id)
        found[account_id] += gained
    return {account_id: Money(value) for account_id, value in found.items() if account_id not in unknown}


def at_start_of_day(account: Account, *, now: datetime) -> Decimal | None:
    return at_starts_of_day([account.pk], now=now).get(account.pk)


def at_starts_of_day(account_ids: Collection[int], *, now: datetime) -> dict[int, Decimal]:
    """Profit when this UTC day began, by account: the last point before it, or nothing yet for one that joined today.

    Where nothing was recorded at midnight (the key was dead, the price unknown) the day's first point counts: what was lost
    before is no loss of today. Until that point is there nothing is known of today, and the account is absent.
    """
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    points = EquityPoint.objects.filter(account=OuterRef("pk"))
    accounts = Account.objects.filter(pk__in=account_ids).annotate(
        before=Subquery(points.filter(at__lt=midnight).order_by("-at").values("profit")[:1]),
        before_at=Subquery(points.filter(at__lt=midnight).order_by("-at").values("at")[:1]),
        first=Subquery(points.filter(at__gte=midnight).order_by("at").values("profit")[:1]),
    )
    found = {}
    rows = accounts.values_list("pk", "created_at", "before", "before_at", "first")
    for account_id, created_at, before, before_at, first in rows:
        at_midnight = before_at is not None and before_at >= midnight - RECORDED_WITHIN
        known = before if at_midnight or created_at >= midnight else first
        if known is not None or before is None:
            found[account_id] = Decimal(0) if known is None else known
    return found
