"""Kraken's answers as `docs`' samples have them, and a transport that plays them back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from trading.kraken.transport import Answer

DATA = Path(__file__).resolve().parents[2] / "data" / "kraken"


def payload(name: str) -> bytes:
    return (DATA / f"{name}.json").read_bytes()


def result(name: str) -> dict[str, Any]:
    """The `result` part, with decimals as the client reads them; free to be changed."""
    found: dict[str, Any] = json.loads(payload(name), parse_float=Decimal)["result"]
    return found


class PlayedBack:
    """Answers every call with one body and remembers what was asked."""

    def __init__(self, body: bytes, *, status: int = 200) -> None:
        self._answer = Answer(status=status, body=body)
        self.path = ""
        self.body = b""
        self.params: Mapping[str, str] = {}
        self.headers: Mapping[str, str] = {}
        self.timeout_s = 0.0

    def get(self, path: str, params: Mapping[str, str], *, timeout_s: float) -> Answer:
        self.path, self.params, self.timeout_s = path, params, timeout_s
        return self._answer

    async def post(
        self,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        timeout_s: float,
        before_write: Callable[[], None] | None = None,
    ) -> Answer:
        if before_write is not None:
            before_write()
        self.path, self.body, self.headers, self.timeout_s = path, body, headers, timeout_s
        return self._answer

    @property
    def form(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(self.body.decode(), strict_parsing=True).items()}
