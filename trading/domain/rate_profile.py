"""How often the master's strategy looks and how far apart its entries are, by the master's equity (DESIGN section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from trading.domain.money import Money


@dataclass(frozen=True, slots=True)
class RateProfile:
    """At most one strategy entry per `entry_spacing`; a cycle every `monitoring`."""

    name: str
    entry_spacing: timedelta
    monitoring: timedelta


LOW_CAPITAL = RateProfile("LOW_CAPITAL", timedelta(seconds=3), timedelta(seconds=30))
STANDARD = RateProfile("STANDARD", timedelta(seconds=2), timedelta(seconds=10))
AGGRESSIVE = RateProfile("AGGRESSIVE", timedelta(seconds=1), timedelta(seconds=5))

_STANDARD_FROM = Money(Decimal(100))
_AGGRESSIVE_FROM = Money(Decimal(1000))


def rate_profile(equity: Money | None) -> RateProfile:
    """The slowest for an equity that is not known."""
    if equity is None or equity < _STANDARD_FROM:
        return LOW_CAPITAL
    return STANDARD if equity < _AGGRESSIVE_FROM else AGGRESSIVE
