"""An account's equity over time, thinned for a chart: payments marked, drawdown beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db.models import F, Window
from django.db.models.functions import RowNumber

from trading.domain import equity_curve
from trading.domain.equity_curve import Movement, Point
from trading.models import EquityPoint

POINTS_MAX = 120


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """US dollars. `drawdown` is a ratio of the equity at the peak; `moved` came or went at this point, None for nothing."""

    at: datetime
    equity: Decimal
    profit: Decimal
    drawdown: Decimal
    moved: Decimal | None


@dataclass(frozen=True, slots=True)
class Curve:
    points: Sequence[CurvePoint]

    @property
    def movements(self) -> list[CurvePoint]:
        return [point for point in self.points if point.moved is not None]

    @property
    def deepest(self) -> CurvePoint | None:
        """Where profit was furthest below its peak; None when it never was."""
        worst = max(self.points, key=lambda point: point.drawdown, default=None)
        return worst if worst is not None and worst.drawdown > 0 else None


def read(account_id: int, *, since: datetime | None) -> Curve:
    """At most `POINTS_MAX` evenly spaced points, oldest first, the newest always among them.

    Of each its predecessor is read too: a payment counts once two records in a row agree on it.
    """
    recorded = EquityPoint.objects.filter(account_id=account_id)
    if since is not None:
        recorded = recorded.filter(at__gt=since)
    stride = -(-recorded.count() // POINTS_MAX) or 1
    numbered = recorded.annotate(number=Window(RowNumber(), order_by=F("at").desc()) - 1)
    pairs = numbered.annotate(rest=F("number") % stride).filter(rest__in=(0, 1)).order_by("at")
    rows = list(pairs.values_list("at", "equity", "cash", "profit", "rest"))
    points = [Point(at, value, cash, profit) for at, value, cash, profit, _ in rows]
    shown = [point for point, row in zip(points, rows, strict=True) if row[4] == 0]
    return Curve(_with_payments(shown, equity_curve.movements(points)))


def _with_payments(shown: Sequence[Point], movements: Sequence[Movement]) -> list[CurvePoint]:
    """Each payment stands at the first point shown that contains it."""
    left = list(reversed(movements))
    curve = []
    for point, fallen in zip(shown, equity_curve.drawdowns(shown), strict=True):
        moved: Decimal | None = None
        while left and left[-1].at <= point.at:
            moved = left.pop().amount + (moved or Decimal(0))
        curve.append(CurvePoint(point.at, point.equity, point.profit, fallen, moved))
    return curve
