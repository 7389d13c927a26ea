"""The REST call counter of one API key, kept on our side (kraken-api 2.1). Pure.

Each call adds its cost (`Endpoint.cost`), time takes away; at the maximum Kraken refuses and punishes further calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum


class Tier(Enum):
    """A Kraken account's level: the counter's maximum in points, and its decay in points a second."""

    STARTER = (Decimal(15), Decimal("0.33"))
    INTERMEDIATE = (Decimal(20), Decimal("0.5"))
    PRO = (Decimal(20), Decimal(1))

    @property
    def points_max(self) -> Decimal:
        return self.value[0]

    @property
    def decay_per_s(self) -> Decimal:
        return self.value[1]


@dataclass(frozen=True, slots=True)
class Budget:
    """`points` on the counter at the instant `at`."""

    points: Decimal
    at: datetime

    @classmethod
    def fresh(cls, now: datetime) -> Budget:
        return cls(points=Decimal(0), at=now)


def decayed(budget: Budget, *, now: datetime, tier: Tier) -> Budget:
    """The counter at `now`; a clock that went back takes nothing away, and the counter goes on from there."""
    if now <= budget.at:
        return Budget(points=budget.points, at=now)
    elapsed = now - budget.at
    elapsed_s = Decimal(elapsed.days * 86_400 + elapsed.seconds) + Decimal(elapsed.microseconds).scaleb(-6)
    return Budget(points=max(Decimal(0), budget.points - elapsed_s * tier.decay_per_s), at=now)


def after(budget: Budget, *, cost: int, now: datetime, tier: Tier) -> Budget:
    """The counter once a call of `cost` has been made at `now`."""
    current = decayed(budget, now=now, tier=tier)
    return Budget(points=current.points + cost, at=current.at)


def allows(budget: Budget, *, cost: int, now: datetime, tier: Tier, reserve: int = 0) -> bool:
    """Whether a call of `cost` fits, leaving `reserve` points for calls that matter more. A free call always fits."""
    return cost == 0 or after(budget, cost=cost, now=now, tier=tier).points <= tier.points_max - reserve


def exhausted(*, now: datetime, tier: Tier) -> Budget:
    """The counter to assume once Kraken has answered with a rate limit: full."""
    return Budget(points=tier.points_max, at=now)
