"""Candle files for backtests, and a strategy whose entries a test writes down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import numpy as np

from tests.trading.strategy.markets import plan
from trading.backtest.simulation import Run, simulate
from trading.backtest.tape import Tape, tape_of
from trading.backtest.terms import Terms
from trading.domain.money import Money, Price, Ratio
from trading.paper.candle_files import read_candles
from trading.strategy import exits
from trading.strategy.candles import Candles, IntArray
from trading.strategy.decisions import EntryDecision, ExitDecision, OpenPosition, Veto, VetoNote
from trading.strategy.plan import EntryPlan
from trading.strategy.registry import Strategy

#: 2024-07-01 00:00 UTC.
START = 1_719_792_000
STEP = 300
#: open, high, low, close, as text.
Bar = tuple[str, str, str, str]

D = Decimal
PLAN = plan(stagnation_after_s=6 * STEP, max_holding_s=12 * STEP)


def terms(*, candles: int, start: int = 0, **changes: object) -> Terms:
    values: dict[str, object] = {
        "start_s": START + start * STEP,
        "end_s": START + candles * STEP,
        "capital": Money(D(1000)),
        "entry_notional": Ratio(D("0.12")),
        "max_slippage": Ratio(D("0.005")),
    }
    return Terms(**{**values, **changes})  # type: ignore[arg-type]


def write(directory: Path, altname: str, bars: Sequence[Bar], *, volumes: Sequence[str] = (), start: int = 0) -> Path:
    path = directory / f"{altname}_{STEP // 60}.csv"
    rows = (
        f"{START + (start + i) * STEP},{','.join(bar)},{volumes[i] if volumes else '10'},3\n"
        for i, bar in enumerate(bars)
    )
    path.write_text("".join(rows))
    return path


def tape(path: Path, asked: Terms) -> Tape:
    return tape_of(read_candles(path), start_s=asked.start_s, end_s=asked.end_s)


def run(paths: Sequence[Path], *, strategy: Strategy, asked: Terms) -> Run:
    return simulate([tape(path, asked) for path in paths], strategy=strategy, terms=asked, progress=lambda *_: None)


def bars_of(candles: Candles, *, places: int) -> list[Bar]:
    """A synthetic market on the tick of a pair, as its file would have it."""
    columns = (candles.open, candles.high, candles.low, candles.close)
    return [tuple(f"{value:.{places}f}" for value in row) for row in zip(*columns, strict=True)]  # type: ignore[misc]


@dataclass(frozen=True)
class Written:
    """Enters where the test says: at the candle of that start time and close, with that score and plan."""

    entries: Mapping[tuple[int, str], tuple[Decimal, EntryPlan]]
    name: str = "written"
    version: str = "1"
    parameters_hash: str = "0" * 64
    warm_up: int = 1

    def prepare(self, candles: Candles) -> WrittenEntries:
        return WrittenEntries(self, candles)

    def evaluate_entry(self, candles: Candles, *, fees: Ratio, slippage: Ratio) -> EntryDecision:
        return self.prepare(candles).decide(len(candles) - 1, fees=fees, slippage=slippage)

    def evaluate_exit(self, position: OpenPosition, *, price: Price, market_time: int) -> ExitDecision | None:
        return exits.evaluate(position, price=price, market_time=market_time)


@dataclass(frozen=True)
class WrittenEntries:
    strategy: Written
    candles: Candles
    decided: list[int] = field(default_factory=list)

    def candidates(self, *, fees: Ratio, slippage: Ratio) -> IntArray:
        found = [i for i in range(len(self.candles)) if self._entry(i) is not None]
        return np.array(found, dtype=np.int64)

    def decide(self, index: int, *, fees: Ratio, slippage: Ratio) -> EntryDecision:
        time, entry = int(self.candles.time[index]), self._entry(index)
        if entry is None:
            return EntryDecision(time, D(0), (), (VetoNote(Veto.SCORE, "score: not written"),), None, None)
        return EntryDecision(time, entry[0], (), (), entry[1], None)

    def _entry(self, index: int) -> tuple[Decimal, EntryPlan] | None:
        return self.strategy.entries.get((int(self.candles.time[index]), f"{self.candles.close[index]:g}"))
