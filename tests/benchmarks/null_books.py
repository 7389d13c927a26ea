"""What the null exchange knows: keys derived from an index, and for each a minimal account whose orders fill at once and whole.

Written for the benchmark alone; no code of the client is used here, so that one signing mistake cannot pass on both sides.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

MASTER = 0
MASTER_CASH = Decimal(1_000_000)
FEE = Decimal("0.004")
PAGE = 50
#: Every pair has one price, far more of it than anybody asks for, and no candles to speak of.
PAIRS: dict[str, tuple[str, str, str]] = {
    # altname: base asset, bid, ask
    "BEAMUSD": ("BEAM", "0.010000", "0.010001"),
    "ADAUSD": ("ADA", "0.500000", "0.500001"),
}
PRICE_DECIMALS, LOT_DECIMALS = 6, 8
PERMISSIONS = ("query-funds", "query-open-trades", "query-closed-trades", "modify-trades", "close-trades")


class Refused(Exception):
    """The text is Kraken's error message."""


def api_key_of(index: int) -> str:
    return f"{'NULL' * 12}{index:08d}"


@lru_cache(maxsize=65_536)
def secret_of(index: int) -> bytes:
    return hashlib.sha512(f"null exchange, account {index}".encode()).digest()


def secret_text_of(index: int) -> str:
    return base64.b64encode(secret_of(index)).decode("ascii")


def iban_of(index: int) -> str:
    return f"AA{index:014d}"


def index_of(iban: str) -> int:
    return int(iban[2:])


def cash_of(index: int) -> Decimal:
    """US dollars that an account begins with: 500 to 1,999, so that copies differ in size."""
    return MASTER_CASH if index == MASTER else Decimal(500 + index * 7_919 % 1_500)


@dataclass(slots=True)
class Account:
    index: int
    secret: bytes
    balances: dict[str, Decimal]
    last_nonce: int = 0
    in_flight: int = 0
    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    trades: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: When its balance was asked for, unix seconds.
    balance_reads: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Stamp:
    """One accepted AddOrder; instants by the wall clock, unix seconds."""

    index: int
    client_order_id: str
    side: str
    altname: str
    received_at: float
    answered_at: float = 0.0


class Books:
    """All accounts, and what the benchmark wants to know of their requests."""

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}
        self._client_order_ids: set[str] = set()
        self._placed = 0
        self.counts: Counter[str] = Counter()
        self.stamps: list[Stamp] = []
        #: So many of the next orders are taken and never answered.
        self.answers_to_lose = 0
        self._methods: dict[str, Callable[[Account, dict[str, str]], dict[str, Any]]] = {
            "GetApiKeyInfo": _key_info,
            "BalanceEx": _balance_ex,
            "QueryOrders": _query_orders,
            "QueryTrades": _query_trades,
            "OpenOrders": lambda _account, _form: {"open": {}},
            "ClosedOrders": _closed_orders,
            "TradesHistory": _trades_history,
            "TradeVolume": _trade_volume,
            "TradeBalance": _trade_balance,
            "CancelOrder": _cancel_order,
        }

    def account(self, api_key: str) -> Account:
        """Raises Refused for a key that `api_key_of` does not make."""
        known = self._accounts.get(api_key)
        if known is not None:
            return known
        digits = api_key[-8:]
        if not digits.isdigit() or api_key != api_key_of(int(digits)):
            raise Refused("EAPI:Invalid key")
        index = int(digits)
        made = Account(index, secret_of(index), {"ZUSD": cash_of(index)})
        self._accounts[api_key] = made
        return made

    def check(self, account: Account, path: str, *, signature: str, body: bytes) -> dict[str, str]:
        """The form of a request whose signature and nonce are right. Raises Refused, and counts."""
        form = dict(parse_qsl(body.decode("ascii"), keep_blank_values=True))
        nonce = form.get("nonce", "")
        digest = hashlib.sha256(nonce.encode("ascii") + body).digest()
        right = hmac.digest(account.secret, path.encode("ascii") + digest, "sha512")
        if not hmac.compare_digest(base64.b64encode(right), signature.encode("ascii")):
            self.counts["refused signatures"] += 1
            raise Refused("EAPI:Invalid signature")
        if not nonce.isdigit() or int(nonce) <= account.last_nonce:
            self.counts["refused nonces"] += 1
            raise Refused("EAPI:Invalid nonce")
        account.last_nonce = int(nonce)
        return form

    def call(self, account: Account, method: str, form: dict[str, str]) -> dict[str, Any]:
        """Raises Refused."""
        self.counts[method] += 1
        known = self._methods.get(method)
        if known is None:
            raise Refused("EGeneral:Unknown method")
        return known(account, form)

    def add_order(self, account: Account, form: dict[str, str], *, received_at: float) -> tuple[dict[str, Any], Stamp]:
        """Takes the order and fills it whole at the market. Raises Refused."""
        self.counts["AddOrder"] += 1
        side, altname, quantity = form["type"], form["pair"], Decimal(form["volume"])
        base, bid, ask = PAIRS[altname]
        price = Decimal(ask if side == "buy" else bid)
        limit = Decimal(form["price"]) if form["ordertype"] == "limit" else price
        if form.get("deadline") and datetime.fromisoformat(form["deadline"]) < datetime.fromtimestamp(received_at, UTC):
            self.counts["after their deadline"] += 1
            raise Refused("EService:Deadline elapsed")
        client_order_id = form.get("cl_ord_id", "")
        if client_order_id in self._client_order_ids:
            self.counts["orders twice"] += 1
        self._client_order_ids.add(client_order_id)
        executes = limit >= price if side == "buy" else limit <= price
        cost = quantity * price if executes else Decimal(0)
        fee = cost * FEE
        paid = {"ZUSD": -cost - fee, base: quantity} if side == "buy" else {"ZUSD": cost - fee, base: -quantity}
        after = {asset: account.balances.get(asset, Decimal(0)) + change for asset, change in paid.items()}
        if executes and min(after.values()) < 0:
            self.counts["insufficient funds"] += 1
            raise Refused("EOrder:Insufficient funds")
        if executes:
            account.balances |= after
        txid = self._write(account, form, at=received_at, price=price if executes else None, fee=fee)
        stamp = Stamp(account.index, client_order_id, side, altname, received_at)
        self.stamps.append(stamp)
        return {"descr": {"order": f"{side} {form['volume']} {altname}"}, "txid": [txid]}, stamp

    def _write(self, account: Account, form: dict[str, str], *, at: float, price: Decimal | None, fee: Decimal) -> str:
        self._placed += 1
        txid, trade_id = f"O{self._placed:05d}-NULLX-CHANGE", f"T{self._placed:05d}-NULLX-CHANGE"
        quantity = Decimal(form["volume"]) if price is not None else Decimal(0)
        cost = quantity * price if price is not None else Decimal(0)
        descr = {
            "pair": form["pair"],
            "type": form["type"],
            "ordertype": form["ordertype"],
            "price": form.get("price", "0"),
            "leverage": "none",
        }
        account.orders[txid] = {
            "status": "closed" if price is not None else "canceled",
            "reason": None if price is not None else "IOC order could not be filled",
            "cl_ord_id": form.get("cl_ord_id"),
            "opentm": at,
            "closetm": at,
            "descr": descr,
            "vol": form["volume"],
            "vol_exec": str(quantity),
            "cost": str(cost),
            "fee": str(fee),
            "price": str(price or 0),
            "oflags": form.get("oflags", ""),
            "trades": [trade_id] if price is not None else [],
        }
        if price is not None:
            account.trades[trade_id] = {
                "ordertxid": txid,
                "pair": form["pair"],
                "time": at,
                "type": form["type"],
                "ordertype": form["ordertype"],
                "price": str(price),
                "cost": str(cost),
                "fee": str(fee),
                "vol": str(quantity),
                "maker": False,
            }
        return txid

    def sell_by_hand(self, index: int) -> None:
        """The owner sells half of each coin on the exchange's own page, which NIJA is not told of."""
        account = self.account(api_key_of(index))
        for base, bid, _ in PAIRS.values():
            sold = account.balances.get(base, Decimal(0)) / 2
            account.balances[base] = account.balances.get(base, Decimal(0)) - sold
            account.balances["ZUSD"] += sold * Decimal(bid) * (1 - FEE)

    def balance_reads(self) -> dict[str, list[float]]:
        """When each account's balance was asked for, by index."""
        return {str(account.index): account.balance_reads for account in self._accounts.values()}

    def holdings(self) -> dict[str, dict[str, str]]:
        """What every account that was ever used holds, by index."""
        return {
            str(account.index): {asset: str(held) for asset, held in account.balances.items()}
            for account in self._accounts.values()
        }


def public(method: str, query: dict[str, str]) -> dict[str, Any]:
    """Raises Refused."""
    if method == "Time":
        return {"unixtime": int(time.time()), "rfc1123": ""}
    if method == "SystemStatus":
        return {"status": "online", "timestamp": ""}
    if method == "Assets":
        names = ["ZUSD", *(base for base, _, _ in PAIRS.values())]
        return {name: {"altname": "USD" if name == "ZUSD" else name, "decimals": 10} for name in names}
    if method == "AssetPairs":
        return {altname: _pair(altname, base) for altname, (base, _, _) in PAIRS.items()}
    if method == "Ticker":
        wanted = [name for name in query.get("pair", "").split(",") if name in PAIRS]
        return {name: {"a": [PAIRS[name][2]], "b": [PAIRS[name][1]], "c": [PAIRS[name][1]]} for name in wanted}
    if method == "OHLC":
        # One forming candle: nothing for a strategy to judge by.
        price, minute = PAIRS[query["pair"]][1], int(time.time()) // 60 * 60
        return {query["pair"]: [[minute, price, price, price, price, price, "1", 1]], "last": minute}
    raise Refused("EGeneral:Unknown method")


def _pair(altname: str, base: str) -> dict[str, Any]:
    return {
        "altname": altname,
        "wsname": f"{base}/USD",
        "base": base,
        "quote": "ZUSD",
        "pair_decimals": PRICE_DECIMALS,
        "lot_decimals": LOT_DECIMALS,
        "lot_multiplier": 1,
        "ordermin": "1",
        "costmin": "0.5",
        "status": "online",
    }


def _key_info(account: Account, _form: dict[str, str]) -> dict[str, Any]:
    return {
        "apiKeyName": f"account {account.index}",
        "permissions": list(PERMISSIONS),
        "nonceWindow": "0",
        "iban": iban_of(account.index),
        "validUntil": "0",
        "ipAllowlist": [],
    }


def _balance_ex(account: Account, _form: dict[str, str]) -> dict[str, Any]:
    account.balance_reads.append(time.time())
    return {asset: {"balance": str(held), "hold_trade": "0"} for asset, held in account.balances.items()}


def _query_orders(account: Account, form: dict[str, str]) -> dict[str, Any]:
    return {txid: account.orders[txid] for txid in form["txid"].split(",") if txid in account.orders}


def _query_trades(account: Account, form: dict[str, str]) -> dict[str, Any]:
    return {name: account.trades[name] for name in form["txid"].split(",") if name in account.trades}


def _newest(rows: dict[str, dict[str, Any]], form: dict[str, str], instant: str) -> dict[str, Any]:
    start, offset = float(form.get("start", 0)), int(form.get("ofs", 0))
    after = [(name, row) for name, row in reversed(rows.items()) if row[instant] > start]
    wanted = form.get("cl_ord_id")
    return dict(row for row in after[offset : offset + PAGE] if wanted is None or row[1].get("cl_ord_id") == wanted)


def _closed_orders(account: Account, form: dict[str, str]) -> dict[str, Any]:
    return {"closed": _newest(account.orders, form, "closetm"), "count": len(account.orders)}


def _trades_history(account: Account, form: dict[str, str]) -> dict[str, Any]:
    return {"trades": _newest(account.trades, form, "time"), "count": len(account.trades)}


def _trade_volume(_account: Account, form: dict[str, str]) -> dict[str, Any]:
    fee = {"fee": str(FEE * 100)}
    return {"currency": "ZUSD", "volume": "0", "fees": dict.fromkeys(form["pair"].split(","), fee)}


def _trade_balance(account: Account, _form: dict[str, str]) -> dict[str, Any]:
    cash = str(account.balances["ZUSD"])
    return {"eb": cash, "tb": cash}


def _cancel_order(_account: Account, _form: dict[str, str]) -> dict[str, Any]:
    raise Refused("EOrder:Unknown order")
