"""Wakes up whoever should look at the database now. A bell that is not heard changes nothing: a sweep looks every second.

Nothing is imported from the listeners: tasks are named, and `settings.DOORBELLS` says who listens to signals and executions.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from functools import cache

import redis
from celery import current_app
from django.conf import settings
from django.db import transaction
from kombu.exceptions import OperationalError

CHANGED_CHANNEL = "nija:changed"

logger = logging.getLogger(__name__)


def ring(task: str, *args: int | str | list[int]) -> None:
    """Once the current transaction has committed, wake `task`. Arguments are ids only."""
    transaction.on_commit(lambda: _send(task, args), robust=True)


def signal_written() -> None:
    ring(settings.DOORBELLS["signal"])


def executions_booked() -> None:
    ring(settings.DOORBELLS["executions"])


def changed(user_ids: Iterable[int]) -> None:
    """Once committed, tell the open pages of these users, and of operators, to look again."""
    users = sorted(set(user_ids))
    transaction.on_commit(lambda: _publish(users), robust=True)


def connect() -> None:
    """Open the connections that bells travel over, so that the first one does not wait for them."""
    try:
        with current_app.producer_or_acquire() as producer:
            producer.connection.ensure_connection(max_retries=1, timeout=1)
        _client(settings.REDIS_CLIENT_URL).ping()
    except (OperationalError, redis.RedisError, OSError) as error:
        logger.warning("the message broker is away, the first bell tries again: %s", type(error).__name__)


def _send(task: str, args: tuple[int | str | list[int], ...]) -> None:
    try:
        current_app.send_task(task, args=args, retry=False)
    except (OperationalError, redis.RedisError, OSError) as error:
        logger.warning("the message broker is away, the next sweep does %s: %s", task, type(error).__name__)


def _publish(user_ids: list[int]) -> None:
    try:
        _client(settings.REDIS_CLIENT_URL).publish(CHANGED_CHANNEL, json.dumps({"users": user_ids, "operators": True}))
    except (redis.RedisError, OSError) as error:
        logger.warning("open pages were not told of a change: %s", type(error).__name__)


@cache
def _client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=1)
