"""The engine's own code with its edges replaced: time, chance, threads, the network, the broker."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from unittest import mock

from asgiref.local import Local
from django.db import connections

from nija.celery import app
from tests.simulation.database.base import Hooks
from tests.simulation.executor import Executor
from tests.simulation.scheduler import NS
from tests.simulation.template import use_database
from trading import doorbell
from trading.kraken.endpoints import PublicClient
from trading.models import Order
from trading.paper import records
from trading.services import lanes, market, private
from trading.services.clock import SystemClock

if TYPE_CHECKING:
    from tests.simulation.run import Simulation


@contextmanager
def everything_simulated(simulation: Simulation) -> Iterator[None]:
    """As long as it lasts, whatever the engine does happens in this run."""
    scheduler = simulation.scheduler
    dice = random.Random(simulation.seed + 1)

    def new_uuid() -> uuid.UUID:
        return uuid.UUID(int=dice.getrandbits(128), version=4)

    def now(_clock: Any) -> datetime:
        return datetime.fromtimestamp((scheduler.now_ns + simulation.skew_ns) // 1000 / 1_000_000, UTC)

    def ns(_clock: Any) -> int:
        return scheduler.now_ns + simulation.skew_ns

    def uptime(_clock: Any) -> float:
        return scheduler.now_ns / NS

    use_database(simulation.database)
    Hooks.pause, Hooks.wait_for = scheduler.pause, scheduler.wait_for
    Hooks.opened = lambda connection: simulation.connections.__setitem__(
        scheduler.current.process if scheduler.current is not None else "hub", connection
    )
    executor = Executor(scheduler)
    public = PublicClient(simulation.network)
    sleeps = lambda seconds: scheduler.sleep(int(seconds * NS))  # noqa: E731
    with (
        mock.patch.object(SystemClock, "now", now),
        mock.patch.object(SystemClock, "ns", ns),
        mock.patch.object(SystemClock, "uptime", uptime),
        mock.patch.object(uuid, "uuid4", new_uuid),
        mock.patch.object(Order._meta.get_field("client_order_id"), "default", new_uuid),
        mock.patch.object(records, "secrets", dice_for_ids(dice)),
        mock.patch.object(private, "transport", return_value=simulation.network),
        mock.patch.object(private, "senders", return_value=executor),
        mock.patch.object(private, "_clients", {}),
        mock.patch.object(market, "public_client", return_value=public),
        mock.patch.dict(market.measure_venue_clock.__kwdefaults__, {"sleep": sleeps}),
        mock.patch.object(lanes, "TIER", simulation.tier),
        mock.patch.object(app, "send_task", simulation.broker.send_task),
        mock.patch.object(doorbell, "_client", return_value=Nobody()),
        mock.patch.object(connections, "_connections", Local(thread_critical=False)),
    ):
        yield


class Nobody:
    """The browser pages that nobody has open."""

    def publish(self, _channel: str, _message: str) -> int:
        return 0


def dice_for_ids(dice: random.Random) -> Any:
    """What `secrets` is to the exchange's order and trade ids: letters by chance, but the seed's."""
    return mock.Mock(token_bytes=lambda n: dice.randbytes(n), choice=dice.choice, randbelow=lambda n: dice.randrange(n))
