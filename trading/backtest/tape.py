"""One pair's candles as a backtest reads them: one interval apart, prices in whole ticks.

Whole ticks are exact in 64 bits, so the searches over thousands of candles and the decisions on one of them see the same
numbers. Intervals without a trade are filled with flat candles of no volume, as the exchange's OHLC shows them.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

import numpy as np
from numpy.typing import NDArray

from trading.backtest.terms import SPREAD_PLACES, BacktestRefused
from trading.domain.instrument import Instrument
from trading.domain.money import Money, Price, Quantity
from trading.paper.candle_files import CandleFile
from trading.paper.pairs import Pair
from trading.strategy.candles import Candles, IntArray

OPEN, HIGH, LOW, CLOSE = range(4)
#: Twelve years of five-minute candles; two and a half of one-minute ones.
CANDLES_MAX = 1_300_000
#: Above it a quote would not fit in 64 bits; Bitcoin at a hundred million dollars has 10**9 ticks.
TICKS_MAX = 10**10
_SPREAD_UNIT = 10**SPREAD_PLACES


@dataclass(frozen=True, slots=True, eq=False)
class Tape:
    """`ticks` has four rows (OPEN, HIGH, LOW, CLOSE) and a column a candle; `start` is the first candle's, unix seconds.

    `candles` are the same as floats, for the strategy. `first` is the first candle that is traded: those before it are
    the strategy's history. `flat` counts the filled intervals.
    """

    pair: Pair
    instrument: Instrument
    start: int
    step_s: int
    ticks: IntArray
    candles: Candles
    first: int
    flat: int

    def __len__(self) -> int:
        return len(self.candles)

    @property
    def symbol(self) -> str:
        return self.instrument.symbol

    @property
    def last(self) -> int:
        return len(self) - 1

    def closes_at(self, index: int) -> int:
        return self.start + (index + 1) * self.step_s

    def price(self, ticks: int) -> Price:
        return Price(ticks * self.pair.tick)

    def ticks_below(self, price: Price) -> int:
        """The highest tick at or below `price`."""
        return int((price.value / self.pair.tick).to_integral_value(rounding=ROUND_FLOOR))

    def ticks_above(self, price: Price) -> int:
        """The lowest tick at or above `price`."""
        return int((price.value / self.pair.tick).to_integral_value(rounding=ROUND_CEILING))

    def bids(self, spread_bps: Decimal) -> IntArray:
        """The bid around each price of `ticks`, as `trading.paper.market.quote_around` rounds it."""
        spread = int(spread_bps * _SPREAD_UNIT)
        # floor(price x (1 - spread / 2) + 1/2), with everything over one denominator.
        unit = 20_000 * _SPREAD_UNIT
        return np.asarray(np.maximum(1, (2 * self.ticks * (unit - spread) + unit) // (2 * unit)), dtype=np.int64)


def symbol_of(pair: Pair) -> str:
    """The name people use: BTC-USD, DOGE-USD."""
    return pair.wsname.replace("XBT", "BTC").replace("XDG", "DOGE").replace("/", "-")


def instrument_of(pair: Pair) -> Instrument:
    return Instrument(
        symbol=symbol_of(pair),
        pair_id=pair.id,
        altname=pair.altname,
        base_asset=pair.base,
        quote_asset=pair.quote,
        tick_size=pair.tick,
        lot_size=Decimal(1).scaleb(-pair.lot_decimals),
        quantity_min=Quantity(pair.ordermin),
        notional_min=Money(pair.costmin),
    )


def tape_of(file: CandleFile, *, start_s: int, end_s: int) -> Tape:
    """The file's candles that end by `end_s`. Raises BacktestRefused when none of them starts from `start_s` on."""
    step_s = file.interval_min * 60
    times = file.table[:, 0].astype(np.int64)
    known = int(np.searchsorted(times, end_s - step_s, side="right"))
    if known == 0 or times[known - 1] < start_s:
        raise BacktestRefused(f"{file.pair.altname} has no candle between --from and --to.")
    places = (times[:known] - times[0]) // step_s
    length = int(places[-1]) + 1
    if length > CANDLES_MAX:
        raise BacktestRefused(f"{file.pair.altname} spans {length} candles, and {CANDLES_MAX} are the most.")
    source = np.searchsorted(places, np.arange(length), side="right") - 1
    traded = np.zeros(length, dtype=np.bool_)
    traded[places] = True
    # The files have open, high, low, close in columns 1 to 4, which is the order of the rows here.
    ticks = _in_ticks(file, known)[:, source]
    ticks[:CLOSE, ~traded] = ticks[CLOSE, ~traded]
    start = int(times[0])
    return Tape(
        pair=file.pair,
        instrument=instrument_of(file.pair),
        start=start,
        step_s=step_s,
        ticks=ticks,
        candles=_candles(file.pair, ticks, np.where(traded, file.table[source, 5], 0.0), start=start, step_s=step_s),
        first=max(0, -((start - start_s) // step_s)),
        flat=length - known,
    )


def _candles(pair: Pair, ticks: IntArray, volume: NDArray[np.float64], *, start: int, step_s: int) -> Candles:
    numerator, denominator = _tick_ratio(pair)
    opened, high, low, close = ticks * numerator / denominator
    time = start + step_s * np.arange(ticks.shape[1], dtype=np.int64)
    return Candles(time, opened, high, low, close, volume, interval_s=step_s)


def _in_ticks(file: CandleFile, known: int) -> IntArray:
    """Prices to the nearest tick. Raises BacktestRefused for prices beyond `TICKS_MAX`.

    A price on the tick divides back to the very float it was read as; any other goes through its decimals.
    """
    numerator, denominator = _tick_ratio(file.pair)
    prices = file.table[:known, 1:5].T
    rounded = np.rint(prices * denominator / numerator)
    if rounded.max(initial=0.0) > TICKS_MAX:
        raise BacktestRefused(f"{file.pair.altname} has a price above {TICKS_MAX * file.pair.tick} in its file.")
    ticks: IntArray = rounded.astype(np.int64)
    for index in np.flatnonzero((ticks * numerator / denominator != prices).any(axis=0)).tolist():
        candle = file.candle(index)
        ticks[:, index] = [
            int(price / file.pair.tick) for price in (candle.open, candle.high, candle.low, candle.close)
        ]
    return ticks


def _tick_ratio(pair: Pair) -> tuple[float, float]:
    """The tick as a fraction of whole numbers, both exact in floats."""
    numerator, denominator = pair.tick.as_integer_ratio()
    return float(numerator), float(denominator)
