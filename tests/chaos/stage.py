"""Everything that a crash test stands on: servers that can be stopped, the real processes, and the people at the exchange."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import redis
import requests
from django.conf import settings
from django.core.management import call_command
from django.db import OperationalError, connection

from nija import importing, supervisor, valkey
from nija.supervisor import Child
from tests.chaos.points import Point
from tests.chaos.worker import DIRECTORY
from tests.support.paper import BASE_DIR, PaperExchange
from tests.support.postgres import Cluster
from tests.support.stack import Stack

FOLLOWERS = ("ada", "ben", "cid")
USD = "1000000"
PAIR, SYMBOL = "BEAMUSD", "BEAM-USD"
POLL_S = 0.1
DATABASE_AWAY_S = 1.0
START_TIMEOUT_S = 20
CONTROL_TIMEOUT_S = 20
LOG_ROWS_MAX = 20_000
#: More than the exchange sees in a minute.
LOG_ROWS_RECENT = 6_000


class Broker:
    """The embedded Redis-compatible server, which loses everything when it is emptied."""

    def __init__(self, socket: Path) -> None:
        self._socket, self._data_dir = socket, socket.with_suffix(".data")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._data_dir.mkdir(exist_ok=True)
        command = valkey.command(valkey.binary(), socket=self._socket, data_dir=self._data_dir)
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + START_TIMEOUT_S
        with redis.Redis(unix_socket_path=str(self._socket)) as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.RedisError:
                    if time.monotonic() > end:
                        raise
                    time.sleep(POLL_S)

    def empty(self) -> None:
        """It dies, its file is lost, another one starts."""
        self.stop(signal.SIGKILL)
        shutil.rmtree(self._data_dir, ignore_errors=True)
        self.start()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(timeout=10)
            self._process = None


@dataclass(frozen=True)
class Person:
    """A trader of NIJA and the account behind at the exchange."""

    email: str
    paper_id: str
    api_key: str


@dataclass
class Stage:
    directory: Path
    cluster: Cluster
    broker: Broker
    exchange: PaperExchange
    stack: Stack
    master: Person
    followers: list[Person] = field(default_factory=list)

    @property
    def people(self) -> list[Person]:
        return [self.master, *self.followers]

    def paper(self, method: str, path: str, **body: Any) -> Any:
        return control(self.exchange, method, path, **body)

    def account(self, person: Person) -> Any:
        """The account as the exchange holds it."""
        return self.paper("GET", f"/accounts/{person.paper_id}")

    def log(self, limit: int = LOG_ROWS_MAX) -> list[Any]:
        """The last requests that the exchange still remembers, in the order in which it took them."""
        return list(self.paper("GET", f"/log?limit={limit}")["log"])

    def orders_asked(self, *, since: float) -> list[Any]:
        """The order requests that the exchange received after `since`, unix seconds, in the order in which it took them."""
        recent = self.log(LOG_ROWS_RECENT)
        return [row for row in recent if row["endpoint"] == "AddOrder" and row["received_at"] >= since]

    def join(self, email: str) -> Person:
        """A follower with a key of his own, checked by the running execution process."""
        return join(self.exchange, email, role="follower")

    def gather(self, count: int) -> None:
        """So many followers; those who are missing join."""
        while len(self.followers) < count:
            self.followers.append(self.join(f"follower-{len(self.followers)}@nija.example"))

    def spoil(
        self, person: Person, kind: str, *, endpoint: str = "AddOrder", times: int = 1, delay_s: float = 0.0
    ) -> None:
        match = {"endpoint": endpoint, "api_key": person.api_key}
        self.paper("POST", "/faults", kind=kind, times=times, delay_s=delay_s, match=match)

    def lag(self, endpoint: str, *, delay_s: float) -> None:
        """Everybody's reads of `endpoint` show the exchange as it was `delay_s` ago, until it is healed."""
        self.paper("POST", "/faults", kind="lag", delay_s=delay_s, match={"endpoint": endpoint})

    def heal(self) -> None:
        self.paper("DELETE", "/faults")

    def arm(self, point: Point) -> None:
        """The process that comes to `point` next is struck."""
        for state in ("armed", "hit", "go"):
            (self.directory / state / point.slug).unlink(missing_ok=True)
        aside = self.directory / f"arming-{point.slug}"
        aside.write_text(uuid.uuid4().hex)
        aside.rename(self.directory / "armed" / point.slug)

    def disarm(self) -> None:
        for path in (self.directory / "armed").iterdir():
            path.unlink(missing_ok=True)

    def was_hit(self, point: Point) -> bool:
        return (self.directory / "hit" / point.slug).exists()

    def struck_at(self, point: Point) -> float:
        """When the process was struck, unix seconds: renaming the file changed it last."""
        return (self.directory / "hit" / point.slug).stat().st_ctime

    def let_go(self, point: Point) -> None:
        """The process that is held at `point` goes on."""
        (self.directory / "go" / point.slug).touch()

    def restart_database(self) -> None:
        self.cluster.stop()
        time.sleep(DATABASE_AWAY_S)
        self.cluster.start()
        connection.close()

    def shell(self, *command: str) -> subprocess.Popen[bytes]:
        """`manage.py …` in a process of its own that crash points reach."""
        environment = self.stack.environment("shell") | {"NIJA_PROCESS": "shell"}
        line = [sys.executable, "-m", "tests.chaos.worker", "manage.py", *command]
        return subprocess.Popen(line, cwd=BASE_DIR, env=environment, stdout=subprocess.DEVNULL)


def control(exchange: PaperExchange, method: str, path: str, **body: Any) -> Any:
    answer = requests.request(method, f"{exchange.url}/paper{path}", json=body or None, timeout=CONTROL_TIMEOUT_S)
    answer.raise_for_status()
    return answer.json() if answer.content else None


def join(exchange: PaperExchange, email: str, *, role: str) -> Person:
    created = control(exchange, "POST", "/accounts", label=email, balances={"ZUSD": USD})
    line = {"email": email, "role": role, "api_key": created["api_key"], "api_secret": created["api_secret"]}
    outcomes = list(importing.run(importing.from_jsonl([json.dumps(line)]), waiting=importing.Waiting(timeout_s=90)))
    assert [outcome.accepted for outcome in outcomes] == [True], str(outcomes[0])
    return Person(email, created["account"], created["api_key"])


@contextmanager
def built(cluster: Cluster, *, scratch: Path) -> Iterator[Stage]:
    """A migrated database, a broker, an exchange, the workers and beat, a master and three followers."""
    directory = scratch / "chaos"
    for state in ("armed", "hit", "go"):
        (directory / state).mkdir(parents=True)
    # Processes are killed here more often than any fault would.
    supervisor.DEATHS_WINDOW_S = 1.0
    call_command("migrate", verbosity=0)
    broker = Broker(scratch / "redis.sock")
    broker.start()
    exchange = PaperExchange.start(directory=scratch / "paper", options={"market": "pinned", "rate_tier": "none"})
    try:
        control(exchange, "POST", "/market/pin", pair=PAIR, bid="0.010000", ask="0.010001")
        settings.KRAKEN_API_URL = settings.VENUE = exchange.url
        settings.VENUE_IS_LOCAL = settings.ORDERS_ALLOWED = True
        stack = Stack(
            database_url=cluster.url,
            redis_url=settings.REDIS_URL,
            kraken_api_url=exchange.url,
            data_dir=scratch / "stack",
            with_web=False,
            extra={
                DIRECTORY: str(directory),
                "NIJA_VENUE": exchange.url,
                # No candle closes in this market: the master trades by hand alone.
                "MASTER_PAIRS": "BEAM-USD",
                # Crashes fail more entries than any fault would, and a stop by the breaker is not what is looked for.
                "BREAKER_ENTRIES_MIN": "1000",
            },
            altered=_breakable,
        )
        with stack:
            master = join(exchange, "master@nija.example", role="master")
            stage = Stage(directory, cluster, broker, exchange, stack, master)
            stage.followers += [stage.join(f"{name}@nija.example") for name in FOLLOWERS]
            yield stage
    finally:
        exchange.stop()
        broker.stop()


def _breakable(child: Child) -> Child:
    """Workers start through the launcher that knows the crash points; beat as ever."""
    if child.command[1:3] != ("-m", "nija.worker"):
        return child
    return replace(child, command=(sys.executable, "-m", "tests.chaos.worker", *child.command[2:]))


def reconnecting(question: Callable[[], Any]) -> Any:
    """The answer; after a restart of the database the question is put again on a new connection."""
    try:
        return question()
    except OperationalError:
        connection.close()
        return question()
