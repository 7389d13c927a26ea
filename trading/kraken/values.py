"""What Kraken tells us, as frozen values. `trading.kraken.parse` makes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from trading.domain.instrument import Side
from trading.domain.money import Money, Price, Quantity, Ratio

USD_ASSET = "ZUSD"
USD_ALTNAME = "USD"
#: Kraken spends the auto-earning part of an asset (`USD.F`) together with the asset itself (kraken-api section 4).
SPENDABLE_SUFFIX = ".F"


class VenueStatus(StrEnum):
    """Kraken's order states. A partial fill is OPEN with something executed; CLOSED means wholly filled."""

    PENDING = "pending"
    OPEN = "open"
    CLOSED = "closed"
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def is_final(self) -> bool:
        return self in (VenueStatus.CLOSED, VenueStatus.CANCELED, VenueStatus.EXPIRED)


@dataclass(frozen=True, slots=True)
class AssetBalance:
    """One asset of one account. `hold` is what open orders reserve; credit lines are never counted."""

    asset: str
    total: Decimal
    hold: Decimal

    @property
    def available(self) -> Decimal:
        return max(Decimal(0), self.total - self.hold)


@dataclass(frozen=True, slots=True)
class Balances:
    """All of an account, by Kraken's asset names (`ZUSD`, `XXBT`, `USD.F`)."""

    by_asset: Mapping[str, AssetBalance]

    def spendable(self, asset_id: str, *, altname: str) -> AssetBalance:
        """The asset together with its auto-earning part; zero when Kraken does not list it.

        Suffixed names use the altname's stem: `XXBT` spends `XXBT` and `XBT.F`. Staked and bonded parts (`.S`, `.M`,
        `.B`) are not spendable and not counted.
        """
        parts = [self.by_asset.get(name) for name in {asset_id, altname + SPENDABLE_SUFFIX}]
        found = [part for part in parts if part is not None]
        return AssetBalance(
            asset=asset_id,
            total=sum((part.total for part in found), Decimal(0)),
            hold=sum((part.hold for part in found), Decimal(0)),
        )

    def usd(self) -> AssetBalance:
        return self.spendable(USD_ASSET, altname=USD_ALTNAME)


@dataclass(frozen=True, slots=True)
class TradeBalance:
    """`equivalent` is the value of all balances in US dollars (`eb`), `trade` the part usable as collateral (`tb`)."""

    equivalent: Money
    trade: Money


@dataclass(frozen=True, slots=True)
class AddedOrder:
    """Kraken accepted the order (it need not rest or fill). `txid` is None only for a `validate` call."""

    txid: str | None
    description: str


@dataclass(frozen=True, slots=True)
class CancelledOrder:
    count: int
    pending: bool


@dataclass(frozen=True, slots=True)
class VenueOrder:
    """An order as Kraken keeps it.

    `altname` is the pair (`XBTUSD`); `cost` and `fee` are in quote; `reason` may be empty. `on_margin`: opened or closed
    with borrowed money. `in_quote`: `quantity` and `executed` are amounts of the quote asset (`viqc`).
    """

    txid: str
    cl_ord_id: str | None
    status: VenueStatus
    raw_status: str
    side: Side
    altname: str
    quantity: Quantity
    executed: Quantity
    cost: Money
    fee: Money
    average_price: Price | None
    reason: str
    opened_at: datetime
    closed_at: datetime | None
    trade_ids: tuple[str, ...]
    on_margin: bool = False
    in_quote: bool = False

    @property
    def is_final(self) -> bool:
        return self.status.is_final


@dataclass(frozen=True, slots=True)
class VenueTrade:
    """One execution. `pair_id` is the pair's id (`XXBTZUSD`), not its altname; `fee` is in quote (`fciq`)."""

    trade_id: str
    order_txid: str
    pair_id: str
    side: Side
    quantity: Quantity
    price: Price
    cost: Money
    fee: Money
    at: datetime
    maker: bool | None


@dataclass(frozen=True, slots=True)
class OrdersPage:
    """At most 50 orders, newest first; `count` is how many there are in all, when Kraken says so."""

    orders: tuple[VenueOrder, ...]
    count: int | None


@dataclass(frozen=True, slots=True)
class TradesPage:
    """At most 50 executions, newest first."""

    trades: tuple[VenueTrade, ...]
    count: int | None


@dataclass(frozen=True, slots=True)
class SystemStatus:
    """`status` is online, maintenance, cancel_only, post_only, limit_only, or a word newer than this client."""

    status: str

    @property
    def takes_orders(self) -> bool:
        return self.status == "online"


@dataclass(frozen=True, slots=True)
class AssetInfo:
    asset_id: str
    altname: str
    decimals: int
    status: str


@dataclass(frozen=True, slots=True)
class PairInfo:
    """One row of AssetPairs. Absent minima are zero; an absent tick size follows from the price decimals."""

    pair_id: str
    altname: str
    wsname: str
    base: str
    quote: str
    lot_decimals: int
    quantity_min: Decimal
    notional_min: Decimal
    tick_size: Decimal
    status: str


@dataclass(frozen=True, slots=True)
class Ticker:
    bid: Price
    ask: Price
    last: Price


@dataclass(frozen=True, slots=True)
class Candle:
    """`time` is the unix second at which the interval begins; the newest row of an answer is still forming."""

    time: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    vwap: Decimal
    volume: Decimal
    count: int


@dataclass(frozen=True, slots=True)
class BookLevel:
    price: Price
    quantity: Quantity


@dataclass(frozen=True, slots=True)
class Depth:
    """Best level first on both sides."""

    bids: tuple[BookLevel, ...]
    asks: tuple[BookLevel, ...]


@dataclass(frozen=True, slots=True)
class FeeRate:
    """Fees as ratios of the notional (Kraken sends percentages)."""

    taker: Ratio
    maker: Ratio


@dataclass(frozen=True, slots=True)
class ApiKeyInfo:
    """What GetApiKeyInfo says about the key that asked. `iban` names the Kraken account, empty when not told.

    `query_from` and `query_to` bound what its queries are told; None is no bound.
    """

    name: str
    permissions: frozenset[str]
    iban: str
    nonce_window: int
    valid_until: datetime | None
    ip_allowlist: tuple[str, ...]
    query_from: datetime | None = None
    query_to: datetime | None = None
