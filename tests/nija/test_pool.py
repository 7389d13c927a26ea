"""What the processes of a worker's pool share, and what each has before its first task."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from celery import signals
from django.db import connection
from pytest_django.fixtures import Settings

from nija import celery, pool
from trading import doorbell


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    gc.unfreeze()
    signals.worker_process_init.disconnect(pool.connect)


def test_what_is_loaded_before_the_fork_is_looked_at_by_no_later_collection() -> None:
    assert gc.get_freeze_count() == 0
    signals.worker_before_create_process.send(sender=None)
    assert gc.get_freeze_count() > 10_000


@pytest.mark.django_db(transaction=True)
def test_each_process_has_its_connections_before_its_first_task(redis_url: str) -> None:
    signals.worker_before_create_process.send(sender=None)
    connection.close()
    signals.worker_process_init.send(sender=None)
    assert connection.connection is not None
    assert celery.app.pool._resource.queue, "a connection to the broker waits to be used"


@pytest.mark.django_db(transaction=True)
def test_a_process_whose_broker_is_away_begins_all_the_same(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.REDIS_CLIENT_URL = "unix:///nowhere/redis.sock"
    pool.connect()
    assert "the first bell tries again" in caplog.text
    assert connection.connection is not None
    doorbell._client.cache_clear()
