"""A market that replays Kraken's downloadable OHLCVT files, its clock moved by hand."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from trading.paper.candle_files import CandleFile, read_candles
from trading.paper.errors import KrakenError
from trading.paper.market import Candle, Market, Quote, flat_candle, quote_around
from trading.paper.pairs import Pair

__all__ = ["CandleFile", "ReplayMarket", "read_candles"]


class _Tape:
    """A file as closed candles one interval apart, none missing, prepared as far as somebody has looked."""

    def __init__(self, file: CandleFile, step_s: int) -> None:
        self._file = file
        self._step_s = step_s
        self._from = self._until = 0
        self._candles: list[Candle] = []

    def between(self, start: int, end: int) -> list[Candle]:
        """Those that start from `start` on and before `end`; both on the grid, `start` not before the file."""
        if not self._candles or start < self._from:
            self._candles = self._prepared(start, end)
            self._from, self._until = start, end
        if end > self._until:
            self._candles += self._prepared(self._until, end)
            self._until = end
        return self._candles[(start - self._from) // self._step_s : (end - self._from) // self._step_s]

    def _prepared(self, start: int, end: int) -> list[Candle]:
        file = self._file
        at = bisect.bisect_right(file.times, start) - 1
        filled: list[Candle] = []
        for moment in range(start, end, self._step_s):
            if at + 1 < len(file.times) and file.times[at + 1] == moment:
                at += 1
            candle = file.candle(at)
            filled.append(candle if candle.time == moment else flat_candle(moment, candle.close))
        return filled


class ReplayMarket(Market):
    """The price is the last closed candle's close; the forming candle is flat at it.

    A candle is closed once the market clock has reached its end. Intervals without a trade appear flat with zero
    volume, so that rows stay one interval apart.
    """

    kind = "replay"

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
        if not chosen:
            raise ValueError("A replay needs candle files: name some, or a directory of them.")
        lengths = sorted({file.interval_min for file in chosen})
        if len(lengths) != 1:
            named = " and ".join(map(str, lengths))
            raise ValueError(f"A replay needs candle files that are all of one interval; these are of {named} minutes.")
        twice = sorted({f.pair.altname for f in chosen if sum(g.pair.id == f.pair.id for g in chosen) > 1})
        if twice:
            raise ValueError(f"A replay takes one candle file for each pair, not two of {twice[0]}.")
        super().__init__([file.pair for file in chosen])
        self.base_interval_min = chosen[0].interval_min
        self._step_s = self.base_interval_min * 60
        self._spread_bps = spread_bps
        self._files = {file.pair.id: file for file in chosen}
        first = self._first = max(file.times[0] for file in chosen)
        self._end = min(file.times[-1] for file in chosen) + self._step_s
        wanted = first + warmup_candles * self._step_s if start_at is None else start_at
        self._now = wanted - wanted % self._step_s
        if not first + self._step_s <= self._now <= self._end:
            raise ValueError("The replay's start lies outside its candle files.")
        self._tapes = {file.pair.id: _Tape(file, self._step_s) for file in chosen}

    def market_time(self, now: float) -> int:  # noqa: ARG002  this market has its own clock
        return self._now

    def advance(self) -> dict[str, Candle]:
        if self._now + self._step_s > self._end:
            raise KrakenError("EGeneral:Invalid arguments:the candle files end here")
        self._now += self._step_s
        closed = ((pair.id, self._last_closed(pair)) for pair in self.pairs)
        return {pair_id: candle for pair_id, candle in closed if candle.time == self._now - self._step_s}

    def state(self) -> dict[str, Any]:
        return {**super().state(), "replay_time": self._now, "replay_interval": self.base_interval_min}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        same_files = state.get("replay_interval") == self.base_interval_min
        if same_files and self._first + self._step_s <= state["replay_time"] <= self._end:
            self._now = int(state["replay_time"])

    def _quote(self, pair: Pair, _now: float, /) -> Quote:
        return quote_around(pair, self._last_closed(pair).close, self._spread_bps)

    def _last_closed(self, pair: Pair) -> Candle:
        file = self._files[pair.id]
        return file.candle(max(0, bisect.bisect_right(file.times, self._now - self._step_s) - 1))

    def _candles(self, pair: Pair, rows: int, _now: float, /) -> list[Candle]:
        first = self._files[pair.id].times[0]
        closed = self._tapes[pair.id].between(max(first, self._now - (rows - 1) * self._step_s), self._now)
        return [*closed, flat_candle(self._now, self._last_closed(pair).close)]
