"""Liveness of a web process: it answers, and so do the database and Redis behind it."""

from __future__ import annotations

import logging

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

logger = logging.getLogger(__name__)
REDIS_TIMEOUT_S = 2


@never_cache
@require_safe
def health(_request: HttpRequest) -> JsonResponse:
    """200 when everything answers, 503 otherwise; names what failed, and nothing else, since anyone may ask."""
    parts = {"database": database_answers(), "redis": redis_answers()}
    healthy = all(parts.values())
    body = {"healthy": healthy, **{name: "ok" if answers else "down" for name, answers in parts.items()}}
    return JsonResponse(body, status=200 if healthy else 503)


def database_answers() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            return bool(cursor.fetchone())
    except DatabaseError:
        logger.exception("the database does not answer")
        return False


def redis_answers() -> bool:
    options = {"socket_timeout": REDIS_TIMEOUT_S, "socket_connect_timeout": REDIS_TIMEOUT_S}
    try:
        with redis.Redis.from_url(settings.REDIS_CLIENT_URL, **options) as client:
            return bool(client.ping())
    except redis.RedisError:
        logger.exception("Redis does not answer")
        return False
