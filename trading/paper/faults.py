"""Misbehaving on demand: late answers, lost connections, gateway pages, Kraken's errors, placed and not placed, late reads."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trading.paper.errors import KrakenError, invalid_argument

#: What people choose from; `error:` and `http_…` take a text or a number of their own.
KINDS = (
    *("delay", "delay_after", "drop_before", "drop_after", "http_520_before", "http_520_after", "html", "html_after"),
    *("bad_json", "bad_json_after", "rate_limit", "wrong_nonce", "error:EService:Busy", "error_after:EService:Busy"),
    "lag",
)
_KIND = re.compile(
    r"delay|delay_after|drop_before|drop_after|html|html_after|bad_json|bad_json_after|lag"
    r"|http_[1-5]\d\d_(?:before|after)|error(?:_after)?:.+"
)
_SHORT = {"rate_limit": "error:EAPI:Rate limit exceeded", "wrong_nonce": "error:EAPI:Invalid nonce"}
_TIMES_MAX = 1_000_000
_DELAY_MAX_S = 300.0
_ACTIVE_MAX = 1000


@dataclass(slots=True)
class Fault:
    """`delay` holds the request back before it is looked at, `delay_after` the answer after it was carried out.

    `lag` shows orders, trades and balances in reads only `delay_s` after they came about. `times` is how often the
    fault still strikes, None until it is cleared; `probability` decides each time, by `seed`.
    """

    id: int
    kind: str
    endpoint: str | None = None
    api_key: str | None = None
    cl_ord_id: str | None = None
    delay_s: float = 0.0
    times: int | None = 1
    probability: float = 1.0
    seed: int = 0
    struck: int = 0
    _chance: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)

    def matches(self, *, endpoint: str, api_key: str, cl_ord_id: str) -> bool:
        wanted = (self.endpoint, self.api_key, self.cl_ord_id)
        given = (endpoint, api_key, cl_ord_id)
        return all(want is None or want == have for want, have in zip(wanted, given, strict=True))

    def strikes(self) -> bool:
        return self.probability >= 1 or self._chance.random() < self.probability

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

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__ if not name.startswith("_")}


@dataclass(slots=True)
class Faults:
    active: list[Fault] = field(default_factory=list)
    _ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def add(self, wish: Mapping[str, Any]) -> Fault:
        """From the control API's JSON; raises KrakenError for a wish that makes no sense."""
        kind, match = wish.get("kind"), wish.get("match") or {}
        kind = _SHORT.get(kind, kind) if isinstance(kind, str) else None
        if kind is None or not _KIND.fullmatch(kind):
            raise invalid_argument("kind")
        if not isinstance(match, dict) or not set(match) <= {"endpoint", "api_key", "cl_ord_id"}:
            raise invalid_argument("match")
        if len(self.active) >= _ACTIVE_MAX:
            raise KrakenError("EGeneral:Too many requests")
        number = next(self._ids)
        fault = Fault(
            id=number,
            kind=kind,
            delay_s=float(_number(wish, "delay_s", default=0, least=0, most=_DELAY_MAX_S)),
            # Reads that lag do so until told otherwise; everything else strikes once.
            times=_times(wish, default=None if kind == "lag" else 1),
            probability=float(_number(wish, "probability", default=1, least=0, most=1)),
            seed=int(_number(wish, "seed", default=number, least=0, most=2**63)),
            endpoint=_name(match, "endpoint"),
            api_key=_name(match, "api_key"),
            cl_ord_id=_name(match, "cl_ord_id"),
        )
        self.active.append(fault)
        return fault

    def clear(self) -> None:
        self.active.clear()

    def remove(self, number: int) -> None:
        """Raises KrakenError when there is no such fault (any more)."""
        left = [fault for fault in self.active if fault.id != number]
        if len(left) == len(self.active):
            raise invalid_argument("id")
        self.active[:] = left

    def take(self, *, endpoint: str, api_key: str, cl_ord_id: str) -> Fault | None:
        """The first fault that applies and strikes; it is used up after its `times`."""
        for fault in self.active:
            named = fault.matches(endpoint=endpoint, api_key=api_key, cl_ord_id=cl_ord_id)
            if fault.kind != "lag" and named and fault.strikes():
                self._use(fault)
                return fault
        return None

    def lag_s(self, *, endpoint: str, api_key: str, cl_ord_id: str) -> float:
        """How late this read is: the longest of the lags that apply and strike."""
        longest = 0.0
        for fault in list(self.active):
            named = fault.matches(endpoint=endpoint, api_key=api_key, cl_ord_id=cl_ord_id)
            if fault.kind == "lag" and named and fault.strikes():
                self._use(fault)
                longest = max(longest, fault.delay_s)
        return longest

    def _use(self, fault: Fault) -> None:
        fault.struck += 1
        if fault.times is not None:
            fault.times -= 1
            if not fault.times:
                self.active.remove(fault)


def _name(match: Mapping[str, Any], field: str) -> str | None:
    return None if match.get(field) in (None, "") else str(match[field])


def _times(wish: Mapping[str, Any], *, default: int | None) -> int | None:
    times = wish.get("times", default)
    if times is not None and (not isinstance(times, int) or not 1 <= times <= _TIMES_MAX):
        raise invalid_argument("times")
    return times


def _number(wish: Mapping[str, Any], name: str, *, default: float, least: float, most: float) -> float:
    value = wish.get(name, default)
    if not isinstance(value, int | float) or not least <= value <= most:
        raise invalid_argument(name)
    return value
