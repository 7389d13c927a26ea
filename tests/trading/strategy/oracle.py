"""The indicators once more, in plain Python loops from their definitions: the oracle for the array code."""

from __future__ import annotations

from collections.abc import Sequence

Series = list[float | None]


def ema(values: Sequence[float], period: int, *, start: int = 0) -> Series:
    """Seeded with the plain average of the first `period` values from `start`, then k = 2 / (period + 1)."""
    out: Series = [None] * len(values)
    current = 0.0
    for i in range(start + period - 1, len(values)):
        if i == start + period - 1:
            current = sum(values[start : start + period]) / period
        else:
            current += 2.0 / (period + 1) * (values[i] - current)
        out[i] = current
    return out


def rsi(values: Sequence[float], period: int) -> Series:
    """Wilder: 100 x average gain / (average gain + average loss)."""
    out: Series = [None] * len(values)
    gain = loss = 0.0
    for i in range(1, len(values)):
        up, down = max(0.0, values[i] - values[i - 1]), max(0.0, values[i - 1] - values[i])
        if i <= period:
            gain, loss = gain + up / period, loss + down / period
        else:
            gain, loss = (gain * (period - 1) + up) / period, (loss * (period - 1) + down) / period
        if i >= period:
            out[i] = 100 * gain / (gain + loss) if gain + loss > 0 else 0.0
    return out


def true_range(high: Sequence[float], low: Sequence[float], close: Sequence[float], i: int) -> float:
    return max(high[i] - low[i], abs(high[i] - close[i - 1]), abs(low[i] - close[i - 1]))


def atr(high: Sequence[float], low: Sequence[float], close: Sequence[float], period: int) -> Series:
    out: Series = [None] * len(close)
    current = sum(true_range(high, low, close, i) for i in range(1, period + 1)) / period
    for i in range(period, len(close)):
        if i > period:
            current = (current * (period - 1) + true_range(high, low, close, i)) / period
        out[i] = current
    return out


def directional(
    high: Sequence[float], low: Sequence[float], close: Sequence[float], period: int
) -> tuple[Series, Series, Series]:
    """Wilder's +DI, -DI and ADX; his running sums start with the first `period - 1` moves, as TA-Lib's do."""
    plus_di: Series = [None] * len(close)
    minus_di: Series = [None] * len(close)
    adx: Series = [None] * len(close)
    plus = minus = ranges = average = 0.0
    strengths: list[float] = []
    for i in range(1, len(close)):
        up, down = high[i] - high[i - 1], low[i - 1] - low[i]
        keep = 1.0 if i < period else 1.0 - 1.0 / period
        plus = plus * keep + (up if up > down and up > 0 else 0.0)
        minus = minus * keep + (down if down > up and down > 0 else 0.0)
        ranges = ranges * keep + true_range(high, low, close, i)
        if i < period:
            continue
        plus_di[i], minus_di[i] = 100 * plus / ranges, 100 * minus / ranges
        strength = 100 * abs(plus - minus) / (plus + minus)
        strengths.append(strength)
        if len(strengths) == period:
            average = sum(strengths) / period
        elif len(strengths) > period:
            average = (average * (period - 1) + strength) / period
        if len(strengths) >= period:
            adx[i] = average
    return plus_di, minus_di, adx


def macd_histogram(values: Sequence[float], fast: int, slow: int, signal: int) -> Series:
    """Appel: fast EMA - slow EMA, less its own EMA. Both EMAs are seeded to begin on the same candle."""
    quick, calm = ema(values, fast, start=slow - fast), ema(values, slow)
    line = [a - b if a is not None and b is not None else 0.0 for a, b in zip(quick, calm, strict=True)]
    trigger = ema(line, signal, start=slow - 1)
    return [None if t is None else a - t for a, t in zip(line, trigger, strict=True)]


def vwap(
    high: Sequence[float], low: Sequence[float], close: Sequence[float], volume: Sequence[float], period: int
) -> Series:
    out: Series = []
    for i in range(len(close)):
        window = range(max(0, i - period + 1), i + 1)
        weight = sum(volume[j] for j in window)
        value = sum((high[j] + low[j] + close[j]) / 3 * volume[j] for j in window)
        out.append(value / weight if weight > 0 else close[i])
    return out


def average(values: Sequence[float], period: int) -> Series:
    return [None if i + 1 < period else sum(values[i + 1 - period : i + 1]) / period for i in range(len(values))]


def highest_before(high: Sequence[float], period: int) -> Series:
    """Donchian's upper channel: the highest high of the `period` candles before each one."""
    return [None if i < period else max(high[i - period : i]) for i in range(len(high))]


def traded(times: Sequence[int], volume: Sequence[float], *, period: int, interval_s: int) -> list[int]:
    """Candles with trades among the last `period` intervals by the clock."""
    return [
        sum(volume[j] > 0 and times[j] > times[i] - period * interval_s for j in range(i + 1))
        for i in range(len(times))
    ]
