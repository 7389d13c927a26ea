"""Starts a process of NIJA that dies where the test says: `python -m tests.chaos.worker nija.worker -n execution@%h …`.

The functions named in `points` are wrapped from outside. A file `armed/<point>` in NIJA_CHAOS_DIR makes the point strike; it is
renamed to `hit/<point>` at that moment, so that it strikes once, and the process that is started again goes on.
"""

from __future__ import annotations

import functools
import importlib
import os
import runpy
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.chaos.points import POINTS, Call, Point, Strike

DIRECTORY = "NIJA_CHAOS_DIR"
#: How long a process stands at a point until the server it waits for is back.
HELD_MAX_S = 20.0
POLL_S = 0.02


class Trigger:
    """One point in this process."""

    def __init__(self, point: Point, directory: Path) -> None:
        self._point = point
        self._armed, self._hit = directory / "armed" / point.slug, directory / "hit" / point.slug
        self._go = directory / "go" / point.slug
        self._mutex = threading.Lock()
        self._calls: Counter[str] = Counter()

    def pull(self, call: Call) -> None:
        try:
            arming = self._armed.read_text()
        except FileNotFoundError:
            return
        if not self._point.where(call):
            return
        with self._mutex:
            # Counted anew for every arming, whose name is unique.
            self._calls[arming] += 1
            if self._calls[arming] != self._point.nth:
                return
            try:
                self._armed.rename(self._hit)
            except FileNotFoundError:
                return
            self._point.act(call)
            if self._point.strike is Strike.KILL:
                os.kill(os.getpid(), signal.SIGKILL)
        end = time.monotonic() + HELD_MAX_S
        while not self._go.exists() and time.monotonic() < end:
            time.sleep(POLL_S)


def wrap(point: Point, trigger: Trigger) -> None:
    """Replaces the seam by one that pulls the trigger. Fails when the product has no such function any more."""
    module, _, path = point.seam.partition(":")
    *owners, name = path.split(".")
    owner: Any = functools.reduce(getattr, owners, importlib.import_module(module))
    original: Callable[..., Any] = getattr(owner, name)

    @functools.wraps(original)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        if point.when == "before":
            trigger.pull(Call(args, kwargs, None))
        result = original(*args, **kwargs)
        if point.when == "after":
            trigger.pull(Call(args, kwargs, result))
        return result

    setattr(owner, name, guarded)


def main(program: str, arguments: list[str]) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nija.settings")
    import django

    django.setup()
    from trading.kraken import limits
    from trading.services import lanes

    # Round trips follow one another faster than a starter key's budget allows; budgets have tests of their own.
    lanes.TIER = limits.Tier.PRO
    name, directory = os.environ["NIJA_PROCESS"], Path(os.environ[DIRECTORY])
    for point in POINTS:
        if point.process == name:
            wrap(point, Trigger(point, directory))
    if program == "nija.worker":
        from nija import worker

        worker.main(arguments)
    else:
        sys.argv = [program, *arguments]
        runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
