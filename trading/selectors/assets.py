"""What an account holds, under the names people use."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from django.conf import settings

from trading.models import AssetBalance, Instrument
from trading.selectors.equity import QUOTE_ASSETS


@dataclass(frozen=True, slots=True)
class Held:
    """`name`: `DOGE` for `XXDG`, `USD` for `ZUSD`, Kraken's own name where no pair tells a better one."""

    name: str
    asset: str
    total: Decimal
    hold: Decimal


def named(balances: Iterable[AssetBalance]) -> list[Held]:
    rows = list(balances)
    pairs = Instrument.objects.filter(venue=settings.VENUE, base_asset__in={row.asset for row in rows})
    known = {base: symbol.partition("-")[0] for base, symbol in pairs.values_list("base_asset", "symbol")}
    known |= dict.fromkeys(QUOTE_ASSETS, "USD")
    return [Held(known.get(row.asset, row.asset), row.asset, row.total, row.hold) for row in rows]
