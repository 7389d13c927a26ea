from __future__ import annotations

import logging
import socket
import traceback

import pytest

from tests.support.waiting import WaitingClient
from tests.trading.kraken.exchange_server import Behaviour, exchange
from tests.trading.kraken.payloads import PlayedBack
from tests.trading.kraken.test_endpoints import MARKET
from trading.kraken import endpoints
from trading.kraken.connections import LoopTransport
from trading.kraken.endpoints import PrivateClient
from trading.kraken.errors import CredentialsRefused, KrakenError, OutcomeUnknown
from trading.kraken.senders import of_this_process
from trading.kraken.signing import Credentials, sign
from trading.kraken.transport import MaskedHeaders

KEY = "PUBLICKEYWHICHISPRIVATETOO"
SECRET = "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg=="
CREDENTIALS = Credentials.from_text(KEY, SECRET)
NONCE = 7


def _assert_silent(text: str, *more: str) -> None:
    raw = CREDENTIALS.secret
    for secret in (KEY, SECRET, SECRET[:12], repr(raw), repr(raw)[2:20], raw.hex(), *more):
        assert secret not in text


def _texts_of(error: BaseException) -> str:
    """All that a crash reporter might keep, the local variables of our own frames included."""
    with_locals = traceback.TracebackException.from_exception(error, capture_locals=True)
    frames = [frame for frame in with_locals.stack if "/trading/kraken/" in frame.filename]
    ours = [str(frame.locals) for frame in frames if "/tests/" not in frame.filename]
    return "".join([str(error), repr(error), str(vars(error)), *traceback.format_exception(error), *ours])


def test_no_client_credential_or_header_shows_a_secret() -> None:
    transport = LoopTransport("https://api.kraken.com")
    client = PrivateClient(transport, CREDENTIALS)
    headers = MaskedHeaders({"API-Key": KEY, "API-Sign": "signature"})
    for thing in (CREDENTIALS, client, transport, headers, [CREDENTIALS], {"c": CREDENTIALS}):
        _assert_silent(f"{thing} {thing!r}", "signature")


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":["EAPI:Invalid key"]}',
        b'{"error":["EAPI:Invalid signature"]}',
        b'{"error":["EService:Busy"]}',
        b"<html>",
        b'{"error":[],"result":{}}',
    ],
)
def test_no_error_of_an_answer_shows_a_secret(body: bytes) -> None:
    with pytest.raises(KrakenError) as caught:
        WaitingClient(PrivateClient(PlayedBack(body), CREDENTIALS)).add_order(MARKET, nonce=NONCE)
    _assert_silent(_texts_of(caught.value))


def _refuse(_connection: socket.socket) -> bool:
    return False


def _say_half(connection: socket.socket) -> bool:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    return False


def _say_nothing(connection: socket.socket) -> bool:
    connection.recv(1)
    return False


@pytest.mark.parametrize("behave", [_refuse, _say_half, _say_nothing])
def test_no_error_of_the_transport_shows_a_secret_or_chains_what_holds_one(
    behave: Behaviour, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoints, "PRIVATE_TIMEOUT_S", 0.4)
    with caplog.at_level(logging.DEBUG), exchange(behave) as server:
        client = PrivateClient(LoopTransport(server.url), CREDENTIALS)
        with pytest.raises(OutcomeUnknown) as caught:
            of_this_process().run(lambda: client.add_order(MARKET, nonce=NONCE))
    (request,) = server.requests
    signature = request.partition(b"API-Sign: ")[2].partition(b"\r\n")[0].decode()
    assert len(signature) == 88
    assert caught.value.__context__ is None
    _assert_silent(_texts_of(caught.value), signature)
    _assert_silent(caplog.text, signature)


def test_a_header_that_cannot_be_sent_is_not_repeated_by_the_refusal() -> None:
    client = PrivateClient(LoopTransport("http://127.0.0.1:1"), Credentials(key="KEY\r\nX: é", secret=b"s" * 64))
    with pytest.raises(ValueError, match="plain text") as caught:
        of_this_process().run(lambda: client.balance_ex(nonce=NONCE))
    assert "KEY" not in _texts_of(caught.value)


def test_a_refused_secret_is_not_repeated_by_the_refusal() -> None:
    with pytest.raises(CredentialsRefused) as caught:
        Credentials.from_text(KEY, SECRET[:-3])
    text = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + str(vars(caught.value))
    assert SECRET[:12] not in text
    assert KEY not in text


def test_the_signature_does_not_contain_the_secret() -> None:
    signature = sign("/0/private/Balance", nonce="1", body=b"nonce=1", secret=CREDENTIALS.secret)
    _assert_silent(signature)
