"""What an account is worth to copying, and how far a balance can be trusted (DESIGN section 3, Balances)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from trading.domain.money import Money, Price, Quantity

FRESH_FOR = timedelta(seconds=30)
USABLE_FOR = timedelta(seconds=300)


class BalanceSource(StrEnum):
    LIVE = "live"
    CACHED = "cached"
    UNKNOWN = "unknown"


def balance_source(*, as_of: datetime | None, last_fill_at: datetime | None, now: datetime) -> BalanceSource:
    """LIVE: at most 30 s old and newer than our last fill. CACHED: up to 300 s old. UNKNOWN is never zero."""
    if as_of is None or now - as_of > USABLE_FOR:
        return BalanceSource.UNKNOWN
    if now - as_of <= FRESH_FOR and (last_fill_at is None or as_of > last_fill_at):
        return BalanceSource.LIVE
    return BalanceSource.CACHED


@dataclass(frozen=True, slots=True)
class Holding:
    """Managed quantity of one instrument and the price it is valued at."""

    quantity: Quantity
    price: Price


def copy_equity(*, cash: Money, holdings: Iterable[Holding], allocation: Money | None) -> Money:
    """min(allocation, quote balance including holds + market value of managed positions)."""
    total = cash
    for holding in holdings:
        total = total + holding.quantity.at(holding.price)
    return total if allocation is None else min(allocation, total)
