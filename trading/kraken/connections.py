"""Private requests over warm HTTP/1.1 connections, all of a process in its event loop. Every request is written once or not.

A connection carries one request at a time, and its bytes are handed over in one place, right after the last look whether
they may go. Until then nothing was written, from then on anything may have been: nothing here writes a request again.
The HTTP grammar is httptools' (llhttp), TLS is asyncio's.
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import certifi
import httptools

from trading.kraken import transport
from trading.kraken.errors import KrakenError, OutcomeUnknown, Unavailable
from trading.kraken.transport import ADDRESSES_MAX, BODY_BYTES_MAX, CONNECT_TIMEOUT_S, USER_AGENT, Answer, exchange_url

#: How many requests of a process are on the wire at once.
CONNECTIONS_MAX = 256
#: A connection that rested longer is not used again: whatever stands between may have forgotten it without a word.
IDLE_MAX_S = 180.0
#: New connections made at about the same time share one look for the exchange's addresses.
ADDRESSES_FRESH_S = 10.0
_GZIP = 16 + zlib.MAX_WBITS
_INFORMATIONAL = range(100, 200)


class LoopTransport:
    """`base_url` without a path; `tls` is what certificates are judged by, the usual authorities by default.

    For coroutines of one event loop. Called from another, it starts without connections.
    """

    def __init__(
        self, base_url: str, connections_max: int = CONNECTIONS_MAX, *, tls: ssl.SSLContext | None = None
    ) -> None:
        self._base_url = exchange_url(base_url)
        parts = urlsplit(self._base_url)
        self._host, self._netloc = parts.hostname or "", parts.netloc
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = (tls or _usual_authorities()) if parts.scheme == "https" else None
        self._connections_max = connections_max
        self._start_with_nothing(None)

    def _start_with_nothing(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self._loop = loop
        self._open = 0
        self._idle: list[_Connection] = []
        self._waiting: deque[asyncio.Future[_Connection | None]] = deque()
        self._lookup: asyncio.Task[list[str]] | None = None
        self._lookup_fresh_until_s = 0.0

    def __repr__(self) -> str:
        return f"LoopTransport({self._base_url!r})"

    async def post(
        self,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        timeout_s: float,
        before_write: Callable[[], None] | None = None,
    ) -> Answer:
        outcome = await self._attempt(path, body, headers, timeout_s=timeout_s, before_write=before_write)
        # Raised outside every handler, so that no library's exception is chained.
        if isinstance(outcome, KrakenError):
            raise outcome
        return outcome

    async def _attempt(
        self,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        timeout_s: float,
        before_write: Callable[[], None] | None,
    ) -> Answer | KrakenError:
        if not all(value.isascii() and value.isprintable() for value in headers.values()):
            raise ValueError("a header that is not plain text")
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._start_with_nothing(loop)
        ends_at_s = loop.time() + min(timeout_s, transport.REQUEST_TIMEOUT_MAX_S)
        connection = self._warm()
        if connection is None:
            try:
                async with asyncio.timeout_at(ends_at_s):
                    connection = await self._taken()
            except (OSError, UnicodeError):
                return Unavailable("Kraken could not be reached.")
        try:
            if loop.time() >= ends_at_s:
                return Unavailable("Kraken could not be reached.")
            if before_write is not None:
                before_write()
            return await connection.ask(_request(path, self._netloc, body, headers), ends_at_s=ends_at_s)
        finally:
            connection.leave()

    # The pool.

    def _warm(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable():
                return connection
            connection.drop()
        return None

    async def _taken(self) -> _Connection:
        """A warm connection, or a new one, or the first that becomes free. Raises OSError."""
        while True:
            connection = self._warm()
            if connection is not None:
                return connection
            if self._open < self._connections_max:
                return await self._connected()
            handed = await self._turn()
            if handed is None:
                continue
            if handed.is_usable():
                return handed
            handed.drop()

    async def _turn(self) -> _Connection | None:
        """The connection that becomes free when its turn comes, or None when a new one may be made."""
        turn: asyncio.Future[_Connection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # It came at the moment when the wait was given up: the next one's.
                self._pass_on(turn.result())
            raise

    async def _connected(self) -> _Connection:
        loop = asyncio.get_running_loop()
        self._open += 1
        problem: Exception = OSError("the name has no address")
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                for address in await self._addresses():
                    try:
                        _, connection = await loop.create_connection(
                            lambda: _Connection(self, loop),
                            address,
                            self._port,
                            ssl=self._tls,
                            server_hostname=self._host if self._tls else None,
                        )
                    except OSError as error:
                        problem = error
                    else:
                        connection.count()
                        return connection
            raise problem
        except BaseException:
            self.closed()
            raise

    async def _addresses(self) -> list[str]:
        loop = asyncio.get_running_loop()
        if self._lookup is None or (self._lookup.done() and loop.time() > self._lookup_fresh_until_s):
            self._lookup = loop.create_task(_addresses_of(self._host, self._port))
            self._lookup_fresh_until_s = loop.time() + ADDRESSES_FRESH_S
        lookup = self._lookup
        try:
            return await asyncio.shield(lookup)
        except OSError:
            if self._lookup is lookup:
                self._lookup = None
            raise

    def free(self, connection: _Connection) -> None:
        self._pass_on(connection)

    def closed(self) -> None:
        self._open -= 1
        self._pass_on(None)

    def _pass_on(self, connection: _Connection | None) -> None:
        """A connection, or room for a new one, to whoever has waited longest."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(connection)
                return
        if connection is not None:
            self._idle.append(connection)

    def lost(self, connection: _Connection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)
        self.closed()

    async def close(self) -> None:
        """Close what is kept warm."""
        for connection in self._idle:
            connection.drop()
        # The loop tells connections of their end a turn later.
        await asyncio.sleep(0)


class _Connection(asyncio.Protocol):
    """One connection and the one request that it carries."""

    def __init__(self, pool: LoopTransport, loop: asyncio.AbstractEventLoop) -> None:
        self._pool, self._loop = pool, loop
        self._transport: asyncio.Transport | None = None
        self._reading: _Reading | None = None
        self._answer: asyncio.Future[Answer | KrakenError] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._reusable = True
        self._counted = False
        self._rests_since_s = loop.time()
        self._poll = select.poll()

    def count(self) -> None:
        """From here on the pool is told when it ends. Raises OSError when it has ended already."""
        if self.is_closing:
            raise ConnectionAbortedError("closed as soon as it was made")
        self._counted = True

    def ask(self, data: bytes, *, ends_at_s: float) -> asyncio.Future[Answer | KrakenError]:
        """Write the request; its answer or its failure will come by `ends_at_s`."""
        self._reusable = False
        self._reading = _Reading()
        self._answer = self._loop.create_future()
        self._timer = self._loop.call_at(ends_at_s, self._out_of_time)
        self._write(data)
        return self._answer

    def _write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    def leave(self) -> None:
        """Whoever used it is done with it: keep it for the next one, or close it."""
        if self._reusable and not self.is_closing:
            self._rests_since_s = self._loop.time()
            self._pool.free(self)
        else:
            self.drop()

    def drop(self) -> None:
        self._reusable = False
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()

    @property
    def is_closing(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def is_usable(self) -> bool:
        """Whether it was used lately and the other side has neither closed it nor said anything that nobody asked for."""
        rested_s = self._loop.time() - self._rests_since_s
        return rested_s < IDLE_MAX_S and not self.is_closing and not self._poll.poll(0)

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        reading = self._reading
        if reading is None:
            # Nobody asked.
            self.drop()
            return
        reading.feed(data)
        if reading.ended is not None:
            self._reusable = reading.may_be_followed
            self._end(reading.ended)

    def connection_lost(self, _exc: Exception | None) -> None:
        self._reusable = False
        self._end(OutcomeUnknown("The connection to Kraken broke before its answer had arrived."))
        if self._counted:
            self._pool.lost(self)

    def _out_of_time(self) -> None:
        self._end(OutcomeUnknown("Kraken did not answer in time."))

    def _end(self, outcome: Answer | KrakenError) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._reading, self._timer = None, None
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(outcome)


class _Reading:
    """An answer as it arrives: at most `BODY_BYTES_MAX`, both as sent and unpacked, and only whole ones count.

    An answer that ends where its connection does is never known to be whole.
    """

    def __init__(self) -> None:
        self.ended: Answer | KrakenError | None = None
        self.may_be_followed = False
        self._parser = httptools.HttpResponseParser(self)
        self._received = 0
        self._body = bytearray()
        self._inflate: Any = None
        self._refused = ""
        self._whole: Answer | None = None

    def feed(self, data: bytes) -> None:
        self._received += len(data)
        broken = False
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, zlib.error):
            broken = True
        if self._refused:
            self.ended = OutcomeUnknown(self._refused)
        elif self._whole is not None:
            self.ended = self._whole
            self.may_be_followed = self.may_be_followed and not broken
        elif broken:
            self.ended = OutcomeUnknown("The connection to Kraken broke before its answer had arrived.")
        elif self._received > BODY_BYTES_MAX:
            self.ended = OutcomeUnknown(_TOO_LARGE)

    # What the parser calls.

    def on_message_begin(self) -> None:
        # A second answer to one request: the connection cannot be trusted any more.
        self.may_be_followed = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-encoding" and value.lower() not in (b"", b"identity"):
            if value.lower() not in (b"gzip", b"x-gzip"):
                self._refused = "Kraken's answer is packed in a way that was not asked for."
            self._inflate = zlib.decompressobj(_GZIP)

    def on_body(self, body: bytes) -> None:
        if self._refused or self._whole is not None:
            return
        if self._inflate is not None:
            body = self._inflate.decompress(body, BODY_BYTES_MAX + 1 - len(self._body))
        self._body += body
        if len(self._body) > BODY_BYTES_MAX:
            self._refused = _TOO_LARGE

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if self._whole is not None or status in _INFORMATIONAL:
            return
        if self._inflate is not None and self._body and not self._inflate.eof:
            self._refused = self._refused or "The connection to Kraken broke before its answer had arrived."
        self._whole = Answer(status=status, body=bytes(self._body))
        self.may_be_followed = self._parser.should_keep_alive()


_TOO_LARGE = "Kraken's answer is larger than any this system handles."


def _request(path: str, host: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {host}",
        f"User-Agent: {USER_AGENT}",
        "Accept: application/json",
        "Accept-Encoding: gzip",
        *(f"{name}: {value}" for name, value in headers.items()),
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + body


async def _addresses_of(host: str, port: int) -> list[str]:
    """In the order of the resolver, which works in a thread of its own, since the system knows no other way to ask it."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for _, _, _, _, address in found[:ADDRESSES_MAX]]


def _usual_authorities() -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    return context
