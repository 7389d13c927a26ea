"""The senders of a simulated process: each request a flow of control of its own inside the process that made it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from typing import Any

from tests.simulation.scheduler import NS, Scheduler


class Executor:
    """Stands where `trading.kraken.senders.Senders` does."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def batch(self) -> SimulatedBatch:
        return SimulatedBatch(self._scheduler)

    def run(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """In the flow of whoever waits for it."""
        return _driven(work)


class SimulatedBatch:
    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._ends: list[tuple[Any, Future[Any]]] = []
        self.pending = 0

    def begin(self, works: Mapping[Any, Callable[[], Awaitable[Any]]]) -> None:
        owner = self._scheduler.current
        assert owner is not None
        self.pending += len(works)
        for key, work in works.items():
            self._scheduler.spawn(
                f"{owner.process}/sender", owner.process, lambda key=key, work=work: self._do(key, work)
            )  # type: ignore[misc]

    def wait(self, timeout_s: float = 0) -> list[tuple[Any, Future[Any]]]:
        if self.pending:
            self._scheduler.wait_for(lambda: len(self._ends) == self.pending, at_most_ns=int(timeout_s * NS))
        ends, self._ends = self._ends, []
        self.pending -= len(ends)
        return ends

    def wait_for_all(self) -> list[tuple[Any, Future[Any]]]:
        ends: list[tuple[Any, Future[Any]]] = []
        while self.pending:
            ends += self.wait()
        return ends

    def _do(self, key: Any, work: Callable[[], Awaitable[Any]]) -> None:
        future: Future[Any] = Future()
        try:
            result = _driven(work)
        except Exception as error:
            future.set_exception(error)
        else:
            future.set_result(result)
        self._ends.append((key, future))


def _driven(work: Callable[[], Awaitable[Any]]) -> Any:
    """A coroutine that waits for nothing but the scheduler, which does so without leaving it."""

    async def carried_out() -> Any:
        return await work()

    try:
        carried_out().send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("a simulated request suspended itself")
