"""Synthetic candles and positions for the strategy's tests: seeded, so every run sees the same market."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np

from trading.domain.money import Price, Ratio
from trading.strategy.candles import Candles, FloatArray
from trading.strategy.plan import EntryPlan, Target

START = 1_720_000_000
FEES = Ratio(Decimal("0.008"))
SLIPPAGE = Ratio(Decimal("0.001"))


def candles_of(close: FloatArray, *, volume: FloatArray, wick: float, interval_s: int = 300) -> Candles:
    """Candles through `close`: each opens at the close before, wicks are a share of the price."""
    opened = np.concatenate((close[:1], close[:-1]))
    return Candles(
        time=START + interval_s * np.arange(len(close), dtype=np.int64),
        open=opened,
        high=np.maximum(opened, close) * (1 + wick),
        low=np.minimum(opened, close) * (1 - wick),
        close=close,
        volume=volume,
        interval_s=interval_s,
    )


def walk(seed: int, *, length: int = 600, start: float = 100.0, step: float = 0.006) -> Candles:
    """A lively random walk with slow waves and bursts of volume."""
    chance = np.random.default_rng(seed)
    waves = 0.004 * np.sin(np.arange(length) / 17.0 + seed)
    close = start * np.exp(np.cumsum(waves + step * chance.standard_normal(length)))
    return candles_of(close, volume=chance.lognormal(3.0, 0.8, length), wick=0.4 * step)


def with_gaps(candles: Candles, *, keep_every: int) -> Candles:
    """The same market with most candles absent, as Kraken's files leave out candles without a trade."""
    return Candles(
        time=candles.time[::keep_every],
        open=candles.open[::keep_every],
        high=candles.high[::keep_every],
        low=candles.low[::keep_every],
        close=candles.close[::keep_every],
        volume=candles.volume[::keep_every],
        interval_s=candles.interval_s,
    )


def plan(**changes: object) -> EntryPlan:
    """Entry 100: stop 96, targets 106 / 109 / 113, trail 4, stagnation below 103 after 43,200 s, end after 86,400 s."""
    values: dict[str, object] = {
        "reference": Price(Decimal(100)),
        "stop_distance": Ratio(Decimal("0.04")),
        "targets": (
            Target(Ratio(Decimal("0.06")), Fraction(2, 5)),
            Target(Ratio(Decimal("0.09")), Fraction(3, 10)),
            Target(Ratio(Decimal("0.13")), Fraction(3, 10)),
        ),
        "trail": Ratio(Decimal("0.04")),
        "stagnation_below": Ratio(Decimal("0.03")),
        "stagnation_after_s": 43_200,
        "max_holding_s": 86_400,
    }
    return EntryPlan(**{**values, **changes})  # type: ignore[arg-type]
