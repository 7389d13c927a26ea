"""The page /paper/market/: candles, quotes, the paper accounts' trades and orders, the clock, pins and faults."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from trading.paper import page
from trading.paper.engine import Exchange
from trading.paper.errors import KrakenError
from trading.paper.faults import KINDS
from trading.paper.gateway import Gateway
from trading.paper.market import INTERVALS_MIN, Quote
from trading.paper.pairs import CONTEXT, Pair, plain, text
from trading.paper.private import METHODS
from trading.paper.records import Order, Trade

_VENDOR = Path(__file__).resolve().parents[2] / "nija" / "static" / "vendor"
_CHART_FILE = "lightweight-charts-*.js"
_TRADES_MAX, _MARKS_MAX, _ORDERS_MAX = 30, 500, 100
_INTERVALS_SHOWN = 4


class MarketPage:
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._exchange: Exchange = gateway.exchange

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/paper/market/", self.show),
            web.get("/paper/market/view", self.view),
            web.get("/paper/static/charts.js", self.chart_library),
        ]

    async def show(self, _request: web.Request) -> web.Response:
        kinds = "".join(f'<option value="{kind}">{kind}</option>' for kind in KINDS)
        methods = "".join(f'<option value="{method}">{method}</option>' for method in METHODS)
        return page.html("market.html", {"kinds": kinds, "methods": methods, "sentence": self._sentence()})

    async def chart_library(self, _request: web.Request) -> web.Response:
        found = next(iter(sorted(_VENDOR.glob(_CHART_FILE))), None)
        if found is None:
            raise web.HTTPNotFound
        return web.Response(body=found.read_bytes(), content_type="text/javascript", headers=page.HEADERS)

    async def view(self, request: web.Request) -> web.Response:
        """Everything the page shows, as JSON; `?pair=` and `?interval=` (minutes) choose."""
        try:
            shown = self._view(request.query.get("pair", ""), request.query.get("interval", ""))
        except (KrakenError, ValueError) as error:
            return web.json_response({"error": str(error)}, status=400, headers=page.HEADERS)
        return web.json_response(shown, headers=page.HEADERS)

    def _view(self, wanted: str, interval: str) -> dict[str, Any]:
        market, now = self._exchange.market, self._exchange.clock.now()
        pair = market.book.named(wanted) if wanted else market.pairs[0]
        interval_min = int(interval) if interval else market.base_interval_min
        candles = market.candles(pair, interval_min=interval_min, now=now)
        rows = (self._exchange.candle_rows.row(pair, candle) for candle in candles)
        return {
            "sentence": self._sentence(),
            "kind": market.kind,
            "market_time": market.market_time(now),
            "interval_min": interval_min,
            "base_interval_min": market.base_interval_min,
            "intervals": [m for m in INTERVALS_MIN if m % market.base_interval_min == 0][:_INTERVALS_SHOWN],
            "pair": {
                "id": pair.id,
                "name": pair.wsname,
                "base": pair.base,
                "decimals": pair.pair_decimals,
                "tick": plain(pair.tick),
            },
            "pairs": [
                _quoted(each, market.quote(each, now=now), pinned=market.is_pinned(each)) for each in market.pairs
            ],
            "candles": [[row[0], *map(float, row[1:5])] for row in rows],
            "marks": [
                [trade.market_time, trade.side == "buy"] for trade in itertools.islice(self._trades(pair), _MARKS_MAX)
            ],
            "trades": [self._trade(pair, trade) for trade in itertools.islice(self._trades(pair), _TRADES_MAX)],
            "orders": [self._order(pair, order) for order in self._exchange.resting(pair)[:_ORDERS_MAX]],
            "faults": self._faults(),
        }

    def _sentence(self) -> str:
        market, struck = self._exchange.market, len(self._gateway.faults.active)
        at = f"{datetime.fromtimestamp(market.market_time(self._exchange.clock.now()), UTC):%Y-%m-%d %H:%M} UTC"
        count = len(market.pairs)
        pairs = "one pair" if count == 1 else f"{count} pairs"
        said = {
            "replay": f"A replay of {pairs} in {market.base_interval_min}-minute candles. "
            f"The market's clock stands at {at} until it is advanced.",
            "pinned": f"The prices of {pairs} stand still until somebody changes them.",
            "demo": f"The demo's market of {pairs} moves by itself.",
        }[market.kind]
        faults = {0: "No fault is at work.", 1: "One fault is at work."}.get(struck, f"{struck} faults are at work.")
        return f"{said} {faults}"

    def _trades(self, pair: Pair) -> Iterator[Trade]:
        """Newest first."""
        return (trade for trade in reversed(self._exchange.trades.values()) if trade.pair_id == pair.id)

    def _trade(self, pair: Pair, trade: Trade) -> dict[str, Any]:
        return {
            "time": trade.time,
            "account": self._label(trade.account_id),
            "side": trade.side,
            "volume": plain(trade.volume),
            "price": text(trade.price, pair.pair_decimals),
            "fee": f"{plain(trade.fee)} {'maker' if trade.maker else 'taker'}",
            "order": trade.order_txid,
        }

    def _order(self, pair: Pair, order: Order) -> dict[str, Any]:
        return {
            "time": order.opened_at,
            "account": self._label(order.account_id),
            "side": order.side,
            "volume": plain(order.volume),
            "executed": plain(order.executed),
            "price": "market" if order.limit_price is None else text(order.limit_price, pair.pair_decimals),
            "order": order.txid,
        }

    def _faults(self) -> list[dict[str, Any]]:
        shown = []
        for fault in self._gateway.faults.active:
            key = self._exchange.accounts.keys.get(fault.api_key or "")
            who = "every account" if fault.api_key is None else "an unknown key"
            shown.append({**fault.as_json(), "account": self._label(key.account_id) if key else who})
        return shown

    def _label(self, account_id: str) -> str:
        return self._exchange.accounts.by_id[account_id].label


def _quoted(pair: Pair, quote: Quote, *, pinned: bool) -> dict[str, Any]:
    spread = quote.ask - quote.bid
    return {
        "id": pair.id,
        "name": pair.wsname,
        "bid": text(quote.bid, pair.pair_decimals),
        "ask": text(quote.ask, pair.pair_decimals),
        "last": text(quote.last, pair.pair_decimals),
        "spread_bps": text(CONTEXT.divide(spread * 20_000, quote.ask + quote.bid), 1),
        "pinned": pinned,
    }
