"""Whether every queue's workers still do something: each does a small task every five seconds and looks at the others.

The instants are rows, so that nothing is forgotten with the message broker, and a worker that cannot write is silent too.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from trading.models import Pulse
from trading.services import alerts
from trading.services.alerts import Alarm
from trading.services.clock import Clock

#: The queues of nija/celery.py; a test holds the two together.
QUEUES = ("planning", "default", "entries", "background", "bookings", "exits")
SILENT_AFTER = timedelta(seconds=30)


def beat(queue: str, *, clock: Clock) -> None:
    """The workers of `queue` are alive; and which of the others are not, as far as this one has been alive to see it."""
    now = clock.now()
    rows = {row.queue: row for row in Pulse.objects.all()}
    own = rows.get(queue)
    broken = own is None or own.at is None or now - own.at > SILENT_AFTER
    since = now if own is None or broken else own.since
    Pulse.objects.update_or_create(queue=queue, defaults={"at": now, "since": since})
    unseen = [Pulse(queue=name, since=now) for name in QUEUES if name not in rows and name != queue]
    Pulse.objects.bulk_create(unseen, ignore_conflicts=True)
    if broken:
        alerts.end([_subject(queue)], now=now)
    if now - since >= SILENT_AFTER:
        # All were silent while the whole system was down; what one of them slept through it cannot judge.
        silent = {_subject(name): _alarm(row) for name, row in rows.items() if is_silent(row, now=now)}
        silent.pop(_subject(queue), None)
        alerts.keep_to(_subject(""), silent, now=now)


def is_silent(row: Pulse, *, now: datetime) -> bool:
    return now - (row.at or row.since) > SILENT_AFTER


def _subject(queue: str) -> str:
    return f"queue:{queue}"


def _alarm(row: Pulse) -> Alarm:
    since = (
        f"since {row.at:%H:%M:%S} UTC" if row.at is not None else f"since it was expected at {row.since:%H:%M:%S} UTC"
    )
    return Alarm(
        f"The queue {row.queue} has not answered {since}: its worker takes messages and does nothing, or is not there"
    )
