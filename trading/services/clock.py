"""The wall clock as an argument: tasks and views pass `SYSTEM`, tests pass one they move."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """An aware instant."""
        ...

    def ns(self) -> int:
        """Nanoseconds since 1970, the source of nonces."""
        ...


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def ns(self) -> int:
        return time.time_ns()


SYSTEM: Clock = SystemClock()
