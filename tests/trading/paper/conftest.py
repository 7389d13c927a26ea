"""A paper exchange in a thread, and a client of a few lines that signs by itself."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import requests

from trading.paper.server import RunningExchange, run_in_thread
from trading.paper.settings import PaperSettings


@dataclass
class Client:
    """One API key. `call` returns the whole envelope, `result` only what is inside and fails on an error."""

    url: str
    api_key: str
    api_secret: str
    account: str
    last_nonce: int = 0
    session: requests.Session = field(default_factory=requests.Session)

    def sign(self, path: str, nonce: str, body: str) -> str:
        message = path.encode() + hashlib.sha256((nonce + body).encode()).digest()
        return base64.b64encode(hmac.digest(base64.b64decode(self.api_secret), message, "sha512")).decode()

    def next_nonce(self) -> str:
        self.last_nonce = max(self.last_nonce + 1, time.time_ns())
        return str(self.last_nonce)

    def send(self, method: str, *, timeout: float = 10, **fields: str) -> requests.Response:
        """`nonce` among the fields replaces the client's own."""
        path = f"/0/private/{method}"
        nonce = fields.pop("nonce", None) or self.next_nonce()
        body = urlencode({"nonce": nonce, **fields})
        headers = {
            "API-Key": self.api_key,
            "API-Sign": self.sign(path, nonce, body),
            "Content-Type": "application/x-www-form-urlencoded",
        }
        return self.session.post(self.url + path, data=body, headers=headers, timeout=timeout)

    def call(self, method: str, **fields: str) -> Any:
        return self.send(method, **fields).json()

    def result(self, method: str, **fields: str) -> Any:
        envelope = self.call(method, **fields)
        assert envelope["error"] == []
        return envelope["result"]

    def error(self, method: str, **fields: str) -> str:
        """The single error that the call was refused with."""
        envelope = self.call(method, **fields)
        assert "result" not in envelope
        (error,) = envelope["error"]
        return str(error)

    def order(self, side: str, volume: str, **fields: str) -> Any:
        """AddOrder on BEAM, a market order unless a price is given; the envelope."""
        ordertype = "limit" if "price" in fields else "market"
        return self.call(
            "AddOrder", **{"pair": "BEAMUSD", "type": side, "ordertype": ordertype, "volume": volume, **fields}
        )


@pytest.fixture
def settings(tmp_path: Path) -> PaperSettings:
    return PaperSettings(state=tmp_path / "paper.sqlite3")


@pytest.fixture
def exchange(settings: PaperSettings) -> Iterator[RunningExchange]:
    """Pinned market, BEAM at 0.002917 / 0.002918."""
    with run_in_thread(settings) as running:
        running.post("/paper/market/pin", pair="BEAMUSD", bid="0.002917", ask="0.002918")
        yield running


@pytest.fixture
def account_at() -> Iterator[Callable[..., Client]]:
    with contextlib.ExitStack() as sessions:

        def create(running: RunningExchange, **fields: Any) -> Client:
            made = running.post("/paper/accounts", label="test", **{"balances": {"USD": "100"}, **fields})
            client = Client(running.url, made["api_key"], made["api_secret"], made["account"])
            sessions.callback(client.session.close)
            return client

        yield create


@pytest.fixture
def client(exchange: RunningExchange, account_at: Callable[..., Client]) -> Client:
    """A trading key of an account with 100 dollars."""
    return account_at(exchange)
