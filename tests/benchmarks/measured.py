"""The trips of one size: what is measured, one after the other, on one stage."""

from __future__ import annotations

import io
import pstats
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from django.core.management import CommandError, call_command

from tests.benchmarks import stage as stages
from tests.benchmarks import trips
from tests.benchmarks.processes import Usage
from tests.benchmarks.stage import NotReady, Stage
from tests.benchmarks.trips import Trip, Unfinished
from tests.support.postgres import Cluster

#: Up to so many followers the product's own time to live holds; for more, so many seconds for each thousand.
OWN_TIME_TO_LIVE_MAX = 1_000
TIME_TO_LIVE_S_PER_1000 = 30
A, B = "BEAM-USD", "ADA-USD"
#: Trips by name: the first entry finds processes that have opened no follower's key yet.
FIRST_ENTRY, ENTRY, EXIT, EXIT_AMONG_ENTRIES = "first entry", "entry", "exit", "exit among entries"
#: What is younger is left out of a check of the books.
CHECKED_AFTER_S = 31.0
CHECK_TIMEOUT_S = 180.0
#: Between two trips bookings come to rest and the keys' rate budgets recover.
PAUSE_S = 4.0


@dataclass(slots=True)
class TaskCost:
    """One kind of task over one trip; `statements` has one figure for each run."""

    runs: int = 0
    ids: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    database_s: float = 0.0
    statements: list[int] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    #: By function: calls, wall seconds, CPU seconds, statements.
    seams: dict[str, list[float]] = field(default_factory=dict)


@dataclass(slots=True)
class Measured:
    size: int
    trips: list[Trip] = field(default_factory=list)
    entry_batches: list[int] = field(default_factory=list)
    usages: dict[str, Usage] = field(default_factory=dict)
    exchange: dict[str, Any] = field(default_factory=dict)
    late: int = 0
    #: CPU by function in the workers' own threads, when it was asked for.
    profiles: pstats.Stats | None = None
    problems: list[str] = field(default_factory=list)

    def trip(self, name: str) -> Trip | None:
        return next((trip for trip in self.trips if trip.name == name), None)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`whole` adds a second round trip, an exit among entries, and a check of the books to an entry and its exit.

    A trip is waited for `trip_s`, and for nothing after `ends_at` (monotonic); `tell` is called with each as soon as it is over.
    """

    size: int
    whole: bool
    trip_s: float
    ends_at: float
    latency_ms: float
    tell: Callable[[Trip, dict[str, TaskCost]], None]

    @property
    def wait_s(self) -> float:
        return max(0.0, min(self.trip_s, self.ends_at - time.monotonic()))


def measure(plan: Plan, *, servers: tuple[Cluster, redis.Redis], scratch: Path) -> Measured:
    measured, size = Measured(plan.size), plan.size
    cluster, broker = servers
    life = time_to_live_s(size)
    try:
        with stages.built(
            size, cluster=cluster, broker=broker, scratch=scratch, latency_ms=plan.latency_ms, time_to_live_s=life
        ) as stage:
            try:
                _trade(stage, measured, plan)
            except Unfinished as error:
                measured.problems.append(str(error))
            measured.usages, measured.exchange = stage.usages(), stage.exchange.ask("stats")
            measured.profiles = stage.profiles()
            measured.problems += trips.wrong(stage, measured.trips)
            measured.late = trips.told_late()
            if plan.whole and not measured.problems and not _books_are_right():
                measured.problems.append("check_books found something wrong")
    except NotReady as error:
        measured.problems.append(str(error))
    return measured


def time_to_live_s(size: int) -> float | None:
    """Seconds that an entry may be copied for; None: the product's own."""
    return None if size <= OWN_TIME_TO_LIVE_MAX else TIME_TO_LIVE_S_PER_1000 * size / 1000


def _trade(stage: Stage, measured: Measured, plan: Plan) -> None:
    def note(*done: Trip) -> None:
        _note(stage, measured, done, plan)

    note(_entry(stage, FIRST_ENTRY, A, plan.wait_s))
    note(_exit(stage, EXIT, A, plan.wait_s))
    if not plan.whole or not all(trip.finished for trip in measured.trips):
        return
    note(_entry(stage, ENTRY, A, plan.wait_s))
    note(*_exit_among_entries(stage, plan.wait_s))
    note(_exit(stage, "exit again", B, plan.wait_s))


def _entry(stage: Stage, name: str, symbol: str, wait_s: float) -> Trip:
    time.sleep(PAUSE_S)
    stage.freshen_balances()
    return trips.run(stage, name, symbol, "buy", wait_s=wait_s)


def _exit(stage: Stage, name: str, symbol: str, wait_s: float) -> Trip:
    time.sleep(PAUSE_S)
    return trips.run(stage, name, symbol, "sell", wait_s=wait_s)


def _exit_among_entries(stage: Stage, wait_s: float) -> list[Trip]:
    """The master buys one pair, and sells another while the copies of that purchase are on their way."""
    time.sleep(PAUSE_S)
    stage.freshen_balances()
    before, began_at = stage.usages(with_memory=False), time.time()
    bought = trips.place(B, "buy")
    entry = trips.signalled(bought, "entry beside an exit", wait_s=wait_s)
    leaving = trips.signalled(trips.place(A, "sell"), EXIT_AMONG_ENTRIES, wait_s=wait_s)
    for trip in (leaving, entry):
        trip.before, trip.began_at = before, began_at
        trips.finish(stage, trip, wait_s=wait_s)
        trip.after = stage.usages()
    return [entry, leaving]


def _note(stage: Stage, measured: Measured, done: Sequence[Trip], plan: Plan) -> None:
    measured.trips += done
    for trip in done:
        rows = stage.tasks(since=trip.began_at, until=trip.ended_at)
        for row in rows:
            if row["task"] == "execute_entries" and "INSERT trading_order" in row["statements"]:
                measured.entry_batches.append(sum(row["statements"].values()))
        plan.tell(trip, costs_of(rows))


def costs_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, TaskCost]:
    """What the rows of the workers' ledgers come to, by task."""
    costs: dict[str, TaskCost] = defaultdict(TaskCost)
    for row in rows:
        cost = costs[row["task"]]
        cost.runs += 1
        cost.ids += row["ids"]
        for name in ("wall_s", "cpu_s", "database_s"):
            setattr(cost, name, getattr(cost, name) + row[name])
        cost.statements.append(sum(row["statements"].values()))
        cost.kinds.update(row["statements"])
        for seam, figures in row["seams"].items():
            known = cost.seams.get(seam, [0.0] * len(figures))
            cost.seams[seam] = [before + more for before, more in zip(known, figures, strict=True)]
    return costs


def _books_are_right() -> bool:
    time.sleep(CHECKED_AFTER_S)
    told = io.StringIO()
    try:
        call_command("check_books", timeout=CHECK_TIMEOUT_S, stdout=told)
    except SystemExit as ended:
        if ended.code:
            print(told.getvalue())
        return not ended.code
    except CommandError as error:
        print(error)
        return False
    return True
