"""Beat's timetable when somebody sets the clock."""

from __future__ import annotations

from datetime import timedelta

from nija.celery import BEAT, app
from nija.timetable import Scheduler


def test_after_the_clock_was_set_back_everything_is_rung_within_its_period() -> None:
    scheduler = Scheduler(app, lazy=True)
    scheduler.setup_schedule()
    entries = list(scheduler.schedule.values())
    assert len(entries) == len(BEAT)
    set_back = timedelta(hours=1)
    for entry in entries:
        entry.last_run_at = app.now() + set_back
    # Nothing is due in this very moment, so that nothing is sent.
    assert 0 < scheduler.tick() <= 1.0
    assert max(entry.last_run_at for entry in entries) <= app.now()
    assert {entry.is_due().is_due for entry in entries} == {False}
    assert max(entry.is_due().next for entry in entries if entry.schedule.run_every < timedelta(seconds=2)) <= 1.0


def test_beat_uses_it() -> None:
    assert app.conf.beat_scheduler == "nija.timetable:Scheduler"
    assert issubclass(app.subclass_with_self("nija.timetable:Scheduler"), Scheduler)
