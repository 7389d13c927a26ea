"""Where prices come from: quotes and candles behind one interface, and the market whose prices are set by hand."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from trading.paper.errors import KrakenError, invalid_argument
from trading.paper.pairs import CONTEXT, ZERO, Pair, PairBook

OHLC_ROWS_MAX = 720
_DAY_S = 86_400
INTERVALS_MIN = (1, 5, 15, 30, 60, 240, 1440, 10080, 21600)


@dataclass(frozen=True, slots=True)
class Quote:
    """Best bid and ask and the last traded price, quote per base."""

    bid: Decimal
    ask: Decimal
    last: Decimal


@dataclass(frozen=True, slots=True)
class Candle:
    """`time` is the start in unix seconds; `volume` in base units."""

    time: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    vwap: Decimal
    volume: Decimal
    count: int


def flat_candle(time: int, price: Decimal) -> Candle:
    """A candle in which nothing traded."""
    return Candle(time, price, price, price, price, price, ZERO, 0)


def aggregate(candles: Sequence[Candle], interval_s: int) -> list[Candle]:
    """Candles of a longer interval from consecutive shorter ones."""
    groups: dict[int, list[Candle]] = {}
    for candle in candles:
        groups.setdefault(candle.time - candle.time % interval_s, []).append(candle)
    return [_merged(start, group) for start, group in groups.items()]


def _merged(start: int, group: list[Candle]) -> Candle:
    volume = sum((candle.volume for candle in group), ZERO)
    turnover = sum((CONTEXT.multiply(candle.vwap, candle.volume) for candle in group), ZERO)
    return Candle(
        time=start,
        open=group[0].open,
        high=max(candle.high for candle in group),
        low=min(candle.low for candle in group),
        close=group[-1].close,
        vwap=CONTEXT.divide(turnover, volume) if volume else group[-1].close,
        volume=volume,
        count=sum(candle.count for candle in group),
    )


def quote_around(pair: Pair, price: Decimal, spread_bps: Decimal) -> Quote:
    """Bid and ask half a spread away from `price`, on the tick; a zero spread gives bid = ask = price."""
    last = pair.nearest_tick(price)
    half = CONTEXT.divide(CONTEXT.multiply(last, spread_bps), Decimal(20_000))
    if not half:
        return Quote(last, last, last)
    bid = max(pair.tick, pair.nearest_tick(last - half))
    ask = pair.nearest_tick(last + half)
    return Quote(bid, max(ask, bid + pair.tick), last)


@dataclass(frozen=True, slots=True)
class DayRows:
    """The market clock's last 24 hours and those of them since midnight UTC, in longer candles."""

    day: list[Candle]
    today: list[Candle]


class Market(ABC):
    """`now` is always the exchange's wall clock in unix seconds; a market with a clock of its own ignores it."""

    #: Prices change without being told to, so resting orders have to be looked at from time to time.
    moves_by_itself = False
    #: What the market is called where it is chosen.
    kind = ""
    base_interval_min = 1

    def __init__(self, pairs: Iterable[Pair]) -> None:
        self.book = PairBook(pairs)
        self._pins: dict[str, Quote] = {}
        self._days: dict[str, tuple[int, DayRows]] = {}

    @property
    def pairs(self) -> tuple[Pair, ...]:
        return self.book.pairs

    def pin(self, pair: Pair, *, bid: Decimal | None, ask: Decimal | None) -> None:
        """Fix a pair's bid and ask until told otherwise; None for both gives the pair back to its market."""
        if bid is None and ask is None:
            self._pins.pop(pair.id, None)
            return
        if bid is None or ask is None:
            raise invalid_argument("bid" if bid is None else "ask")
        if not pair.tick <= bid <= ask or pair.nearest_tick(bid) != bid or pair.nearest_tick(ask) != ask:
            raise KrakenError("EOrder:Tick size check failed")
        self._pins[pair.id] = Quote(bid, ask, ask)

    def is_pinned(self, pair: Pair) -> bool:
        return pair.id in self._pins

    def quote(self, pair: Pair, *, now: float) -> Quote:
        return self._pins.get(pair.id) or self._quote(pair, now)

    def candles(self, pair: Pair, *, interval_min: int, now: float) -> list[Candle]:
        """At most 720 candles, oldest first; the last one is still forming."""
        if interval_min not in INTERVALS_MIN or interval_min % self.base_interval_min:
            raise invalid_argument("interval")
        if interval_min == self.base_interval_min:
            return self._candles(pair, OHLC_ROWS_MAX, now)
        wanted = OHLC_ROWS_MAX * interval_min // self.base_interval_min
        return aggregate(self._candles(pair, wanted, now), interval_min * 60)[-OHLC_ROWS_MAX:]

    def day(self, pair: Pair, *, now: float) -> DayRows:
        """For Ticker; computed once a minute, since it only moves slowly."""
        market_now = self.market_time(now)
        known = self._days.get(pair.id)
        if known is None or known[0] != market_now // 60:
            # Minutes are put together because there are many of them; longer candles are few enough as they are.
            interval_min = 15 if self.base_interval_min == 1 else self.base_interval_min
            # A day and one longer candle, whose beginning may be cut off: it starts before the day does.
            wanted = (_DAY_S // 60 + interval_min) // self.base_interval_min + 1
            rows = self._candles(pair, wanted, now)
            if interval_min != self.base_interval_min:
                rows = aggregate(rows, interval_min * 60)
            day = [candle for candle in rows if candle.time >= market_now - _DAY_S]
            today = [candle for candle in day if candle.time >= market_now - market_now % _DAY_S]
            known = (market_now // 60, DayRows(day, today or day[-1:]))
            self._days[pair.id] = known
        return known[1]

    def market_time(self, now: float) -> int:
        """Unix seconds of the market clock."""
        return int(now)

    def advance(self) -> dict[str, Candle]:
        """Move the market clock; returns what closed, by pair id. Only a replay can."""
        raise KrakenError("EGeneral:Invalid arguments:this market has no clock of its own")

    def begin(self, at: int, /) -> None:  # noqa: ARG002
        """Count the market's movements from the unix second `at`. Only the demo's market can."""
        raise KrakenError("EGeneral:Invalid arguments:this market has no beginning")

    def state(self) -> dict[str, Any]:
        """What must survive a restart, as plain JSON values."""
        return {"pins": {pair_id: [str(q.bid), str(q.ask)] for pair_id, q in self._pins.items()}}

    def restore(self, state: dict[str, Any]) -> None:
        for pair_id, (bid, ask) in state.get("pins", {}).items():
            self.pin(self.book.named(pair_id), bid=Decimal(bid), ask=Decimal(ask))

    @abstractmethod
    def _quote(self, pair: Pair, now: float, /) -> Quote: ...

    @abstractmethod
    def _candles(self, pair: Pair, rows: int, now: float) -> list[Candle]:
        """At most `rows` candles of the base interval, the last one forming."""


class PinnedMarket(Market):
    """Every pair stands still at its typical price, or where it was pinned; candles are flat."""

    kind = "pinned"

    def __init__(self, pairs: Iterable[Pair], *, spread_bps: Decimal) -> None:
        super().__init__(pairs)
        self._spread_bps = spread_bps
        self._flat: dict[str, tuple[tuple[int, int, Decimal], list[Candle]]] = {}

    def _quote(self, pair: Pair, _now: float, /) -> Quote:
        return quote_around(pair, pair.typical_price, self._spread_bps)

    def _candles(self, pair: Pair, rows: int, now: float) -> list[Candle]:
        forming = int(now) - int(now) % 60
        price = self.quote(pair, now=now).last
        rows = min(rows, OHLC_ROWS_MAX * 5)
        shape = (forming, rows, price)
        known = self._flat.get(pair.id)
        if known is None or known[0] != shape:
            known = (shape, [flat_candle(forming - 60 * back, price) for back in reversed(range(rows))])
            self._flat[pair.id] = known
        return known[1]
