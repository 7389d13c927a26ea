"""Who runs next, and what time it is."""

from __future__ import annotations

import hashlib
import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import greenlet

#: A pause lets this much time pass, so that no two moments are the same.
TICK_NS = 250_000
NS = 1_000_000_000


class Stuck(AssertionError):
    """Nobody can run and nothing is going to happen."""


@dataclass(eq=False)
class Thread:
    """One flow of control. `process` is what a crash ends as a whole; `wakes_at_ns` or `until` say when it may go on."""

    name: str
    process: str
    body: greenlet.greenlet
    wakes_at_ns: int = 0
    until: Callable[[], bool] | None = None
    at: str = ""
    killed: bool = False

    def may_run(self, now_ns: int) -> bool:
        if self.until is not None:
            return self.until() or (self.wakes_at_ns > 0 and self.wakes_at_ns <= now_ns)
        return self.wakes_at_ns <= now_ns


@dataclass
class Scheduler:
    """All chance of a run comes from `random`; `now_ns` only ever moves forward."""

    seed: int
    now_ns: int
    steps: int = 0
    points: Counter[str] = field(default_factory=Counter)
    on_pause: Callable[[Thread, str], None] | None = None

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.threads: list[Thread] = []
        self.dead: list[Thread] = []
        self.current: Thread | None = None
        self._hub = greenlet.getcurrent()
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._trace = hashlib.sha256()

    @property
    def trace(self) -> str:
        return self._trace.hexdigest()

    def note(self, text: str) -> None:
        """What happened, for the hash: no identifier that a run makes up by itself."""
        self._trace.update(f"{self.steps} {self.now_ns} {text}\n".encode())

    def spawn(self, name: str, process: str, work: Callable[[], None], *, delay_ns: int = 0) -> Thread:
        thread = Thread(name=name, process=process, body=greenlet.greenlet(work, self._hub))
        thread.wakes_at_ns = self.now_ns + delay_ns
        self.threads.append(thread)
        return thread

    def at(self, delay_ns: int, happens: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now_ns + delay_ns, next(self._numbers), happens))

    def pause(self, point: str) -> None:
        """Called by whoever runs, at every point where somebody else could come between."""
        thread = self.current
        if thread is None:
            return
        assert not thread.killed, "a killed thread went on"
        self.steps += 1
        self.now_ns += TICK_NS
        self.points[point] += 1
        self.note(f"{thread.name} {point}")
        thread.at, thread.wakes_at_ns, thread.until = point, 0, None
        if self.on_pause is not None:
            self.on_pause(thread, point)
        self._hub.switch()

    def sleep(self, delay_ns: int) -> None:
        self.wait_for(lambda: False, at_most_ns=delay_ns)

    def wait_for(self, condition: Callable[[], bool], *, at_most_ns: int = 0) -> None:
        """Until `condition` holds, or, with a bound, until that much time has passed."""
        thread = self.current
        assert thread is not None, "only a thread can wait"
        if condition():
            return
        thread.until = condition
        thread.wakes_at_ns = self.now_ns + at_most_ns if at_most_ns else 0
        self._hub.switch()

    def kill(self, process: str) -> list[Thread]:
        """As SIGKILL does: none of its threads runs again, not even to tidy up."""
        gone = [thread for thread in self.threads if thread.process == process]
        for thread in gone:
            thread.killed = True
            self.threads.remove(thread)
        self.dead += gone
        return gone

    def run(self, *, until: Callable[[], bool], steps_max: int) -> None:
        """Raises Stuck when nothing can happen any more, or when `steps_max` did not suffice."""
        last = self.steps + steps_max
        while not until():
            if self.steps > last:
                raise Stuck(f"not done after {steps_max} steps")
            self._happen()
            ready = [thread for thread in self.threads if thread.may_run(self.now_ns)]
            if ready:
                self._resume(ready[self.random.randrange(len(ready))])
            else:
                self._pass_time()

    def _resume(self, thread: Thread) -> None:
        self.current = thread
        thread.until, thread.wakes_at_ns = None, 0
        thread.body.switch()
        self.current = None
        if thread.body.dead and thread in self.threads:
            self.threads.remove(thread)

    def _happen(self) -> None:
        while self._events and self._events[0][0] <= self.now_ns:
            heapq.heappop(self._events)[2]()

    def _pass_time(self) -> None:
        moments = [thread.wakes_at_ns for thread in self.threads if thread.wakes_at_ns > self.now_ns]
        if self._events:
            moments.append(self._events[0][0])
        if not moments:
            raise Stuck("everybody waits: " + ", ".join(f"{t.name} at {t.at}" for t in self.threads))
        self.now_ns = max(self.now_ns, min(moments))
