"""Reading AddOrder: arguments and pair rules, before any balance is looked at."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from trading.paper.auth import truthy
from trading.paper.errors import KrakenError, invalid_argument
from trading.paper.pairs import CONTEXT, Pair, decimals_of, plain, text

_AMOUNT = re.compile(r"(?:\d{1,20}(?:\.\d{0,20})?|\.\d{1,20})", re.ASCII)
_LONG_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_SHORT_UUID = re.compile(r"[0-9a-fA-F]{32}")
_FREE_TEXT = re.compile(r"[\x21-\x7e]{1,18}")
_DEADLINE_MIN_S, _DEADLINE_MAX_S = 2.0, 60.0
_EXPIRY_MIN_S, _EXPIRY_MAX_S = 5.0, 31 * 86_400.0
_FLAGS = frozenset({"post", "fcib", "fciq", "nompp"})
_UNSUPPORTED = ("price2", "displayvol", "trigger", "close[ordertype]", "starttm", "reduce_only")


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """A well-formed AddOrder. `limit_price` is None for market orders; `expires_at` (unix seconds) is for GTD alone."""

    pair: Pair
    side: str
    ordertype: str
    volume: Decimal
    limit_price: Decimal | None
    timeinforce: str
    oflags: tuple[str, ...]
    cl_ord_id: str | None
    userref: int | None
    validate: bool
    expires_at: float | None = None

    def description(self) -> str:
        """`buy 1.25000000 XBTUSD @ limit 37500.0`"""
        return describe(self.pair, self.side, volume=self.volume, limit_price=self.limit_price)

    def crosses(self, *, bid: Decimal, ask: Decimal) -> bool:
        if self.limit_price is None:
            return True
        return self.limit_price >= ask if self.side == "buy" else self.limit_price <= bid


def describe(pair: Pair, side: str, *, volume: Decimal, limit_price: Decimal | None) -> str:
    how = "market" if limit_price is None else f"limit {text(limit_price, pair.pair_decimals)}"
    return f"{side} {text(volume, pair.lot_decimals)} {pair.altname} @ {how}"


def read(params: Mapping[str, str], *, pair: Pair, now: float) -> OrderRequest:
    """Raises KrakenError for the first thing that is wrong."""
    ordertype = _one_of(params, "ordertype", ("market", "limit"))
    side = _one_of(params, "type", ("buy", "sell"))
    volume = _amount(params, "volume")
    timeinforce = _one_of(params, "timeinforce", ("GTC", "IOC", "FOK", "GTD"), default="GTC")
    for name in _UNSUPPORTED:
        if params.get(name, "0") not in ("0", "", "false", "False"):
            raise invalid_argument(name)
    if params.get("leverage", "none") not in ("none", "0", ""):
        raise invalid_argument("leverage")
    cl_ord_id, userref = _references(params)
    oflags = _flags(params, ordertype=ordertype, timeinforce=timeinforce)
    limit_price = _amount(params, "price") if ordertype == "limit" else None
    _check_deadline(params.get("deadline"), now)
    if decimals_of(volume) > pair.lot_decimals:
        raise invalid_argument("volume")
    if limit_price is not None:
        _check_price(pair, limit_price)
    return OrderRequest(
        pair=pair,
        side=side,
        ordertype=ordertype,
        volume=volume,
        limit_price=limit_price,
        timeinforce=timeinforce,
        oflags=oflags,
        cl_ord_id=cl_ord_id,
        userref=userref,
        validate=truthy(params, "validate"),
        expires_at=_expiry(params, ordertype=ordertype, timeinforce=timeinforce, now=now),
    )


def check_minimums(request: OrderRequest, market_price: Decimal) -> None:
    """ordermin and costmin; a market order's cost is taken at the price it would execute at."""
    if request.volume < request.pair.ordermin:
        raise KrakenError("EOrder:Order minimum not met")
    price = market_price if request.limit_price is None else request.limit_price
    if CONTEXT.multiply(price, request.volume) < request.pair.costmin:
        raise KrakenError("EOrder:Cost minimum not met")


def _check_price(pair: Pair, price: Decimal) -> None:
    if decimals_of(price) > pair.pair_decimals:
        limit = f"{pair.id} price can only be specified up to {pair.pair_decimals} decimals."
        raise KrakenError(f"EOrder:Invalid price:{limit}")
    if pair.floor_tick(price) != price:
        raise KrakenError("EOrder:Tick size check failed")


def _one_of(params: Mapping[str, str], name: str, allowed: tuple[str, ...], *, default: str = "") -> str:
    value = params.get(name) or default
    for known in allowed:
        if value.lower() == known.lower():
            return known
    raise invalid_argument(name)


def _amount(params: Mapping[str, str], name: str) -> Decimal:
    given = params.get(name, "")
    if not _AMOUNT.fullmatch(given) or not Decimal(given):
        raise invalid_argument(name)
    return Decimal(plain(Decimal(given)))


def _references(params: Mapping[str, str]) -> tuple[str | None, int | None]:
    cl_ord_id = params.get("cl_ord_id") or None
    userref = params.get("userref") or None
    forms = (_LONG_UUID, _SHORT_UUID, _FREE_TEXT)
    well_formed = cl_ord_id is None or any(form.fullmatch(cl_ord_id) for form in forms)
    if not well_formed or (cl_ord_id is not None and userref is not None):
        raise invalid_argument("cl_ord_id")
    if userref is None:
        return cl_ord_id, None
    if not re.fullmatch(r"-?\d{1,10}", userref, re.ASCII) or not -(2**31) <= int(userref) < 2**31:
        raise invalid_argument("userref")
    return None, int(userref)


def _flags(params: Mapping[str, str], *, ordertype: str, timeinforce: str) -> tuple[str, ...]:
    flags = tuple(flag for flag in params.get("oflags", "").split(",") if flag)
    if not set(flags) <= _FLAGS or {"fcib", "fciq"} <= set(flags):
        raise invalid_argument("oflags")
    if "post" in flags and (ordertype != "limit" or timeinforce not in ("GTC", "GTD")):
        raise invalid_argument("oflags")
    return flags


def _expiry(params: Mapping[str, str], *, ordertype: str, timeinforce: str, now: float) -> float | None:
    """`expiretm` of a GTD limit order: unix seconds, or `+n` seconds from now; at least five ahead."""
    given = params.get("expiretm") or "0"
    if timeinforce != "GTD":
        if given != "0":
            raise invalid_argument("expiretm")
        return None
    if ordertype != "limit" or not re.fullmatch(r"\+?\d{1,12}", given, re.ASCII):
        raise invalid_argument("expiretm")
    expires_at = now + float(given) if given.startswith("+") else float(given)
    if not _EXPIRY_MIN_S <= expires_at - now <= _EXPIRY_MAX_S:
        raise invalid_argument("expiretm")
    return expires_at


def _check_deadline(deadline: str | None, now: float) -> None:
    """Passed: EService:Deadline elapsed. Kraken takes one between two and sixty seconds ahead."""
    if not deadline:
        return
    try:
        # Kraken's clients may send nanoseconds; the clock here does not see beyond microseconds.
        instant = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", deadline))
    except ValueError as error:
        raise invalid_argument("deadline") from error
    if instant.tzinfo is None:
        raise invalid_argument("deadline")
    ahead_s = instant.timestamp() - now
    if ahead_s <= 0:
        raise KrakenError("EService:Deadline elapsed")
    if not _DEADLINE_MIN_S <= ahead_s <= _DEADLINE_MAX_S:
        raise invalid_argument("deadline")
