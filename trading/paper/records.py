"""What the exchange remembers: accounts, keys, orders, trades, and how they are written down."""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from trading.paper.pairs import ZERO, plain

_ID_ALPHABET = string.ascii_uppercase + string.digits
PERMISSIONS = (
    "query-funds",
    "add-funds",
    "withdraw-funds",
    "earn-funds",
    "query-open-trades",
    "query-closed-trades",
    "modify-trades",
    "close-trades",
    "query-ledger",
    "export-data",
    "create-ws-token",
    "add-withdraw-address",
    "update-withdraw-address",
)
TRADING_PERMISSIONS = ("query-funds", "query-open-trades", "query-closed-trades", "modify-trades", "close-trades")


def kraken_id(prefix: str) -> str:
    """`OQCLML-BW3P3-BUCMWZ`: six, five and six characters, the first one telling the kind."""
    letters = "".join(_ID_ALPHABET[byte % len(_ID_ALPHABET)] for byte in secrets.token_bytes(16))
    return f"{prefix}{letters[:5]}-{letters[5:10]}-{letters[10:]}"


def new_iban() -> str:
    letters = "".join(secrets.choice(_ID_ALPHABET) for _ in range(14))
    return f"AA{secrets.randbelow(90) + 10} {letters[:4]} {letters[4:8]} {letters[8:12]}"


@dataclass(slots=True)
class ApiKey:
    """`nonce` is the highest one consumed."""

    key: str
    account_id: str
    secret: str
    permissions: list[str]
    name: str
    created_at: float
    nonce: int = 0
    nonce_window: int = 0
    revoked: bool = False


@dataclass(slots=True)
class Account:
    id: str
    label: str
    iban: str
    created_at: float
    balances: dict[str, Decimal] = field(default_factory=dict)


@dataclass(slots=True)
class Trade:
    """One match. `cost` and `fee` in quote, `volume` in base; `market_time` is the market clock's, unix seconds."""

    txid: str
    order_txid: str
    account_id: str
    pair_id: str
    side: str
    ordertype: str
    time: float
    price: Decimal
    cost: Decimal
    fee: Decimal
    volume: Decimal
    maker: bool
    trade_id: int
    market_time: int = 0


@dataclass(slots=True)
class Order:
    """`limit_price` is None for a market order; `executed` is base volume, `cost` and `fee` are in quote."""

    txid: str
    account_id: str
    pair_id: str
    side: str
    ordertype: str
    volume: Decimal
    limit_price: Decimal | None
    timeinforce: str
    oflags: str
    opened_at: float
    cl_ord_id: str | None = None
    userref: int | None = None
    status: str = "open"
    reason: str | None = None
    closed_at: float | None = None
    executed: Decimal = ZERO
    cost: Decimal = ZERO
    fee: Decimal = ZERO
    trades: list[str] = field(default_factory=list)
    expires_at: float | None = None

    @property
    def remaining(self) -> Decimal:
        return self.volume - self.executed

    @property
    def is_open(self) -> bool:
        return self.status == "open"


_ORDER_DECIMALS = ("volume", "limit_price", "executed", "cost", "fee")
_TRADE_DECIMALS = ("price", "cost", "fee", "volume")


def document_of(record: Order | Trade) -> dict[str, Any]:
    """A JSON-ready copy; amounts as decimal strings."""
    values = ((slot, getattr(record, slot)) for slot in record.__slots__)
    return {name: plain(value) if isinstance(value, Decimal) else value for name, value in values}


def order_from(document: dict[str, Any]) -> Order:
    return Order(**_with_decimals(document, _ORDER_DECIMALS))


def trade_from(document: dict[str, Any]) -> Trade:
    return Trade(**_with_decimals(document, _TRADE_DECIMALS))


def _with_decimals(document: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    amounts = {name: Decimal(document[name]) for name in names if document[name] is not None}
    return {**document, **amounts}
