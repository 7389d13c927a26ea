"""Private endpoints, in the shapes of kraken-api.md sections 3.2 and 3.3. The caller is already authenticated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING
from typing import Any, TypeVar

from trading.paper import order_entry, rendering
from trading.paper.auth import truthy
from trading.paper.engine import Exchange
from trading.paper.errors import KrakenError, invalid_argument
from trading.paper.pairs import ASSETS, CONTEXT, ZERO, asset_named, floor_text, text, to_places
from trading.paper.reads import Reads
from trading.paper.records import Account, ApiKey, Order, Trade

Params = Mapping[str, str]
PAGE_ROWS = 50
Row = TypeVar("Row")
_QUERY_ORDERS_MAX, _QUERY_TRADES_MAX = 50, 20


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated request; `now` is the exchange's wall clock, unix seconds, `lag_s` how late its reads are."""

    exchange: Exchange
    account: Account
    key: ApiKey
    params: Params
    now: float
    lag_s: float = 0.0

    @property
    def reads(self) -> Reads:
        return Reads(self.exchange, self.account, now=self.now, lag_s=self.lag_s)


def balance(call: Call) -> Any:
    return {asset: floor_text(amount, ASSETS[asset].decimals) for asset, amount in call.reads.balances().items()}


def balance_ex(call: Call) -> Any:
    holds = call.reads.holds()
    return {
        asset: {
            "balance": floor_text(amount, ASSETS[asset].decimals),
            # Rounded up where the balance is rounded down: their difference is never more than what is free.
            "hold_trade": f"{to_places(holds.get(asset, ZERO), ASSETS[asset].decimals, ROUND_CEILING):f}",
        }
        for asset, amount in call.reads.balances().items()
    }


def trade_balance(call: Call) -> Any:
    """Everything valued in USD at the market's bid; no margin, so nothing else is ever non-zero."""
    if asset_named(call.params.get("asset") or "ZUSD").id != "ZUSD":
        raise invalid_argument("asset")
    total = ZERO
    by_base = {pair.base: pair for pair in call.exchange.market.pairs}
    for asset, amount in call.account.balances.items():
        if asset == "ZUSD":
            total += amount
        elif asset in by_base:
            total += CONTEXT.multiply(amount, call.exchange.market.quote(by_base[asset], now=call.now).bid)
    equity, free = floor_text(total, 4), floor_text(call.exchange.available(call.account, "ZUSD"), 4)
    zeros = dict.fromkeys(("m", "uv", "n", "c", "v"), "0.0000")
    return {"eb": equity, "tb": equity, **zeros, "e": equity, "mf": free}


def trade_volume(call: Call) -> Any:
    month_ago = call.now - 30 * 86_400
    volume = sum((t.cost for t in call.exchange.trades_of(call.account) if t.time >= month_ago), ZERO)
    result: dict[str, Any] = {"currency": "ZUSD", "volume": text(volume, 4)}
    if call.params.get("pair"):
        pairs = [call.exchange.market.book.named(name) for name in call.params["pair"].split(",")]
        for name, percent in (
            ("fees", call.exchange.fees.taker_percent),
            ("fees_maker", call.exchange.fees.maker_percent),
        ):
            result[name] = {
                pair.id: {
                    "fee": text(percent, 4),
                    "minfee": text(percent, 4),
                    "maxfee": text(percent, 4),
                    "nextfee": None,
                    "tiervolume": "0.0000",
                    "nextvolume": None,
                }
                for pair in pairs
            }
    return result


def get_api_key_info(call: Call) -> Any:
    return {
        "apiKeyName": call.key.name,
        "apiKey": call.key.key,
        "nonce": str(call.key.nonce),
        "nonceWindow": call.key.nonce_window,
        "permissions": list(call.key.permissions),
        "iban": call.account.iban,
        "validUntil": "0",
        "queryFrom": "0",
        "queryTo": "0",
        "createdTime": str(int(call.key.created_at)),
        "modifiedTime": str(int(call.key.created_at)),
        "ipAllowlist": [],
        "lastUsed": str(int(call.now)),
    }


def add_order(call: Call) -> Any:
    if not call.params.get("pair"):
        raise invalid_argument("pair")
    pair = call.exchange.market.book.named(call.params["pair"])
    call.exchange.limits.charge_order(call.account.id, pair.id, now=call.now)
    request = order_entry.read(call.params, pair=pair, now=call.now)
    order = call.exchange.add_order(call.account, request, now=call.now)
    described: dict[str, Any] = {"descr": {"order": request.description()}}
    if order is not None:
        described["txid"] = [order.txid]
        call.exchange.accounts.use_of(call.key.key).accepted_orders += 1
    return described


def cancel_order(call: Call) -> Any:
    """By txid, by a userref (all that carry it), or by cl_ord_id."""
    txid, cl_ord_id = call.params.get("txid"), call.params.get("cl_ord_id")
    if not txid and not cl_ord_id:
        raise invalid_argument("txid")
    open_orders = call.exchange.open_orders_of(call.account)
    if cl_ord_id:
        chosen = [order for order in open_orders if order.cl_ord_id == cl_ord_id]
    else:
        chosen = [order for order in open_orders if txid in (order.txid, str(order.userref))]
    return {"count": call.exchange.cancel(call.account, chosen, now=call.now)}


def cancel_all(call: Call) -> Any:
    open_orders = call.exchange.open_orders_of(call.account)
    return {"count": call.exchange.cancel(call.account, open_orders, now=call.now) if open_orders else 0}


def open_orders(call: Call) -> Any:
    chosen = _referenced(call.reads.open_orders(), call.params)
    return {"open": _orders_json(call, sorted(chosen, key=lambda order: order.opened_at, reverse=True))}


def closed_orders(call: Call) -> Any:
    """Newest first, 50 a page; `start` exclusive, `end` inclusive, by opening or closing time."""
    moment = call.params.get("closetime") or "both"
    if moment not in ("open", "close", "both"):
        raise invalid_argument("closetime")
    start, end = _instant(call, "start", 0.0), _instant(call, "end", float("inf"))

    def inside(order: Order) -> bool:
        assert order.closed_at is not None
        moments = {"open": (order.opened_at,), "close": (order.closed_at,)}
        return any(start < at <= end for at in moments.get(moment, (order.opened_at, order.closed_at)))

    closed = [order for order in call.reads.orders() if not order.is_open]
    chosen = [order for order in _referenced(closed, call.params) if inside(order)]
    chosen.sort(key=lambda order: (order.opened_at if moment == "open" else order.closed_at) or 0.0)
    chosen.reverse()
    return _page(call, "closed", chosen, lambda rows: _orders_json(call, rows))


def query_orders(call: Call) -> Any:
    result = []
    for txid in _txids(call.params, _QUERY_ORDERS_MAX):
        order = call.reads.order(txid)
        needed = "query-open-trades" if order.is_open else "query-closed-trades"
        if needed not in call.key.permissions:
            raise KrakenError("EGeneral:Permission denied")
        result.append(order)
    return _orders_json(call, result)


def trades_history(call: Call) -> Any:
    """Newest first, 50 a page; taker fills of one order are merged unless consolidate_taker is false."""
    start, end = _instant(call, "start", 0.0), _instant(call, "end", float("inf"))
    trades: Sequence[Trade] = call.reads.trades()
    if truthy(call.params, "consolidate_taker", default=True):
        trades = rendering.consolidated(trades)
    chosen = [trade for trade in reversed(trades) if start < trade.time <= end]
    return _page(call, "trades", chosen, lambda rows: {row.txid: rendering.trade_json(row) for row in rows})


def query_trades(call: Call) -> Any:
    result = {}
    for txid in _txids(call.params, _QUERY_TRADES_MAX):
        result[txid] = rendering.trade_json(call.reads.trade(txid))
    return result


def _referenced(orders: Sequence[Order], params: Params) -> list[Order]:
    cl_ord_id, userref = params.get("cl_ord_id"), params.get("userref")
    return [
        order
        for order in orders
        if (not cl_ord_id or order.cl_ord_id == cl_ord_id) and (not userref or str(order.userref) == userref)
    ]


def _orders_json(call: Call, orders: Sequence[Order]) -> dict[str, Any]:
    if not truthy(call.params, "trades"):
        return {order.txid: rendering.order_json(order) for order in orders}
    merge = truthy(call.params, "consolidate_taker", default=True)
    return {
        order.txid: rendering.order_json(order, trades=rendering.trade_ids(call.exchange, order, consolidate=merge))
        for order in orders
    }


def _page(call: Call, name: str, rows: Sequence[Row], shown: Callable[[Sequence[Row]], Any]) -> dict[str, Any]:
    offset = call.params.get("ofs") or "0"
    if not offset.isdigit():
        raise invalid_argument("ofs")
    page: dict[str, Any] = {name: shown(rows[int(offset) : int(offset) + PAGE_ROWS])}
    if not truthy(call.params, "without_count"):
        page["count"] = len(rows)
    return page


def _instant(call: Call, name: str, default: float) -> float:
    """Unix seconds, or the time of an order or trade named by its id."""
    given = call.params.get(name)
    if not given:
        return default
    if given in call.exchange.orders:
        return call.exchange.orders[given].opened_at
    if given in call.exchange.trades:
        return call.exchange.trades[given].time
    try:
        return float(given)
    except ValueError as error:
        raise invalid_argument(name) from error


def _txids(params: Params, most: int) -> list[str]:
    txids = [txid.strip() for txid in params.get("txid", "").split(",") if txid.strip()]
    if not 1 <= len(txids) <= most:
        raise invalid_argument("txid")
    return txids


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`any_of`: one of these permissions is enough; empty means that every key may call it."""

    handler: Callable[[Call], Any]
    any_of: tuple[str, ...] = ()


_CANCEL = ("modify-trades", "close-trades")
METHODS = {
    "Balance": Endpoint(balance, ("query-funds",)),
    "BalanceEx": Endpoint(balance_ex, ("query-funds",)),
    # Kraken's two official texts name a different permission each.
    "TradeBalance": Endpoint(trade_balance, ("query-funds", "query-open-trades")),
    "TradeVolume": Endpoint(trade_volume, ("query-funds",)),
    "GetApiKeyInfo": Endpoint(get_api_key_info),
    "AddOrder": Endpoint(add_order, ("modify-trades",)),
    "CancelOrder": Endpoint(cancel_order, _CANCEL),
    "CancelAll": Endpoint(cancel_all, _CANCEL),
    "OpenOrders": Endpoint(open_orders, ("query-open-trades",)),
    "ClosedOrders": Endpoint(closed_orders, ("query-closed-trades",)),
    "QueryOrders": Endpoint(query_orders, ("query-open-trades", "query-closed-trades")),
    "TradesHistory": Endpoint(trades_history, ("query-closed-trades",)),
    "QueryTrades": Endpoint(query_trades, ("query-closed-trades",)),
}
