"""The raw limit: signed orders to the null exchange as fast as one Python process sends them, with no database and no engine.

`python -m tests.benchmarks.raw_client --url http://127.0.0.1:8000 --orders 1000 --client protocol`. Connections are opened and used
once before the clock starts. `protocol` is an asyncio Protocol that does nothing but this, `aiohttp` the usual library; both
on uvloop where it is installed, each with one request in flight on a connection. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import gc
import hashlib
import hmac
import json
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import aiohttp

from tests.benchmarks import null_books
from tests.benchmarks.null_exchange import allow_connections

PATH = "/0/private/AddOrder"
ROUNDS = 7
#: Accounts of its own, so that the engine's books are not touched.
FIRST_INDEX = 1_000_000
ROUND_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Signer:
    """The account that sends one of the orders."""

    key: str
    secret: bytes

    def order(self) -> tuple[bytes, str]:
        """Body and signature of one more order; nonces rise with the clock."""
        nonce = str(time.time_ns())
        body = (
            f"nonce={nonce}&ordertype=limit&type=buy&volume=100.00000000&pair=BEAMUSD&cl_ord_id={uuid.uuid4()}"
            "&oflags=fciq&price=0.010051&timeinforce=IOC"
        ).encode("ascii")
        digest = hashlib.sha256(nonce.encode("ascii") + body).digest()
        signed = hmac.digest(self.secret, PATH.encode("ascii") + digest, "sha512")
        return body, base64.b64encode(signed).decode("ascii")


@dataclass(slots=True)
class Round:
    """The orders of one round, taken by whichever connection is free."""

    signers: list[Signer]
    done: asyncio.Future[None]
    answered: int = 0
    refused: int = 0
    next: int = 0

    def take(self) -> Signer | None:
        if self.next == len(self.signers):
            return None
        self.next += 1
        return self.signers[self.next - 1]

    def answer(self, body: bytes) -> None:
        self.answered += 1
        if b'"txid"' not in body:
            self.refused += 1
        if self.answered == len(self.signers) and not self.done.done():
            self.done.set_result(None)


class Sender(asyncio.Protocol):
    """One warm connection."""

    __slots__ = ("_buffer", "_host", "_round", "_transport", "ready")

    def __init__(self, host: str, loop: asyncio.AbstractEventLoop) -> None:
        self._host, self._buffer = host, b""
        self._round: Round | None = None
        self._transport: asyncio.Transport
        self.ready: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._transport.write(f"GET /0/public/Time HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode())

    def begin(self, orders: Round) -> None:
        self._round = orders
        self._send(orders)

    def _send(self, orders: Round) -> None:
        signer = orders.take()
        if signer is None:
            return
        body, signature = signer.order()
        head = (
            f"POST {PATH} HTTP/1.1\r\nHost: {self._host}\r\nAPI-Key: {signer.key}\r\nAPI-Sign: {signature}\r\n"
            f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._transport.write(head.encode("ascii") + body)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        at = self._buffer.find(b"Content-Length: ")
        length = int(self._buffer[at + 16 : self._buffer.find(b"\r\n", at)])
        if len(self._buffer) < end + 4 + length:
            return
        body, self._buffer = self._buffer[end + 4 :], b""
        if self._round is None:
            self.ready.set_result(None)
        else:
            json.loads(body)
            self._round.answer(body)
            self._send(self._round)


@dataclass(slots=True)
class Result:
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    refused: int = 0


async def by_protocol(url: str, signers: list[Signer], connections: int) -> Result:
    loop, parts, result = asyncio.get_running_loop(), urlsplit(url), Result()
    senders: list[Sender] = []
    for _ in range(connections):
        _, sender = await loop.create_connection(
            lambda: Sender(parts.netloc, loop), parts.hostname or "", parts.port or 80
        )
        senders.append(sender)
    await asyncio.gather(*(sender.ready for sender in senders))

    async def once() -> int:
        orders = Round(signers, loop.create_future())
        for sender in senders:
            sender.begin(orders)
        await orders.done
        return orders.refused

    return await _timed(once, result)


async def by_aiohttp(url: str, signers: list[Signer], connections: int) -> Result:
    result = Result()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=connections)) as session:

        async def warm() -> None:
            async with session.get(f"{url}/0/public/Time") as answer:
                await answer.read()

        async def send(signer: Signer) -> bool:
            body, signature = signer.order()
            headers = {
                "API-Key": signer.key,
                "API-Sign": signature,
                "Content-Type": "application/x-www-form-urlencoded",
            }
            async with session.post(f"{url}{PATH}", data=body, headers=headers) as answer:
                return not json.loads(await answer.read())["error"]

        async def once() -> int:
            taken = await asyncio.gather(*(send(signer) for signer in signers))
            return taken.count(False)

        await asyncio.gather(*(warm() for _ in range(connections)))
        return await _timed(once, result)


async def _timed(once: Callable[[], Awaitable[int]], result: Result) -> Result:
    for _ in range(ROUNDS):
        gc.collect()
        gc.disable()
        wall, cpu = time.perf_counter(), time.process_time()
        result.refused += await asyncio.wait_for(once(), ROUND_TIMEOUT_S)
        result.wall_s.append(time.perf_counter() - wall)
        result.cpu_s.append(time.process_time() - cpu)
        gc.enable()
    return result


def main(arguments: Sequence[str]) -> None:
    allow_connections()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--orders", type=int, default=1000)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--client", choices=("protocol", "aiohttp"), default="protocol")
    options = parser.parse_args(arguments)
    signers = [
        Signer(null_books.api_key_of(index), null_books.secret_of(index))
        for index in range(FIRST_INDEX, FIRST_INDEX + options.orders)
    ]
    client = by_protocol if options.client == "protocol" else by_aiohttp
    work = client(options.url, signers, min(options.connections, options.orders))
    try:
        import uvloop
    except ImportError:
        result = asyncio.run(work)
    else:
        result = uvloop.run(work)
    print(json.dumps({"wall_s": result.wall_s, "cpu_s": result.cpu_s, "refused": result.refused}))


if __name__ == "__main__":
    main(sys.argv[1:])
