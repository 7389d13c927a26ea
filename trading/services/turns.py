"""Turns that processes take by a row of the timetable, so that only one of them does what one is enough for."""

from __future__ import annotations

from datetime import datetime, timedelta

from trading.models import Schedule


def take(name: str, *, now: datetime, lasting: timedelta) -> bool:
    """Whether this process may; nobody else may for so long, whatever becomes of it."""
    row, _ = Schedule.objects.get_or_create(name=name, defaults={"due_at": now})
    mine = Schedule.objects.filter(name=name, due_at=row.due_at)
    return row.due_at <= now and mine.update(due_at=now + lasting) == 1


def give_back(name: str, *, now: datetime) -> None:
    Schedule.objects.filter(name=name).update(due_at=now)
