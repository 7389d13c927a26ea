"""A worker's connection to the database outlives its tasks, and is made anew when it is broken or old."""

from __future__ import annotations

import pytest
from celery import signals
from celery.fixups.django import DjangoWorkerFixup
from django.db import OperationalError, connection

from nija.celery import app

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="a file needs no connection that is worth keeping"),
]


def pid() -> int:
    """Of the server's process behind the connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (found,) = cursor.fetchone() or (0,)
    return int(found)


def run_a_task(fixup: DjangoWorkerFixup) -> int:
    """As a process of the pool runs one: Celery's own receivers and ours."""
    fixup.close_database()
    signals.task_prerun.send(sender=None)
    try:
        return pid()
    finally:
        fixup.close_database()
        signals.task_postrun.send(sender=None)


def test_tasks_share_a_connection_until_it_is_old() -> None:
    fixup = DjangoWorkerFixup(app)
    assert len({run_a_task(fixup) for _ in range(3)}) == 1
    known = run_a_task(fixup)
    connection.close_at = 0.0
    assert run_a_task(fixup) != known


def test_a_connection_that_was_lost_meanwhile_is_made_anew_before_the_next_task() -> None:
    fixup = DjangoWorkerFixup(app)
    lost = run_a_task(fixup)
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 2000)", [lost])
    other.close()
    assert run_a_task(fixup) != lost


def test_after_an_error_of_the_connection_the_next_task_gets_another() -> None:
    fixup = DjangoWorkerFixup(app)
    lost = run_a_task(fixup)
    with pytest.raises(OperationalError), connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    signals.task_postrun.send(sender=None)
    assert run_a_task(fixup) != lost
