"""The thread that sends private requests: an event loop, one per process, which carries out coroutines for other threads.

A batch is handed over at once and its ends come back together, so that many requests cost few switches between threads.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import cache, partial
from typing import Any, Generic, Protocol, TypeVar

K = TypeVar("K")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

CLOSE_MAX_S = 2.0
#: Longer than a request may take.
WORK_MAX_S = 12.0

Work = Callable[[], Awaitable[T]]


class Ended(Protocol[T_co]):
    """One piece of work that is over; `result` returns what it returned or raises what it raised."""

    def result(self) -> T_co: ...


class Batch(Generic[K, T]):
    """Work under way together, for the one thread that started it and waits for it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._changed = threading.Condition()
        self._under_way = 0
        self._ends: list[tuple[K, Ended[T]]] = []
        # Of the loop's thread alone.
        self._tasks: set[asyncio.Task[T]] = set()
        self._untold: list[tuple[K, Ended[T]]] = []

    @property
    def pending(self) -> int:
        """How many have not been handed back by `wait`."""
        with self._changed:
            return self._under_way + len(self._ends)

    def begin(self, works: Mapping[K, Work[T]]) -> None:
        with self._changed:
            self._under_way += len(works)
        self._loop.call_soon_threadsafe(self._begin, _Masked(works))

    def wait(self, timeout_s: float) -> list[tuple[K, Ended[T]]]:
        """What has ended since the last call, in that order: as soon as all has, or when the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: not self._under_way, timeout_s)
            ends, self._ends = self._ends, []
        return ends

    def wait_for_all(self) -> list[tuple[K, Ended[T]]]:
        """All that is left; what has not ended within `WORK_MAX_S`, which no request takes, is given up."""
        ends: list[tuple[K, Ended[T]]] = []
        ends_at_s = time.monotonic() + WORK_MAX_S
        while self.pending and time.monotonic() < ends_at_s:
            ends += self.wait(ends_at_s - time.monotonic())
        return ends

    def _begin(self, works: _Masked[K, T]) -> None:
        for key, work in works.works.items():
            task = self._loop.create_task(_carried_out(work))
            self._tasks.add(task)
            task.add_done_callback(partial(self._end, key))

    def _end(self, key: K, task: asyncio.Task[T]) -> None:
        self._tasks.discard(task)
        if not self._untold:
            # What ends in the same turn of the loop is told at once.
            self._loop.call_soon(self._tell)
        self._untold.append((key, task))

    def _tell(self) -> None:
        ends, self._untold = self._untold, []
        with self._changed:
            self._ends += ends
            self._under_way -= len(ends)
            self._changed.notify()


async def _carried_out(work: Work[T]) -> T:
    """Whatever is wrong with one piece of work becomes its own end."""
    return await work()


class _Masked(Generic[K, T]):
    """Work on its way to the loop, which may log what it was called with."""

    def __init__(self, works: Mapping[K, Work[T]]) -> None:
        self.works = works


class Senders:
    """A running event loop in a thread of its own."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._loop.set_debug(False)
        self._thread = threading.Thread(target=self._loop.run_forever, name="kraken", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    @property
    def thread_id(self) -> int | None:
        return self._thread.ident

    def batch(self) -> Batch[Any, Any]:
        """An empty one."""
        return Batch(self._loop)

    def run(self, work: Work[T]) -> T:
        """One piece of work, waited for."""
        batch: Batch[None, T] = self.batch()
        batch.begin({None: work})
        for _, ended in batch.wait_for_all():
            return ended.result()
        raise RuntimeError("the senders do not work")

    def close(self) -> None:
        """End what is under way and the thread; not in a child of the process, whose thread it is not."""
        if os.getpid() != self._pid or self._loop.is_closed():
            return
        atexit.unregister(self.close)
        self._loop.call_soon_threadsafe(self._loop.create_task, self._wind_up())
        self._thread.join(CLOSE_MAX_S)
        if not self._thread.is_alive():
            self._loop.close()

    async def _wind_up(self) -> None:
        ends_at_s = time.monotonic() + CLOSE_MAX_S / 2
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        while tasks and time.monotonic() < ends_at_s:
            _, tasks = await asyncio.wait(tasks, timeout=CLOSE_MAX_S / 2)
        # Batches tell of their ends one turn later.
        await asyncio.sleep(0)
        self._loop.stop()


def of_this_process() -> Senders:
    """Started by the process that asks: a thread does not live on in a forked child."""
    return _started(os.getpid())


@cache
def _started(_pid: int) -> Senders:
    return Senders()
