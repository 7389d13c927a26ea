"""Many seeds, side by side, and the table of what they met."""

from __future__ import annotations

import argparse
import gc
import logging
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache

from nija.celery import app
from tests.simulation import coverage, prepare
from tests.simulation.run import Result, Simulation
from tests.simulation.template import Template

#: Rows that tell why a run ended as it did, printed with --show.
SHOWN = (
    "SELECT id, account_id, instrument_id, kind, origin, exit_number, state, side, quantity, filled, refusal, created_at,"
    " sent_at, closed_at, signal_id FROM trading_order",
    "SELECT * FROM trading_position",
    "SELECT * FROM trading_signal",
    "SELECT * FROM trading_adjustment",
    "SELECT * FROM copytrade_closeinstruction",
    "SELECT id, signal_id, account_id, kind, status, reason, order_id, notional FROM copytrade_copyorder",
    "SELECT * FROM trading_assetbalance",
    "SELECT * FROM trading_lane",
    "SELECT * FROM trading_event",
)


@cache
def _template() -> Template:
    app.loader.import_default_modules()
    template = Template()
    # What is there now stays; only what a run leaves behind is worth looking through.
    gc.collect()
    gc.freeze()
    return template


def simulate(seed: int) -> Result:
    return Simulation(_template(), seed).run()


def show(seed: int) -> Result:
    """The same run with everything that happened, and at its end the rows."""
    simulation = Simulation(_template(), seed)
    note, began_ns = simulation.scheduler.note, simulation.scheduler.now_ns

    def aloud(text: str) -> None:
        at_s = (simulation.scheduler.now_ns - began_ns) / 1_000_000_000
        print(f"{simulation.scheduler.steps:>6} {at_s:8.3f} {text}")
        note(text)

    simulation.scheduler.note = aloud  # type: ignore[method-assign]
    simulation.at_end = lambda: _print_rows(simulation)
    return simulation.run()


def _print_rows(simulation: Simulation) -> None:
    for query in SHOWN:
        print(query.partition(" FROM ")[2])
        for row in simulation.monitor.rows(query):
            print("   " + "  ".join(f"{name}={value}" for name, value in dict(row).items() if value not in ("", None)))


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="tests.simulation", description="Seeded runs of the engine under faults.")
    named = os.environ
    parser.add_argument("--seeds", type=int, default=int(named.get("SEEDS", 300)))
    parser.add_argument("--start", type=int, default=int(named.get("SEED_START", 0)))
    parser.add_argument("--jobs", type=int, default=int(named.get("JOBS", 2)))
    parser.add_argument("--show", action="store_true", help="print every step, and the rows at the end")
    parser.add_argument("--log", action="store_true", help="show the engine's own log")
    chosen = parser.parse_args(arguments)
    if not chosen.log:
        logging.disable(logging.CRITICAL)
    started = time.monotonic()
    seeds = range(chosen.start, chosen.start + chosen.seeds)
    total = Totals()
    for result in map(show, seeds) if chosen.show else _run(seeds, jobs=chosen.jobs):
        total.add(result)
        for violation in result.violations:
            again = f"python -m tests.simulation --start {result.seed} --seeds 1 --jobs 1 --show"
            print(f"seed {result.seed}: {violation}   again: {again}", flush=True)
    return total.show(seconds=time.monotonic() - started)


def _run(seeds: Sequence[int], *, jobs: int) -> Iterable[Result]:
    if jobs == 1:
        yield from map(simulate, seeds)
        return
    silent_up_to = logging.root.manager.disable
    with multiprocessing.get_context("spawn").Pool(jobs, initializer=prepare.django, initargs=(silent_up_to,)) as pool:
        yield from pool.imap_unordered(simulate, seeds, chunksize=1)


class Totals:
    def __init__(self) -> None:
        self.runs, self.steps, self.signals, self.violations = 0, 0, 0, 0
        self.slowest_s, self.cpu_s = 0.0, 0.0
        self.met: Counter[str] = Counter()
        self.doubts: Counter[str] = Counter()
        self.others: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()

    def add(self, result: Result) -> None:
        self.runs += 1
        self.steps += result.steps
        self.signals += result.signals
        self.doubts += result.doubts
        self.violations += len(result.violations)
        self.slowest_s = max(self.slowest_s, result.settled_after_s)
        self.cpu_s += result.cpu_s
        self.met += result.met()
        self.outcomes += result.outcomes

    def show(self, *, seconds: float) -> int:
        """Prints everything; the exit code: 1 when something was violated, or never met although there was time."""
        cells = set(coverage.cells())
        print("what became of copies:")
        print("\n".join(f"{number:>8}  {name}" for name, number in sorted(self.outcomes.items())))
        print("met, without being asked for:")
        print("\n".join(f"{number:>8}  {name}" for name, number in sorted(self.met.items()) if name not in cells))
        print("fault, and where it hit:")
        print("\n".join(coverage.table(self.met)))
        missing = coverage.never_met(self.met)
        fails = bool(self.violations) or (bool(missing) and self.runs >= coverage.ENOUGH_RUNS)
        kills = sum(number for name, number in self.met.items() if " killed at " in name)
        print(
            f"{self.runs} runs, {self.steps} steps ({self.steps / self.cpu_s:.0f} a second of a core), "
            f"{self.signals} signals, {self.doubts.total()} ambiguous sends, {self.met['platform stopped']} stops, {kills} "
            f"kills, settled within {self.slowest_s:.0f} s, {len(missing)} of {len(cells)} cells never met, "
            f"{self.violations} violations, {seconds:.0f} s"
        )
        return int(fails)
