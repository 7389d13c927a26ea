"""HTTP in front of the exchange: /0/public and /0/private, check order of kraken-api.md section 10, faults, a log."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

from aiohttp import web

from trading.paper import auth, private, public
from trading.paper.accounts import KeyUse
from trading.paper.engine import Exchange
from trading.paper.errors import KrakenError
from trading.paper.faults import Fault, Faults
from trading.paper.records import ApiKey
from trading.paper.store import Store

LOG_ROWS_MAX = 20_000
_GATEWAY_PAGE = "<!DOCTYPE html><html><head><title>api.kraken.com | {0}</title></head><body>Error {0}</body></html>"
_BROKEN_JSON = '{"error":[],"result":{"txid":["O'
_WATCH_S = 0.05


@dataclass(slots=True)
class LogRow:
    """`received_at` is real time, unix seconds; `result` is ok, Kraken's error, or the fault that was played."""

    received_at: float
    endpoint: str
    api_key: str
    nonce: str
    cl_ord_id: str
    result: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Gateway:
    def __init__(self, exchange: Exchange, store: Store) -> None:
        self.exchange = exchange
        self.faults = Faults()
        self.log: deque[LogRow] = deque(maxlen=LOG_ROWS_MAX)
        self._store = store
        self._flights: set[_InFlight] = set()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/0/public/{method}", self.public),
            web.post("/0/private/{method}", self.private),
            web.route("*", "/0/{rest:.*}", self.unknown),
        ]

    async def unknown(self, _request: web.Request) -> web.StreamResponse:
        return _answer(error="EGeneral:Unknown method")

    async def public(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        row = LogRow(time.time(), method, "", "", "")
        self.log.append(row)
        fault = self.faults.take(endpoint=method, api_key="", cl_ord_id="")
        if fault is not None:
            row.result = f"fault {fault.kind}"
            await asyncio.sleep(fault.delay_s)
            if fault.kind not in ("delay", "delay_after"):
                return _misbehave(request, fault)
        try:
            answer = _answer(public.call(self.exchange, method, dict(request.query)))
            row.result = row.result or "ok"
        except KrakenError as error:
            row.result = row.result or error.code
            answer = _answer(error=error.code)
        return answer

    async def private(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        method, key = request.match_info["method"], request.headers.get("API-Key", "")
        try:
            params = auth.parse_body(body, request.content_type)
        except KrakenError as error:
            return _answer(error=error.code)
        row = LogRow(time.time(), method, key, params.get("nonce", ""), params.get("cl_ord_id", ""))
        self.log.append(row)
        use = self.exchange.accounts.use_of(key) if key in self.exchange.accounts.keys else None
        with _InFlight(use, request, beside=self._flights) as flight:
            fault = self.faults.take(endpoint=method, api_key=key, cl_ord_id=row.cl_ord_id)
            if fault is not None and not fault.after:
                await _wait(fault.delay_s, flight)
                if fault.kind != "delay" and fault.error is None:
                    row.result = f"fault {fault.kind}"
                    return _misbehave(request, fault)
            answer = await self._carry_out(request, body, params=params, row=row, fault=fault)
            if fault is not None and fault.after:
                row.result += f", fault {fault.kind}"
                await _wait(fault.delay_s, flight)
                if fault.kind != "delay_after":
                    return _misbehave(request, fault)
            return answer

    async def _carry_out(
        self, request: web.Request, body: bytes, *, params: auth.Params, row: LogRow, fault: Fault | None
    ) -> web.Response:
        """Everything from the key check to the commit, in one step of the event loop."""
        try:
            key = self._authenticated(request, body, params)
            if fault is not None and fault.error and not fault.after:
                raise KrakenError(fault.error)
            lag_s = self.faults.lag_s(endpoint=row.endpoint, api_key=row.api_key, cl_ord_id=row.cl_ord_id)
            result = self._dispatch(row.endpoint, key, params, lag_s=lag_s)
            answer, row.result = _answer(result), f"ok, {lag_s:g} s late" if lag_s else "ok"
        except KrakenError as error:
            if error.code == "EAPI:Invalid nonce" and row.api_key in self.exchange.accounts.keys:
                self.exchange.accounts.use_of(row.api_key).invalid_nonces += 1
            answer, row.result = _answer(error=error.code), error.code
        await self._store.committed()
        return answer

    def _authenticated(self, request: web.Request, body: bytes, params: auth.Params) -> ApiKey:
        if request.match_info["method"] not in private.METHODS:
            raise KrakenError("EGeneral:Unknown method")
        name, now = request.headers.get("API-Key", ""), self.exchange.clock.now()
        self.exchange.limits.check_lockout(name, now=now)
        try:
            key = self.exchange.accounts.usable_key(name)
            nonce = params.get("nonce", "")
            given = request.headers.get("API-Sign", "")
            auth.check_signature(key, request.path, nonce=nonce, body=body, given=given)
            auth.consume_nonce(key, nonce)
        except KrakenError:
            self.exchange.limits.note_failure(name, now=now)
            raise
        self.exchange.limits.note_success(name)
        self.exchange.accounts.save_nonce(key)
        return key

    def _dispatch(self, method: str, key: ApiKey, params: auth.Params, *, lag_s: float) -> Any:
        now = self.exchange.clock.now()
        endpoint = private.METHODS[method]
        self.exchange.limits.charge_call(key.key, method, now=now)
        auth.check_permission(key, endpoint.any_of)
        if self.exchange.market.moves_by_itself and self.exchange.has_open_orders:
            self.exchange.match_resting(now=now)
        self.exchange.expire_due(now=now)
        account = self.exchange.accounts.by_id[key.account_id]
        return endpoint.handler(private.Call(self.exchange, account, key, params, now, lag_s))


class _InFlight:
    """Counts a key's simultaneous requests; one whose client has gone away counts no longer. `beside` are all of them."""

    def __init__(self, use: KeyUse | None, request: web.Request, *, beside: set[_InFlight]) -> None:
        self._use = use
        self._request = request
        self._beside = beside

    def __enter__(self) -> _InFlight:
        # A client that gave up may come again before anybody else has noticed.
        for other in list(self._beside):
            other.leave_if_gone()
        self._beside.add(self)
        if self._use is not None:
            self._use.requests += 1
            self._use.in_flight += 1
            self._use.max_in_flight = max(self._use.max_in_flight, self._use.in_flight)
        return self

    def leave_if_gone(self) -> None:
        if self._request.transport is None or self._request.transport.is_closing():
            self._leave()

    def _leave(self) -> None:
        self._beside.discard(self)
        if self._use is not None:
            self._use.in_flight -= 1
            self._use = None

    def __exit__(self, *exc_info: object) -> None:
        self._leave()


async def _wait(delay_s: float, flight: _InFlight) -> None:
    until = time.monotonic() + delay_s
    while (left := until - time.monotonic()) > 0:
        flight.leave_if_gone()
        await asyncio.sleep(min(left, _WATCH_S))


def _misbehave(request: web.Request, fault: Fault) -> web.StreamResponse:
    if fault.error is not None:
        return _answer(error=fault.error)
    if fault.kind.startswith("html"):
        return web.Response(text=_GATEWAY_PAGE.format("Checking your browser"), content_type="text/html")
    if fault.kind.startswith("bad_json"):
        return web.Response(text=_BROKEN_JSON, content_type="application/json")
    status = fault.http_status
    if status is not None:
        return web.Response(status=status, text=_GATEWAY_PAGE.format(status), content_type="text/html")
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


def _answer(result: Any = None, *, error: str | None = None) -> web.Response:
    envelope: dict[str, Any] = {"error": [] if error is None else [error]}
    if error is None:
        envelope["result"] = result
    return web.Response(body=json.dumps(envelope).encode(), content_type="application/json")
