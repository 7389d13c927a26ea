"""An account's equity over time, thinned for a chart: payments marked, drawdown beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

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
    """At most `POINTS_MAX` points evenly spaced in time, oldest first, the newest always among them.

    Of each its predecessor is read too: a payment counts once two records in a row agree on it.
    """
    recorded = EquityPoint.objects.filter(account_id=account_id)
    if since is not None:
        recorded = recorded.filter(at__gt=since)
    every = list(recorded.order_by("at", "pk").values_list("pk", "at"))
    shown = equity_curve.spaced([at for _, at in every], POINTS_MAX)
    wanted = sorted({*shown, *(index - 1 for index in shown if index > 0)})
    rows = recorded.in_bulk([every[index][0] for index in wanted])
    # What is thinned out meanwhile is not missed.
    points = {index: _point(rows[every[index][0]]) for index in wanted if every[index][0] in rows}
    movements = equity_curve.movements(list(points.values()))
    return Curve(_with_payments([points[index] for index in shown if index in points], movements))


def _point(row: EquityPoint) -> Point:
    return Point(row.at, row.equity, row.cash, row.profit)


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
