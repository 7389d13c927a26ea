"""What an equity curve tells besides its height: money that came or went, and how far profit fell. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import pairwise

from trading.domain.money import CONTEXT

#: Less than this is no payment: prices read a moment apart, a coin's dividend.
MOVED_MIN = Decimal("0.10")
#: So is less than this part of the equity (a ratio).
MOVED_SHARE_MIN = Decimal("0.0025")


@dataclass(frozen=True, slots=True)
class Point:
    """One record, US dollars. `profit` is net of fees since the start, realised and unrealised."""

    at: datetime
    equity: Decimal
    cash: Decimal
    profit: Decimal

    @property
    def paid_in(self) -> Decimal:
        """What equity would be without any trade: it changes only when money comes or goes."""
        return CONTEXT.subtract(self.equity, self.profit)


@dataclass(frozen=True, slots=True)
class Movement:
    """Money that came (positive) or went without a trade of ours, US dollars, first seen at the point of `at`."""

    at: datetime
    amount: Decimal


def spaced(instants: Sequence[datetime], most: int) -> list[int]:
    """Which of these, oldest first, to show when there is room for `most`: the last of each of as many equal spans, or all."""
    if len(instants) <= most:
        return list(range(len(instants)))
    first, span = instants[0], (instants[-1] - instants[0]) / most
    lasts = {min((at - first) // span, most - 1) if span else 0: index for index, at in enumerate(instants)}
    return list(lasts.values())


def movements(points: Sequence[Point]) -> list[Movement]:
    """Deposits and withdrawals among `points`, oldest first.

    A step must be seen in two consecutive points: a fill that is booked a moment after the balance was read looks like one
    in a single point. It also needs cash to have changed, and equity: an allocation that caps equity hides what is paid in.
    The newest point alone therefore tells nothing yet.
    """
    found: list[Movement] = []
    settled = points[0] if points else None
    for point, following in pairwise(points[1:]):
        assert settled is not None, "there are three points at least"
        least = _least(point)
        amount = CONTEXT.subtract(point.paid_in, settled.paid_in)
        if abs(amount) > least:
            if abs(CONTEXT.subtract(following.paid_in, point.paid_in)) > least:
                continue
            if point.cash != settled.cash and point.equity != settled.equity:
                found.append(Movement(point.at, amount))
        settled = point
    return found


def drawdowns(points: Sequence[Point]) -> list[Decimal]:
    """How far profit lies below its peak so far, as a part of the equity at that peak (a ratio, 0 and more).

    Counted in profit, as the loss limit is: what is paid in or out changes nothing.
    """
    found: list[Decimal] = []
    peak: Point | None = None
    for point in points:
        if peak is None or point.profit >= peak.profit:
            peak = point
        fallen = CONTEXT.subtract(peak.profit, point.profit)
        found.append(CONTEXT.divide(fallen, peak.equity) if peak.equity > 0 else Decimal(0))
    return found


def _least(point: Point) -> Decimal:
    return max(MOVED_MIN, CONTEXT.multiply(abs(point.equity), MOVED_SHARE_MIN))
