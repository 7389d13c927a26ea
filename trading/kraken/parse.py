"""Kraken's results as values.

Whatever does not fit raises Unparsable: nothing is guessed, and no amount that should be there defaults to zero.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

from trading.domain.instrument import Side
from trading.domain.money import Money, Price, Quantity, Ratio
from trading.kraken import wire
from trading.kraken.errors import PermissionsUnknown, Unparsable
from trading.kraken.values import (
    AddedOrder,
    ApiKeyInfo,
    AssetBalance,
    AssetInfo,
    Balances,
    BookLevel,
    CancelledOrder,
    Candle,
    Depth,
    FeeRate,
    OrdersPage,
    PairInfo,
    SystemStatus,
    Ticker,
    TradeBalance,
    TradesPage,
    VenueOrder,
    VenueStatus,
    VenueTrade,
)

log = logging.getLogger(__name__)
Row = TypeVar("Row")

DECIMALS_MAX = 18
CANDLE_FIELDS = 8
PERCENT_MAX = 100
#: How Kraken writes that an order borrows nothing.
NO_LEVERAGE = ("", "none", "0")


def server_time(found: Mapping[str, Any]) -> datetime:
    """Kraken's clock. Its `unixtime` has whole seconds: the true time is up to one second later."""
    return wire.instant(found.get("unixtime"), "unixtime")


def system_status(found: Mapping[str, Any]) -> SystemStatus:
    return SystemStatus(status=wire.text(found, "status"))


def assets(found: Mapping[str, Any]) -> dict[str, AssetInfo]:
    return _readable(found, _asset)


def asset_pairs(found: Mapping[str, Any]) -> dict[str, PairInfo]:
    """The pairs this client can read; one strange row among hundreds is left out and logged, not fatal."""
    return _readable(found, _pair)


def _readable(found: Mapping[str, Any], parse: Callable[[str, Mapping[str, Any]], Row]) -> dict[str, Row]:
    read: dict[str, Row] = {}
    for name, row in found.items():
        try:
            read[name] = parse(name, wire.mapping(row, name))
        except Unparsable as problem:
            log.warning("Left out %s: %s", name, problem.sentence)
    if found and not read:
        raise Unparsable("Kraken's answer: no row of the list can be read.")
    return read


def _asset(name: str, row: Mapping[str, Any]) -> AssetInfo:
    status = wire.optional_text(row, "status") or "enabled"
    return AssetInfo(
        asset_id=name, altname=wire.text(row, "altname"), decimals=_decimals(row, "decimals"), status=status
    )


def _pair(name: str, row: Mapping[str, Any]) -> PairInfo:
    price_decimals = _decimals(row, "pair_decimals")
    tick = wire.number(row["tick_size"], "tick_size") if row.get("tick_size") else Decimal(1).scaleb(-price_decimals)
    if tick <= 0 or wire.whole(row.get("lot_multiplier", 1), "lot_multiplier") != 1:
        raise Unparsable("Kraken's answer: a pair has no usable price or lot step.")
    return PairInfo(
        pair_id=name,
        altname=wire.text(row, "altname"),
        wsname=wire.optional_text(row, "wsname"),
        base=wire.text(row, "base"),
        quote=wire.text(row, "quote"),
        lot_decimals=_decimals(row, "lot_decimals"),
        quantity_min=wire.number(row.get("ordermin", 0), "ordermin"),
        notional_min=wire.number(row.get("costmin", 0), "costmin"),
        tick_size=tick,
        status=wire.optional_text(row, "status") or "online",
    )


def _decimals(row: Mapping[str, Any], name: str) -> int:
    decimals = wire.whole(row.get(name), name)
    if decimals > DECIMALS_MAX:
        raise Unparsable(f"Kraken's answer: {name} is too large.")
    return decimals


def tickers(found: Mapping[str, Any]) -> dict[str, Ticker]:
    """By pair id. A pair without a price (an empty book) is left out and logged; the others keep theirs."""
    return _readable(found, _ticker)


def _ticker(name: str, row: Mapping[str, Any]) -> Ticker:
    def first(field: str) -> Price:
        values = wire.rows(row.get(field), field)
        return _positive_price(values[0] if values else None, f"{field} of {name}")

    return Ticker(bid=first("b"), ask=first("a"), last=first("c"))


def _positive_price(value: Any, what: str) -> Price:
    price = wire.number(value, what)
    if not price:
        raise Unparsable(f"Kraken's answer: {what} is zero.")
    return Price(price)


def candles(found: Mapping[str, Any]) -> tuple[Candle, ...]:
    """Oldest first; the last one is still forming."""
    series = [rows for name, rows in found.items() if name != "last"]
    if len(series) != 1:
        raise Unparsable("Kraken's answer: not exactly one series of candles.")
    return tuple(_candle(wire.rows(row, "candle")) for row in wire.rows(series[0], "candles"))


def _candle(row: list[Any]) -> Candle:
    if len(row) < CANDLE_FIELDS:
        raise Unparsable("Kraken's answer: a candle is too short.")
    opened, high, low, close, vwap, volume = (wire.number(value, "candle") for value in row[1:7])
    if not low <= min(opened, close) <= max(opened, close) <= high:
        raise Unparsable("Kraken's answer: a candle's prices contradict each other.")
    return Candle(
        time=wire.whole(row[0], "candle time"),
        open=opened,
        high=high,
        low=low,
        close=close,
        vwap=vwap,
        volume=volume,
        count=wire.whole(row[7], "candle count"),
    )


def depth(found: Mapping[str, Any]) -> Depth:
    if len(found) != 1:
        raise Unparsable("Kraken's answer: not exactly one order book.")
    book = wire.mapping(next(iter(found.values())), "order book")
    return Depth(bids=_levels(book, "bids"), asks=_levels(book, "asks"))


def _levels(book: Mapping[str, Any], side: str) -> tuple[BookLevel, ...]:
    levels = [wire.rows(row, side) for row in wire.rows(book.get(side), side)]
    if any(len(level) < 2 for level in levels):
        raise Unparsable(f"Kraken's answer: a level of {side} is too short.")
    return tuple(
        BookLevel(price=_positive_price(level[0], side), quantity=Quantity(wire.number(level[1], side)))
        for level in levels
    )


def balances(found: Mapping[str, Any]) -> Balances:
    """BalanceEx. Who trades on margin may have less than nothing of an asset; a negative hold is refused."""
    return Balances(by_asset={asset: _balance(asset, wire.mapping(row, asset)) for asset, row in found.items()})


def _balance(asset: str, row: Mapping[str, Any]) -> AssetBalance:
    return AssetBalance(
        asset=asset,
        total=wire.number(row.get("balance"), f"balance of {asset}", negative=True),
        hold=wire.number(row.get("hold_trade", 0), f"hold of {asset}"),
    )


def trade_balance(found: Mapping[str, Any]) -> TradeBalance:
    equivalent = wire.number(found.get("eb"), "eb", negative=True)
    return TradeBalance(equivalent=Money(equivalent), trade=Money(wire.number(found.get("tb"), "tb", negative=True)))


def added_order(found: Mapping[str, Any], *, validate: bool) -> AddedOrder:
    descr = wire.mapping(found.get("descr"), "descr")
    txids = [] if validate else wire.rows(found.get("txid"), "txid")
    if not validate and (len(txids) != 1 or not isinstance(txids[0], str) or not txids[0]):
        raise Unparsable("Kraken's answer does not name exactly one order.")
    return AddedOrder(txid=txids[0] if txids else None, description=wire.optional_text(descr, "order"))


def cancelled_order(found: Mapping[str, Any]) -> CancelledOrder:
    return CancelledOrder(count=wire.whole(found.get("count"), "count"), pending=found.get("pending") is True)


def orders_page(found: Mapping[str, Any], name: str) -> OrdersPage:
    """`name` is `open` or `closed`."""
    return OrdersPage(orders=tuple(orders(wire.mapping(found.get(name), name)).values()), count=_count(found))


def orders(found: Mapping[str, Any]) -> dict[str, VenueOrder]:
    """By txid, in Kraken's order."""
    return {txid: _order(txid, wire.mapping(row, txid)) for txid, row in found.items()}


def _count(found: Mapping[str, Any]) -> int | None:
    return None if found.get("count") is None else wire.whole(found["count"], "count")


def _order(txid: str, row: Mapping[str, Any]) -> VenueOrder:
    descr = wire.mapping(row.get("descr"), "descr")
    raw_status = wire.text(row, "status")
    quantity, executed = wire.number(row.get("vol"), "vol"), wire.number(row.get("vol_exec"), "vol_exec")
    price = wire.number(row.get("price"), "price")
    if executed and not price:
        price = _average(wire.number(row.get("cost"), "cost"), executed)
    return VenueOrder(
        txid=txid,
        cl_ord_id=wire.optional_text(row, "cl_ord_id") or None,
        status=_status(raw_status),
        raw_status=raw_status,
        side=_side(descr),
        altname=wire.text(descr, "pair"),
        quantity=Quantity(quantity),
        executed=Quantity(executed),
        cost=Money(wire.number(row.get("cost"), "cost")),
        fee=Money(wire.number(row.get("fee"), "fee", negative=True)),
        average_price=Price(price) if executed else None,
        reason=wire.optional_text(row, "reason"),
        opened_at=wire.instant(row.get("opentm"), "opentm"),
        closed_at=wire.optional_instant(row.get("closetm"), "closetm"),
        trade_ids=_trade_ids(row),
        on_margin=wire.optional_text(descr, "leverage") not in NO_LEVERAGE,
        in_quote="viqc" in wire.optional_text(row, "oflags").split(","),
    )


def _average(cost: Decimal, executed: Decimal) -> Decimal:
    return (Money(cost) / Quantity(executed)).value


def _status(raw: str) -> VenueStatus:
    known = {status.value: status for status in VenueStatus}
    if raw not in known:
        raise Unparsable("Kraken's answer: an order has a status this client does not know.")
    return known[raw]


def _side(source: Mapping[str, Any]) -> Side:
    raw = wire.text(source, "type")
    if raw not in ("buy", "sell"):
        raise Unparsable("Kraken's answer: a side is neither buy nor sell.")
    return Side(raw)


def _trade_ids(row: Mapping[str, Any]) -> tuple[str, ...]:
    ids = [] if row.get("trades") is None else wire.rows(row["trades"], "trades")
    if not all(isinstance(trade_id, str) and trade_id for trade_id in ids):
        raise Unparsable("Kraken's answer: a trade id is not text.")
    return tuple(ids)


def trades_page(found: Mapping[str, Any]) -> TradesPage:
    return TradesPage(trades=tuple(trades(wire.mapping(found.get("trades"), "trades")).values()), count=_count(found))


def trades(found: Mapping[str, Any]) -> dict[str, VenueTrade]:
    """By trade id, in Kraken's order."""
    return {trade_id: _trade(trade_id, wire.mapping(row, trade_id)) for trade_id, row in found.items()}


def _trade(trade_id: str, row: Mapping[str, Any]) -> VenueTrade:
    maker = row.get("maker")
    return VenueTrade(
        trade_id=trade_id,
        order_txid=wire.text(row, "ordertxid"),
        pair_id=wire.text(row, "pair"),
        side=_side(row),
        quantity=Quantity(wire.number(row.get("vol"), "vol")),
        price=Price(wire.number(row.get("price"), "price")),
        cost=Money(wire.number(row.get("cost"), "cost")),
        fee=Money(wire.number(row.get("fee"), "fee", negative=True)),
        at=wire.instant(row.get("time"), "time"),
        maker=maker if isinstance(maker, bool) else None,
    )


def fee_rates(found: Mapping[str, Any]) -> dict[str, FeeRate]:
    """By pair id. A pair without a maker schedule pays the taker's fee on both sides."""
    takers = wire.mapping(found.get("fees", {}), "fees")
    makers = wire.mapping(found.get("fees_maker", {}), "fees_maker")
    return {
        name: FeeRate(taker=_fee(row, name), maker=_fee(makers.get(name, row), name)) for name, row in takers.items()
    }


def _fee(row: Any, name: str) -> Ratio:
    percent = wire.number(wire.mapping(row, name).get("fee"), f"fee of {name}", negative=True)
    if abs(percent) >= PERCENT_MAX:
        raise Unparsable("Kraken's answer: a fee is not a percentage.")
    return Ratio.from_percent(percent)


def api_key_info(found: Mapping[str, Any]) -> ApiKeyInfo:
    """Unknown permissions are no permissions to rely on: without a list of them this is PermissionsUnknown."""

    def either(camel: str, snake: str) -> Any:
        return found.get(camel, found.get(snake))

    try:
        permissions = _texts(found.get("permissions"), "permissions")
    except Unparsable as error:
        raise PermissionsUnknown(error.sentence) from None
    allowlist = either("ipAllowlist", "ip_allowlist")
    return ApiKeyInfo(
        name=str(either("apiKeyName", "api_key_name") or "")[:100],
        permissions=frozenset(permissions),
        iban=wire.optional_text(found, "iban"),
        nonce_window=wire.whole(either("nonceWindow", "nonce_window"), "nonceWindow"),
        valid_until=wire.optional_instant(either("validUntil", "valid_until"), "validUntil"),
        query_from=wire.optional_instant(either("queryFrom", "query_from"), "queryFrom"),
        query_to=wire.optional_instant(either("queryTo", "query_to"), "queryTo"),
        ip_allowlist=() if allowlist is None else _texts(allowlist, "ipAllowlist"),
    )


def _texts(value: Any, what: str) -> tuple[str, ...]:
    items = wire.rows(value, what)
    if not all(isinstance(item, str) for item in items):
        raise Unparsable(f"Kraken's answer: {what} holds something that is not text.")
    return tuple(items)
