"""How the queues are: when each last answered, and how many messages wait."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime

import redis
from django.conf import settings

from trading.models import Pulse

REDIS_TIMEOUT_S = 1
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Queue:
    """`at` None: never answered yet. `waiting` None: the broker does not say."""

    name: str
    at: datetime | None
    waiting: int | None


def read() -> list[Queue]:
    rows = list(Pulse.objects.order_by("queue"))
    lengths = _lengths([row.queue for row in rows])
    return [Queue(row.queue, row.at, lengths.get(row.queue)) for row in rows]


def _lengths(names: list[str]) -> dict[str, int]:
    """Messages that no worker has taken yet. A broker that is away, or was emptied, is no news about the workers."""
    options = {"socket_timeout": REDIS_TIMEOUT_S, "socket_connect_timeout": REDIS_TIMEOUT_S}
    try:
        with redis.Redis.from_url(settings.REDIS_CLIENT_URL, **options) as client:
            return {name: int(client.llen(name)) for name in names}
    except (redis.RedisError, OSError) as error:
        logger.warning("the queues' lengths are not known: %s", type(error).__name__)
        return {}
