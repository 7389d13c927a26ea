"""The control API under /paper: accounts, market, clock, faults, limits, log. For tests and the demo, loopback only."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from decimal import Decimal, InvalidOperation
from typing import Any

from aiohttp import web

from trading.paper import rendering
from trading.paper.errors import KrakenError, invalid_argument
from trading.paper.gateway import Gateway
from trading.paper.matching import Liquidity
from trading.paper.pairs import asset_named, plain
from trading.paper.records import Account, ApiKey
from trading.paper.store import Store

_STATUSES = ("online", "maintenance", "cancel_only", "post_only")
Handler = Callable[[web.Request], Awaitable[Any]]


class Control:
    def __init__(self, gateway: Gateway, store: Store) -> None:
        self._gateway = gateway
        self._exchange = gateway.exchange
        self._store = store

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/paper/accounts", self._json(self.create_account)),
            web.get("/paper/accounts", self._json(self.list_accounts)),
            web.get("/paper/accounts/{id}", self._json(self.show_account)),
            web.post("/paper/accounts/{id}/keys", self._json(self.create_key)),
            web.post("/paper/accounts/{id}/deposit", self._json(self.deposit)),
            web.post("/paper/keys/update", self._json(self.update_key)),
            web.post("/paper/market/pin", self._json(self.pin)),
            web.post("/paper/market/advance", self._json(self.advance)),
            web.post("/paper/market/match", self._json(self.match)),
            web.post("/paper/market/begin", self._json(self.begin)),
            web.get("/paper/market", self._json(self.show_market)),
            web.post("/paper/clock", self._json(self.set_clock)),
            web.post("/paper/status", self._json(self.set_status)),
            web.get("/paper/faults", self._json(self.list_faults)),
            web.post("/paper/faults", self._json(self.add_fault)),
            web.delete(r"/paper/faults/{id:\d+}", self._json(self.remove_fault)),
            web.delete("/paper/faults", self._json(self.clear_faults)),
            web.post("/paper/limits", self._json(self.set_limits)),
            web.get("/paper/log", self._json(self.show_log)),
        ]

    def _json(self, handler: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            try:
                result, status = await handler(request), 200
            except KrakenError as error:
                result, status = {"error": error.code}, 400
            await self._store.committed()
            return web.json_response(result, status=status)

        return answer

    async def create_account(self, request: web.Request) -> Any:
        wish = await _body(request)
        balances = wish.get("balances") or {}
        if not isinstance(balances, dict):
            raise invalid_argument("balances")
        amounts = {str(asset): _decimal(amount, "balances") for asset, amount in balances.items()}
        return self.open_account(
            str(wish.get("label") or "Paper account"),
            amounts,
            permissions=wish.get("permissions"),
            nonce_window=int(wish.get("nonce_window", 0)),
        )

    def open_account(
        self, label: str, amounts: dict[str, Decimal], *, permissions: Any = None, nonce_window: int = 0
    ) -> dict[str, Any]:
        """A new account with one key, secret included; raises KrakenError."""
        rights = _permissions(permissions)
        now = self._exchange.clock.now()
        account = self._exchange.accounts.create(label, amounts, now=now)
        key = self._exchange.accounts.add_key(account, rights, name=label, nonce_window=nonce_window, now=now)
        return _key_with_secret(account, key)

    async def list_accounts(self, _request: web.Request) -> Any:
        accounts = self._exchange.accounts.by_id.values()
        return {"accounts": [{"account": a.id, "label": a.label, "iban": a.iban} for a in accounts]}

    async def show_account(self, request: web.Request) -> Any:
        account = self._account(request)
        holds = self._exchange.holds_of(self._exchange.open_orders_of(account))
        keys = self._exchange.accounts.keys_of(account)
        return {
            "account": account.id,
            "label": account.label,
            "iban": account.iban,
            "balances": {asset: plain(amount) for asset, amount in account.balances.items()},
            "holds": {asset: plain(amount) for asset, amount in holds.items()},
            "orders": [
                {"txid": order.txid, "pair": order.pair_id, **rendering.order_json(order, trades=order.trades)}
                for order in self._exchange.orders_of(account)
            ],
            "trades": [
                {"txid": trade.txid, **rendering.trade_json(trade)} for trade in self._exchange.trades_of(account)
            ],
            "keys": [
                {
                    "api_key": key.key,
                    "permissions": key.permissions,
                    "nonce": str(key.nonce),
                    "revoked": key.revoked,
                    **asdict(self._exchange.accounts.use_of(key.key)),
                }
                for key in keys
            ],
            "requests": _totals([asdict(self._exchange.accounts.use_of(key.key)) for key in keys]),
        }

    async def create_key(self, request: web.Request) -> Any:
        wish = await _body(request)
        account = self._account(request)
        key = self._exchange.accounts.add_key(
            account,
            _permissions(wish.get("permissions")),
            name=str(wish.get("label") or account.label),
            nonce_window=int(wish.get("nonce_window", 0)),
            now=self._exchange.clock.now(),
        )
        return _key_with_secret(account, key)

    async def update_key(self, request: web.Request) -> Any:
        """Change a key's permissions, or revoke it, as its owner would on Kraken's page."""
        wish = await _body(request)
        key = self._exchange.accounts.keys.get(str(wish.get("api_key")))
        if key is None:
            raise KrakenError("EAPI:Invalid key")
        rights = _permissions(wish.get("permissions"))
        if rights is not None:
            key.permissions = rights
        key.revoked = bool(wish.get("revoked", key.revoked))
        self._exchange.accounts.save_key(key)
        return {"api_key": key.key, "permissions": key.permissions, "revoked": key.revoked}

    async def deposit(self, request: web.Request) -> Any:
        """Add to a balance, or with a negative amount take away what is free."""
        wish = await _body(request)
        account = self._account(request)
        asset, amount = asset_named(str(wish.get("asset"))).id, _decimal(wish.get("amount"), "amount")
        if amount < 0 and self._exchange.available(account, asset) + amount < 0:
            raise KrakenError("EFunding:Insufficient funds")
        self._exchange.accounts.change(account, asset, amount)
        return {"asset": asset, "balance": plain(account.balances[asset])}

    async def pin(self, request: web.Request) -> Any:
        wish = await _body(request)
        pair = self._exchange.market.book.named(str(wish.get("pair")))
        bid, ask = (None if wish.get(side) is None else _decimal(wish[side], side) for side in ("bid", "ask"))
        self._exchange.market.pin(pair, bid=bid, ask=ask)
        self._exchange.save_market()
        return {"trades": self._exchange.match_resting(now=self._exchange.clock.now())}

    async def advance(self, request: web.Request) -> Any:
        """Close so many candles, one by one; resting orders fill where a candle passed through their limit.

        `now` sets the wall clock by hand before they close.
        """
        wish = await _body(request)
        count, now = wish.get("candles", 1), wish.get("now")
        if not isinstance(count, int) or not 1 <= count <= 100_000:
            raise invalid_argument("candles")
        if not isinstance(now, int | float | None):
            raise invalid_argument("now")
        if now is not None:
            self._exchange.clock.set(float(now))
        trades = 0
        for _ in range(count):
            closed = self._exchange.market.advance()
            trades += self._exchange.match_resting(now=self._exchange.clock.now(), closed=closed)
        self._exchange.save_market()
        return {"market_time": self._market_time(), "trades": trades}

    async def match(self, _request: web.Request) -> Any:
        """One matching pass over resting orders."""
        return {"trades": self._exchange.match_resting(now=self._exchange.clock.now())}

    async def begin(self, request: web.Request) -> Any:
        """Say when the demo's market begins: its first bursts follow soon after."""
        at = (await _body(request)).get("at")
        if not isinstance(at, int) or isinstance(at, bool):
            raise invalid_argument("at")
        self._exchange.market.begin(at)
        self._exchange.save_market()
        return {"at": at}

    async def show_market(self, request: web.Request) -> Any:
        if "text/html" in request.headers.get("Accept", ""):
            raise web.HTTPSeeOther("/paper/market/")
        now, market = self._exchange.clock.now(), self._exchange.market
        quotes = {pair.id: market.quote(pair, now=now) for pair in market.pairs}
        return {
            "market_time": self._market_time(),
            "wall_time": now,
            "clock": self._exchange.clock.mode,
            "interval_min": market.base_interval_min,
            "quotes": {name: {"bid": plain(q.bid), "ask": plain(q.ask)} for name, q in quotes.items()},
        }

    async def set_clock(self, request: web.Request) -> Any:
        wish = await _body(request)
        clock = self._exchange.clock
        if wish.get("mode") == "real":
            clock.use_real()
        elif wish.get("mode") == "manual" and isinstance(wish.get("now"), int | float):
            clock.set(float(wish["now"]))
        else:
            raise invalid_argument("mode")
        return {"mode": clock.mode, "now": clock.now()}

    async def set_status(self, request: web.Request) -> Any:
        status = (await _body(request)).get("status")
        if status not in _STATUSES:
            raise invalid_argument("status")
        self._exchange.status = status
        return {"status": status}

    async def add_fault(self, request: web.Request) -> Any:
        return self._gateway.faults.add(await _body(request)).as_json()

    async def list_faults(self, _request: web.Request) -> Any:
        return {"faults": [fault.as_json() for fault in self._gateway.faults.active]}

    async def remove_fault(self, request: web.Request) -> Any:
        self._gateway.faults.remove(int(request.match_info["id"]))
        return {"faults": len(self._gateway.faults.active)}

    async def clear_faults(self, _request: web.Request) -> Any:
        self._gateway.faults.clear()
        return {"faults": 0}

    async def set_limits(self, request: web.Request) -> Any:
        """How much the market gives; without a pair for all of them, without amounts everything."""
        wish = await _body(request)
        name = self._exchange.market.book.named(str(wish["pair"])).id if wish.get("pair") else "*"
        sizes = {
            field: None if wish.get(field) is None else _decimal(wish[field], field)
            for field in ("match_max", "order_max")
        }
        if any(size is not None and size < 0 for size in sizes.values()) or sizes["match_max"] == 0:
            raise invalid_argument("match_max")
        waits = bool(wish.get("market_orders_wait", False))
        if sizes["match_max"] is None and sizes["order_max"] is None:
            self._exchange.liquidity.pop(name, None)
        else:
            self._exchange.liquidity[name] = Liquidity(sizes["match_max"], sizes["order_max"], waits)
        return {"pair": name, **{field: None if v is None else plain(v) for field, v in sizes.items()}}

    async def show_log(self, request: web.Request) -> Any:
        rows = list(self._gateway.log)
        limit = request.query.get("limit", "1000")
        return {"log": [row.as_json() for row in rows[-int(limit) if limit.isdigit() else -1000 :]]}

    def _account(self, request: web.Request) -> Account:
        return self._exchange.accounts.named(request.match_info["id"])

    def _market_time(self) -> int:
        return self._exchange.market.market_time(self._exchange.clock.now())


def _key_with_secret(account: Account, key: ApiKey) -> dict[str, Any]:
    return {
        "account": account.id,
        "iban": account.iban,
        "api_key": key.key,
        "api_secret": key.secret,
        "permissions": key.permissions,
    }


def _totals(uses: list[dict[str, int]]) -> dict[str, int]:
    names = ("requests", "accepted_orders", "invalid_nonces")
    totals = {name: sum(use[name] for use in uses) for name in names}
    return {**totals, "max_in_flight": max((use["max_in_flight"] for use in uses), default=0)}


async def _body(request: web.Request) -> dict[str, Any]:
    """The JSON object sent, {} for an empty body. Asking for the content type keeps foreign forms out."""
    raw = await request.read()
    if not raw:
        return {}
    try:
        if request.content_type != "application/json":
            raise ValueError(request.content_type)
        body = json.loads(raw)
    except ValueError as error:
        raise KrakenError("EAPI:Bad request") from error
    if not isinstance(body, dict):
        raise KrakenError("EAPI:Bad request")
    return body


def _permissions(given: Any) -> list[str] | None:
    if given is None:
        return None
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise invalid_argument("permissions")
    return given


def _decimal(value: Any, field: str) -> Decimal:
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise invalid_argument(field)
    try:
        amount = Decimal(value)
    except InvalidOperation as error:
        raise invalid_argument(field) from error
    if not amount.is_finite() or abs(amount) > Decimal(10) ** 12:
        raise invalid_argument(field)
    return amount
