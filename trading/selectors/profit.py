"""Profit net of fees: realised, plus what open positions would bring at the bid."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from decimal import Decimal

from trading.domain.money import CONTEXT, Money
from trading.models import Account, EquityPoint, MarketPrice, Position


def totals(account_ids: Collection[int]) -> dict[int, Money]:
    """Profit since the start by account; an account with an open position whose price is unknown is absent."""
    positions = list(Position.objects.filter(account_id__in=account_ids))
    held = {position.instrument_id for position in positions if position.is_open}
    bids = dict(MarketPrice.objects.filter(instrument_id__in=held).values_list("instrument_id", "bid"))
    found = {account_id: Decimal(0) for account_id in account_ids}
    unknown = {p.account_id for p in positions if p.is_open and p.instrument_id not in bids}
    for position in positions:
        gained = position.realised
        if position.is_open and position.instrument_id in bids:
            gained += CONTEXT.multiply(position.managed, bids[position.instrument_id]) - position.cost
        found[position.account_id] += gained
    return {account_id: Money(value) for account_id, value in found.items() if account_id not in unknown}


def at_start_of_day(account: Account, *, now: datetime) -> Decimal:
    """Profit when this UTC day began: the last point before it, or nothing yet for an account that joined today."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    points = EquityPoint.objects.filter(account=account)
    point = points.filter(at__lt=midnight).order_by("-at").first()
    if point is None and account.created_at < midnight:
        point = points.filter(at__gte=midnight).order_by("at").first()
    return point.profit if point is not None else Decimal(0)


def peak(account: Account, *, since: datetime | None) -> EquityPoint | None:
    """The point of the highest profit recorded since then, the last of equals."""
    points = EquityPoint.objects.filter(account=account)
    recorded = points if since is None else points.filter(at__gte=since)
    return max(recorded.order_by("at").iterator(), key=lambda point: (point.profit, point.at), default=None)
