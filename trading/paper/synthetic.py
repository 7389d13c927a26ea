"""The demo's market: seeded, lively, and a pure function of (seed, start), so that prices go on after a restart.

Every pair walks through one cycle over and over: a long climb with pullbacks, a quickening, a burst, a plateau, a
fall back to where it began. Ripples and noise lie on top. Nothing is integrated step by step, so any second of past or
future is computed on its own. The first pairs are just before their burst when the exchange starts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trading.paper.market import Candle, Market, Quote, quote_around
from trading.paper.pairs import PAIRS, Pair, text

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_HISTORY_ROWS_MAX = 1440
_CACHED_ROWS_MAX = 4 * _HISTORY_ROWS_MAX


@dataclass(frozen=True, slots=True)
class Shape:
    """How one pair moves; amounts are natural logarithms of the price, times are seconds.

    `burst_in_s` is when the first burst begins, counted from the exchange's first start. `daily_quote` is what a day
    trades, in quote.
    """

    burst_in_s: float
    climb: float = 0.115
    burst: float = 0.13
    cycle_s: float = 120 * 60
    quicken: float = 0.005
    quicken_s: float = 230.0
    burst_s: float = 100.0
    plateau_s: float = 45.0
    ripple: float = 0.0026
    swing: float = 0.002
    pullback: float = 0.007
    daily_quote: float = 900_000.0


SHAPES: Mapping[str, Shape] = {
    "BEAMUSD": Shape(52.0),
    "XXRPZUSD": Shape(76.0, daily_quote=40_000_000.0),
    "SOLUSD": Shape(150.0, cycle_s=60 * 60.0, daily_quote=60_000_000.0),
    "XDGUSD": Shape(22 * 60.0, cycle_s=60 * 60.0, daily_quote=20_000_000.0),
    "XETHZUSD": Shape(40 * 60.0, burst=0.07, daily_quote=120_000_000.0),
    "XXBTZUSD": Shape(60 * 60.0, burst=0.06, daily_quote=300_000_000.0),
}


class SyntheticMarket(Market):
    """Six USD pairs. `started_at` is the unix second of the very first start; a restored state overrides it."""

    moves_by_itself = True
    kind = "demo"

    def __init__(self, *, seed: int, started_at: int, spread_bps: Decimal) -> None:
        super().__init__(PAIRS[pair_id] for pair_id in SHAPES)
        self._spread_bps = spread_bps
        self._seed = seed
        self._started_at = started_at
        self._closed: dict[str, dict[int, Candle]] = {pair.id: {} for pair in self.pairs}
        self._last: dict[str, tuple[int, Quote]] = {}

    def begin(self, at: int, /) -> None:
        """The first bursts come `burst_in_s` after `at`; the past changes with them."""
        self._started_at = at
        for closed in self._closed.values():
            closed.clear()
        self._last.clear()
        self._days.clear()

    def state(self) -> dict[str, Any]:
        return {**super().state(), "demo_seed": self._seed, "demo_started_at": self._started_at}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        if "demo_started_at" in state:
            self._seed, self._started_at = int(state["demo_seed"]), int(state["demo_started_at"])

    def _quote(self, pair: Pair, now: float, /) -> Quote:
        second = int(now)
        known = self._last.get(pair.id)
        if known is None or known[0] != second:
            price = self._prices(pair, np.array([second], dtype=np.int64))[0]
            known = (second, quote_around(pair, Decimal(repr(float(price))), self._spread_bps))
            self._last[pair.id] = known
        return known[1]

    def _candles(self, pair: Pair, rows: int, now: float, /) -> list[Candle]:
        forming = int(now) - int(now) % 60
        rows = min(rows, _HISTORY_ROWS_MAX)
        closed = self._closed[pair.id]
        wanted = range(forming - 60 * (rows - 1), forming, 60)
        missing = [minute for minute in wanted if minute not in closed]
        if missing:
            if len(closed) > _CACHED_ROWS_MAX:
                closed.clear()
                missing = list(wanted)
            closed.update((candle.time, candle) for candle in self._computed(pair, missing))
        return [*(closed[minute] for minute in wanted), self._forming(pair, forming, int(now))]

    def _computed(self, pair: Pair, minutes: list[int]) -> list[Candle]:
        """Whole minutes, second by second."""
        seconds = np.array(minutes, dtype=np.int64)[:, None] + np.arange(60)
        prices = self._prices(pair, seconds.ravel()).reshape(seconds.shape)
        volumes = self._volumes(pair, seconds.ravel()).reshape(seconds.shape)
        return [_candle(pair, minute, prices[row], volumes[row]) for row, minute in enumerate(minutes)]

    def _forming(self, pair: Pair, minute: int, second: int) -> Candle:
        seconds = np.arange(minute, second + 1, dtype=np.int64)
        return _candle(pair, minute, self._prices(pair, seconds), self._volumes(pair, seconds))

    def _prices(self, pair: Pair, seconds: Ints) -> Floats:
        shape, salt = SHAPES[pair.id], self._salt(pair)
        since_start = (seconds - self._started_at).astype(np.float64)
        to_burst = since_start - shape.burst_in_s
        path = _cycle(shape, to_burst)
        # Twelve waves a cycle, the last one rising for five minutes into the burst.
        path += shape.pullback * np.cos(2 * np.pi * 12 * (to_burst + 40.0) / shape.cycle_s)
        path += shape.ripple * np.sin(2 * np.pi * since_start / 23.0 + salt % 7)
        path += shape.ripple * 0.6 * _noise(since_start / 9.0, salt)
        path += shape.swing * _noise(since_start / 260.0, salt + 1)
        return np.asarray(float(pair.typical_price) * np.exp(path), dtype=np.float64)

    def _volumes(self, pair: Pair, seconds: Ints) -> Floats:
        """Base units traded in each second: more when the price is quick."""
        shape, salt = SHAPES[pair.id], self._salt(pair)
        since_start = (seconds - self._started_at).astype(np.float64)
        to_burst = since_start - shape.burst_in_s
        speed = np.abs(_cycle(shape, to_burst + 15.0) - _cycle(shape, to_burst - 15.0))
        mood = 1.0 + 0.12 * _noise(since_start / 120.0, salt + 2) + 0.2 * _noise(since_start / 4.0, salt + 3)
        per_second = shape.daily_quote / 86_400 / float(pair.typical_price)
        return np.asarray(per_second * mood * (1.0 + 600.0 * speed), dtype=np.float64)

    def _salt(self, pair: Pair) -> int:
        digest = hashlib.sha256(f"{self._seed}:{pair.id}".encode()).digest()
        return int.from_bytes(digest[:6], "big")


def _cycle(shape: Shape, since_burst: Floats) -> Floats:
    """Log price over the cycle, 0 at its lowest; the burst begins at `since_burst` 0 and every cycle after it."""
    climb_s = shape.cycle_s * 0.72
    top = shape.climb + shape.burst
    knots = (
        (0.0, shape.climb),
        (shape.burst_s, top),
        (shape.burst_s + shape.plateau_s, top + 0.004),
        (shape.burst_s + shape.plateau_s + 70.0, top - 0.05),
        (shape.cycle_s - climb_s, 0.0),
        (shape.cycle_s - shape.quicken_s, shape.climb - shape.quicken),
        (shape.cycle_s, shape.climb),
    )
    times, levels = zip(*knots, strict=True)
    return np.asarray(np.interp(np.mod(since_burst, shape.cycle_s), times, levels), dtype=np.float64)


def _noise(at: Floats, salt: int) -> Floats:
    """Smooth value noise in -1 to 1 with one independent value at every whole number."""
    whole = np.floor(at)
    ease = (1 - np.cos(np.pi * (at - whole))) / 2
    left = _hashed(whole.astype(np.int64), salt)
    right = _hashed(whole.astype(np.int64) + 1, salt)
    return left * (1 - ease) + right * ease


def _hashed(lattice: Ints, salt: int) -> Floats:
    """SplitMix64 of each number, as -1 to 1: the same on every machine."""
    with np.errstate(over="ignore"):
        mixed = lattice.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(salt)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return (mixed >> np.uint64(11)).astype(np.float64) / float(2**52) - 1.0


def _candle(pair: Pair, minute: int, prices: Floats, volumes: Floats) -> Candle:
    volume = float(volumes.sum())
    numbers = (prices[0], prices.max(), prices.min(), prices[-1], float((prices * volumes).sum()) / volume)
    open_, high, low, close, vwap = (pair.nearest_tick(Decimal(repr(float(number)))) for number in numbers)
    size = Decimal(text(Decimal(repr(volume)), pair.lot_decimals))
    return Candle(minute, open_, high, low, close, vwap, size, 1 + int(volume * float(pair.typical_price) / 60))
