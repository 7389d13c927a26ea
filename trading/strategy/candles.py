"""Closed candles as columns, the only market input a strategy takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: One OHLC row as Kraken's public OHLC answers it, parsed: time (unix seconds, start of the candle), open, high, low,
#: close, vwap (all quote per base), volume (base), number of trades.
OhlcRow = tuple[int, Decimal, Decimal, Decimal, Decimal, Decimal, Decimal, int]


class CandleError(ValueError):
    """The rows are not usable candles; the text says which one and why."""


@dataclass(frozen=True, slots=True, eq=False)
class Candles:
    """Closed candles of one pair, oldest first.

    `time` is the start of each candle in unix seconds, `interval_s` its length in seconds. Prices are quote per base,
    `volume` is base. Candles in which nothing was traded may be absent. Floats are right here: indicators are
    statistics; money and levels are Decimal from `trading.strategy.plan.decimal_from_float` on.

    Raises CandleError unless times strictly increase, all numbers are finite, prices are positive, volume is not
    negative, and every candle has low <= open, close <= high.
    """

    time: IntArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    interval_s: int

    def __post_init__(self) -> None:
        if self.interval_s <= 0:
            raise CandleError(f"a candle lasts a positive number of seconds, not {self.interval_s}")
        for name in ("time", "open", "high", "low", "close", "volume"):
            owned = np.array(getattr(self, name), dtype=np.int64 if name == "time" else np.float64)
            owned.setflags(write=False)
            object.__setattr__(self, name, owned)
        columns = (self.open, self.high, self.low, self.close, self.volume)
        if self.time.ndim != 1 or any(column.shape != self.time.shape for column in columns):
            raise CandleError("candle columns differ in length")
        finite = np.ones(len(self.time), dtype=np.bool_)
        for column in columns:
            finite &= np.isfinite(column)
        self._refuse(~finite, "has a number that is not finite")
        self._refuse(self.low <= 0, "has a price that is not positive")
        self._refuse(self.volume < 0, "has a negative volume")
        self._refuse(self.high < self.low, "has a high below its low")
        outside = np.maximum(self.open, self.close) > self.high
        self._refuse(outside | (np.minimum(self.open, self.close) < self.low), "opens or closes outside its range")
        late = np.zeros(len(self.time), dtype=np.bool_)
        late[1:] = np.diff(self.time) <= 0
        self._refuse(late, "does not start after the one before it")

    def _refuse(self, bad: NDArray[np.bool_], why: str) -> None:
        if bad.any():
            index = int(np.argmax(bad))
            raise CandleError(f"candle {index} (time {int(self.time[index])}) {why}")

    def __len__(self) -> int:
        return len(self.time)

    def upto(self, end: int) -> Candles:
        """The first `end` candles: what was known when candle `end - 1` closed."""
        return Candles(
            time=self.time[:end],
            open=self.open[:end],
            high=self.high[:end],
            low=self.low[:end],
            close=self.close[:end],
            volume=self.volume[:end],
            interval_s=self.interval_s,
        )

    @classmethod
    def from_rows(cls, rows: Sequence[OhlcRow], *, interval_s: int) -> Candles:
        """Every row, taken as closed. Raises CandleError for a row with other columns."""
        if any(len(row) != 8 for row in rows):
            raise CandleError("a candle row is (time, open, high, low, close, vwap, volume, count)")
        return cls(
            time=np.array([row[0] for row in rows], dtype=np.int64),
            open=np.array([float(row[1]) for row in rows]),
            high=np.array([float(row[2]) for row in rows]),
            low=np.array([float(row[3]) for row in rows]),
            close=np.array([float(row[4]) for row in rows]),
            volume=np.array([float(row[6]) for row in rows]),
            interval_s=interval_s,
        )


def closed(rows: Sequence[OhlcRow], *, interval_s: int) -> Candles:
    """The closed candles of an OHLC answer: every row but the last, which is still forming."""
    return Candles.from_rows(rows[:-1], interval_s=interval_s)
