"""What a backtest is asked for, and how it refuses."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from trading.domain.money import Money, Ratio
from trading.paper.matching import Fees

#: Decimals and size of a spread in basis points, so that quotes fit in 64-bit arithmetic.
SPREAD_PLACES = 4
SPREAD_BPS_MAX = Decimal(1000)
#: Says how much of the work is done, 0 to 1.
Progress = Callable[[str, float], None]


class BacktestRefused(Exception):
    """Nothing was computed or written; the text is one sentence for the person who asked."""


class Looks(StrEnum):
    """When open positions are looked at: along each candle's path, or once at its close as a replay does."""

    PATH = "path"
    CLOSE = "close"


@dataclass(frozen=True, slots=True)
class Terms:
    """`start_s` and `end_s` are unix seconds: candles that start from the one on and end by the other are traded.

    `entry_notional` is the share of equity that an entry spends, `max_slippage` what an entry's limit leaves above the
    ask. Raises BacktestRefused when out of range.
    """

    start_s: int
    end_s: int
    capital: Money
    entry_notional: Ratio
    max_slippage: Ratio
    spread_bps: Decimal = Decimal(4)
    fees: Fees = field(default_factory=Fees)
    looks: Looks = Looks.PATH

    def __post_init__(self) -> None:
        if self.start_s >= self.end_s:
            raise BacktestRefused("The range is empty: --from must be before --to.")
        if not self.capital.value > 0:
            raise BacktestRefused(f"The capital is an amount above zero, not {self.capital}.")
        if not 0 < self.entry_notional.value <= 1:
            raise BacktestRefused("An entry spends more than 0 and at most 100 % of equity.")
        exponent = self.spread_bps.normalize().as_tuple().exponent
        fine = not isinstance(exponent, int) or exponent < -SPREAD_PLACES
        if not 0 <= self.spread_bps < SPREAD_BPS_MAX or fine:
            raise BacktestRefused(
                f"The spread is from 0 to below {SPREAD_BPS_MAX} basis points with at most {SPREAD_PLACES} decimals, "
                f"not {self.spread_bps}."
            )
        for name, percent in (("maker", self.fees.maker_percent), ("taker", self.fees.taker_percent)):
            if not 0 <= percent < 100:
                raise BacktestRefused(f"The {name} fee is a percentage from 0 to below 100, not {percent}.")

    @property
    def taker_fee(self) -> Ratio:
        return Ratio.from_percent(self.fees.taker_percent)


def digest(parts: list[str]) -> str:
    """SHA-256 (hex) over texts, each with its length, so that no two lists give the same bytes."""
    summed = hashlib.sha256()
    for part in parts:
        data = part.encode()
        summed.update(f"{len(data)}:".encode())
        summed.update(data)
    return summed.hexdigest()
