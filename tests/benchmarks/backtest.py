"""`make bench-backtest`: five pairs of 35,000 five-minute candles, loading left out, on one core.

Prints CPU seconds for each pair alone and for all five with one account, what TA-Lib's indicators alone take on the same
arrays (the least that any backtest of `apex` needs), and the peak memory. Exits 1 when a target is missed. CPU time of
this process is what counts, so that other work on the machine says little; wall time stands beside it.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import talib

from trading.backtest.simulation import Run, simulate
from trading.backtest.statistics import statistics_of
from trading.backtest.tape import Tape, tape_of
from trading.backtest.terms import Terms
from trading.domain.money import Money, Ratio, parse_decimal
from trading.paper.candle_files import CandleFile, read_candles
from trading.strategy import registry
from trading.strategy.apex import DEFAULTS

BESIDE_THE_CHECKOUT = Path(__file__).resolve().parents[3] / "shared" / "market-data"
FILES = ("XDGUSD_5.csv.gz", "ETHUSD_5.csv.gz", "PEPEUSD_5.csv.gz", "SOLUSD_5.csv.gz", "XRPUSD_5.csv.gz")
CANDLES = 35_000
STEP_S = 300
SECONDS_PER_PAIR_MAX = 0.2
MEGABYTES_MAX = 300
ROUNDS = 5

Result = TypeVar("Result")


def main() -> int:
    tapes = [_load(_folder() / name) for name in FILES]
    terms = _terms(tapes)
    print(
        f"{len(tapes)} pairs x {min(map(len, tapes))} candles or more; the best of {ROUNDS} rounds, CPU seconds (wall seconds)"
    )
    print(f"{'':10}{'backtest':>18}{'TA-Lib alone':>18}{'ratio':>8}{'trades':>8}")
    for tape in tapes:
        ours, run = _timed(partial(_backtest, [tape], terms))
        limit, _ = _timed(partial(_talib_alone, tape))
        _line(tape.symbol, ours, limit, len(run.trades))
    ours, run = _timed(lambda: _backtest(tapes, terms))
    limit, _ = _timed(lambda: [_talib_alone(tape) for tape in tapes])
    _line("all five", ours, limit, len(run.trades))
    per_pair = ours[0] / len(tapes)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"per pair {per_pair:.3f} s, at most {SECONDS_PER_PAIR_MAX} s wanted")
    print(f"peak memory {peak_mb:.0f} MB, loading included, less than {MEGABYTES_MAX} MB wanted")
    missed = per_pair > SECONDS_PER_PAIR_MAX or peak_mb >= MEGABYTES_MAX
    print("target missed" if missed else "targets met")
    return 1 if missed else 0


def _backtest(tapes: Sequence[Tape], terms: Terms) -> Run:
    """All that follows loading: indicators, decisions, trades, statistics."""
    run = simulate(tapes, strategy=registry.get("apex"), terms=terms, progress=lambda *_: None)
    statistics_of(run)
    return run


def _timed(work: Callable[[], Result]) -> tuple[tuple[float, float], Result]:
    """CPU and wall seconds of the fastest of several rounds."""
    best = (float("inf"), float("inf"))
    for _ in range(ROUNDS):
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        best = min(best, (time.process_time() - cpu, time.perf_counter() - wall))
    return best, result


def _talib_alone(tape: Tape) -> None:
    """The library calls that `apex` makes, with nothing of ours around them."""
    p, candles = DEFAULTS, tape.candles
    high, low, close = candles.high, candles.low, candles.close
    for period in (p.ema_fast, p.ema_mid, p.ema_slow):
        talib.EMA(close, period)
    for period in (p.rsi_fast, p.rsi_slow):
        talib.RSI(close, period)
    for directional in (talib.ADX, talib.PLUS_DI, talib.MINUS_DI):
        directional(high, low, close, p.adx_period)
    talib.MACD(close, p.macd_fast, p.macd_slow, p.macd_signal)
    talib.ATR(high, low, close, p.atr_period)
    talib.SMA(candles.volume, p.volume_period)
    talib.MIN(low, p.structure_period // 2)
    talib.MAX(high, p.structure_period)


def _line(name: str, ours: tuple[float, float], limit: tuple[float, float], trades: int) -> None:
    spent, least = (f"{cpu:.3f} ({wall:.3f})" for cpu, wall in (ours, limit))
    print(f"{name:10}{spent:>18}{least:>18}{ours[0] / limit[0]:>8.1f}{trades:>8}")


def _terms(tapes: Sequence[Tape]) -> Terms:
    return Terms(
        start_s=min(tape.start for tape in tapes),
        end_s=max(tape.closes_at(tape.last) for tape in tapes),
        capital=Money(parse_decimal("1000")),
        entry_notional=Ratio.from_percent("12"),
        max_slippage=Ratio.from_percent("0.5"),
    )


def _load(path: Path) -> Tape:
    """The file's first candles; one that holds fewer is told again from its start, as often as it takes."""
    file = read_candles(path)
    table = file.table[:CANDLES]
    if len(table) < CANDLES:
        span_s = int(table[-1, 0] - table[0, 0]) + STEP_S
        repeats = -(-CANDLES // len(table))
        table = np.concatenate([table + np.array([turn * span_s, 0, 0, 0, 0, 0, 0]) for turn in range(repeats)])[
            :CANDLES
        ]
    start, end = int(table[0, 0]), int(table[-1, 0]) + STEP_S
    # The lines are only asked for prices off the tick, which these files have none of.
    return tape_of(CandleFile(file.pair, file.interval_min, lines=(), table=table), start_s=start, end_s=end)


def _folder() -> Path:
    folder = Path(os.environ.get("NIJA_MARKET_DATA") or BESIDE_THE_CHECKOUT)
    if not folder.is_dir():
        print(
            f"bench-backtest: no candle files in {folder}; name their directory in NIJA_MARKET_DATA.", file=sys.stderr
        )
        raise SystemExit(2)
    return folder


if __name__ == "__main__":
    sys.exit(main())
