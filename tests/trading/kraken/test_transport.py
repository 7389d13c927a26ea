"""The contract of HTTP to Kraken, for both ways: orders and private reads in the event loop, public reads through requests."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
import requests
import responses
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.waiting import WaitingClient
from tests.trading.kraken.exchange_server import Behaviour, answer, exchange
from trading.kraken import transport as transport_module
from trading.kraken.connections import LoopTransport
from trading.kraken.endpoints import PrivateClient
from trading.kraken.errors import KrakenError, OutcomeUnknown, Unavailable
from trading.kraken.senders import of_this_process
from trading.kraken.signing import Credentials
from trading.kraken.transport import BODY_BYTES_MAX, USER_AGENT, Answer, RequestsTransport

OK = b'{"error":[],"result":{}}'
PATH = "/0/private/AddOrder"
SHORT_S = 0.4


class Private:
    """An order, over the connections of this process's event loop."""

    def __init__(self, url: str, pool_size: int = 16, *, authority: Path | None = None) -> None:
        tls = ssl.create_default_context(cafile=authority) if authority else None
        self._transport = LoopTransport(url, pool_size, tls=tls)

    def ask(self, *, timeout_s: float = 5.0) -> Answer:
        headers = {"API-Key": "key", "API-Sign": "sig"}
        return of_this_process().run(
            lambda: self._transport.post(PATH, b"nonce=1&x=%2B", headers, timeout_s=timeout_s),
        )

    def close(self) -> None:
        of_this_process().run(self._transport.close)


class Public:
    """A read of the market, in the thread that asks."""

    def __init__(self, url: str, pool_size: int = 16, *, authority: Path | None = None) -> None:
        self._transport = RequestsTransport(url, pool_size)
        if authority is not None:
            self._transport._session.verify = str(authority)

    def ask(self, *, timeout_s: float = 5.0) -> Answer:
        return self._transport.get("/0/public/Ticker", {"pair": "XBTUSD,BEAMUSD"}, timeout_s=timeout_s)

    def close(self) -> None:
        self._transport.close()


Way = type[Private] | type[Public]


@pytest.fixture(params=[Private, Public], ids=["private", "public"])
def way(request: pytest.FixtureRequest) -> Way:
    chosen: Way = request.param
    return chosen


def _error(way: Way, url: str, *, timeout_s: float = 5.0) -> KrakenError:
    transport = way(url)
    try:
        with pytest.raises(KrakenError) as caught:
            transport.ask(timeout_s=timeout_s)
        return caught.value
    finally:
        transport.close()


def _says(data: bytes, *, keep: bool = True) -> Behaviour:
    def behave(connection: socket.socket) -> bool:
        connection.sendall(data)
        return keep

    return behave


def test_the_bytes_of_the_body_and_the_headers_arrive_as_given() -> None:
    with exchange(_says(answer(OK))) as server:
        transport = Private(server.url)
        assert transport.ask().body == OK
        transport.close()
    (request,) = server.requests
    assert request.startswith(b"POST /0/private/AddOrder HTTP/1.1\r\n")
    assert request.endswith(b"\r\n\r\nnonce=1&x=%2B")
    assert b"\r\nAPI-Sign: sig\r\n" in request
    assert f"\r\nUser-Agent: {USER_AGENT}\r\n".encode() in request


def test_a_read_puts_its_parameters_into_the_query() -> None:
    with exchange(_says(answer(OK))) as server:
        transport = Public(server.url)
        assert transport.ask().body == OK
        transport.close()
    assert server.requests[0].startswith(b"GET /0/public/Ticker?pair=XBTUSD%2CBEAMUSD HTTP/1.1\r\n")


def test_a_compressed_answer_is_unpacked(way: Way) -> None:
    with exchange(_says(answer(gzip.compress(OK), headers="Content-Encoding: gzip\r\n"))) as server:
        transport = way(server.url)
        assert transport.ask().body == OK
        transport.close()


def test_requests_after_another_share_one_warm_connection(way: Way) -> None:
    with exchange(_says(answer(OK))) as server:
        transport = way(server.url)
        for _ in range(5):
            transport.ask()
        transport.close()
    assert len(server.requests) == 5
    assert server.connections == 1


def test_threads_share_the_pool(way: Way) -> None:
    with exchange(_says(answer(OK))) as server:
        transport = way(server.url, pool_size=4)
        with ThreadPoolExecutor(4) as pool:
            bodies = list(pool.map(lambda _: transport.ask().body, range(40)))
        transport.close()
    assert bodies == [OK] * 40
    assert len(server.requests) == 40
    assert server.connections <= 4


def test_cookies_of_one_account_are_not_sent_for_the_next(way: Way) -> None:
    with exchange(_says(answer(OK, headers="Set-Cookie: session=1; Path=/\r\n"))) as server:
        transport = way(server.url)
        transport.ask()
        transport.ask()
        transport.close()
    assert all(b"\r\nCookie:" not in request for request in server.requests)


@pytest.mark.parametrize("status", ["302 Found", "429 Too Many", "502 Bad Gateway", "520 Unknown"])
def test_a_status_is_handed_back_and_nothing_is_followed_or_repeated(way: Way, status: str) -> None:
    with exchange(
        _says(answer(b"<html>", status=status, headers="Location: /elsewhere\r\nRetry-After: 0\r\n"))
    ) as server:
        transport = way(server.url)
        assert transport.ask().status == int(status[:3])
        transport.close()
    assert len(server.requests) == 1


def test_a_proxy_in_the_environment_is_ignored(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, address)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        with exchange(_says(answer(OK))) as server:
            transport = way(server.url)
            assert transport.ask().body == OK
            transport.close()


def test_a_refused_connection_means_that_certainly_nothing_was_written(way: Way) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    assert isinstance(_error(way, url), Unavailable)


def test_a_name_that_does_not_resolve_means_that_certainly_nothing_was_written(
    way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unresolved(*args: object, **kwargs: object) -> list[object]:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unresolved)
    assert isinstance(_error(way, "http://exchange.invalid"), Unavailable)


def test_a_tls_handshake_that_fails_means_that_certainly_nothing_was_written(way: Way) -> None:
    with exchange(_says(answer(OK))) as server:
        url = server.url.replace("http://", "https://")
        error = _error(way, url, timeout_s=SHORT_S)
    assert isinstance(error, Unavailable)
    assert server.requests == []


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1 with its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    text = built.public_bytes(pem) + key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path_factory.mktemp("tls") / "exchange.pem"
    path.write_bytes(text)
    return path


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_a_server_whose_certificate_is_not_trusted_is_told_nothing(way: Way, tls: ssl.SSLContext) -> None:
    with exchange(_says(answer(OK)), tls=tls) as server:
        assert isinstance(_error(way, server.url), Unavailable)
    assert server.requests == []


def test_requests_over_tls_share_one_warm_connection(way: Way, tls: ssl.SSLContext, certificate: Path) -> None:
    with exchange(_says(answer(OK)), tls=tls) as server:
        transport = way(server.url, authority=certificate)
        assert [transport.ask().body for _ in range(3)] == [OK] * 3
        transport.close()
    assert server.connections == 1


def test_a_trickling_answer_over_tls_ends_at_the_bound(
    way: Way, tls: ssl.SSLContext, certificate: Path, released: threading.Event
) -> None:
    trickling = _trickling(released, b" ", head=b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
    with exchange(trickling, tls=tls) as server:
        transport = way(server.url, authority=certificate)
        with pytest.raises(OutcomeUnknown, match="in time"):
            transport.ask(timeout_s=SHORT_S)
        released.set()
        transport.close()


def test_a_bound_that_passed_before_the_first_byte_leaves_nothing_written(monkeypatch: pytest.MonkeyPatch) -> None:
    with exchange(_says(answer(OK))) as server:
        real = transport_module._connected
        clock = {"now": 0.0}
        monkeypatch.setattr(time, "monotonic", lambda: clock["now"])

        def slowly(host: str, port: int, bound: transport_module._Bound) -> socket.socket:
            connected = real(host, port, bound)
            clock["now"] = 100.0
            return connected

        monkeypatch.setattr(transport_module, "_connected", slowly)
        assert isinstance(_error(Public, server.url), Unavailable)
    assert server.requests == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"nonsense\r\n\r\n",
        answer(b"not gzip", headers="Content-Encoding: gzip\r\n"),
    ],
    ids=["nothing", "half a body", "bad chunk", "no HTTP", "bad gzip"],
)
def test_a_connection_that_breaks_after_the_request_leaves_the_outcome_unknown(way: Way, data: bytes) -> None:
    with exchange(_says(data, keep=False)) as server:
        error = _error(way, server.url)
    assert type(error) is OutcomeUnknown
    assert len(server.requests) == 1


def test_a_head_that_breaks_off_is_no_answer_that_the_client_takes() -> None:
    with exchange(_says(b"HTTP/1.1 200 OK\r\nContent-Le", keep=False)) as server:
        client = WaitingClient(PrivateClient(LoopTransport(server.url), Credentials(key="key", secret=b"secret")))
        with pytest.raises(OutcomeUnknown):
            client.cancel_order(txid="OUF4EM-FRGI2-MQMWZD", nonce=1)


def _trickling(released: threading.Event, piece: bytes, *, head: bytes = b"") -> Behaviour:
    def behave(connection: socket.socket) -> bool:
        connection.sendall(head)
        for _ in range(10_000):
            if released.wait(0.05):
                break
            connection.sendall(piece)
        return False

    return behave


@pytest.fixture
def released() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.parametrize(
    ("piece", "head"),
    [
        (b"", b""),
        (b"X", b"HTTP/1.1 200 OK\r\nX-Slow: "),
        (b" ", b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n"),
        (b"1\r\n \r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ],
    ids=["silence", "trickling head", "trickling body", "trickling chunks"],
)
def test_a_request_ends_at_its_bound_however_slowly_the_answer_comes(
    way: Way, released: threading.Event, piece: bytes, head: bytes
) -> None:
    with exchange(_trickling(released, piece, head=head)) as server:
        error = _error(way, server.url, timeout_s=SHORT_S)
        released.set()
    assert type(error) is OutcomeUnknown
    assert error.sentence == "Kraken did not answer in time."
    assert len(server.requests) == 1


def test_no_caller_can_ask_for_more_than_the_bound(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "REQUEST_TIMEOUT_MAX_S", SHORT_S)
    event = threading.Event()
    with exchange(_trickling(event, b"")) as server:
        assert type(_error(way, server.url, timeout_s=3600)) is OutcomeUnknown
        event.set()


def test_an_answer_without_end_is_cut_off(way: Way) -> None:
    bomb = gzip.compress(b" " * (BODY_BYTES_MAX + 1))
    with exchange(_says(answer(bomb, headers="Content-Encoding: gzip\r\n"))) as server:
        error = _error(way, server.url, timeout_s=8)
    assert type(error) is OutcomeUnknown
    assert "larger" in error.sentence


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (requests.ConnectTimeout(), Unavailable),
        (requests.ReadTimeout(), OutcomeUnknown),
        (requests.ConnectionError(), OutcomeUnknown),
        (requests.exceptions.SSLError(), OutcomeUnknown),
        (requests.exceptions.ChunkedEncodingError(), OutcomeUnknown),
        (OSError(), OutcomeUnknown),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_every_failure_of_the_library_becomes_one_of_ours_without_its_request(
    failure: Exception, kind: type[KrakenError]
) -> None:
    with responses.RequestsMock() as mock:
        mock.get("https://api.kraken.com/0/public/Ticker", body=failure)
        error = _error(Public, "https://api.kraken.com")
        assert len(mock.calls) == 1
    assert type(error) is kind
    assert error.__cause__ is None
    assert error.__context__ is None


@pytest.mark.parametrize(
    "url", ["", "api.kraken.com", "ftp://api.kraken.com", "https://user:pw@api.kraken.com", "https://"]
)
def test_an_address_that_is_none_is_refused_at_once(way: Way, url: str) -> None:
    with pytest.raises(ValueError, match="the exchange's address"):
        way(url)
