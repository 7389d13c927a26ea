"""Starts a worker of NIJA that counts what its tasks cost: `python -m tests.benchmarks.worker worker -n execution@%h …`.

The product has no hooks for this: Celery's own signals say when a task runs, Django's execute wrappers see every statement.
Each process of the pool appends a JSON line for every task to a file of its own in NIJA_BENCH_DIR.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

DIRECTORY = "NIJA_BENCH_DIR"
#: Seconds that an entry may be copied for; unset: the product's own.
TIME_TO_LIVE = "NIJA_BENCH_TIME_TO_LIVE_S"


@dataclass(slots=True)
class Running:
    """The task that this process of the pool is doing; a pool process does one at a time."""

    began_at: float
    wall_s: float
    cpu_s: float
    statements: Counter[str] = field(default_factory=Counter)
    database_s: float = 0.0


class Ledger:
    """What the tasks of this process cost."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running: Running | None = None
        self._file: IO[str] | None = None
        self._pid = 0

    def begin(self, **_: Any) -> None:
        self._running = Running(time.time(), time.perf_counter(), time.process_time())

    def end(self, task: Any = None, args: Sequence[Any] = (), **_: Any) -> None:
        running, self._running = self._running, None
        if running is None:
            return
        row = {
            "task": task.name.removeprefix("trading.tasks.").removeprefix("copytrade.tasks."),
            "ids": len(args[0]) if args and isinstance(args[0], list) else 0,
            "began_at": running.began_at,
            "wall_s": time.perf_counter() - running.wall_s,
            "cpu_s": time.process_time() - running.cpu_s,
            "database_s": running.database_s,
            "statements": dict(running.statements),
        }
        if self._file is None or self._pid != os.getpid():
            self._pid = os.getpid()
            self._file = (self._directory / f"{self._pid}.jsonl").open("a", buffering=1)
        self._file.write(json.dumps(row) + "\n")

    def watch(self, connection: Any, **_: Any) -> None:
        """Receiver of Django's connection_created."""
        if self._statement not in connection.execute_wrappers:
            connection.execute_wrappers.append(self._statement)

    def _statement(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
        running, began = self._running, time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            if running is not None:
                running.database_s += time.perf_counter() - began
                running.statements[_kind(str(sql))] += 1


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
    signals.task_prerun.connect(ledger.begin, weak=False)
    signals.task_postrun.connect(ledger.end, weak=False)
    connection_created.connect(ledger.watch, weak=False)
    sys.argv = ["celery", "-A", "nija", *arguments]
    from celery.__main__ import main as celery

    celery()


if __name__ == "__main__":
    main(sys.argv[1:])
