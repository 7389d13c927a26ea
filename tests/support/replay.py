"""Real Kraken candles through the paper exchange, the engine's services in lockstep: advance, cycle, settle."""

from __future__ import annotations

import gzip
import os
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support.world import Trader, World
from trading.domain import order_state
from trading.models import Account, Order, OrderOrigin, Position
from trading.services import balances, cycles, levels, market, outside

BESIDE_THE_CHECKOUT = Path(__file__).resolve().parents[3] / "shared" / "market-data"

#: The strategy decides nothing before 100.
WARM_UP_CANDLES = 120
#: Kraken's files leave out candles without a trade, which the exchange shows flat.
ABSENT_MAX = 0.03

#: A candle is minutes of market time and seconds of wall time. Nothing of the engine reads the two together: levels and
#: holding times follow the candles. Ten seconds are the longest pause between two cycles of a master above $100.
CANDLE_WALL_S = 10.0
#: After a trade a key's rate budget recovers for so long (10 points).
TRADE_WALL_S = 30.0
#: What is known of the exchange's clock is good for 60 s.
CLOCK_AFTER_S = 45.0
#: Where an order may be known and copied twenty seconds late.
CLOCK_AFTER_WITH_FAULTS_S = 30.0
#: The master may be sized from a balance up to 300 s old, which the look at what he traded outside NIJA reads; a
#: follower's copy asks for a fresh one itself.
BALANCE_AFTER_S = 200.0
#: A candle without an order leaves the workers nothing to do; whether that is so is looked up now and then.
LOOK_EVERY_CANDLES = 50
#: The exchange remembers 20,000 requests, a candle makes about a dozen.
LOG_EVERY_CANDLES = 500
LOOKS_MAX, LOOK_AGAIN_S = 100, 0.1
#: With faults a sale may fail.
SALES_MAX = 10


def candle_files(
    into: Path, *, names: Sequence[str], starts_at: int, candles: int, interval_s: int = 300
) -> tuple[Path, ...]:
    """`candles` consecutive real candles from `starts_at` (unix seconds) on and the warm-up before them, by file.

    They come from the market data beside the checkout, or from NIJA_MARKET_DATA. Without it: skipped, in CI failed.
    """
    files = market_data(names)
    until = starts_at + candles * interval_s
    return tuple(
        _window(file, into, from_=starts_at - WARM_UP_CANDLES * interval_s, until=until, interval_s=interval_s)
        for file in files
    )


def market_data(names: Sequence[str]) -> tuple[Path, ...]:
    folder = Path(os.environ.get("NIJA_MARKET_DATA") or BESIDE_THE_CHECKOUT)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing and "CI" in os.environ:
        pytest.fail(f"the market data must be there in CI, and {', '.join(missing)} is not in {folder}")
    if missing:
        pytest.skip(f"no {', '.join(missing)} in {folder}")
    return tuple(folder / name for name in names)


def _window(file: Path, into: Path, *, from_: int, until: int, interval_s: int) -> Path:
    """A copy of the rows that matter, so that no test waits for a whole file to be read."""
    with gzip.open(file, "rt") as lines:
        rows = {int(line.partition(",")[0]): line for line in lines}
    wanted = range(from_, until, interval_s)
    found = [rows[time] for time in wanted if time in rows]
    # The first and the last row say where a replay of this file may begin and must end.
    assert wanted[0] in rows, f"{file.name}: no candle at {wanted[0]}"
    assert wanted[-1] in rows, f"{file.name}: no candle at {wanted[-1]}"
    assert len(found) >= (1 - ABSENT_MAX) * len(wanted), f"{file.name}: {len(found)} of {len(wanted)} candles"
    copy = into / file.name.removesuffix(".gz")
    copy.write_text("".join(found))
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
class CallLog:
    """Every request as the exchange received it, read in portions: nonces rise key by key, no order is asked for twice.

    None was refused, unless faults are played; then `results` counts what every request came to.
    """

    world: World
    spoilt: bool = False
    calls: int = 0
    private: int = 0
    keys: set[str] = field(default_factory=set)
    results: Counter[str] = field(default_factory=Counter)
    orders: set[str] = field(default_factory=set)
    _last_row: Any = None
    _nonces: dict[str, int] = field(default_factory=dict)

    def read(self) -> None:
        log = self._rows()
        known = next((n for n in range(len(log) - 1, -1, -1) if log[n] == self._last_row), None)
        assert known is not None or self._last_row is None, "the exchange forgot requests that were not read"
        fresh = log[0 if known is None else known + 1 :]
        by_key: dict[str, list[int]] = defaultdict(list)
        for row in fresh:
            assert self.spoilt or row["result"] == "ok", row
            self.results[row["result"]] += 1
            if row["endpoint"] == "AddOrder":
                assert row["cl_ord_id"] not in self.orders, f"asked for twice: {row}"
                self.orders.add(row["cl_ord_id"])
            if row["api_key"]:
                by_key[row["api_key"]].append(int(row["nonce"]))
        for key, nonces in by_key.items():
            assert all(earlier < later for earlier, later in pairwise([self._nonces.get(key, 0), *nonces])), key
            self._nonces[key] = nonces[-1]
        self.calls += len(fresh)
        self.private += sum(len(nonces) for nonces in by_key.values())
        self.keys |= set(by_key)
        self._last_row = log[-1]

    def _rows(self) -> list[Any]:
        """All that the exchange remembers, once it is done with every request: one that it holds back has no result yet."""
        for _ in range(LOOKS_MAX):
            rows: list[Any] = self.world.paper("GET", "/log?limit=20000")["log"]
            if all(row["result"] for row in rows):
                return rows
            time.sleep(LOOK_AGAIN_S)
        raise AssertionError("the exchange does not end a request")


@dataclass
class Replay:
    """One candle after the other. What a person does by hand waits until the strategy holds nothing of that pair.

    `spoilt`: the exchange plays faults meanwhile (`tests.support.spoiling`).
    """

    world: World
    master: Trader
    by_hand: Sequence[TripByHand] = ()
    spoilt: bool = False
    candles: int = 0
    settled: int = 0
    log: CallLog = field(init=False)
    _opened: dict[TripByHand, int] = field(default_factory=dict)
    _clock_read_at: datetime | None = None
    _balance_read_at: datetime | None = None

    def __post_init__(self) -> None:
        self.log = CallLog(self.world, spoilt=self.spoilt)

    def run(self, candles: int) -> None:
        for _ in range(candles):
            self.step()

    def step(self) -> None:
        """One candle closes, and the engine does all that follows from it."""
        world = self.world
        world.close_candle(after_s=CANDLE_WALL_S)
        self.candles += 1
        self._keep_fresh()
        cycle = cycles.run_due_cycle(clock=world.clock)
        assert cycle is not None, "a cycle is due at every candle"
        assert not cycle.problem, cycle.problem
        levels.watch(clock=world.clock)
        self._trade_by_hand()
        looked = self.candles % LOOK_EVERY_CANDLES == 0 and world.round() > 0
        if looked or Order.objects.filter(state__in=order_state.LIVE).exists():
            self._settle()
        if self.candles % LOG_EVERY_CANDLES == 0:
            self.log.read()

    def sell_what_is_left(self) -> None:
        """The replay ends with a flat master, so that everything can be compared."""
        held = Position.objects.filter(account=self.master.account, is_open=True).select_related("instrument")
        for _ in range(SALES_MAX if self.spoilt else 1):
            for position in held.all():
                self.world.master_sells(position.instrument.symbol)
            self._settle()
            if not held.exists():
                return
        raise AssertionError(f"the master still holds {list(held)}")

    def _settle(self) -> None:
        self.world.settle_wholly()
        balances.refresh_due(clock=self.world.clock)
        self._balance_read_at = self.world.clock.now()
        self.world.move(TRADE_WALL_S)
        self.settled += 1

    def _keep_fresh(self) -> None:
        """What the timetable's tasks do beside the cycles, as often as a decision needs it."""
        world = self.world
        if self._older(self._clock_read_at, CLOCK_AFTER_WITH_FAULTS_S if self.spoilt else CLOCK_AFTER_S):
            market.measure_venue_clock(clock=world.clock, sleep=world.move)
            self._clock_read_at = world.clock.now()
        if self._older(self._balance_read_at, BALANCE_AFTER_S):
            outside.look(clock=world.clock)
            self._balance_read_at = Account.objects.get(pk=self.master.account.pk).balances_as_of

    def _older(self, at: datetime | None, age_s: float) -> bool:
        return at is None or (self.world.clock.now() - at).total_seconds() > age_s

    def _trade_by_hand(self) -> None:
        for trip in self.by_hand:
            if trip in self._opened:
                for after, share in trip.parts:
                    # With faults he may have got nothing, or the part before was not sold and this one sold it all.
                    if self.candles == self._opened[trip] + after and (not self.spoilt or self._busy(trip.symbol)):
                        self.world.master_sells(trip.symbol, fraction=share)
            elif self.candles >= trip.opens and not self._busy(trip.symbol):
                self.world.master_buys(trip.symbol, notional=trip.notional)
                self._opened[trip] = self.candles

    def _busy(self, symbol: str) -> bool:
        mine = {"account": self.master.account, "instrument__symbol": symbol}
        if Position.objects.filter(**mine, is_open=True).exists():
            return True
        return Order.objects.filter(**mine, origin=OrderOrigin.STRATEGY, state="ready").exists()
