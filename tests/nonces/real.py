"""Many operating-system processes on one key, PostgreSQL and the paper exchange over HTTP, which judges the nonces."""

from __future__ import annotations

import itertools
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.db import connection

from accounts.models import User
from tests.chaos.stage import LOG_ROWS_MAX, USD, Broker, Person, control
from tests.nonces.caller import Task
from tests.support.paper import BASE_DIR, PaperExchange
from tests.support.postgres import Cluster
from tests.support.stack import Stack
from trading.models import Role
from trading.services import intake
from trading.services.clock import SYSTEM

POLL_S = 0.2
PATIENCE_S_PER_CALL, PATIENCE_MIN_S = 0.2, 240.0
#: An hour and five seconds behind, a minute ahead, right.
CLOCKS_S = (-3605.0, 60.0, 0.0)
DIES = ("nonce taken", "request under way", "answer read")
#: How many are killed, and what tells the seed of who replaces one from the seeds of all others.
KILLED, HEIR = 6, 1_000_000


@dataclass
class Phase:
    """What one half showed. `wrong` are sentences; empty when all was as it must be."""

    name: str
    calls: int = 0
    noted: int = 0
    accepted: int = 0
    invalid: int = 0
    in_flight_max: int = 0
    errors: int = 0
    emptied: int = 0
    killed: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)


@dataclass
class Place:
    directory: Path
    broker: Broker
    exchange: PaperExchange
    environment: dict[str, str]
    person: Person
    credential: str

    def key(self) -> Any:
        """The key as the exchange saw it: requests, most of them at once, invalid nonces."""
        (key,) = control(self.exchange, "GET", f"/accounts/{self.person.paper_id}")["keys"]
        return key

    def log(self) -> list[Any]:
        rows = control(self.exchange, "GET", f"/log?limit={LOG_ROWS_MAX}")["log"]
        return [row for row in rows if row["api_key"] == self.person.api_key]


@contextmanager
def built(cluster: Cluster, *, scratch: Path) -> Iterator[Place]:
    """A migrated database, a broker, an exchange, and one follower with a checked key."""
    call_command("migrate", verbosity=0)
    broker = Broker(scratch / "redis.sock")
    broker.start()
    exchange = PaperExchange.start(directory=scratch / "paper", options={"market": "pinned", "rate_tier": "none"})
    try:
        settings.KRAKEN_API_URL = settings.VENUE = exchange.url
        settings.VENUE_IS_LOCAL = settings.ORDERS_ALLOWED = True
        created = control(exchange, "POST", "/accounts", label="ada", balances={"ZUSD": USD})
        user = User.objects.create_user(email="ada@nija.example", password=None)
        key, secret = created["api_key"], created["api_secret"]
        credential = intake.submit(user, api_key=key, api_secret=secret, clock=SYSTEM, role=Role.FOLLOWER)
        intake.check_pending(credential.pk, clock=SYSTEM)
        # Never entered: it knows what an execution process is given, and the callers are such processes.
        stack = Stack(
            database_url=cluster.url,
            redis_url=settings.REDIS_URL,
            kraken_api_url=exchange.url,
            data_dir=scratch / "stack",
            extra={"NIJA_VENUE": exchange.url, "DJANGO_SETTINGS_MODULE": "nija.settings"},
        )
        person = Person(user.email, created["account"], key)
        yield Place(scratch, broker, exchange, stack.environment("execution"), person, str(credential.pk))
    finally:
        connection.close()
        exchange.stop()
        broker.stop()


class Crowd:
    """So many processes on one key until each has made its share of the calls; the killed are replaced."""

    def __init__(self, place: Place, name: str, tasks: Sequence[Task]) -> None:
        self._place, self._tasks = place, tasks
        self._log_path = place.directory / f"{name}.log"
        self._log = self._log_path.open("ab")
        self._running: dict[int, tuple[Task, subprocess.Popen[bytes]]] = {}
        self.killed: Counter[str] = Counter()
        self.wrong: list[str] = []
        for slot, task in enumerate(tasks):
            self._start(slot, task)

    def run(self, *, half_done: Callable[[], None]) -> None:
        """`half_done` is called once, when half of the calls were made."""
        wanted = sum(task.calls for task in self._tasks)
        ends = time.monotonic() + PATIENCE_MIN_S + PATIENCE_S_PER_CALL * wanted
        was_half = False
        while self._running:
            if time.monotonic() > ends:
                self.wrong.append(f"{len(self._running)} processes were not done in time")
                break
            for slot, (task, process) in list(self._running.items()):
                if process.poll() is not None:
                    self._ended(slot, task, process.returncode)
            if not was_half and 2 * len(self.notes()) >= wanted:
                was_half = True
                half_done()
            time.sleep(POLL_S)

    def notes(self, *, begin: str = "ok ") -> list[str]:
        """What the callers wrote down, without that word."""
        files = [Path(task.notes) for task in self._tasks]
        lines = [line for file in files if file.exists() for line in file.read_text().splitlines()]
        return [line.removeprefix(begin) for line in lines if line.startswith(begin)]

    def close(self) -> None:
        for _, process in self._running.values():
            process.kill()
            process.wait()
        self._log.close()

    def _start(self, slot: int, task: Task) -> None:
        command = [sys.executable, "-m", "tests.nonces.caller", json.dumps(asdict(task))]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": self._log, "stderr": self._log}
        self._running[slot] = (task, subprocess.Popen(command, cwd=BASE_DIR, env=self._place.environment, **quiet))

    def _ended(self, slot: int, task: Task, status: int) -> None:
        del self._running[slot]
        if status == -signal.SIGKILL and task.dies:
            self.killed[task.dies] += 1
            self._start(slot, replace(task, dies="", seed=task.seed + HEIR))
        elif status != 0:
            self.wrong.append(f"a process ended with status {status}: {self._log_path.read_text()[-1000:]}")


def phase(place: Place, name: str, *, processes: int, calls: int, bad: random.Random | None) -> Phase:
    """`bad`: clocks that are off, processes killed in the middle, the broker emptied; chosen by this."""
    share = -(-calls // processes)
    tasks = [
        Task(credential=place.credential, notes=str(place.directory / f"{name}-{slot}.notes"), calls=share, seed=slot)
        for slot in range(processes)
    ]
    if bad is not None:
        tasks = [replace(task, clock_s=CLOCKS_S[slot % len(CLOCKS_S)]) for slot, task in enumerate(tasks)]
        for number, slot in enumerate(bad.sample(range(processes), min(KILLED, processes // 2))):
            dies_after = bad.randrange(share // 4, 3 * share // 4)
            tasks[slot] = replace(tasks[slot], dies=DIES[number % len(DIES)], dies_after=dies_after)
    began, began_s, before = time.time(), time.monotonic(), place.key()
    emptied = []

    def half_done() -> None:
        if bad is not None:
            place.broker.empty()
            emptied.append(1)

    crowd = Crowd(place, name, tasks)
    try:
        crowd.run(half_done=half_done)
    finally:
        crowd.close()
    made = Phase(name, calls=share * processes, killed=crowd.killed, seconds=time.monotonic() - began_s)
    made.emptied, made.wrong = len(emptied), crowd.wrong
    _judge(made, place, crowd, before=before, rows=[row for row in place.log() if row["received_at"] >= began])
    if sum(crowd.killed.values()) != sum(bool(task.dies) for task in tasks):
        made.wrong.append(f"only {sum(crowd.killed.values())} processes were killed")
    return made


def _judge(made: Phase, place: Place, crowd: Crowd, *, before: Any, rows: Sequence[Any]) -> None:
    """By what the exchange saw."""
    key = place.key()
    nonces = [int(row["nonce"]) for row in rows]
    accepted = {int(row["nonce"]) for row in rows if row["result"] == "ok"}
    noted = [int(text) for text in crowd.notes()]
    made.noted, made.accepted = len(noted), len(accepted)
    made.invalid = key["invalid_nonces"] - before["invalid_nonces"]
    made.in_flight_max, made.errors = key["max_in_flight"], len(crowd.notes(begin="error "))
    # The log forgets what is older than its last rows.
    complete = key["requests"] - before["requests"] == len(rows)
    checks = {
        f"{made.invalid} nonces were invalid": made.invalid == 0,
        f"{made.in_flight_max} requests were in flight at once": made.in_flight_max == 1,
        "nonces did not rise": all(one < other for one, other in itertools.pairwise(nonces)),
        f"{made.noted} calls were made instead of {made.calls}": made.noted == made.calls == len(set(noted)),
        "the exchange does not know a nonce that a caller used": not complete or set(noted) <= accepted,
        f"the exchange refused {len(nonces) - len(accepted)} requests": len(nonces) == len(accepted),
    }
    made.wrong += [sentence for sentence, holds in checks.items() if not holds]
