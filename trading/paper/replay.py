"""A market that replays Kraken's downloadable OHLCVT files, its clock moved by hand."""

from __future__ import annotations

import bisect
import csv
import gzip
import zlib
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from trading.paper.errors import KrakenError
from trading.paper.market import Candle, Market, Quote, flat_candle, quote_around
from trading.paper.pairs import Pair, pair_named


class CandleFile:
    """One file, oldest candle first. Candles without a trade are absent, as in Kraken's files.

    Rows become candles when they are first looked at: a replay uses a small part of its files.
    """

    def __init__(self, pair: Pair, interval_min: int, rows: Sequence[Sequence[str]]) -> None:
        self.pair = pair
        self.interval_min = interval_min
        self._rows = rows
        self._candles: dict[int, Candle] = {}
        self.times = [int(row[0]) for row in rows]

    def candle(self, index: int) -> Candle:
        known = self._candles.get(index)
        if known is None:
            known = self._candles[index] = _candle(self.pair, self._rows[index])
        return known


def read_candles(path: Path) -> CandleFile:
    """`PAIR_minutes.csv` or `.csv.gz`; raises ValueError with a sentence, OSError when it cannot be read."""
    name, _, minutes = path.name.partition(".csv")[0].rpartition("_")
    if not name or not minutes.isdigit():
        raise ValueError(f"{path.name} is not named PAIR_minutes.csv or PAIR_minutes.csv.gz.")
    try:
        pair = pair_named(name)
    except KrakenError as error:
        raise ValueError(f"{path.name} is for a pair that the paper exchange does not know.") from error
    raw = path.read_bytes()
    try:
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
        rows = [row for row in csv.reader(text.splitlines()) if row and _is_candle(row)]
    except (ValueError, EOFError, csv.Error, zlib.error) as error:
        raise ValueError(f"{path.name} holds a line that is not time,open,high,low,close,volume,trades.") from error
    if not rows:
        raise ValueError(f"{path.name} holds no candle.")
    return CandleFile(pair, int(minutes), sorted(rows, key=lambda row: int(row[0])))


def _is_candle(row: Sequence[str]) -> bool:
    """Raises ValueError when it is not."""
    if len(row) != 7 or not row[0].isdigit() or not row[6].isdigit():
        raise ValueError(row)
    if not all(0 < float(price) < 1e12 for price in row[1:5]) or not 0 <= float(row[5]) < 1e18:
        raise ValueError(row)
    return True


def _candle(pair: Pair, row: Sequence[str]) -> Candle:
    """The files have no volume-weighted price; the middle of the candle's prices stands in for it."""
    time, _, _, _, _, volume, trades = row
    open_, high, low, close = (pair.nearest_tick(Decimal(price)) for price in row[1:5])
    vwap = (open_ + high + low + close) / 4
    return Candle(int(time), open_, high, low, close, vwap, Decimal(volume), int(trades))


class ReplayMarket(Market):
    """The price is the last closed candle's close; the forming candle is flat at it.

    A candle is closed once the market clock has reached its end. Intervals without a trade appear flat with zero
    volume, so that rows stay one interval apart.
    """

    def __init__(
        self,
        files: Sequence[CandleFile],
        *,
        interval_min: int | None,
        warmup_candles: int,
        start_at: int | None,
        spread_bps: Decimal,
    ) -> None:
        """Raises ValueError with a sentence when the files do not fit together."""
        chosen = [file for file in files if interval_min in (None, file.interval_min)]
        if not chosen or len({file.interval_min for file in chosen}) != 1:
            raise ValueError("A replay needs candle files that are all of one interval.")
        if len({file.pair.id for file in chosen}) != len(chosen):
            raise ValueError("A replay takes one candle file for each pair.")
        super().__init__([file.pair for file in chosen])
        self.base_interval_min = chosen[0].interval_min
        self._step_s = self.base_interval_min * 60
        self._spread_bps = spread_bps
        self._files = {file.pair.id: file for file in chosen}
        first = max(file.times[0] for file in chosen)
        self._end = min(file.times[-1] for file in chosen) + self._step_s
        wanted = first + warmup_candles * self._step_s if start_at is None else start_at
        self._now = wanted - wanted % self._step_s
        if not first + self._step_s <= self._now <= self._end:
            raise ValueError("The replay's start lies outside its candle files.")
        self._shown: dict[tuple[str, int, int], list[Candle]] = {}

    def market_time(self, now: float) -> int:  # noqa: ARG002  this market has its own clock
        return self._now

    def advance(self) -> dict[str, Candle]:
        if self._now + self._step_s > self._end:
            raise KrakenError("EGeneral:Invalid arguments:the candle files end here")
        self._now += self._step_s
        self._shown.clear()
        closed = ((pair.id, self._last_closed(pair)) for pair in self.pairs)
        return {pair_id: candle for pair_id, candle in closed if candle.time == self._now - self._step_s}

    def state(self) -> dict[str, Any]:
        return {**super().state(), "replay_time": self._now, "replay_interval": self.base_interval_min}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        if state.get("replay_interval") == self.base_interval_min and state["replay_time"] <= self._end:
            self._now = int(state["replay_time"])

    def _quote(self, pair: Pair, _now: float, /) -> Quote:
        return quote_around(pair, self._last_closed(pair).close, self._spread_bps)

    def _last_closed(self, pair: Pair) -> Candle:
        file = self._files[pair.id]
        return file.candle(max(0, bisect.bisect_right(file.times, self._now - self._step_s) - 1))

    def _candles(self, pair: Pair, rows: int, _now: float, /) -> list[Candle]:
        shown = self._shown.get((pair.id, rows, self._now))
        if shown is None:
            shown = self._rows(pair, rows)
            self._shown[(pair.id, rows, self._now)] = shown
        return shown

    def _rows(self, pair: Pair, rows: int) -> list[Candle]:
        file = self._files[pair.id]
        start = max(file.times[0], self._now - (rows - 1) * self._step_s)
        at = bisect.bisect_right(file.times, start) - 1
        filled: list[Candle] = []
        for moment in range(start, self._now, self._step_s):
            if at + 1 < len(file.times) and file.times[at + 1] == moment:
                at += 1
            candle = file.candle(at)
            filled.append(candle if candle.time == moment else flat_candle(moment, candle.close))
        return [*filled, flat_candle(self._now, self._last_closed(pair).close)]
