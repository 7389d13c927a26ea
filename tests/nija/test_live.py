"""The stream that tells open pages to look again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

import pytest
import redis
from django.test import AsyncClient, override_settings

from accounts.models import User
from nija import live
from trading.doorbell import CHANGED_CHANNEL

WAIT_S = 10


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, WAIT_S))


def tell(hub: live.Hub, *, users: list[int], operators: bool) -> None:
    hub.deliver(json.dumps({"users": users, "operators": operators}))


class _SilentHub(live.Hub):
    """A hub without Redis: messages are delivered by the test."""

    async def _listen(self) -> None:
        await asyncio.Event().wait()


async def _first_event(events: Any) -> bytes:
    async for event in events:
        if b"event: changed" in event:
            return bytes(event)
    raise AssertionError("the stream ended without an event")


def test_a_change_reaches_the_user_it_names_and_nobody_else() -> None:
    async def work() -> None:
        hub, mine, other = _SilentHub(), live.Reader(1, False), live.Reader(2, False)
        hub.join(mine)
        hub.join(other)
        tell(hub, users=[1], operators=True)
        assert mine.news.is_set()
        assert not other.news.is_set()
        hub.leave(mine)
        hub.leave(other)

    run(work())


def test_operators_hear_of_everybodys_changes() -> None:
    async def work() -> None:
        hub, operator = _SilentHub(), live.Reader(9, True)
        hub.join(operator)
        tell(hub, users=[1], operators=True)
        assert operator.news.is_set()
        hub.leave(operator)

    run(work())


def test_an_unreadable_message_makes_everybody_look_again() -> None:
    async def work() -> None:
        hub, reader = _SilentHub(), live.Reader(1, False)
        hub.join(reader)
        for message in (b"{", b"[]", b'{"users": 7}'):
            reader.news.clear()
            hub.deliver(message)
            assert reader.news.is_set()
        hub.leave(reader)

    run(work())


def test_a_stream_sends_an_event_with_an_id_for_a_change() -> None:
    async def work() -> None:
        hub, reader = _SilentHub(), live.Reader(1, False)
        events = live.stream(hub, reader)
        assert b"event: heartbeat" in await anext(events)
        tell(hub, users=[1], operators=False)
        assert await _first_event(events) == b"id: 1\nevent: changed\ndata: {}\n\n"
        await events.aclose()

    run(work())


def test_a_quiet_stream_beats_so_that_silence_means_a_broken_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "HEARTBEAT_S", 0.01)

    async def work() -> None:
        events = live.stream(_SilentHub(), live.Reader(1, False))
        await anext(events)
        assert await anext(events) == b"event: heartbeat\ndata: {}\n\n"
        await events.aclose()

    run(work())


def test_a_stream_ends_after_its_longest_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "STREAM_S_MAX", 0.0)

    async def work() -> None:
        events = [event async for event in live.stream(_SilentHub(), live.Reader(1, False))]
        assert len(events) == 1

    run(work())


def test_a_reader_who_leaves_ends_the_subscription_nobody_needs() -> None:
    async def work() -> None:
        hub = _SilentHub()
        events = live.stream(hub, live.Reader(1, False))
        await anext(events)
        listening = hub._listening
        assert listening is not None
        await events.aclose()
        await asyncio.gather(listening, return_exceptions=True)
        assert listening.cancelled()

    run(work())


def test_one_user_cannot_take_every_stream() -> None:
    async def work() -> None:
        hub = _SilentHub()
        readers = [live.Reader(1, False) for _ in range(live.STREAMS_PER_USER_MAX)]
        for reader in readers:
            hub.join(reader)
        assert not hub.has_room(1)
        assert hub.has_room(2)
        for reader in readers:
            hub.leave(reader)

    run(work())


def test_what_the_doorbell_publishes_arrives(redis_url: str) -> None:
    async def work() -> None:
        hub, reader = live.Hub(), live.Reader(1, False)
        hub.join(reader)
        await reader.news.wait()  # subscribed: told to look once
        reader.news.clear()
        with redis.Redis.from_url(redis_url) as client:
            client.publish(CHANGED_CHANNEL, json.dumps({"users": [1], "operators": True}))
        await reader.news.wait()
        listening = hub._listening
        hub.leave(reader)
        assert listening is not None
        await asyncio.gather(listening, return_exceptions=True)

    with override_settings(REDIS_CLIENT_URL=redis_url):
        run(work())


@pytest.mark.django_db(transaction=True)
def test_a_stream_needs_a_session() -> None:
    async def work() -> None:
        response = await AsyncClient().get("/live/")
        assert response.status_code == 401

    run(work())


@pytest.mark.django_db(transaction=True)
def test_a_logged_in_reader_gets_a_stream_that_nothing_on_the_way_keeps_back() -> None:
    user = User.objects.create_user("reader@example.com", "correct horse battery")

    async def work() -> None:
        client = AsyncClient()
        await client.aforce_login(user)
        response = await client.get("/live/")
        assert response.status_code == 200
        assert response["Content-Type"] == "text/event-stream"
        assert response["Cache-Control"] == "no-store"
        events = aiter(response.streaming_content)
        assert b"heartbeat" in await anext(events)
        await events.aclose()
        await asyncio.sleep(0)

    run(work())
