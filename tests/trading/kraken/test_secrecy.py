from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any

import pytest
import requests
import responses

from tests.trading.kraken.payloads import PlayedBack
from tests.trading.kraken.test_endpoints import MARKET
from trading.kraken.endpoints import PrivateClient
from trading.kraken.errors import CredentialsRefused, KrakenError
from trading.kraken.signing import Credentials, sign
from trading.kraken.transport import MaskedHeaders, RequestsTransport

KEY = "PUBLICKEYWHICHISPRIVATETOO"
SECRET = "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg=="
CREDENTIALS = Credentials.from_text(KEY, SECRET)
NONCE = 7
URL = "https://api.kraken.com/0/private/AddOrder"


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
    transport = RequestsTransport("https://api.kraken.com")
    client = PrivateClient(transport, CREDENTIALS)
    headers = MaskedHeaders({"API-Key": KEY, "API-Sign": "signature"})
    for thing in (CREDENTIALS, client, transport, headers, [CREDENTIALS], {"c": CREDENTIALS}):
        _assert_silent(f"{thing} {thing!r}", "signature")
    transport.close()


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
        PrivateClient(PlayedBack(body), CREDENTIALS).add_order(MARKET, nonce=NONCE)
    _assert_silent(_texts_of(caught.value))


@pytest.mark.parametrize("failure", [requests.ReadTimeout, requests.ConnectionError, requests.ConnectTimeout])
def test_no_error_of_the_transport_shows_a_secret_or_chains_the_signed_request(
    failure: Callable[..., Exception], caplog: pytest.LogCaptureFixture
) -> None:
    transport = RequestsTransport("https://api.kraken.com")
    client = PrivateClient(transport, CREDENTIALS)
    signatures: list[str] = []

    def fail(request: Any) -> Any:
        signatures.append(request.headers["API-Sign"])
        raise failure(request=request)

    with caplog.at_level(logging.DEBUG), responses.RequestsMock() as mock:
        mock.add_callback(responses.POST, URL, callback=fail)
        with pytest.raises(KrakenError) as caught:
            client.add_order(MARKET, nonce=NONCE)
    transport.close()
    (signature,) = signatures
    _assert_silent(_texts_of(caught.value), signature)
    _assert_silent(caplog.text, signature)


def test_a_refused_secret_is_not_repeated_by_the_refusal() -> None:
    with pytest.raises(CredentialsRefused) as caught:
        Credentials.from_text(KEY, SECRET[:-3])
    text = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + str(vars(caught.value))
    assert SECRET[:12] not in text
    assert KEY not in text


def test_the_signature_does_not_contain_the_secret() -> None:
    signature = sign("/0/private/Balance", nonce="1", body=b"nonce=1", secret=CREDENTIALS.secret)
    _assert_silent(signature)
