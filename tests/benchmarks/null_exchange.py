"""The null exchange: speaks the part of Kraken's REST that the engine uses and takes and fills every order at once.

`python -m tests.benchmarks.null_exchange --port 8000 --latency-ms 50`. One thread, HTTP/1.1 over kept connections, each answer
sent so long after its request was read. What it costs is measured too, so it does as little as it can: signatures, nonces
and balances are checked, rate limits and matching are left out.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import resource
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import requests

from tests.benchmarks import null_books
from tests.benchmarks.null_books import Account, Books, Refused, Stamp

BASE_DIR = Path(__file__).resolve().parents[2]
CONNECTIONS_WAITING_MAX = 4096
HEAD_BYTES_MAX = 16 * 1024
START_TIMEOUT_S = 20
CONTROL_TIMEOUT_S = 30
#: What the targets of requests begin with.
PRIVATE, PUBLIC, CONTROL = "/0/private/", "/0/public/", "/null/"


class Connection(asyncio.Protocol):
    """One kept connection; requests come one after the other, as HTTP/1.1 clients send them."""

    __slots__ = ("_books", "_buffer", "_latency_s", "_loop", "_transport")

    def __init__(self, books: Books, loop: asyncio.AbstractEventLoop, latency_s: float) -> None:
        self._books, self._loop, self._latency_s = books, loop, latency_s
        self._buffer = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        while self._buffer:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > HEAD_BYTES_MAX:
                    self._transport.abort()
                return
            target, headers = _head(self._buffer[:end])
            length = int(headers.get(b"content-length", 0))
            if len(self._buffer) < end + 4 + length:
                return
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            self._take(target, headers, body)

    def _take(self, target: str, headers: dict[bytes, bytes], body: bytes) -> None:
        if target.startswith(PRIVATE):
            self._private(target, headers, body)
        elif target.startswith(PUBLIC):
            method, _, query = target.removeprefix(PUBLIC).partition("?")
            pairs = [part.partition("=") for part in query.replace("%2C", ",").split("&")]
            try:
                result = null_books.public(method, {name: value for name, _, value in pairs})
            except Refused as error:
                self._later(_envelope(error=str(error)))
            else:
                self._later(_envelope(result))
        elif target.startswith(CONTROL):
            self._transport.write(_response(json.dumps(_control(self._books, target)).encode()))
        else:
            self._later(_envelope(error="EGeneral:Unknown method"))

    def _private(self, path: str, headers: dict[bytes, bytes], body: bytes) -> None:
        received_at = time.time()
        account: Account | None = None
        stamp: Stamp | None = None
        try:
            account = self._books.account(headers.get(b"api-key", b"").decode("ascii"))
            account.in_flight += 1
            if account.in_flight > 1:
                self._books.counts["two requests of a key in flight"] += 1
            form = self._books.check(account, path, signature=headers.get(b"api-sign", b"").decode("ascii"), body=body)
            method = path.removeprefix(PRIVATE)
            if method == "AddOrder":
                result, stamp = self._books.add_order(account, form, received_at=received_at)
            else:
                result = self._books.call(account, method, form)
            answer = _envelope(result)
        except Refused as error:
            self._books.counts[f"refused: {error}"] += 1
            answer = _envelope(error=str(error))
        except (KeyError, ValueError, ArithmeticError) as error:
            self._books.counts[f"not understood: {type(error).__name__} {error}"] += 1
            answer = _envelope(error="EGeneral:Invalid arguments")
        self._later(answer, account, stamp)

    def _later(self, answer: bytes, account: Account | None = None, stamp: Stamp | None = None) -> None:
        self._loop.call_later(self._latency_s, self._answer, answer, account, stamp)

    def _answer(self, answer: bytes, account: Account | None, stamp: Stamp | None) -> None:
        if account is not None:
            account.in_flight -= 1
        if stamp is not None and self._books.answers_to_lose:
            self._books.answers_to_lose -= 1
            self._transport.abort()
            return
        if stamp is not None:
            stamp.answered_at = time.time()
        if not self._transport.is_closing():
            self._transport.write(answer)


def _head(head: bytes) -> tuple[str, dict[bytes, bytes]]:
    first, *lines = head.split(b"\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(b":")
        headers[name.lower()] = value.strip()
    return first.split(b" ")[1].decode("ascii"), headers


def _envelope(result: dict[str, Any] | None = None, *, error: str = "") -> bytes:
    found: dict[str, Any] = {"error": [error]} if error else {"error": [], "result": result}
    return _response(json.dumps(found, separators=(",", ":")).encode())


def _response(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def _control(books: Books, target: str) -> Any:
    if target == f"{CONTROL}stamps":
        return [asdict(stamp) for stamp in books.stamps]
    if target == f"{CONTROL}forget":
        books.stamps.clear()
        return {}
    if target == f"{CONTROL}holdings":
        return books.holdings()
    if target == f"{CONTROL}balance_reads":
        return books.balance_reads()
    if target == f"{CONTROL}lose_answer":
        books.answers_to_lose += 1
        return {}
    if target.startswith(f"{CONTROL}sell_by_hand/"):
        books.sell_by_hand(int(target.rpartition("/")[2]))
        return {}
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "counts": dict(books.counts),
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / 1024,
    }


async def _serve(port: int, latency_s: float, certificate: str) -> None:
    loop, books = asyncio.get_running_loop(), Books()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if certificate else None
    if tls is not None:
        tls.load_cert_chain(certificate)
    server = await loop.create_server(
        lambda: Connection(books, loop, latency_s), "127.0.0.1", port, ssl=tls, backlog=CONNECTIONS_WAITING_MAX
    )
    # Nothing here makes cycles worth looking for, and a pause would be taken for the engine's.
    gc.collect()
    gc.disable()
    print(json.dumps({"ready": True, "port": server.sockets[0].getsockname()[1]}), flush=True)
    await ended.wait()
    server.close()


def allow_connections() -> None:
    """A shell's usual limit of 1,024 open files is about as many as there are connections here."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main(arguments: Sequence[str]) -> None:
    allow_connections()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency-ms", type=float, default=50.0)
    parser.add_argument("--certificate", default="", help="a PEM file with a certificate and its key, for TLS")
    options = parser.parse_args(arguments)
    serving = _serve(options.port, options.latency_ms / 1000, options.certificate)
    try:
        import uvloop
    except ImportError:
        asyncio.run(serving)
    else:
        uvloop.run(serving)


class NullExchange:
    """The exchange as a process of its own, for whoever measures against it."""

    def __init__(self, *, latency_ms: float) -> None:
        command = [sys.executable, "-m", "tests.benchmarks.null_exchange", "--latency-ms", str(latency_ms)]
        self._process = subprocess.Popen(command, cwd=BASE_DIR, stdout=subprocess.PIPE)
        self._session = requests.Session()
        self._session.trust_env = False
        assert self._process.stdout is not None
        ready = self._process.stdout.readline()
        if not ready:
            raise RuntimeError("the null exchange did not start")
        self.url = f"http://127.0.0.1:{json.loads(ready)['port']}"

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, what: str) -> Any:
        """`stats`, `stamps`, `holdings`, `balance_reads`; or do something: `forget` the stamps, `lose_answer` of the next order,
        `sell_by_hand/7`."""
        answer = self._session.get(f"{self.url}{CONTROL}{what}", timeout=CONTROL_TIMEOUT_S)
        answer.raise_for_status()
        return answer.json()

    def stamps(self) -> list[Stamp]:
        return [Stamp(**row) for row in self.ask("stamps")]

    def stop(self) -> None:
        self._session.close()
        self._process.terminate()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> NullExchange:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
