"""Starts a worker of NIJA that counts what its tasks cost: `python -m tests.benchmarks.worker -n execution@%h …`.

The product has no hooks for this: Celery's own signals say when a task runs, Django's execute wrappers see every statement.
Each process or thread of the pool appends a JSON line for every task to a file of its own in NIJA_BENCH_DIR.
"""

from __future__ import annotations

import cProfile
import functools
import importlib
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

DIRECTORY = "NIJA_BENCH_DIR"
#: Functions whose time is told, with all they call; one that the product no longer has is left out.
SEAMS = (
    "copytrade.services.fan_out:_fan_out",
    "copytrade.services.entries:_freshen",
    "copytrade.services.entries:_claim",
    "copytrade.services.entries:_followers",
    "copytrade.services.entries:_save",
    "copytrade.services.exits:_plan_batch",
    "trading.services.sending:_claim_ready",
    "trading.services.sending:transmit",
    "trading.services.sending:_keep",
    "trading.services.lanes:claim",
    "trading.services.lanes:release",
    "trading.services.private:client",
    "trading.services.private:call_each",
    "trading.services.booking:book",
    "trading.services.asking:ask",
    "trading.services.booking:_book",
    "trading.doorbell:_send",
    "trading.doorbell:_publish",
)
#: Seconds that an entry may be copied for; unset: the product's own.
TIME_TO_LIVE = "NIJA_BENCH_TIME_TO_LIVE_S"
#: Set: CPU by function of the tasks that copy or come again and again, for a look and not for figures, since it doubles what they take.
PROFILE = "NIJA_BENCH_PROFILE"
PROFILED = frozenset(
    {
        *("claim_signals", "execute_entries", "send_entries", "book_answered", "book_orders"),
        *("plan_exits", "send_exits", "refresh_balances"),
        *("watch", "record_equity", "watch_outside_trades", "resolve_unknown", "sweep_entries"),
    }
)


@dataclass(slots=True)
class Running:
    """The task that this thread is doing, one at a time. `cpu_s` is the process's: tasks side by side in threads all count it."""

    began_at: float
    wall_s: float
    cpu_s: float
    statements: Counter[str] = field(default_factory=Counter)
    database_s: float = 0.0
    #: By function: calls, wall seconds, CPU seconds of this thread, statements.
    seams: dict[str, list[float]] = field(default_factory=dict)


class Ledger(threading.local):
    """What the tasks of this thread cost; each thread of a worker has a ledger of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running: Running | None = None
        self._file: IO[str] | None = None
        self._pid = 0
        # By CPU of the thread, so that waiting and other work on the machine do not count.
        self._profile = cProfile.Profile(time.thread_time) if os.environ.get(PROFILE) else None

    def begin(self, task: Any = None, **_: Any) -> None:
        if self._profile is not None and task.name.rpartition(".")[2] in PROFILED:
            self._profile.enable()
        self._running = Running(time.time(), time.perf_counter(), time.process_time())

    def end(self, task: Any = None, args: Sequence[Any] = (), **_: Any) -> None:
        running, self._running = self._running, None
        if running is None:
            return
        if self._profile is not None and task.name.rpartition(".")[2] in PROFILED:
            self._profile.disable()
            written = self._directory / f"{_name()}.unfinished"
            self._profile.dump_stats(written)
            written.rename(written.with_suffix(".pstats"))
        row = {
            "task": task.name.removeprefix("trading.tasks.").removeprefix("copytrade.tasks."),
            "ids": len(args[0]) if args and isinstance(args[0], list) else 0,
            "began_at": running.began_at,
            "wall_s": time.perf_counter() - running.wall_s,
            "cpu_s": time.process_time() - running.cpu_s,
            "database_s": running.database_s,
            "statements": dict(running.statements),
            "seams": running.seams,
        }
        if self._file is None or self._pid != os.getpid():
            self._pid = os.getpid()
            self._file = (self._directory / f"{_name()}.jsonl").open("a", buffering=1)
        self._file.write(json.dumps(row) + "\n")

    def watch(self, connection: Any, **_: Any) -> None:
        """Receiver of Django's connection_created."""
        if self._statement not in connection.execute_wrappers:
            connection.execute_wrappers.append(self._statement)

    def time(self, seam: str) -> None:
        """Wraps the function that `seam` names, if there is one."""
        module, _, name = seam.partition(":")
        try:
            owner = importlib.import_module(module)
            original: Callable[..., Any] = getattr(owner, name)
        except (ImportError, AttributeError):
            return

        @functools.wraps(original)
        def timed(*args: Any, **kwargs: Any) -> Any:
            running = self._running
            # A thread that sends does no task and has no part in a task's own time.
            if running is None:
                return original(*args, **kwargs)
            began, cpu, before = time.perf_counter(), time.thread_time(), running.statements.total()
            try:
                return original(*args, **kwargs)
            finally:
                cost = running.seams.setdefault(seam, [0, 0.0, 0.0, 0])
                cost[0] += 1
                cost[1] += time.perf_counter() - began
                cost[2] += time.thread_time() - cpu
                cost[3] += running.statements.total() - before

        setattr(owner, name, timed)

    def _statement(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
        running, began = self._running, time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            if running is not None:
                running.database_s += time.perf_counter() - began
                running.statements[_kind(str(sql))] += 1


def _name() -> str:
    return f"{os.getpid()}-{threading.get_native_id()}"


def _kind(sql: str) -> str:
    """`SELECT trading_order`: what it does to its first table."""
    verb, _, _ = sql.partition(" ")
    for mark in (' FROM "', ' INTO "', 'UPDATE "'):
        at = sql.find(mark)
        if at >= 0:
            start = at + len(mark)
            locks = " FOR UPDATE" if verb == "SELECT" and " FOR UPDATE" in sql[-60:] else ""
            return f"{verb} {sql[start : sql.find(chr(34), start)]}{locks}"
    return verb


def main(arguments: list[str]) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nija.settings")
    import django

    django.setup()
    from celery import signals
    from django.db.backends.signals import connection_created

    from copytrade.services import fan_out
    from trading.kraken import limits
    from trading.services import lanes

    # Round trips follow one another faster than a starter key's budget allows; no call gets cheaper by it.
    lanes.TIER = limits.Tier.PRO
    if os.environ.get(TIME_TO_LIVE):
        fan_out.TIME_TO_LIVE = timedelta(seconds=float(os.environ[TIME_TO_LIVE]))
    ledger = Ledger(Path(os.environ[DIRECTORY]))
    for seam in SEAMS:
        ledger.time(seam)
    signals.task_prerun.connect(ledger.begin, weak=False)
    signals.task_postrun.connect(ledger.end, weak=False)
    connection_created.connect(ledger.watch, weak=False)
    from nija import worker

    worker.main(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
