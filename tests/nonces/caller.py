"""One of many processes that make private calls on one key: `python -m tests.nonces.caller '{"credential": …}'`.

Calls until its share is done, each noted in a file of its own, so that a process that takes the place of a killed one goes on from
there.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trading.kraken.endpoints import PrivateClient

#: Come again after a busy lane: at first within this, then twice as long, and so on.
AGAIN_S, AGAIN_MAX_S = 0.1, 1.0
CALLS_MAX = 8
#: Within this of its beginning a request is on the wire or answered and not yet noted.
ON_THE_WIRE_S = 0.004


@dataclass(frozen=True)
class Task:
    """`clock_s`: how far this process's clock is off. `dies`: in which moment of which call it is killed, if at all."""

    credential: str
    notes: str
    calls: int
    seed: int
    clock_s: float = 0.0
    dies: str = ""
    dies_after: int = 0


class WrongClock:
    """The clock of a machine on which somebody set it."""

    def __init__(self, off_s: float) -> None:
        from trading.services.clock import SYSTEM

        self._true, self._off = SYSTEM, timedelta(seconds=off_s)
        self._off_ns = int(off_s * 1_000_000_000)

    def now(self) -> datetime:
        return self._true.now() + self._off

    def ns(self) -> int:
        return self._true.ns() + self._off_ns

    def shared(self) -> datetime:
        return self._true.shared()

    def uptime(self) -> float:
        return self._true.uptime()


class Caller:
    def __init__(self, task: Task) -> None:
        self._task, self._key = task, uuid.UUID(task.credential)
        self._chance = random.Random(task.seed)
        self._clock = WrongClock(task.clock_s)
        self._notes = Path(task.notes)
        self._made = 0

    def run(self, *, made_before: int) -> None:
        from trading.kraken.errors import KrakenError
        from trading.services.private import LaneBusy

        longest_s = AGAIN_S
        while made_before + self._made < self._task.calls:
            try:
                self._work(self._task.calls - made_before - self._made)
                longest_s = AGAIN_S
            except LaneBusy:
                time.sleep(self._chance.random() * longest_s)
                longest_s = min(2 * longest_s, AGAIN_MAX_S)
            except KrakenError as error:
                self._note(f"error {type(error).__name__} {error}")

    def _work(self, left: int) -> None:
        """Raises LaneBusy and KrakenError."""
        from trading.services import private
        from trading.services.lanes import Purpose
        from trading.services.private import LaneBusy

        purpose = self._chance.choice(list(Purpose))
        if purpose in (Purpose.ENTRY, Purpose.EXIT):
            private.fence([self._key], clock=self._clock)
        if self._chance.randrange(4) == 0:
            answers = private.call_each({self._key: self._request()}, purpose=purpose, cost=0, clock=self._clock)
            if not answers:
                raise LaneBusy("the lane is not free")
            answer = answers[self._key]
            if isinstance(answer, BaseException):
                raise answer
            return
        with private.session(self._key, purpose=purpose, cost=0, clock=self._clock) as held:
            for _ in range(min(left, self._chance.randrange(1, CALLS_MAX))):
                held.call(self._request(), cost=0)

    def _request(self) -> Callable[[PrivateClient, int], Awaitable[Any]]:
        async def ask(kraken: PrivateClient, nonce: int) -> Any:
            if self._dies_now():
                self._die_before_or_on_the_wire()
            answer = await kraken.balance_ex(nonce=nonce)
            if self._dies_now():
                os.kill(os.getpid(), signal.SIGKILL)
            self._made += 1
            self._note(f"ok {nonce}")
            return answer

        return ask

    def _dies_now(self) -> bool:
        return bool(self._task.dies) and self._made >= self._task.dies_after

    def _die_before_or_on_the_wire(self) -> None:
        if self._task.dies == "nonce taken":
            os.kill(os.getpid(), signal.SIGKILL)
        if self._task.dies == "request under way":
            after_s = self._chance.random() * ON_THE_WIRE_S
            threading.Timer(after_s, os.kill, (os.getpid(), signal.SIGKILL)).start()

    def _note(self, text: str) -> None:
        with self._notes.open("a") as notes:
            notes.write(text + "\n")


def made(notes: Path) -> int:
    """Calls that succeeded and were noted, of all processes that had this file."""
    return sum(line.startswith("ok ") for line in notes.read_text().splitlines()) if notes.exists() else 0


def main(text: str) -> None:
    import django

    django.setup()
    task = Task(**json.loads(text))
    Caller(task).run(made_before=made(Path(task.notes)))


if __name__ == "__main__":
    main(sys.argv[1])
