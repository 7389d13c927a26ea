"""Indicators over whole arrays: TA-Lib for the published ones, own code for the rolling VWAP.

Every value at index i depends on candles 0..i only, and recurrences (EMA, Wilder's smoothing) are seeded at the start
of the array. So index i of a long array equals the last value of the same array cut after i, to the last bit, while a
window that starts elsewhere differs slightly in EMA, RSI, ADX, MACD and ATR until the seed has faded.

Sources: Wilder, New Concepts in Technical Trading Systems, 1978 (RSI, ATR, ADX); Appel, 1979 (MACD).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import talib

from trading.strategy.candles import Candles, FloatArray, IntArray
from trading.strategy.parameters import ApexParameters


@dataclass(frozen=True, slots=True, eq=False)
class Indicators:
    """One value per candle, NaN where not yet defined. Prices are quote per base, volumes base, RSI, ADX, DI 0-100."""

    ema_fast: FloatArray
    ema_mid: FloatArray
    ema_slow: FloatArray
    rsi_fast: FloatArray
    rsi_slow: FloatArray
    adx: FloatArray
    plus_di: FloatArray
    minus_di: FloatArray
    macd_histogram: FloatArray
    atr: FloatArray
    vwap: FloatArray
    volume_average: FloatArray
    #: Volume of rising candles as a share of all volume over `volume_period` (0-1; 0.5 where nothing was traded).
    rising_volume: FloatArray
    #: Highest high of the `structure_period` candles before this one.
    prior_high: FloatArray
    #: Lowest low of the last half `structure_period`, this candle included, and of the half before.
    recent_low: FloatArray
    earlier_low: FloatArray
    #: Candles with trades among the last `liquidity_period` intervals by the clock, absent candles counting as none.
    traded: IntArray


def compute(candles: Candles, *, parameters: ApexParameters) -> Indicators:
    """All indicators of `candles`, which must not be empty.

    Prices are first multiplied by a power of two that brings the first close near 1, and the results back: exact in
    binary floats. TA-Lib takes anything below 1e-14 for zero, which the moves of very cheap coins come close to.
    """
    p = parameters
    exponent = math.frexp(float(candles.close[0]))[1]
    high, low, close = (np.ldexp(column, -exponent) for column in (candles.high, candles.low, candles.close))
    _, _, histogram = talib.MACD(close, p.macd_fast, p.macd_slow, p.macd_signal)
    half = p.structure_period // 2
    half_low = talib.MIN(low, half)
    rising = np.where(candles.close > candles.open, candles.volume, 0.0)
    traded_volume = rolling_sum(candles.volume, p.volume_period)

    def price(column: FloatArray) -> FloatArray:
        return np.asarray(np.ldexp(column, exponent), dtype=np.float64)

    return Indicators(
        ema_fast=price(talib.EMA(close, p.ema_fast)),
        ema_mid=price(talib.EMA(close, p.ema_mid)),
        ema_slow=price(talib.EMA(close, p.ema_slow)),
        rsi_fast=talib.RSI(close, p.rsi_fast),
        rsi_slow=talib.RSI(close, p.rsi_slow),
        adx=talib.ADX(high, low, close, p.adx_period),
        plus_di=talib.PLUS_DI(high, low, close, p.adx_period),
        minus_di=talib.MINUS_DI(high, low, close, p.adx_period),
        macd_histogram=price(histogram),
        atr=average_true_range(candles, p.atr_period),
        vwap=rolling_vwap(candles, p.vwap_period),
        volume_average=talib.SMA(candles.volume, p.volume_period),
        rising_volume=divided(
            rolling_sum(rising, p.volume_period), traded_volume, otherwise=np.full(len(candles), 0.5)
        ),
        prior_high=prior_high(candles, p.structure_period),
        recent_low=price(half_low),
        earlier_low=price(_shifted(half_low, half)),
        traded=traded_intervals(candles, p.liquidity_period),
    )


def average_true_range(candles: Candles, period: int) -> FloatArray:
    """Wilder's ATR, quote per base; scaled as in `compute`. `candles` must not be empty."""
    exponent = math.frexp(float(candles.close[0]))[1]
    high, low, close = (np.ldexp(column, -exponent) for column in (candles.high, candles.low, candles.close))
    return np.asarray(np.ldexp(talib.ATR(high, low, close, period), exponent), dtype=np.float64)


def prior_high(candles: Candles, period: int) -> FloatArray:
    """Highest high of the `period` candles before each one, which is not among them: Donchian's upper channel."""
    return _shifted(talib.MAX(candles.high, period), 1)


def rolling_sum(values: FloatArray, period: int) -> FloatArray:
    """Sum of the last `period` values, fewer at the start.

    Adds one shifted column after the other instead of subtracting cumulative sums: no cancellation, and the same order
    of additions at every index, so that a longer array never changes an earlier value.
    """
    total = np.zeros(len(values), dtype=np.float64)
    for back in range(min(period, len(values))):
        total[back:] += values[: len(values) - back]
    return total


def rolling_vwap(candles: Candles, period: int) -> FloatArray:
    """Volume weighted average of the typical price (high + low + close) / 3 over the last `period` candles.

    Where nothing was traded in them it is the close.
    """
    typical = (candles.high + candles.low + candles.close) / 3.0
    weight = rolling_sum(candles.volume, period)
    weighted = rolling_sum(typical * candles.volume, period)
    return divided(weighted, weight, otherwise=candles.close)


def divided(top: FloatArray, bottom: FloatArray, *, otherwise: FloatArray) -> FloatArray:
    """`top / bottom`, and `otherwise` where `bottom` is not positive or not defined."""
    result = otherwise.copy()
    np.divide(top, bottom, out=result, where=bottom > 0)
    return result


def _shifted(column: FloatArray, by: int) -> FloatArray:
    moved = np.full(len(column), np.nan)
    moved[by:] = column[: max(0, len(column) - by)]
    return moved


def traded_intervals(candles: Candles, period: int) -> IntArray:
    """Candles with trades among the last `period` intervals by the clock, absent candles counting as none."""
    counts = np.concatenate(([0], np.cumsum(candles.volume > 0)))
    oldest = np.searchsorted(candles.time, candles.time - period * candles.interval_s, side="right")
    return np.asarray(counts[1:] - counts[oldest], dtype=np.int64)
