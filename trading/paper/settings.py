"""What a paper exchange is started with, and the market that this means."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from trading.paper.candle_files import candle_paths, read_candles
from trading.paper.limits import TIERS, RateLimits
from trading.paper.market import Market, PinnedMarket
from trading.paper.matching import Fees
from trading.paper.pairs import PAIRS
from trading.paper.replay import ReplayMarket
from trading.paper.synthetic import SyntheticMarket

MARKETS = ("demo", "replay", "pinned")
RATE_TIERS = ("none", *TIERS)


@dataclass(frozen=True, slots=True)
class PaperSettings:
    """`port` 0 takes a free one. `candles` are files or directories of them. `spread_bps` is the whole spread; fees are
    percent of the cost."""

    state: Path
    market: str = "pinned"
    port: int = 0
    seed: int = 7
    candles: tuple[Path, ...] = ()
    interval_min: int | None = None
    warmup_candles: int = 720
    start_at: int | None = None
    spread_bps: Decimal = Decimal(4)
    rate_tier: str = "none"
    history_cost: float = 2.0
    fees: Fees = field(default_factory=Fees)

    def limits(self) -> RateLimits:
        return RateLimits(TIERS.get(self.rate_tier), self.history_cost)

    def build_market(self) -> Market:
        """Raises ValueError with a sentence when the candle files are of no use, OSError when one cannot be read."""
        if self.market == "pinned":
            return PinnedMarket(PAIRS.values(), spread_bps=self.spread_bps)
        if self.market == "replay":
            files = [read_candles(path) for path in candle_paths(self.candles, interval_min=self.interval_min)]
            return ReplayMarket(
                files,
                interval_min=self.interval_min,
                warmup_candles=self.warmup_candles,
                start_at=self.start_at,
                spread_bps=self.spread_bps,
            )
        return SyntheticMarket(seed=self.seed, started_at=int(time.time()), spread_bps=self.spread_bps)
