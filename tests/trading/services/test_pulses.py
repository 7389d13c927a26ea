"""Pulses: a queue that falls silent is told by the others, once; a start from nothing and a long sleep are no alarm."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from nija import celery
from tests.support.world import StepClock
from trading.models import Pulse
from trading.selectors import queues
from trading.services import alerts, pulses

pytestmark = pytest.mark.django_db(transaction=True)
START = datetime(2026, 1, 5, 12, tzinfo=UTC)


def beat(clock: StepClock, *names: str, seconds: int) -> None:
    for _ in range(seconds // 5):
        for name in names or pulses.QUEUES:
            pulses.beat(name, clock=clock)
        clock.move(5)


def test_the_queues_are_those_of_celery_and_each_has_its_pulse() -> None:
    assert pulses.QUEUES == celery.QUEUES
    own = {entry["options"].get("queue") for entry in celery.BEAT.values() if entry["task"] == "trading.tasks.pulse"}
    assert own == set(celery.QUEUES)


def test_nothing_is_told_while_all_answer() -> None:
    beat(StepClock(START), seconds=120)
    assert not alerts.unresolved().exists()


def test_a_silent_queue_is_told_once_and_passes_when_it_answers() -> None:
    clock = StepClock(START)
    beat(clock, seconds=60)
    beat(clock, "planning", "default", seconds=120)
    silent = {event.subject for event in alerts.unresolved()}
    assert silent == {"queue:entries", "queue:background", "queue:bookings", "queue:exits"}
    assert (
        "The queue exits has not answered since 12:00:55 UTC" in alerts.unresolved().get(subject="queue:exits").message
    )
    beat(clock, seconds=5)
    assert not alerts.unresolved().exists()


def test_a_queue_that_never_answered_is_told_after_a_while() -> None:
    clock = StepClock(START)
    beat(clock, "default", seconds=30)
    assert not alerts.unresolved().exists()
    beat(clock, "default", seconds=20)
    assert alerts.unresolved().count() == len(pulses.QUEUES) - 1


def test_after_a_night_off_nobody_is_accused_by_the_first_to_wake() -> None:
    clock = StepClock(START)
    beat(clock, seconds=60)
    clock.move(8 * 3600)
    beat(clock, "default", seconds=25)
    assert not alerts.unresolved().exists()
    beat(clock, seconds=60)
    assert not alerts.unresolved().exists()


def test_the_page_knows_lengths_only_while_the_broker_tells_them(settings: pytest.FixtureRequest) -> None:
    Pulse.objects.create(queue="exits", at=START, since=START)
    assert [(row.name, row.at, row.waiting) for row in queues.read()] == [("exits", START, 0)]
    settings.REDIS_CLIENT_URL = "unix:///nowhere.sock?db=0"  # type: ignore[attr-defined]
    assert [row.waiting for row in queues.read()] == [None]
