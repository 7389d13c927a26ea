"""What people call a pair, against the pairs there are."""

from __future__ import annotations

from collections.abc import Collection

from django.conf import settings

from trading.kraken.symbols import ALIASES
from trading.models import Instrument


def unknown(symbols: Collection[str]) -> dict[str, str]:
    """Those that name no pair this exchange ever listed here, each with the name it is meant by, or empty.

    Empty while no list of pairs was read yet. Named in settings for `accounts` to ask.
    """
    here = Instrument.objects.filter(venue=settings.VENUE)
    known = set(here.filter(symbol__in=[*symbols, *map(_common, symbols)]).values_list("symbol", flat=True))
    missing = [symbol for symbol in symbols if symbol not in known]
    if not missing or not here.exists():
        return {}
    return {symbol: _common(symbol) if _common(symbol) in known else "" for symbol in missing}


def _common(symbol: str) -> str:
    """With the name of the coin that people use, where Kraken has one of its own (XBT-USD is BTC-USD)."""
    base, dash, quote = symbol.partition("-")
    return f"{ALIASES.get(base, base)}{dash}{quote}"
