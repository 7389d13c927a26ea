"""Live updates: a stream that says "something changed for you"; the page then fetches itself again.

One Redis subscription per process is fanned out to the readers' streams. A message names users and operators only, never
figures, so there is nothing to leak and losing one costs at most the page's own slow poll.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connections
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.views.decorators.http import require_GET
from redis.asyncio import Redis
from redis.exceptions import RedisError

from trading.doorbell import CHANGED_CHANNEL

log = logging.getLogger(__name__)

HEARTBEAT_S = 10.0
#: A stream ends after this long and the browser opens the next: no connection, session or process is held for ever.
STREAM_S_MAX = 600.0
#: Bursts within this become one event.
COALESCE_S = 0.25
STREAMS_PER_USER_MAX = 12
STREAMS_MAX = 5000
RETRY_S = 1.0
#: How long one read of the subscription waits before it looks whether anybody still listens.
LISTEN_S = 2.0


@dataclass(eq=False, slots=True)
class Reader:
    """One open stream."""

    user_id: int
    operator: bool
    news: asyncio.Event = field(default_factory=asyncio.Event)


class Hub:
    """The readers of one event loop and the subscription that feeds them."""

    def __init__(self) -> None:
        self._readers: set[Reader] = set()
        self._listening: asyncio.Task[None] | None = None

    def has_room(self, user_id: int) -> bool:
        own = sum(1 for reader in self._readers if reader.user_id == user_id)
        return own < STREAMS_PER_USER_MAX and len(self._readers) < STREAMS_MAX

    def join(self, reader: Reader) -> None:
        self._readers.add(reader)
        if self._listening is None or self._listening.done():
            self._listening = asyncio.get_running_loop().create_task(self._listen())

    def leave(self, reader: Reader) -> None:
        self._readers.discard(reader)
        if not self._readers and self._listening is not None:
            self._listening.cancel()
            self._listening = None

    def deliver(self, message: bytes | str) -> None:
        """Wake the readers a message of the doorbell names; an unreadable one wakes everybody."""
        try:
            told = json.loads(message)
            users, operators = set(told.get("users", ())), bool(told.get("operators"))
        except (ValueError, AttributeError, TypeError):
            log.warning("an unreadable message on %s", CHANGED_CHANNEL)
            self._wake_all()
            return
        for reader in self._readers:
            if reader.user_id in users or (operators and reader.operator):
                reader.news.set()

    def _wake_all(self) -> None:
        for reader in self._readers:
            reader.news.set()

    async def _listen(self) -> None:
        task = asyncio.current_task()
        # redis-py can swallow a cancellation that meets a finished read; `cancelling` still knows of it.
        while self._readers and task is not None and not task.cancelling():
            try:
                async with Redis.from_url(settings.REDIS_CLIENT_URL) as client, client.pubsub() as channel:
                    await channel.subscribe(CHANGED_CHANNEL)
                    self._wake_all()  # what was published while nobody listened
                    while self._readers and not task.cancelling():
                        message = await channel.get_message(ignore_subscribe_messages=True, timeout=LISTEN_S)
                        if message is not None:
                            self.deliver(message["data"])
            except (RedisError, OSError) as error:
                log.warning("live updates have lost Redis (%s); trying again", type(error).__name__)
                await asyncio.sleep(RETRY_S)


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def hub() -> Hub:
    """The hub of the running loop."""
    return _hubs.setdefault(asyncio.get_running_loop(), Hub())


async def stream(readers: Hub, reader: Reader) -> AsyncGenerator[bytes, None]:
    """Server-sent events for one reader until they leave, or `STREAM_S_MAX` has passed."""
    loop = asyncio.get_running_loop()
    ends, number = loop.time() + STREAM_S_MAX, 0
    readers.join(reader)
    try:
        yield b"retry: 2000\nevent: heartbeat\ndata: {}\n\n"
        while loop.time() < ends:
            try:
                await asyncio.wait_for(reader.news.wait(), HEARTBEAT_S)
            except TimeoutError:
                yield b"event: heartbeat\ndata: {}\n\n"
                continue
            await asyncio.sleep(COALESCE_S)
            reader.news.clear()
            number += 1
            yield b"id: %d\nevent: changed\ndata: {}\n\n" % number
    finally:
        readers.leave(reader)


def _release_connections() -> None:
    # The request lasts as long as the stream, and would keep its thread's database connection all that time.
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


@require_GET
async def live(request: HttpRequest) -> HttpResponseBase:
    """`/live/`: 401 without a session, so that the page's own poll finds the log-in page."""
    user = await request.auser()
    if not user.is_authenticated:
        return HttpResponse(status=401)
    user_id, operator = user.pk, user.is_staff
    await sync_to_async(_release_connections)()
    readers = hub()
    if not readers.has_room(user_id):
        return HttpResponse(status=429)
    events: AsyncIterator[bytes] = stream(readers, Reader(user_id=user_id, operator=operator))
    response = StreamingHttpResponse(events, content_type="text/event-stream")
    response["Cache-Control"] = "no-store"
    response["X-Accel-Buffering"] = "no"
    return response
