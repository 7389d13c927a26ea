"""HTTP to Kraken: bytes out, bytes back, once. What the two ways have in common, and public reads.

Nothing is retried here: a retried order is a second order. A request ends, well or badly, within its bound, however slowly
the other side sends. Private requests go through `connections`; public ones, few and one at a time, through requests.
"""

from __future__ import annotations

import http.client
import io
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from trading.kraken.errors import KrakenError, OutcomeUnknown, Unavailable

USER_AGENT = "NIJA/1.0"
REQUEST_TIMEOUT_MAX_S = 8.0
CONNECT_TIMEOUT_S = 3.0
BODY_BYTES_MAX = 16 * 1024 * 1024
CHUNK_BYTES = 64 * 1024
ADDRESSES_MAX = 16


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, whatever its status; `body` is whole and decompressed."""

    status: int
    body: bytes = field(repr=False)


class MaskedHeaders(dict[str, str]):
    """Headers that do not show their values."""

    def __repr__(self) -> str:
        return f"MaskedHeaders({sorted(self)})"

    __str__ = __repr__


class Transport(Protocol):
    """Sends one public request and returns one answer.

    Raises Unavailable when certainly nothing was written, OutcomeUnknown for every other failure; an HTTP status is no
    failure here.
    """

    def get(self, path: str, params: Mapping[str, str], *, timeout_s: float) -> Answer: ...


class PrivateTransport(Protocol):
    """Sends one private request, written at most once, and returns one answer. Raises as `Transport` does.

    `before_write` is called when a connection is at hand and its next act would be to write; what it raises is raised, and
    then certainly nothing was written.
    """

    async def post(
        self,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        timeout_s: float,
        before_write: Callable[[], None] | None = None,
    ) -> Answer: ...


def exchange_url(base_url: str) -> str:
    """`base_url` without a slash at its end. Raises ValueError when it is none."""
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise ValueError("the exchange's address must be like https://api.kraken.com")
    return base_url.rstrip("/")


class RequestsTransport:
    """`base_url` without a path (`https://api.kraken.com`); `pool_size` is how many connections are kept warm."""

    def __init__(self, base_url: str, pool_size: int = 16) -> None:
        self._base_url = exchange_url(base_url)
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._session.headers.clear()
        self._session.headers.update(
            {"User-Agent": USER_AGENT, "Accept": "application/json", "Accept-Encoding": "gzip"}
        )
        adapter = _BoundedAdapter(pool_connections=1, pool_maxsize=pool_size, max_retries=0)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def __repr__(self) -> str:
        return f"RequestsTransport({self._base_url!r})"

    def get(self, path: str, params: Mapping[str, str], *, timeout_s: float) -> Answer:
        query = f"?{urlencode(params)}" if params else ""
        return self._send(requests.Request("GET", self._base_url + path + query), timeout_s=timeout_s)

    def close(self) -> None:
        self._session.close()

    def _send(self, request: requests.Request, *, timeout_s: float) -> Answer:
        outcome = self._attempt(request, timeout_s=min(timeout_s, REQUEST_TIMEOUT_MAX_S))
        # Raised outside the handler, so that the library's exception, which holds the signed request, is not chained.
        if isinstance(outcome, KrakenError):
            raise outcome
        return outcome

    def _attempt(self, request: requests.Request, *, timeout_s: float) -> Answer | KrakenError:
        bound = _Bound(ends_at_s=time.monotonic() + timeout_s)
        _current.bound = bound
        try:
            response = self._session.send(
                self._session.prepare_request(request),
                stream=True,
                allow_redirects=False,
                timeout=(min(CONNECT_TIMEOUT_S, timeout_s), timeout_s),
            )
            with response:
                body = _body(response, bound)
                return Answer(status=response.status_code, body=body)
        except (requests.ConnectTimeout, _NothingWritten):
            return Unavailable("Kraken could not be reached.")
        except _TooLarge:
            return OutcomeUnknown("Kraken's answer is larger than any this system handles.")
        except (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
            if bound.connect_failed:
                return Unavailable("Kraken could not be reached.")
            if isinstance(error, (requests.Timeout, TimeoutError)) or bound.remaining_s() <= 0:
                return OutcomeUnknown("Kraken did not answer in time.")
            return OutcomeUnknown("The connection to Kraken broke before its answer had arrived.")
        finally:
            _current.bound = None


def _body(response: requests.Response, bound: _Bound) -> bytes:
    body = bytearray()
    chunks: Iterator[bytes] = response.iter_content(CHUNK_BYTES)
    for chunk in chunks:
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise _TooLarge
        bound.check()
    return bytes(body)


class _TooLarge(Exception):
    pass


class _NothingWritten(Exception):
    """The bound had passed before the first byte."""


@dataclass(slots=True)
class _Bound:
    """The one request that this thread is making: when it ends, and what is certain about it."""

    ends_at_s: float
    connect_failed: bool = False
    written: bool = False

    def remaining_s(self) -> float:
        return self.ends_at_s - time.monotonic()

    def check(self) -> float:
        """The seconds left; raises TimeoutError when there are none."""
        remaining_s = self.remaining_s()
        if remaining_s <= 0:
            raise TimeoutError("the request's bound has passed")
        return remaining_s


class _Current(threading.local):
    bound: _Bound | None = None


# The pool hands connections from thread to thread: a connection finds its request's bound by the thread it is in.
_current = _Current()


class _BoundedSocket(io.RawIOBase):
    """Reads a socket so that all reads of one request together end at its bound, however little each brings."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, bound: _Bound) -> None:
        self._raw = raw
        self._sock = sock
        self._bound = bound

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._bound.check())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _BoundedResponse(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        if _current.bound is not None:
            self.fp = io.BufferedReader(_BoundedSocket(self.fp.detach(), sock, _current.bound))


class _BoundedConnection:
    """What both kinds add: one deadline for all addresses, and a record of what was certainly not written."""

    host: str
    port: int
    sock: Any
    response_class = _BoundedResponse

    def _new_conn(self) -> socket.socket:
        bound = _current.bound or _Bound(ends_at_s=time.monotonic() + CONNECT_TIMEOUT_S)
        return _connected(self.host.strip("[]"), self.port, bound)

    def connect(self) -> None:
        try:
            super().connect()  # type: ignore[misc]
        except BaseException:
            if _current.bound is not None:
                _current.bound.connect_failed = True
            raise

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        bound = _current.bound
        if bound is not None:
            if bound.remaining_s() <= 0 and not bound.written:
                raise _NothingWritten
            bound.written = True
            self.sock.settimeout(bound.check())
        super().send(data)  # type: ignore[misc]


class _PlainConnection(_BoundedConnection, HTTPConnection):  # type: ignore[misc]
    pass


class _TlsConnection(_BoundedConnection, HTTPSConnection):  # type: ignore[misc]
    pass


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class _BoundedAdapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _PlainPool, "https": _TlsPool}


def _connected(host: str, port: int, bound: _Bound) -> socket.socket:
    """A TCP connection to the first address that takes it; all addresses together get `CONNECT_TIMEOUT_S`."""
    bound = _Bound(ends_at_s=min(bound.ends_at_s, time.monotonic() + CONNECT_TIMEOUT_S))
    problem: OSError = OSError("the name has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[:ADDRESSES_MAX]:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(bound.check())
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.connect(address)
        except OSError as error:
            sock.close()
            problem = error
        else:
            return sock
    raise problem
