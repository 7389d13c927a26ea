"""Messages that are lost, doubled, late and out of order, the timetable that rings every second, and the workers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from kombu.exceptions import OperationalError

from nija.celery import BEAT, ROUTES, app
from tests.simulation.database.base import Hooks
from tests.simulation.scheduler import NS, Scheduler

#: A task that a killed worker had is given to another one after this long, unless the broker forgot it.
REDELIVERED_NS = 5 * NS
#: A tick is left out when its task found nothing and nothing was written since, though not for longer than this: time alone makes
#: things due as well. Half of a run would be such ticks, and the engine may lose any of them.
IDLE_NS = 3 * NS


@dataclass
class Message:
    task: str
    args: tuple[Any, ...]
    due_ns: int


@dataclass
class Broker:
    """`fault_share`: of a hundred messages so many are lost, so many doubled and so many late."""

    scheduler: Scheduler
    tasks: Collection[str]
    fault_share: int = 0
    beat_share: int = 100
    waiting: defaultdict[str, list[Message]] = field(default_factory=lambda: defaultdict(list))
    delivered: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    away_until_ns: int = 0
    beats: bool = True
    _next: dict[str, int] = field(default_factory=dict)
    #: By task: what had been written when it was last begun, and when that was.
    _looked: dict[str, tuple[int, int]] = field(default_factory=dict)

    def send_task(self, name: str, args: Collection[Any] = (), **_: Any) -> None:
        """What `celery.current_app.send_task` does, on a bad day."""
        self.scheduler.pause("about to ring")
        if self.scheduler.now_ns < self.away_until_ns:
            raise OperationalError("the broker is away")
        self.put(name, tuple(args))

    def put(self, name: str, args: tuple[Any, ...] = ()) -> None:
        if name not in self.tasks:
            return
        chance = self.scheduler.random
        fate = chance.randrange(100)
        message = Message(name, args, self.scheduler.now_ns + chance.randrange(1, 30) * 1_000_000)
        if fate < self.fault_share:
            self.faults[f"message lost {ROUTES[name]}"] += 1
            return
        queue = self.waiting[ROUTES[name]]
        queue.append(message)
        if fate < 2 * self.fault_share:
            self.faults[f"message doubled {ROUTES[name]}"] += 1
            queue.append(Message(name, args, message.due_ns + chance.randrange(1, 4 * NS)))
        elif fate < 3 * self.fault_share:
            self.faults[f"message late {ROUTES[name]}"] += 1
            message.due_ns += chance.randrange(NS, 8 * NS)

    def flush(self) -> None:
        """The broker lost everything it held."""
        self.faults["broker flushed"] += 1
        self.waiting.clear()

    def go_away(self, seconds: int) -> None:
        """Nothing can be sent for a while, and what was held is gone when it comes back."""
        self.faults["broker away"] += 1
        self.waiting.clear()
        self.away_until_ns = self.scheduler.now_ns + seconds * NS

    def tick(self) -> None:
        """Once a second: what the timetable says, or on a bad day a part of it."""
        here = self.beats and self.scheduler.now_ns >= self.away_until_ns
        for entry in BEAT.values() if here else ():
            name = str(entry["task"])
            if name not in self.tasks or self.scheduler.now_ns < self._next.get(name, 0):
                continue
            self._next[name] = self.scheduler.now_ns + int(float(entry["schedule"]) * NS)
            busy = any(message.task == name and not message.args for message in self.waiting[ROUTES[name]])
            # A tick that waited longer than its period expires; one that waits already does its work.
            idle = self._is_idle(name)
            if not busy and not idle and self.scheduler.random.randrange(100) < self.beat_share:
                self.put(name)
        self.scheduler.at(NS, self.tick)

    def done(self, message: Message, *, changes: int, began_ns: int) -> None:
        """It was carried out to its end, begun when so much had been written."""
        if not message.args:
            self._looked[message.task] = changes, began_ns

    def _is_idle(self, task: str) -> bool:
        changes, at_ns = self._looked.get(task, (-1, 0))
        return changes == Hooks.changes and self.scheduler.now_ns - at_ns < IDLE_NS

    def take(self, queues: Collection[str]) -> Message | None:
        """Any message that is due, not the oldest: brokers promise no order."""
        due = [
            (queue, message)
            for queue in queues
            for message in self.waiting[queue]
            if message.due_ns <= self.scheduler.now_ns
        ]
        if not due:
            return None
        queue, message = due[self.scheduler.random.randrange(len(due))]
        self.waiting[queue].remove(message)
        return message

    def has_work(self, queues: Collection[str]) -> bool:
        """Asked at every step of everybody: a plain loop, because it is the quickest."""
        now = self.scheduler.now_ns
        for queue in queues:
            for message in self.waiting[queue]:
                if message.due_ns <= now:
                    return True
        return False

    def next_due_ns(self, queues: Collection[str]) -> int:
        return min((message.due_ns for queue in queues for message in self.waiting[queue]), default=0)


@dataclass
class Worker:
    """One worker process: takes a message, does the task, acknowledges it. `doing` is what dies with it."""

    name: str
    queues: Collection[str]
    scheduler: Scheduler
    broker: Broker
    on_error: Callable[[str, BaseException], None]
    doing: Message | None = None

    def start(self, *, delay_ns: int = 0) -> None:
        self.scheduler.spawn(self.name, self.name, self._work, delay_ns=delay_ns)

    def _work(self) -> None:
        while True:
            self.doing = self.broker.take(self.queues)
            if self.doing is None:
                self._idle()
                continue
            self.broker.delivered[self.doing.task] += 1
            changes, began_ns = Hooks.changes, self.scheduler.now_ns
            try:
                app.tasks[self.doing.task].run(*self.doing.args)
            except Exception as error:
                self.on_error(self.doing.task, error)
            else:
                self.broker.done(self.doing, changes=changes, began_ns=began_ns)
            self.scheduler.pause("task done")
            self.doing = None

    def _idle(self) -> None:
        due_ns = self.broker.next_due_ns(self.queues)
        waits_ns = max(1, due_ns - self.scheduler.now_ns) if due_ns else 0
        self.scheduler.wait_for(lambda: self.broker.has_work(self.queues), at_most_ns=waits_ns)

    def die(self) -> None:
        """SIGKILL: what it was doing is delivered again later, to anybody."""
        lost, self.doing = self.doing, None
        if lost is not None:
            again = Message(lost.task, lost.args, self.scheduler.now_ns + REDELIVERED_NS)
            self.broker.waiting[ROUTES[lost.task]].append(again)


QUEUES_OF: Mapping[str, tuple[str, ...]] = {
    "worker": ("planning", "default"),
    "execution": ("entries", "background"),
    "booking": ("bookings",),
    "exits": ("exits",),
}
