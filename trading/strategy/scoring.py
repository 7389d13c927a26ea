"""The points of an entry, rule by rule and candle by candle, computed for all candles at once.

Points are whole tenths, so that their sum is exact and the same in the array and in the decision. A rule is all or
nothing, or a ramp: none at one value, all at another, linear between.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from trading.strategy.candles import Candles, FloatArray, IntArray
from trading.strategy.decisions import Part, PartScore, PointLine
from trading.strategy.indicators import Indicators, divided
from trading.strategy.parameters import ApexParameters

TENTHS = Decimal(10)
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """One rule's points per candle, in tenths of a point."""

    part: Part
    name: str
    maximum: int
    tenths: IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    rules: tuple[Rule, ...]
    total_tenths: IntArray

    def at(self, index: int) -> tuple[PartScore, ...]:
        return tuple(
            PartScore(
                part,
                tuple(
                    PointLine(rule.name, Decimal(int(rule.tenths[index])) / TENTHS, Decimal(rule.maximum))
                    for rule in self.rules
                    if rule.part is part
                ),
            )
            for part in Part
        )

    def total(self, index: int) -> Decimal:
        return Decimal(int(self.total_tenths[index])) / TENTHS


def close_location(candles: Candles) -> FloatArray:
    """Where the close lies between low (0) and high (1); 0.5 for a candle without range."""
    height = candles.high - candles.low
    return divided(candles.close - candles.low, height, otherwise=np.full(len(height), 0.5))


def relative_volume(candles: Candles, indicators: Indicators) -> FloatArray:
    """Volume as a multiple of its average; 0 where the average is zero or not defined."""
    return divided(candles.volume, indicators.volume_average, otherwise=np.zeros(len(candles)))


def compute(candles: Candles, indicators: Indicators, *, parameters: ApexParameters) -> Scores:
    """Points of every candle; those in the warm-up compare undefined values and mean nothing."""
    p, x, close = parameters, indicators, candles.close
    before = np.concatenate((close[:1], close[:-1]))
    histogram_before = np.concatenate((x.macd_histogram[:1], x.macd_histogram[:-1]))
    adx_ramp = np.where(x.plus_di > x.minus_di, _ramp(x.adx, p.adx_min, p.adx_full), 0.0)
    location = _ramp(close_location(candles), p.close_location_none, 1.0)
    volume = _ramp(relative_volume(candles, x), p.relative_volume_min, p.relative_volume_full)
    rules = (
        _rule(Part.TREND, "fast EMA above middle EMA", 8, x.ema_fast > x.ema_mid),
        _rule(Part.TREND, "middle EMA above slow EMA", 8, x.ema_mid > x.ema_slow),
        _rule(Part.TREND, "close above slow EMA", 4, close > x.ema_slow),
        _rule(Part.TREND, "ADX strength, upwards", 10, adx_ramp),
        _rule(Part.MOMENTUM, "MACD histogram positive", 7, x.macd_histogram > 0),
        _rule(Part.MOMENTUM, "MACD histogram rising", 5, x.macd_histogram > histogram_before),
        _rule(Part.MOMENTUM, "slow RSI above 50", 7, x.rsi_slow > 50),
        _rule(Part.MOMENTUM, "fast RSI above slow RSI", 6, x.rsi_fast > x.rsi_slow),
        _rule(Part.PRICE_ACTION, "close above VWAP", 6, close > x.vwap),
        _rule(Part.PRICE_ACTION, "close near the candle's high", 5, location),
        _rule(Part.PRICE_ACTION, "close above the close before", 4, close > before),
        _rule(Part.VOLUME, "volume above its average", 10, volume),
        _rule(Part.VOLUME, "rising candles carry the volume", 5, x.rising_volume > 0.5),
        _rule(Part.STRUCTURE, "close above the prior highs", 8, close > x.prior_high),
        _rule(Part.STRUCTURE, "higher lows", 7, x.recent_low > x.earlier_low),
    )
    total = np.zeros(len(candles), dtype=np.int64)
    for rule in rules:
        total += rule.tenths
    return Scores(rules, total)


def _ramp(values: FloatArray, none: float, full: float) -> FloatArray:
    return np.nan_to_num(np.clip((values - none) / (full - none), 0.0, 1.0), nan=0.0)


def _rule(part: Part, name: str, maximum: int, share: BoolArray | FloatArray) -> Rule:
    tenths = np.rint(share.astype(np.float64) * (maximum * 10)).astype(np.int64)
    return Rule(part, name, maximum, tenths)
