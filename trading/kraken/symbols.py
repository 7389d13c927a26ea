"""Kraken's three names for a pair, and the one people use.

Names are looked up in Kraken's own lists, never cut up: stripping X and Z breaks XTZ, XRP and ZEC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from trading.domain.instrument import Instrument
from trading.domain.money import Money, Quantity
from trading.kraken.values import USD_ALTNAME, AssetInfo, PairInfo

ALIASES: Mapping[str, str] = {"XBT": "BTC", "XDG": "DOGE"}
#: Old dark pools, and a venue that is not Kraken's own.
EXCLUDED_SUFFIX = ".d"
EXCLUDED_PART = ":BTNL"


@dataclass(frozen=True, slots=True)
class UnsupportedPair:
    """A pair that exists and is not quoted in US dollars: callers say UNSUPPORTED_QUOTE."""

    symbol: str
    pair_id: str
    altname: str
    quote: str


@dataclass(frozen=True, slots=True)
class SymbolMap:
    """All pairs under all their names. Make one with `build_instruments`."""

    instruments: tuple[Instrument, ...]
    unsupported: tuple[UnsupportedPair, ...]
    asset_altnames: Mapping[str, str]
    names: Mapping[str, Instrument | UnsupportedPair]

    def find(self, name: str) -> Instrument | UnsupportedPair | None:
        """By UI symbol (`BTC-USD`), altname (`XBTUSD`), pair id (`XXBTZUSD`) or wsname (`XBT/USD`)."""
        return self.names.get(name)

    def instrument(self, name: str) -> Instrument | None:
        found = self.find(name)
        return found if isinstance(found, Instrument) else None

    def is_unsupported_quote(self, name: str) -> bool:
        return isinstance(self.find(name), UnsupportedPair)

    def altname_of_asset(self, asset_id: str) -> str:
        """`XBT` for `XXBT`: the stem of suffixed balances (`XBT.F`). The id itself when Kraken lists no such asset."""
        return self.asset_altnames.get(asset_id, asset_id)


def build_instruments(assets: Mapping[str, AssetInfo], asset_pairs: Mapping[str, PairInfo]) -> SymbolMap:
    """The map of one Assets and one AssetPairs answer. Of two pairs with one name the first by pair id has it."""
    altnames = {asset_id: asset.altname for asset_id, asset in assets.items()}
    instruments: list[Instrument] = []
    unsupported: list[UnsupportedPair] = []
    names: dict[str, Instrument | UnsupportedPair] = {}
    for pair_id in sorted(asset_pairs):
        pair = asset_pairs[pair_id]
        if _excluded(pair):
            continue
        base, quote = altnames.get(pair.base, pair.base), altnames.get(pair.quote, pair.quote)
        symbol = f"{ALIASES.get(base, base)}-{ALIASES.get(quote, quote)}"
        if symbol in names:
            continue
        known: Instrument | UnsupportedPair
        if quote == USD_ALTNAME:
            known = _instrument(pair, symbol)
            instruments.append(known)
        else:
            known = UnsupportedPair(symbol=symbol, pair_id=pair_id, altname=pair.altname, quote=quote)
            unsupported.append(known)
        for name in (symbol, pair_id, pair.altname, pair.wsname):
            if name:
                names.setdefault(name, known)
    return SymbolMap(
        instruments=tuple(instruments), unsupported=tuple(unsupported), asset_altnames=altnames, names=names
    )


def _excluded(pair: PairInfo) -> bool:
    return pair.pair_id.endswith(EXCLUDED_SUFFIX) or EXCLUDED_PART in pair.pair_id


def _instrument(pair: PairInfo, symbol: str) -> Instrument:
    return Instrument(
        symbol=symbol,
        pair_id=pair.pair_id,
        altname=pair.altname,
        base_asset=pair.base,
        quote_asset=pair.quote,
        tick_size=pair.tick_size,
        lot_size=Decimal(1).scaleb(-pair.lot_decimals),
        quantity_min=Quantity(pair.quantity_min),
        notional_min=Money(pair.notional_min),
        tradable=pair.status == "online",
    )
