"""The way to the exchange and back: requests that are refused, lost, late or answered with rubbish; the exchange is the paper one."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl

from tests.simulation.scheduler import NS, Scheduler
from trading.kraken.errors import OutcomeUnknown, Unavailable
from trading.kraken.transport import Answer
from trading.paper import auth, public
from trading.paper.engine import Exchange
from trading.paper.errors import KrakenError
from trading.paper.gateway import Gateway

MS = 1_000_000
_PAGE = b"<!DOCTYPE html><html><body>Error 520</body></html>"
_BROKEN = b'{"error":[],"result":{"txid":["O'

CANCEL_FAULT_SHARE = 90
#: What can go wrong with one private request, by when it does: before the exchange sees it, and after it acted.
BEFORE = ("refused", "lost", "late", "busy", "rate_limited")
AFTER = ("answer_lost", "http_520", "html", "bad_json", "internal_error", "answer_late")


@dataclass
class Packet:
    """One request under way. `answer` or `error` is set when it is over for its sender, whatever the exchange still does."""

    method: str
    api_key: str
    body: bytes
    headers: Mapping[str, str]
    fault: str
    answer: Answer | None = None
    error: Exception | None = None

    @property
    def is_over(self) -> bool:
        return self.answer is not None or self.error is not None

    def params(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))


@dataclass
class Network:
    """Stands where both transports do. `fault_share` is how many of a hundred private requests go wrong."""

    scheduler: Scheduler
    gateway: Gateway
    fault_share: int = 0
    lag_ns: int = 0
    before_write: Callable[[Packet], None] = lambda _packet: None
    accepted: Callable[[Packet, Any], None] = lambda _packet, _result: None
    faults: Counter[str] = field(default_factory=Counter)
    in_flight: Counter[str] = field(default_factory=Counter)
    nonces: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    _cancels: int = 0
    _under_way: defaultdict[str, list[Packet]] = field(default_factory=lambda: defaultdict(list))

    @property
    def exchange(self) -> Exchange:
        return self.gateway.exchange

    def set_time(self) -> None:
        self.exchange.clock.set(self.scheduler.now_ns / NS)

    # What the engine calls.

    def get(self, path: str, params: Mapping[str, str], *, timeout_s: float) -> Answer:
        self.scheduler.pause("public request")
        self.set_time()
        try:
            return _answer(public.call(self.exchange, path.rpartition("/")[2], dict(params)))
        except KrakenError as error:
            return _answer(error=error.code)

    async def post(
        self,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        timeout_s: float,
        before_write: Callable[[], None] | None = None,
    ) -> Answer:
        """Never suspends: whoever makes a request here is a flow of its own, which the scheduler holds back."""
        chance = self.scheduler.random
        method = path.rpartition("/")[2]
        packet = Packet(method, headers["API-Key"], body, headers, self._choose_fault(chance, method))
        self.scheduler.pause(f"about to write {_kind(method)}")
        if packet.fault == "refused":
            raise Unavailable("Kraken could not be reached.")
        if before_write is not None:
            before_write()
        process = self.scheduler.current.process if self.scheduler.current is not None else ""
        self._under_way[process].append(packet)
        self._write(packet)
        self.scheduler.pause(f"written {_kind(method)}")
        self.scheduler.wait_for(lambda: packet.is_over, at_most_ns=int(timeout_s * NS))
        self.scheduler.pause(f"answer read {_kind(method)}" if packet.answer else f"no answer {_kind(method)}")
        self._under_way[process].remove(packet)
        self.in_flight[packet.api_key] -= 1
        if packet.answer is not None:
            return packet.answer
        raise packet.error or OutcomeUnknown("Kraken did not answer in time.")

    # What happens meanwhile.

    def _choose_fault(self, chance: Any, method: str) -> str:
        # Cancels are few, and go wrong nearly always.
        share = CANCEL_FAULT_SHARE if self.fault_share and method == "CancelOrder" else self.fault_share
        if chance.randrange(100) >= share:
            return ""
        kinds = BEFORE + AFTER
        fault = str(chance.choice(kinds))
        if method == "CancelOrder":
            # In turn, from another one in each run: they are too few for chance to meet every kind.
            fault = kinds[(self.scheduler.seed + self._cancels) % len(kinds)]
            self._cancels += 1
        self.faults[f"{fault} {_kind(method)}"] += 1
        return fault

    def _write(self, packet: Packet) -> None:
        self.before_write(packet)
        self.in_flight[packet.api_key] += 1
        if self.in_flight[packet.api_key] > 1:
            self.violations.append(f"I4: {self.in_flight[packet.api_key]} requests of one key at once")
        nonce = int(packet.params()["nonce"])
        if nonce <= self.nonces.get(packet.api_key, 0):
            self.violations.append("I4: a nonce did not rise")
        self.nonces[packet.api_key] = max(nonce, self.nonces.get(packet.api_key, 0))
        self.scheduler.note(f"written {packet.method} {packet.fault}")
        chance = self.scheduler.random
        if packet.fault == "lost":
            # A reset comes at once, a silence lasts until the sender gives up.
            if chance.randrange(2):
                self._end_later(packet, error=OutcomeUnknown("The connection was reset."))
            return
        delay_ns = chance.randrange(8, 14) * NS if packet.fault == "late" else chance.randrange(5, 120) * MS
        self.scheduler.at(delay_ns, lambda: self._arrive(packet))

    def _arrive(self, packet: Packet) -> None:
        """At the exchange. Its sender may be dead or have given up."""
        self.set_time()
        if packet.fault == "busy":
            self._end_later(packet, answer=_answer(error="EService:Busy"))
        elif packet.fault == "rate_limited":
            self._end_later(packet, answer=_answer(error="EAPI:Rate limit exceeded"))
        else:
            self._end(packet, self._carry_out(packet))

    def _carry_out(self, packet: Packet) -> Answer:
        request: Any = SimpleNamespace(
            match_info={"method": packet.method}, headers=packet.headers, path=f"/0/private/{packet.method}"
        )
        params = auth.parse_body(packet.body, "application/x-www-form-urlencoded")
        try:
            key = self.gateway._authenticated(request, packet.body, params)
            result = self.gateway._dispatch(packet.method, key, params, lag_s=self.lag_ns / NS)
        except KrakenError as error:
            self.scheduler.note(f"exchange refused {packet.method}: {error.code}")
            return _answer(error=error.code)
        self.scheduler.note(f"exchange took {packet.method}")
        self.accepted(packet, result)
        return _answer(result)

    def _end(self, packet: Packet, answer: Answer) -> None:
        fault = packet.fault
        if fault == "answer_lost":
            self._end_later(packet, error=OutcomeUnknown("The connection was reset."))
        elif fault == "answer_late":
            self.scheduler.at(9 * NS, lambda: _over(packet, answer=answer))
        elif fault in ("http_520", "html", "bad_json", "internal_error"):
            spoilt = {
                "http_520": Answer(520, _PAGE),
                "html": Answer(200, _PAGE),
                "bad_json": Answer(200, _BROKEN),
                "internal_error": _answer(error="EGeneral:Internal error"),
            }
            self._end_later(packet, answer=spoilt[fault])
        else:
            self._end_later(packet, answer=answer)

    def _end_later(self, packet: Packet, *, answer: Answer | None = None, error: Exception | None = None) -> None:
        delay_ns = self.scheduler.random.randrange(5, 60) * MS
        self.scheduler.at(delay_ns, lambda: _over(packet, answer=answer, error=error))

    def forget_senders_of(self, process: str) -> None:
        """It was killed: its requests are no longer anybody's, though they may still arrive."""
        for packet in self._under_way.pop(process, []):
            self.in_flight[packet.api_key] -= 1


def _over(packet: Packet, *, answer: Answer | None = None, error: Exception | None = None) -> None:
    if not packet.is_over:
        packet.answer, packet.error = answer, error


def _kind(method: str) -> str:
    return {"AddOrder": "order", "CancelOrder": "cancel"}.get(method, "read")


def _answer(result: Any = None, *, error: str | None = None) -> Answer:
    envelope: dict[str, Any] = {"error": [] if error is None else [error]}
    if error is None:
        envelope["result"] = result
    return Answer(200, json.dumps(envelope).encode())
