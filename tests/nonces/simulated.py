"""One key, 32 simulated processes, the real lanes: every statement is a point where another process may come between."""

from __future__ import annotations

import atexit
import contextlib
import random
import shutil
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import greenlet
from asgiref.local import Local
from django.conf import settings
from django.core.management import call_command
from django.db import connections

from accounts.models import Credential, User
from tests.nonces.kraken_side import KrakenSide
from tests.nonces.seeds import Result
from tests.simulation.database.base import Hooks
from tests.simulation.executor import Executor
from tests.simulation.scheduler import NS, Scheduler, Thread
from tests.simulation.template import START, use_database
from trading.domain.nonce import next_nonce
from trading.kraken.errors import KrakenError
from trading.models import Lane
from trading.services import lanes, private
from trading.services.lanes import Purpose
from trading.services.private import LaneBusy

PROCESSES, MACHINES = 32, 4
KEY = uuid.UUID(int=32)
STEPS_PER_NONCE_MAX = 200
ORDERS = (Purpose.ENTRY, Purpose.EXIT)
#: Calls of one session, at most; how many messages go round; how long a process waits for one before it looks by itself.
CALLS_MAX, MESSAGES, SWEEP_NS = 12, 3, (4 * NS, 16 * NS)
#: Come again after a busy lane: at first within this, then twice as long, and so on.
AGAIN_NS, AGAIN_MAX_NS = NS // 5, 2 * NS
#: One pause in so many ends its process: while it speaks to Kraken, while it holds the lane, anywhere.
KILL_ONE_IN = {"sending": 1_500, "anywhere": 40_000}
SENDING = frozenset({"about to write", "written", "answer read"})
RESTARTS_AFTER_NS = (NS // 2, 5 * NS)
#: A process's clock may be set by anything up to this; the database's back by as much, but forward by less than the four seconds
#: by which a lease outlives its request.
STEP_MAX_NS, SHARED_FORWARD_MAX_NS = 7_200 * NS, 35 * NS // 10
EMPTIED_EVERY_NS = (5 * NS, 20 * NS)
STEPPED_EVERY_NS = (NS, 6 * NS)
SHARED_STEPPED_EVERY_NS = (30 * NS, 90 * NS)


@dataclass
class MachineClock:
    """The clock that the processes of one machine read; `shared` is the database's."""

    scheduler: Scheduler
    database: list[int]
    skew_ns: int = 0

    def now(self) -> datetime:
        return _instant(self.scheduler.now_ns + self.skew_ns)

    def ns(self) -> int:
        return self.scheduler.now_ns + self.skew_ns

    def shared(self) -> datetime:
        return _instant(self.scheduler.now_ns + self.database[0])

    def uptime(self) -> float:
        return self.scheduler.now_ns / NS


def _instant(ns: int) -> datetime:
    return datetime.fromtimestamp(ns // 1000 / 1_000_000, UTC)


class Template:
    """A migrated database with one key, built once in a process and copied for each run."""

    def __init__(self) -> None:
        memory = Path("/dev/shm")
        self.directory = Path(tempfile.mkdtemp(prefix="nija-nonces-", dir=memory if memory.is_dir() else None))
        atexit.register(shutil.rmtree, self.directory, ignore_errors=True)
        self.file = self.directory / "template.sqlite3"
        use_database(self.file)
        call_command("migrate", verbosity=0)
        user = User.objects.create_user(email="ada@nija.example", password=None)
        credential = Credential.objects.create(
            id=KEY, user=user, version=1, status=Credential.Status.ACTIVE, sealed=b"", created_at=START
        )
        Lane.objects.create(credential=credential)
        connections["default"].close()


@cache
def template() -> Template:
    return Template()


@dataclass
class Run:
    """`nonces` requests of one key, or a few more."""

    seed: int
    nonces: int
    violations: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scheduler = Scheduler(seed=self.seed, now_ns=int(START.timestamp()) * NS)
        self.chance = self.scheduler.random
        self.kraken = KrakenSide(self.scheduler)
        self.counts: Counter[str] = self.kraken.counts
        self._database_skew = [0]
        self._machines = [MachineClock(self.scheduler, self._database_skew) for _ in range(MACHINES)]
        self._messages = MESSAGES
        self._connections: dict[str, Any] = {}
        self._file = template().directory / f"run-{self.seed}.sqlite3"
        self._shared_forward_at_ns = 0

    def result(self) -> Result:
        began_s = time.process_time()
        shutil.copyfile(template().file, self._file)
        with self._everything_simulated():
            try:
                self._go()
            except AssertionError as error:
                self.violations.append(str(error))
            finally:
                self._close()
        return Result(
            seed=self.seed,
            counts=self.counts,
            violations=self.violations + self.kraken.violations,
            in_flight_max=self.kraken.in_flight_max,
            steps=self.scheduler.steps,
            trace=self.scheduler.trace,
            cpu_s=time.process_time() - began_s,
        )

    def _go(self) -> None:
        for number in range(PROCESSES):
            self._start(number)
        self._every(EMPTIED_EVERY_NS, self._empty_broker)
        self._every(STEPPED_EVERY_NS, self._step_a_machine)
        self._every(SHARED_STEPPED_EVERY_NS, self._step_the_database)
        self.scheduler.on_pause = self._passing
        self.scheduler.run(
            until=lambda: self.counts["requests written"] >= self.nonces,
            steps_max=STEPS_PER_NONCE_MAX * self.nonces + 10_000,
        )

    # What a process does.

    def _start(self, number: int, *, delay_ns: int = 0) -> None:
        name, clock = f"process-{number}", self._machines[number % MACHINES]
        self.scheduler.spawn(name, name, lambda: self._live(clock), delay_ns=delay_ns)

    def _live(self, clock: MachineClock) -> None:
        """Works when a message comes, and by itself when none does."""
        while True:
            self.scheduler.wait_for(lambda: self._messages > 0, at_most_ns=self.chance.randrange(*SWEEP_NS))
            rung = self._messages > 0
            self._messages -= rung
            longest_ns = AGAIN_NS
            while not self._worked(clock) and rung:
                self.scheduler.sleep(self.chance.randrange(longest_ns))
                longest_ns = min(2 * longest_ns, AGAIN_MAX_NS)
            # The next message; of those that were lost a sweep makes up for one.
            self._messages = min(MESSAGES, self._messages + 1)

    def _worked(self, clock: MachineClock) -> bool:
        """False: the lane was busy."""
        try:
            self._work(clock)
        except LaneBusy:
            self.counts["lane busy"] += 1
            return False
        except KrakenError:
            pass
        return True

    def _work(self, clock: MachineClock) -> None:
        """Raises LaneBusy and KrakenError."""
        purpose = self.chance.choice(list(Purpose))
        if purpose in ORDERS:
            private.fence([KEY], clock=clock)
        if self.chance.randrange(4) == 0:
            request = _request(purpose)
            answers = private.call_each({KEY: request}, purpose=purpose, cost=0, clock=clock)
            if not answers:
                raise LaneBusy("the lane is not free")
            return
        with private.session(KEY, purpose=purpose, cost=0, clock=clock) as held:
            for _ in range(self.chance.randrange(1, CALLS_MAX)):
                held.call(_request(purpose), cost=0)

    # What befalls them.

    def _every(self, pause_ns: tuple[int, int], happens: Callable[[], None]) -> None:
        def once() -> None:
            happens()
            self._every(pause_ns, happens)

        self.scheduler.at(self.chance.randrange(*pause_ns), once)

    def _empty_broker(self) -> None:
        self.counts["broker emptied"] += 1
        self._messages = 0

    def _step_a_machine(self) -> None:
        """By seconds, minutes or hours, either way; or set right."""
        machine = self.chance.choice(self._machines)
        before_ns = machine.skew_ns
        machine.skew_ns = 0 if self.chance.randrange(4) == 0 else self._somewhere(STEP_MAX_NS)
        self._count_step("clock", machine.skew_ns - before_ns)

    def _step_the_database(self) -> None:
        step_ns = self._somewhere(STEP_MAX_NS)
        step_ns = step_ns if step_ns < 0 else min(step_ns, SHARED_FORWARD_MAX_NS)
        self._database_skew[0] += step_ns
        self._count_step("database's clock", step_ns)

    def _somewhere(self, most_ns: int) -> int:
        """As likely within seconds as within hours."""
        return self.chance.choice((-1, 1)) * int(most_ns * 10.0 ** -(4 * self.chance.random()))

    def _count_step(self, what: str, step_ns: int) -> None:
        if step_ns:
            self.counts[f"{what} set {'forward' if step_ns > 0 else 'back'}"] += 1
            self.scheduler.note(f"{what} {step_ns}")

    def _passing(self, thread: Thread, point: str) -> None:
        one_in = KILL_ONE_IN["sending" if point in SENDING else "anywhere"]
        if not thread.process.startswith("process-") or self.chance.randrange(one_in):
            return
        self.counts[f"killed at {point}" if point in SENDING else "killed at a statement"] += 1
        self.scheduler.note(f"kill {thread.process} at {point}")
        self.scheduler.kill(thread.process)
        self.kraken.forget_senders_of(thread.process)
        connection = self._connections.pop(thread.process, None)
        if connection is not None:
            connection.cut()
        # Its message comes again when it is not acknowledged.
        self._messages = min(MESSAGES, self._messages + 1)
        self._start(int(thread.process.partition("-")[2]), delay_ns=self.chance.randrange(*RESTARTS_AFTER_NS))

    def _close(self) -> None:
        """Ends every greenlet where it stands, so that none of them tidies up in the middle of a later run."""
        Hooks.reset()
        for connection in self._connections.values():
            connection.cut()
        use_database(template().directory / "gone" / "gone.sqlite3")
        for thread in [*self.scheduler.dead, *self.scheduler.threads]:
            with contextlib.suppress(Exception):
                thread.body.throw(greenlet.GreenletExit)
        for file in self._file.parent.glob(f"{self._file.stem}.*"):
            file.unlink()

    @contextlib.contextmanager
    def _everything_simulated(self) -> Iterator[None]:
        scheduler, dice = self.scheduler, random.Random(self.seed + 1)

        def new_uuid() -> uuid.UUID:
            return uuid.UUID(int=dice.getrandbits(128), version=4)

        def counted(*, previous: int, clock_ns: int) -> int:
            self.counts["nonces taken"] += 1
            self.counts["of them above the clock"] += previous >= clock_ns
            return next_nonce(previous=previous, clock_ns=clock_ns)

        use_database(self._file)
        Hooks.pause, Hooks.wait_for = scheduler.pause, scheduler.wait_for
        Hooks.opened = lambda connection: self._connections.__setitem__(
            scheduler.current.process if scheduler.current is not None else "hub", connection
        )
        release = lanes.release

        def noticed(grants: Any, outcomes: Any, *, clock: Any) -> None:
            done = [g for g in grants if not g.fenced and lanes._reached_kraken(outcomes.get(g.credential_id))]
            self.counts["fences"] += len(done)
            release(grants, outcomes, clock=clock)

        with (
            mock.patch.object(uuid, "uuid4", new_uuid),
            # There are no orders, and none has to be looked for at every claim.
            mock.patch.object(settings, "ORDERS_ALLOWED", False),
            mock.patch.object(lanes, "next_nonce", counted),
            mock.patch.object(lanes, "release", noticed),
            mock.patch.object(private, "_clients", {KEY: self.kraken}),
            mock.patch.object(private, "senders", return_value=Executor(scheduler)),
            mock.patch.object(connections, "_connections", Local(thread_critical=False)),
        ):
            yield


def _request(purpose: Purpose) -> Callable[[Any, int], Awaitable[str]]:
    if purpose in ORDERS:
        return lambda kraken, nonce: kraken.add_order(nonce=nonce)  # type: ignore[no-any-return]
    return lambda kraken, nonce: kraken.balance_ex(nonce=nonce)  # type: ignore[no-any-return]
