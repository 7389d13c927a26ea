"""A pool of sender threads, each a flow of control of its own inside the process that uses it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import Future
from typing import Any

from tests.simulation.scheduler import NS, Scheduler

_scheduler: list[Scheduler] = []


class SimulatedFuture(Future[Any]):
    def result(self, timeout: float | None = None) -> Any:
        _scheduler[-1].wait_for(self.done)
        return super().result(timeout=0)


class Executor:
    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._count = 0
        _scheduler[:] = [scheduler]

    def submit(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
        owner = self._scheduler.current
        assert owner is not None
        future = SimulatedFuture()
        self._count += 1

        def body() -> None:
            try:
                result = work(*args, **kwargs)
            except Exception as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        self._scheduler.spawn(f"{owner.process}/sender", owner.process, body)
        return future


def wait(futures: Collection[Future[Any]], timeout: float | None = None, return_when: str = "ALL_COMPLETED") -> Any:
    """concurrent.futures.wait, for simulated ones."""
    waited = list(futures)
    enough = any if return_when == "FIRST_COMPLETED" else all
    _scheduler[-1].wait_for(
        lambda: not waited or enough(future.done() for future in waited),
        at_most_ns=int(timeout * NS) if timeout is not None else 0,
    )
    # In the order they were given: a set would be in another one in every process.
    return [f for f in waited if f.done()], [f for f in waited if not f.done()]
