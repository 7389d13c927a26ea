"""Real Kraken candles through the paper exchange, the engine's services in lockstep: advance, cycle, settle."""

from __future__ import annotations

import gzip
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.world import World
from trading.domain import order_state
from trading.models import Order, OrderOrigin, Position
from trading.services import balances, cycles, levels, market

BESIDE_THE_CHECKOUT = Path(__file__).resolve().parents[3] / "shared" / "market-data"

CANDLE_S = 300
#: The strategy decides nothing before 100.
WARM_UP_CANDLES = 120

#: A candle is five minutes of market time and half a minute of wall time. Nothing of the engine reads the two together:
#: levels and holding times follow the candles, while half a minute lets a key's rate budget recover (10 points) and keeps
#: the knowledge of the exchange's clock (60 s) usable from one candle to the next.
CANDLE_WALL_S = 30.0
CLOCK_EVERY_CANDLES = 2
#: Between trades balances are read every 150 s, well within the 300 s for which the master may be sized from them; a
#: follower's copy asks for a fresh one itself.
BALANCES_EVERY_CANDLES = 5


def candle_files(into: Path, *, names: Sequence[str], starts_at: int, candles: int) -> tuple[Path, ...]:
    """`candles` consecutive real candles from `starts_at` (unix seconds) on and the warm-up before them, by file.

    They come from the market data beside the checkout, or from NIJA_MARKET_DATA. Without it: skipped, in CI failed.
    """
    folder = Path(os.environ.get("NIJA_MARKET_DATA") or BESIDE_THE_CHECKOUT)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing and "CI" in os.environ:
        pytest.fail(f"the market data must be there in CI, and {', '.join(missing)} is not in {folder}")
    if missing:
        pytest.skip(f"no {', '.join(missing)} in {folder}")
    return tuple(_window(folder / name, into, starts_at=starts_at, candles=candles) for name in names)


def _window(file: Path, into: Path, *, starts_at: int, candles: int) -> Path:
    """A copy of the rows that matter: OHLC then answers with fewer than 720 of them, in half the time."""
    from_, until = starts_at - WARM_UP_CANDLES * CANDLE_S, starts_at + candles * CANDLE_S
    with gzip.open(file, "rt") as lines:
        rows = {int(line.partition(",")[0]): line for line in lines}
    replayed = [time for time in rows if starts_at <= time < until]
    assert replayed == list(range(starts_at, until, CANDLE_S)), f"{file.name}: not {candles} consecutive candles"
    copy = into / file.name.removesuffix(".gz")
    copy.write_text("".join(line for time, line in rows.items() if from_ <= time < until))
    return copy


@dataclass(frozen=True, slots=True)
class TripByHand:
    """Bought at the first candle from `opens` on at which nothing of `symbol` is held; sold in parts after so many
    candles each. A part is a share of what is left then."""

    symbol: str
    opens: int
    notional: str
    parts: Sequence[tuple[int, str]]


@dataclass
class Replay:
    """One candle after the other. What a person does by hand waits until the strategy holds nothing of that pair."""

    world: World
    master_id: int
    by_hand: Sequence[TripByHand] = ()
    candles: int = 0
    _opened: dict[TripByHand, int] = field(default_factory=dict)

    def run(self, candles: int) -> None:
        for _ in range(candles):
            self.step()

    def step(self) -> None:
        """One candle closes, and the engine does all that follows from it."""
        world = self.world
        world.paper("POST", "/market/advance", candles=1)
        world.move(CANDLE_WALL_S)
        self.candles += 1
        if self.candles % CLOCK_EVERY_CANDLES == 0:
            market.measure_venue_clock(clock=world.clock, sleep=world.move)
        if self.candles % BALANCES_EVERY_CANDLES == 0:
            balances.refresh_due(clock=world.clock)
        cycle = cycles.run_due_cycle(clock=world.clock)
        assert cycle is not None, "a cycle is due at every candle"
        assert not cycle.problem, cycle.problem
        levels.watch(clock=world.clock)
        self._trade_by_hand()
        # A candle without an order leaves the workers nothing to do; whether that is so is looked up now and then.
        looked = self.candles % BALANCES_EVERY_CANDLES == 0 and world.round() > 0
        if looked or Order.objects.filter(state__in=order_state.LIVE).exists():
            world.settle()
            balances.refresh_due(clock=world.clock)

    def sell_what_is_left(self) -> None:
        """The replay ends with a flat master, so that everything can be compared."""
        for position in Position.objects.filter(account_id=self.master_id, is_open=True).select_related("instrument"):
            self.world.master_sells(position.instrument.symbol)
        self.world.settle()

    def _trade_by_hand(self) -> None:
        for trip in self.by_hand:
            if trip in self._opened:
                for after, share in trip.parts:
                    if self.candles == self._opened[trip] + after:
                        self.world.master_sells(trip.symbol, fraction=share)
            elif self.candles >= trip.opens and not self._busy(trip.symbol):
                self.world.master_buys(trip.symbol, notional=trip.notional)
                self._opened[trip] = self.candles

    def _busy(self, symbol: str) -> bool:
        mine = {"account_id": self.master_id, "instrument__symbol": symbol}
        if Position.objects.filter(**mine, is_open=True).exists():
            return True
        return Order.objects.filter(**mine, origin=OrderOrigin.STRATEGY, state="ready").exists()
