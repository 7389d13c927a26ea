"""Public endpoints: what anybody may ask, in the shapes of kraken-api.md section 3.1."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import format_datetime
from typing import Any

from trading.paper.engine import Exchange
from trading.paper.errors import KrakenError, invalid_argument
from trading.paper.market import Candle
from trading.paper.pairs import ASSETS, CONTEXT, ZERO, Asset, Pair, asset_named, plain, text

Params = Mapping[str, str]
_DEPTH_DEFAULT, _DEPTH_MAX = 100, 500
_TRADES_MAX = 1000


def server_time(exchange: Exchange, _params: Params) -> Any:
    now = exchange.clock.now()
    return {"unixtime": int(now), "rfc1123": format_datetime(datetime.fromtimestamp(int(now), UTC))}


def system_status(exchange: Exchange, _params: Params) -> Any:
    instant = datetime.fromtimestamp(int(exchange.clock.now()), UTC)
    return {"status": exchange.status, "timestamp": f"{instant:%Y-%m-%dT%H:%M:%SZ}"}


def assets(_exchange: Exchange, params: Params) -> Any:
    wanted = params.get("asset")
    chosen = [asset_named(name) for name in wanted.split(",")] if wanted else list(ASSETS.values())
    return {asset.id: _asset(asset) for asset in chosen}


def _asset(asset: Asset) -> dict[str, Any]:
    return {
        "aclass": "currency",
        "altname": asset.altname,
        "decimals": asset.decimals,
        "display_decimals": asset.display_decimals,
        "status": "enabled",
    }


def asset_pairs(exchange: Exchange, params: Params) -> Any:
    if params.get("info", "info") != "info":
        raise invalid_argument("info")
    return {pair.id: _pair(exchange, pair) for pair in _pairs(exchange, params)}


def _pair(exchange: Exchange, pair: Pair) -> dict[str, Any]:
    return {
        "altname": pair.altname,
        "wsname": pair.wsname,
        "aclass_base": "currency",
        "base": pair.base,
        "aclass_quote": "currency",
        "quote": pair.quote,
        "lot": "unit",
        "cost_decimals": pair.cost_decimals,
        "pair_decimals": pair.pair_decimals,
        "lot_decimals": pair.lot_decimals,
        "lot_multiplier": 1,
        "leverage_buy": [],
        "leverage_sell": [],
        "fees": [[0, float(exchange.fees.taker_percent)]],
        "fees_maker": [[0, float(exchange.fees.maker_percent)]],
        "fee_volume_currency": "ZUSD",
        "margin_call": 80,
        "margin_stop": 40,
        "ordermin": plain(pair.ordermin),
        "costmin": plain(pair.costmin),
        "tick_size": plain(pair.tick),
        "status": "online" if exchange.status == "maintenance" else exchange.status,
        "execution_venue": "international",
    }


def _pairs(exchange: Exchange, params: Params) -> list[Pair]:
    wanted = params.get("pair")
    if not wanted:
        return list(exchange.market.pairs)
    return [exchange.market.book.named(name) for name in wanted.split(",")]


def _one_pair(exchange: Exchange, params: Params) -> Pair:
    if not params.get("pair"):
        raise invalid_argument("pair")
    return exchange.market.book.named(params["pair"])


def ticker(exchange: Exchange, params: Params) -> Any:
    return {pair.id: _ticker(exchange, pair) for pair in _pairs(exchange, params)}


def _ticker(exchange: Exchange, pair: Pair) -> dict[str, Any]:
    now = exchange.clock.now()
    quote = exchange.market.quote(pair, now=now)
    rows_of = exchange.market.day(pair, now=now)
    day, today = rows_of.day, rows_of.today
    last_volume = plain(pair.ordermin)

    def price(value: Decimal) -> str:
        return text(value, pair.pair_decimals)

    return {
        "a": [price(quote.ask), "1", "1.000"],
        "b": [price(quote.bid), "1", "1.000"],
        "c": [price(quote.last), last_volume],
        "v": [text(_volume(rows), pair.lot_decimals) for rows in (today, day)],
        "p": [price(_vwap(rows) or quote.last) for rows in (today, day)],
        "t": [sum(row.count for row in rows) for rows in (today, day)],
        "l": [price(min([quote.last, *(row.low for row in rows)])) for rows in (today, day)],
        "h": [price(max([quote.last, *(row.high for row in rows)])) for rows in (today, day)],
        "o": price(today[0].open if today else quote.last),
    }


def _volume(candles: list[Candle]) -> Decimal:
    return sum((candle.volume for candle in candles), ZERO)


def _vwap(candles: list[Candle]) -> Decimal:
    volume = _volume(candles)
    turnover = sum((CONTEXT.multiply(candle.vwap, candle.volume) for candle in candles), ZERO)
    return CONTEXT.divide(turnover, volume) if volume else ZERO


def ohlc(exchange: Exchange, params: Params) -> Any:
    """Rows newer than `since`; the last row is the candle that is still forming."""
    pair = _one_pair(exchange, params)
    interval_min = _integer(params, "interval", default=exchange.market.base_interval_min)
    since = _integer(params, "since", default=0)
    candles = exchange.market.candles(pair, interval_min=interval_min, now=exchange.clock.now())
    newer = bisect.bisect_right(candles, since, key=lambda candle: candle.time)
    rows = [exchange.candle_rows.row(pair, candle) for candle in candles[newer:]]
    return {pair.id: rows, "last": candles[-2].time if len(candles) > 1 else 0}


def depth(exchange: Exchange, params: Params) -> Any:
    """A plausible book around the quote: one level a tick."""
    pair = _one_pair(exchange, params)
    count = _integer(params, "count", default=_DEPTH_DEFAULT)
    if not 1 <= count <= _DEPTH_MAX:
        raise invalid_argument("count")
    now = exchange.clock.now()
    quote = exchange.market.quote(pair, now=now)

    def level(price: Decimal, step: int) -> list[Any]:
        volume = CONTEXT.multiply(pair.ordermin, Decimal(10 + 7 * (step % 5)))
        return [text(price, pair.pair_decimals), text(volume, 3), int(now)]

    asks = [level(quote.ask + pair.tick * step, step) for step in range(count)]
    bids = [level(quote.bid - pair.tick * step, step) for step in range(count) if quote.bid > pair.tick * step]
    return {pair.id: {"asks": asks, "bids": bids}}


def trades(exchange: Exchange, params: Params) -> Any:
    """One trade a closed candle, at its close: enough for clients that look at the tape."""
    pair = _one_pair(exchange, params)
    count = min(_integer(params, "count", default=_TRADES_MAX), _TRADES_MAX)
    market = exchange.market
    candles = market.candles(pair, interval_min=market.base_interval_min, now=exchange.clock.now())[:-1]
    # Kraken documents nanoseconds and takes seconds.
    since = float(params.get("since") or 0)
    since_s = since / 1e9 if since > 1e12 else since
    span = market.base_interval_min * 60
    rows = [
        [
            text(candle.close, pair.pair_decimals),
            text(candle.volume, pair.lot_decimals),
            float(candle.time + span - 1),
            "b" if candle.close >= candle.open else "s",
            "m",
            "",
            candle.time // span,
        ]
        for candle in candles
        if candle.volume and candle.time + span - 1 > since_s
    ][:count]
    last = int(rows[-1][2]) * 10**9 if rows else int(since_s * 1e9)
    return {pair.id: rows, "last": str(last)}


def _integer(params: Params, name: str, *, default: int) -> int:
    given = params.get(name)
    if not given:
        return default
    try:
        return int(Decimal(given))
    except (ArithmeticError, ValueError) as error:
        raise invalid_argument(name) from error


METHODS: dict[str, Callable[[Exchange, Params], Any]] = {
    "Time": server_time,
    "SystemStatus": system_status,
    "Assets": assets,
    "AssetPairs": asset_pairs,
    "Ticker": ticker,
    "OHLC": ohlc,
    "Depth": depth,
    "Trades": trades,
}


def call(exchange: Exchange, method: str, params: Params) -> Any:
    """The `result` of a public method; raises KrakenError."""
    handler = METHODS.get(method)
    if handler is None:
        raise KrakenError("EGeneral:Unknown method")
    return handler(exchange, params)
