"""Pair and asset rules of the paper exchange, and its exact arithmetic.

Names and steps follow AssetPairs as captured in kraken-api.md; BEAM's and those of pairs nobody captured are
configuration, chosen by Kraken's pattern for pairs of that price.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_UP, Context, Decimal

from trading.paper.errors import KrakenError

CONTEXT = Context(prec=60)
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Asset:
    """One row of Assets; `decimals` is what balances are printed with."""

    id: str
    altname: str
    decimals: int
    display_decimals: int = 5


@dataclass(frozen=True, slots=True)
class Pair:
    """One row of AssetPairs. `typical_price` seeds the synthetic and the pinned market (quote per base)."""

    id: str
    altname: str
    base: str
    quote: str
    pair_decimals: int
    cost_decimals: int
    lot_decimals: int
    ordermin: Decimal
    costmin: Decimal
    tick: Decimal
    typical_price: Decimal
    wsname: str = field(default="")

    def round_cost(self, value: Decimal) -> Decimal:
        """Half up to cost_decimals; Kraken's own direction is unknown."""
        return to_places(value, self.cost_decimals)

    def cost(self, price: Decimal, volume: Decimal) -> Decimal:
        """Quote amount of a match."""
        return self.round_cost(CONTEXT.multiply(price, volume))

    def floor_tick(self, price: Decimal) -> Decimal:
        return _step(price, self.tick, ROUND_FLOOR)

    def ceil_tick(self, price: Decimal) -> Decimal:
        return _step(price, self.tick, ROUND_CEILING)

    def nearest_tick(self, price: Decimal) -> Decimal:
        return max(self.tick, _step(price, self.tick, ROUND_HALF_UP))


def to_places(value: Decimal, places: int, rounding: str = ROUND_HALF_UP) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-places), rounding=rounding, context=CONTEXT)


def text(value: Decimal, places: int) -> str:
    """`value` printed with exactly `places` decimals."""
    return f"{to_places(value, places):f}"


def floor_text(value: Decimal, places: int) -> str:
    """As `text` but never more than there is."""
    return f"{to_places(value, places, ROUND_DOWN):f}"


def plain(value: Decimal) -> str:
    """All digits, no exponent, no trailing zeros."""
    shown = f"{value:f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def decimals_of(value: Decimal) -> int:
    """Significant decimals: 0.00291800 has six."""
    exponent = value.normalize(CONTEXT).as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _step(value: Decimal, step: Decimal, rounding: str) -> Decimal:
    return CONTEXT.multiply(CONTEXT.divide(value, step).to_integral_value(rounding=rounding), step)


ASSETS = {
    asset.id: asset
    for asset in (
        Asset("ZUSD", "USD", 4, 2),
        Asset("XXBT", "XBT", 10),
        Asset("XETH", "ETH", 10),
        Asset("SOL", "SOL", 10),
        Asset("XXRP", "XRP", 8),
        Asset("XXDG", "XDG", 8),
        Asset("XLTC", "LTC", 10),
        Asset("PEPE", "PEPE", 10),
        Asset("FLR", "FLR", 8),
        Asset("BEAM", "BEAM", 8),
        Asset("USDT", "USDT", 8),
    )
}
_ALIASES = {"BTC": "XXBT", "DOGE": "XXDG"}


def asset_named(name: str) -> Asset:
    """By id, altname or common name; raises KrakenError when there is none."""
    wanted = _ALIASES.get(name.upper(), name.upper())
    for asset in ASSETS.values():
        if wanted in (asset.id, asset.altname):
            return asset
    raise KrakenError("EQuery:Unknown asset")


def _pair(row: str) -> Pair:
    pair_id, altname, base, places, cost_places, ordermin, tick, price = row.split()
    return Pair(
        id=pair_id,
        altname=altname,
        base=base,
        quote="ZUSD",
        pair_decimals=int(places),
        cost_decimals=int(cost_places),
        lot_decimals=8,
        ordermin=Decimal(ordermin),
        costmin=Decimal("0.5"),
        tick=Decimal(tick),
        typical_price=Decimal(price),
        wsname=f"{ASSETS[base].altname}/USD",
    )


# id, altname, base, pair_decimals, cost_decimals, ordermin, tick_size, typical price
_TABLE = """
XXBTZUSD XBTUSD XXBT 1 5 0.00005 0.1 91000
XETHZUSD ETHUSD XETH 2 5 0.002 0.01 3000
SOLUSD SOLUSD SOL 2 5 0.02 0.01 140
XXRPZUSD XRPUSD XXRP 5 8 2 0.00001 2.2
XDGUSD XDGUSD XXDG 7 8 13 0.0000001 0.15
XLTCZUSD LTCUSD XLTC 2 5 0.04 0.01 85
PEPEUSD PEPEUSD PEPE 9 8 200000 0.000000001 0.00001
FLRUSD FLRUSD FLR 5 8 100 0.00001 0.015
BEAMUSD BEAMUSD BEAM 6 8 400 0.000001 0.002918
"""
PAIRS = {pair.id: pair for pair in map(_pair, _TABLE.strip().splitlines())}


class PairBook:
    """The pairs one market lists, found by any name Kraken accepts."""

    def __init__(self, pairs: Iterable[Pair]) -> None:
        self.pairs = tuple(pairs)
        self._by_name: dict[str, Pair] = {}
        for pair in self.pairs:
            common = pair.wsname.replace("XBT", "BTC").replace("XDG", "DOGE")
            for name in (pair.id, pair.altname, pair.wsname, common, common.replace("/", "")):
                self._by_name[name] = pair

    def named(self, name: str) -> Pair:
        """Raises KrakenError for a pair that is not listed."""
        found = self._by_name.get(name.strip().upper())
        if found is None:
            raise KrakenError("EQuery:Unknown asset pair")
        return found


def pair_named(name: str) -> Pair:
    return _EVERY_PAIR.named(name)


_EVERY_PAIR = PairBook(PAIRS.values())
