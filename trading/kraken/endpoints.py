"""The calls this system makes, one method each. Raw client: it knows Kraken's parameters, not what an order is for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from urllib.parse import urlencode

from trading.domain.instrument import Side
from trading.domain.money import Price, Quantity
from trading.kraken import parse, wire
from trading.kraken.signing import Credentials, sign
from trading.kraken.transport import REQUEST_TIMEOUT_MAX_S, MaskedHeaders, PrivateTransport, Transport
from trading.kraken.values import (
    AddedOrder,
    ApiKeyInfo,
    AssetInfo,
    Balances,
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
    VenueTrade,
)

PUBLIC_TIMEOUT_S = REQUEST_TIMEOUT_MAX_S
PRIVATE_TIMEOUT_S = REQUEST_TIMEOUT_MAX_S
PAGE_SIZE = 50
QUERY_ORDERS_MAX = 50
QUERY_TRADES_MAX = 20
OHLC_INTERVALS_MIN = frozenset({1, 5, 15, 30, 60, 240, 1440, 10080, 21600})
NONCE_MAX = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`cost` is what a call adds to the key's REST counter; `order` says that it can change something."""

    method: str
    cost: int = 1
    order: bool = False

    @property
    def path(self) -> str:
        return f"/0/private/{self.method}"


BALANCE_EX = Endpoint("BalanceEx")
TRADE_BALANCE = Endpoint("TradeBalance")
ADD_ORDER = Endpoint("AddOrder", cost=0, order=True)
CANCEL_ORDER = Endpoint("CancelOrder", cost=0, order=True)
OPEN_ORDERS = Endpoint("OpenOrders")
CLOSED_ORDERS = Endpoint("ClosedOrders")
QUERY_ORDERS = Endpoint("QueryOrders")
# Kraken's copies disagree on 2 or 4 for history calls; counting 4 never exceeds the limit (kraken-api 2.1).
TRADES_HISTORY = Endpoint("TradesHistory", cost=4)
QUERY_TRADES = Endpoint("QueryTrades")
TRADE_VOLUME = Endpoint("TradeVolume")
API_KEY_INFO = Endpoint("GetApiKeyInfo")


class OrderType(StrEnum):
    MARKET = "market"
    LIMIT = "limit"


class TimeInForce(StrEnum):
    GOOD_TILL_CANCELLED = "GTC"
    IMMEDIATE_OR_CANCEL = "IOC"


@dataclass(frozen=True, slots=True)
class AddOrder:
    """An order to place. `altname` is the pair (`XBTUSD`), `cl_ord_id` a UUID; fees are always taken in quote.

    `deadline` is Kraken time: after it Kraken's engine refuses the order; it must be 2 to 60 s ahead. `validate` asks
    Kraken to check only, and is never sent otherwise.
    """

    altname: str
    side: Side
    ordertype: OrderType
    quantity: Quantity
    cl_ord_id: str
    price: Price | None = None
    timeinforce: TimeInForce | None = None
    deadline: datetime | None = None
    validate: bool = False

    def __post_init__(self) -> None:
        if not self.quantity > Quantity.zero():
            raise ValueError("an order's quantity is above zero")
        if (self.ordertype is OrderType.LIMIT) != (self.price is not None):
            raise ValueError("a limit order has a price and a market order has none")
        if self.price is not None and not self.price > Price.zero():
            raise ValueError("a limit price is above zero")
        if not self.cl_ord_id or len(self.cl_ord_id) > 36:
            raise ValueError("an order has a client order id of at most 36 characters")
        if self.deadline is not None and self.deadline.tzinfo is None:
            raise ValueError("a deadline has a time zone")

    def params(self) -> list[tuple[str, str]]:
        """The form fields after the nonce."""
        params = [
            ("ordertype", self.ordertype.value),
            ("type", self.side.value),
            ("volume", str(self.quantity)),
            ("pair", self.altname),
            ("cl_ord_id", self.cl_ord_id),
            ("oflags", "fciq"),
        ]
        if self.price is not None:
            params.append(("price", str(self.price)))
        if self.timeinforce is not None:
            params.append(("timeinforce", self.timeinforce.value))
        if self.deadline is not None:
            params.append(("deadline", rfc3339(self.deadline)))
        if self.validate:
            params.append(("validate", "true"))
        return params


class PublicClient:
    """Market data and rules; no key, limited by address (kraken-api 2.2: one call a second is safe)."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def __repr__(self) -> str:
        return f"PublicClient({self._transport!r})"

    def time(self) -> datetime:
        """Kraken's clock in whole seconds: the true time is up to one second later."""
        return parse.server_time(self._get("Time"))

    def system_status(self) -> SystemStatus:
        return parse.system_status(self._get("SystemStatus"))

    def assets(self) -> dict[str, AssetInfo]:
        """By asset id (`XXBT`)."""
        return parse.assets(self._get("Assets"))

    def asset_pairs(self) -> dict[str, PairInfo]:
        """By pair id (`XXBTZUSD`)."""
        return parse.asset_pairs(self._get("AssetPairs"))

    def ticker(self, pairs: Sequence[str]) -> dict[str, Ticker]:
        """By pair id, whatever names were asked with; at least one pair."""
        _require(len(pairs) > 0, "at least one pair")
        return parse.tickers(self._get("Ticker", pair=",".join(pairs)))

    def ohlc(self, pair: str, interval_min: int = 1, *, since: int | None = None) -> tuple[Candle, ...]:
        """At most 720 candles, oldest first; the last is still forming. `since` (unix seconds): only what starts later."""
        _require(interval_min in OHLC_INTERVALS_MIN, "an interval that Kraken keeps")
        wanted = dict(_given(since=None if since is None else str(since)))
        return parse.candles(self._get("OHLC", pair=pair, interval=str(interval_min), **wanted))

    def depth(self, pair: str, *, count: int = 25) -> Depth:
        return parse.depth(self._get("Depth", pair=pair, count=str(count)))

    def _get(self, method: str, **params: str) -> Mapping[str, Any]:
        answer = self._transport.get(f"/0/public/{method}", params, timeout_s=PUBLIC_TIMEOUT_S)
        return wire.result(answer, order=False)


class PrivateClient:
    """One account's calls. The caller owns the nonces: every call takes one, above all that the key used before.

    Every method raises a `KrakenError`; which one says what is known about the command.
    """

    def __init__(
        self, transport: PrivateTransport, credentials: Credentials, before_write: Callable[[], None] | None = None
    ) -> None:
        self._transport = transport
        self._credentials = credentials
        self._before_write = before_write

    def looking(self, before_write: Callable[[], None]) -> PrivateClient:
        """The same client, whose calls do this right before they write; what it raises ends them unwritten."""
        return PrivateClient(self._transport, self._credentials, before_write)

    def __repr__(self) -> str:
        return f"PrivateClient({self._transport!r}, ***)"

    async def balance_ex(self, *, nonce: int) -> Balances:
        return parse.balances(await self._post(BALANCE_EX, nonce=nonce))

    async def reach(self, *, nonce: int) -> bool:
        """BalanceEx, whatever it tells: True, Kraken took the nonce, and none below it is valid any more."""
        await self._post(BALANCE_EX, nonce=nonce)
        return True

    async def trade_balance(self, *, nonce: int) -> TradeBalance:
        return parse.trade_balance(await self._post(TRADE_BALANCE, [("asset", "ZUSD")], nonce=nonce))

    async def add_order(self, order: AddOrder, *, nonce: int) -> AddedOrder:
        found = await self._post(ADD_ORDER, order.params(), nonce=nonce)
        return parse.added_order(found, validate=order.validate)

    async def cancel_order(
        self, *, nonce: int, txid: str | None = None, cl_ord_id: str | None = None
    ) -> CancelledOrder:
        """By exactly one of the two ids. CommandRejected that says `EOrder:Unknown order`: it is final already."""
        _require((txid is None) != (cl_ord_id is None), "exactly one of txid and cl_ord_id")
        params = _given(txid=txid, cl_ord_id=cl_ord_id)
        _require(not (txid or "").isdigit(), "an order id, for Kraken reads digits as a userref")
        return parse.cancelled_order(await self._post(CANCEL_ORDER, params, nonce=nonce))

    async def open_orders(self, *, nonce: int, cl_ord_id: str | None = None) -> OrdersPage:
        params = [("trades", "true"), *_given(cl_ord_id=cl_ord_id)]
        return parse.orders_page(await self._post(OPEN_ORDERS, params, nonce=nonce), "open")

    async def closed_orders(
        self, *, nonce: int, cl_ord_id: str | None = None, start: datetime | None = None, ofs: int = 0
    ) -> OrdersPage:
        """Newest first, 50 a page from `ofs`, opened or closed after `start` (cut to the second)."""
        params = [
            ("trades", "true"),
            ("consolidate_taker", "false"),
            *_window(start, ofs),
            *_given(cl_ord_id=cl_ord_id),
        ]
        return parse.orders_page(await self._post(CLOSED_ORDERS, params, nonce=nonce), "closed")

    async def query_orders(self, txids: Sequence[str], *, nonce: int) -> dict[str, VenueOrder]:
        """By txid, at most 50; an id Kraken does not know is absent, or the whole call is refused."""
        _require(0 < len(txids) <= QUERY_ORDERS_MAX, f"1 to {QUERY_ORDERS_MAX} order ids")
        params = [("txid", ",".join(txids)), ("trades", "true"), ("consolidate_taker", "false")]
        return parse.orders(await self._post(QUERY_ORDERS, params, nonce=nonce))

    async def trades_history(
        self, *, nonce: int, start: datetime | None = None, end: datetime | None = None, ofs: int = 0
    ) -> TradesPage:
        """Newest first, 50 a page from `ofs`, after `start` and up to `end` (both cut to the second)."""
        until = [("end", str(int(end.timestamp())))] if end is not None else []
        params = [("consolidate_taker", "false"), *_window(start, ofs), *until]
        return parse.trades_page(await self._post(TRADES_HISTORY, params, nonce=nonce))

    async def query_trades(self, trade_ids: Sequence[str], *, nonce: int) -> dict[str, VenueTrade]:
        """By trade id, at most 20."""
        _require(0 < len(trade_ids) <= QUERY_TRADES_MAX, f"1 to {QUERY_TRADES_MAX} trade ids")
        return parse.trades(await self._post(QUERY_TRADES, [("txid", ",".join(trade_ids))], nonce=nonce))

    async def trade_volume(self, pairs: Sequence[str], *, nonce: int) -> dict[str, FeeRate]:
        """The account's own fees, by pair id."""
        _require(len(pairs) > 0, "at least one pair")
        return parse.fee_rates(await self._post(TRADE_VOLUME, [("pair", ",".join(pairs))], nonce=nonce))

    async def api_key_info(self, *, nonce: int) -> ApiKeyInfo:
        return parse.api_key_info(await self._post(API_KEY_INFO, nonce=nonce))

    async def _post(
        self, endpoint: Endpoint, params: Sequence[tuple[str, str]] = (), *, nonce: int
    ) -> Mapping[str, Any]:
        _require(0 < nonce <= NONCE_MAX, "a nonce of 64 bits")
        body = urlencode([("nonce", str(nonce)), *params]).encode("ascii")
        headers = self._signed(endpoint.path, nonce=str(nonce), body=body)
        answer = await self._transport.post(
            endpoint.path, body, headers, timeout_s=PRIVATE_TIMEOUT_S, before_write=self._before_write
        )
        return wire.result(answer, order=endpoint.order)

    def _signed(self, path: str, *, nonce: str, body: bytes) -> MaskedHeaders:
        return MaskedHeaders(
            {
                "API-Key": self._credentials.key,
                "API-Sign": sign(path, nonce=nonce, body=body, secret=self._credentials.secret),
                "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
            }
        )


def rfc3339(at: datetime) -> str:
    """UTC to the millisecond, as Kraken's `deadline` takes it; the rest is cut off, never rounded up."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _given(**params: str | None) -> list[tuple[str, str]]:
    return [(name, value) for name, value in params.items() if value is not None]


def _window(start: datetime | None, ofs: int) -> list[tuple[str, str]]:
    window = [("ofs", str(ofs))] if ofs else []
    return [("start", str(int(start.timestamp()))), *window] if start is not None else window


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"this call takes {what}")
