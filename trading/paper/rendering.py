"""Orders and trades as Kraken prints them, and the merging of fills that it does unless asked not to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from trading.paper.engine import Exchange
from trading.paper.order_entry import describe
from trading.paper.pairs import CONTEXT, PAIRS, ZERO, Pair, text
from trading.paper.records import Order, Trade


def order_json(order: Order, *, trades: Iterable[str] | None = None) -> dict[str, Any]:
    """The shape inside OpenOrders, ClosedOrders and QueryOrders; `trades` only when they were asked for."""
    pair = PAIRS[order.pair_id]
    average = CONTEXT.divide(order.cost, order.executed) if order.executed else ZERO
    limit = ZERO if order.limit_price is None else order.limit_price
    shown: dict[str, Any] = {
        "refid": None,
        "userref": order.userref,
        "cl_ord_id": order.cl_ord_id,
        "status": order.status,
        "reason": order.reason,
        "opentm": order.opened_at,
        "starttm": 0,
        "expiretm": order.expires_at or 0,
        "descr": {
            "pair": pair.altname,
            "type": order.side,
            "ordertype": order.ordertype,
            "price": text(limit, pair.pair_decimals) if limit else "0",
            "price2": "0",
            "leverage": "none",
            "order": describe(pair, order.side, volume=order.volume, limit_price=order.limit_price),
            "close": "",
        },
        "vol": text(order.volume, pair.lot_decimals),
        "vol_exec": text(order.executed, pair.lot_decimals),
        "cost": text(order.cost, pair.cost_decimals),
        "fee": text(order.fee, pair.cost_decimals),
        "price": text(average, _price_places(pair)),
        "stopprice": "0.00000",
        "limitprice": "0.00000",
        "misc": "partial" if ZERO < order.executed < order.volume else "",
        "oflags": order.oflags,
    }
    if order.closed_at is not None:
        shown["closetm"] = order.closed_at
    if order.is_open:
        del shown["reason"]
    if trades is not None:
        shown["trades"] = list(trades)
    return shown


def trade_json(trade: Trade) -> dict[str, Any]:
    """The shape inside TradesHistory and QueryTrades."""
    pair = PAIRS[trade.pair_id]
    return {
        "ordertxid": trade.order_txid,
        "postxid": "TKH2SE-M7IF5-CFI7LT",
        "pair": pair.id,
        "aclass": "forex",
        "time": trade.time,
        "type": trade.side,
        "ordertype": trade.ordertype,
        "price": text(trade.price, _price_places(pair)),
        "cost": text(trade.cost, pair.cost_decimals),
        "fee": text(trade.fee, pair.cost_decimals),
        "vol": text(trade.volume, pair.lot_decimals),
        "margin": text(ZERO, pair.cost_decimals),
        "leverage": "0",
        "misc": "",
        "trade_id": trade.trade_id,
        "maker": trade.maker,
    }


def consolidated(trades: Iterable[Trade]) -> list[Trade]:
    """Taker fills of one order merged into the first of them, as Kraken lists them by default."""
    merged: dict[str, Trade] = {}
    for trade in trades:
        name = trade.txid if trade.maker else trade.order_txid
        before = merged.get(name)
        merged[name] = trade if before is None else _joined(before, trade)
    return list(merged.values())


def _joined(first: Trade, second: Trade) -> Trade:
    cost, volume = first.cost + second.cost, first.volume + second.volume
    return Trade(
        txid=first.txid,
        order_txid=first.order_txid,
        account_id=first.account_id,
        pair_id=first.pair_id,
        side=first.side,
        ordertype=first.ordertype,
        time=first.time,
        price=CONTEXT.divide(cost, volume),
        cost=cost,
        fee=first.fee + second.fee,
        volume=volume,
        maker=False,
        trade_id=first.trade_id,
    )


def trade_ids(exchange: Exchange, order: Order, *, consolidate: bool) -> list[str]:
    trades = [exchange.trades[txid] for txid in order.trades]
    return [trade.txid for trade in (consolidated(trades) if consolidate else trades)]


def _price_places(pair: Pair) -> int:
    return max(pair.pair_decimals, pair.cost_decimals)
