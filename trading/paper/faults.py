"""Misbehaving on demand: late answers, lost connections, gateway pages, Kraken's errors, placed and not placed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trading.paper.errors import invalid_argument

_KIND = re.compile(
    r"delay|delay_after|drop_before|drop_after|html|html_after|http_[1-5]\d\d_(?:before|after)|error(?:_after)?:.+"
)
_TIMES_MAX = 1_000_000
_DELAY_MAX_S = 300.0


@dataclass(slots=True)
class Fault:
    """`delay` holds the request back before it is looked at, `delay_after` the answer after it was carried out."""

    kind: str
    endpoint: str | None = None
    api_key: str | None = None
    cl_ord_id: str | None = None
    delay_s: float = 0.0
    times: int = 1

    def matches(self, *, endpoint: str, api_key: str, cl_ord_id: str) -> bool:
        wanted = (self.endpoint, self.api_key, self.cl_ord_id)
        given = (endpoint, api_key, cl_ord_id)
        return all(want is None or want == have for want, have in zip(wanted, given, strict=True))

    @property
    def after(self) -> bool:
        """Whether the request is carried out first."""
        return self.kind.partition(":")[0].endswith("_after")

    @property
    def error(self) -> str | None:
        name, _, text = self.kind.partition(":")
        return text if name in ("error", "error_after") else None

    @property
    def http_status(self) -> int | None:
        return int(self.kind.split("_")[1]) if self.kind.startswith("http_") else None


@dataclass(slots=True)
class Faults:
    active: list[Fault] = field(default_factory=list)

    def add(self, wish: Mapping[str, Any]) -> Fault:
        """From the control API's JSON; raises KrakenError for a wish that makes no sense."""
        kind, match = wish.get("kind"), wish.get("match") or {}
        if not isinstance(kind, str) or not _KIND.fullmatch(kind):
            raise invalid_argument("kind")
        if not isinstance(match, dict) or not set(match) <= {"endpoint", "api_key", "cl_ord_id"}:
            raise invalid_argument("match")
        delay_s, times = wish.get("delay_s", 0), wish.get("times", 1)
        if not isinstance(delay_s, int | float) or not 0 <= delay_s <= _DELAY_MAX_S:
            raise invalid_argument("delay_s")
        if not isinstance(times, int) or not 1 <= times <= _TIMES_MAX:
            raise invalid_argument("times")
        fault = Fault(kind=kind, delay_s=float(delay_s), times=times, **{name: str(v) for name, v in match.items()})
        self.active.append(fault)
        return fault

    def clear(self) -> None:
        self.active.clear()

    def take(self, *, endpoint: str, api_key: str, cl_ord_id: str) -> Fault | None:
        """The first fault that applies; it is used up after its `times`."""
        for fault in self.active:
            if fault.matches(endpoint=endpoint, api_key=api_key, cl_ord_id=cl_ord_id):
                fault.times -= 1
                if not fault.times:
                    self.active.remove(fault)
                return fault
        return None
