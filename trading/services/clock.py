"""The wall clock as an argument: tasks and views pass `SYSTEM`, tests pass one they move."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

from django.db import connection

#: Linux has a second one, which goes on while the machine sleeps.
_PASSING = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock(Protocol):
    def now(self) -> datetime:
        """An aware instant."""
        ...

    def ns(self) -> int:
        """Nanoseconds since 1970, the source of nonces."""
        ...

    def shared(self) -> datetime:
        """An aware instant of the clock that all processes have in common, for leases; only where the database may be asked."""
        ...

    def uptime(self) -> float:
        """Seconds that have passed since some instant, whoever sets the clock meanwhile."""
        ...


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def ns(self) -> int:
        return time.time_ns()

    def shared(self) -> datetime:
        """PostgreSQL's, since its clients may be on many machines; who uses SQLite is on the machine of the file."""
        if connection.vendor != "postgresql":
            return self.now()
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            at: datetime = cursor.fetchone()[0]
        return at

    def uptime(self) -> float:
        return time.clock_gettime(_PASSING)


SYSTEM: Clock = SystemClock()
