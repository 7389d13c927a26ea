"""The raw limit, measured by clients in processes of their own against a null exchange of their own."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.null_exchange import NullExchange

BASE_DIR = Path(__file__).resolve().parents[2]
TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class Variant:
    """One client; `wall_s` and `cpu_s` are medians of its rounds, `exchange_cpu_s` the exchange's share of one round."""

    client: str
    connections: int
    orders: int
    wall_s: float
    best_s: float
    cpu_s: float
    exchange_cpu_s: float
    refused: int

    @property
    def orders_per_s(self) -> float:
        return self.orders / self.wall_s


@dataclass(frozen=True, slots=True)
class RawLimit:
    variants: tuple[Variant, ...]

    @property
    def fastest(self) -> Variant:
        return min(self.variants, key=lambda variant: variant.wall_s)


def measure(*, latency_ms: float, orders: int) -> RawLimit:
    """Every order on a connection of its own, and over as many connections as the engine has senders in one process."""
    with NullExchange(latency_ms=latency_ms) as exchange:
        wanted = [(client, connections) for client in ("protocol", "aiohttp") for connections in (orders, 256)]
        return RawLimit(tuple(_variant(exchange, client, connections, orders) for client, connections in wanted))


def _variant(exchange: NullExchange, client: str, connections: int, orders: int) -> Variant:
    before = exchange.ask("stats")["cpu_s"]
    options = {"--url": exchange.url, "--client": client, "--connections": str(connections), "--orders": str(orders)}
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.raw_client",
        *(part for pair in options.items() for part in pair),
    ]
    done = subprocess.run(command, cwd=BASE_DIR, stdout=subprocess.PIPE, timeout=TIMEOUT_S, check=True)
    told = json.loads(done.stdout)
    rounds = len(told["wall_s"])
    return Variant(
        client=client,
        connections=min(connections, orders),
        orders=orders,
        wall_s=statistics.median(told["wall_s"]),
        best_s=min(told["wall_s"]),
        cpu_s=statistics.median(told["cpu_s"]),
        exchange_cpu_s=(exchange.ask("stats")["cpu_s"] - before) / rounds,
        refused=told["refused"],
    )
