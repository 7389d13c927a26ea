"""A private client for tests that make one call after the other: each is waited for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trading.kraken.endpoints import PrivateClient
from trading.kraken.senders import of_this_process


class WaitingClient:
    """Has the methods of PrivateClient; they run where the engine's do, and return when they are over."""

    def __init__(self, client: PrivateClient) -> None:
        self._client = client

    def __repr__(self) -> str:
        return f"WaitingClient({self._client!r})"

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        return lambda *values, **named: of_this_process().run(lambda: method(*values, **named))
