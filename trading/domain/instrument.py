"""An instrument's rules, and the only place that rounds (DESIGN: quantities down, buy limits down, sell limits up)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from enum import StrEnum
from fractions import Fraction

from trading.domain.money import CONTEXT, Money, Price, Quantity


class Side(StrEnum):
    BUY = "buy"
    SELL = "sell"


@dataclass(frozen=True, slots=True)
class Instrument:
    """One USD-quoted pair as AssetPairs describes it.

    `symbol` is the name people use (BTC-USD), `altname` what REST takes as `pair` (XBTUSD), `pair_id` what trades carry
    (XXBTZUSD), `base_asset` / `quote_asset` the names in Balance (XXBT, ZUSD).
    """

    symbol: str
    pair_id: str
    altname: str
    base_asset: str
    quote_asset: str
    tick_size: Decimal
    lot_size: Decimal
    quantity_min: Quantity
    notional_min: Money
    tradable: bool = True

    def round_quantity(self, quantity: Quantity) -> Quantity:
        """Down to the lot."""
        return Quantity(_step(quantity.value, self.lot_size, ROUND_FLOOR))

    def floor_fraction(self, quantity: Fraction) -> Quantity:
        """An exact fraction of the base asset, down to the lot; below zero becomes zero."""
        lot = Fraction(self.lot_size)
        return Quantity(Decimal(max(0, quantity // lot)) * self.lot_size)

    def limit_price(self, price: Price, side: Side) -> Price:
        """To the tick: down for a buy, up for a sell, so that rounding never gives more than was allowed."""
        return Price(_step(price.value, self.tick_size, ROUND_FLOOR if side is Side.BUY else ROUND_CEILING))

    def sellable(self, quantity: Quantity, price: Price) -> bool:
        """Whether Kraken takes an order of `quantity` at `price` (ordermin and costmin)."""
        return quantity >= self.quantity_min and quantity.at(price) >= self.notional_min


def _step(value: Decimal, step: Decimal, rounding: str) -> Decimal:
    steps = CONTEXT.divide(value, step).to_integral_value(rounding=rounding)
    return CONTEXT.multiply(steps, step)
