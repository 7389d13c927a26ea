"""Arithmetic of one match: what it costs, what the fee is, how much is there to take."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from trading.paper.market import Candle
from trading.paper.pairs import CONTEXT, ZERO, Pair
from trading.paper.records import Order

_SLICES_MAX = 1000


@dataclass(frozen=True, slots=True)
class Fees:
    """Percent of the cost, as Kraken prints them: 0.80 is 0.8 %."""

    maker_percent: Decimal = Decimal("0.40")
    taker_percent: Decimal = Decimal("0.80")


@dataclass(frozen=True, slots=True)
class Fill:
    """`cost` and `fee` in quote, `volume` in base."""

    price: Decimal
    volume: Decimal
    cost: Decimal
    fee: Decimal
    maker: bool


@dataclass(frozen=True, slots=True)
class Liquidity:
    """What the market gives at once: None is everything.

    `match_max` cuts an order into several trades; `order_max` is all that one order gets per matching pass, the
    rest of it rests, is cancelled (IOC), or waits for the next pass (market, when `market_orders_wait`).
    """

    match_max: Decimal | None = None
    order_max: Decimal | None = None
    market_orders_wait: bool = False

    def slices(self, wanted: Decimal) -> list[Decimal]:
        left = wanted if self.order_max is None else min(wanted, self.order_max)
        volumes: list[Decimal] = []
        while left > 0:
            last = self.match_max is None or len(volumes) == _SLICES_MAX - 1
            volumes.append(left if last or self.match_max is None else min(left, self.match_max))
            left -= volumes[-1]
        return volumes


def fill(pair: Pair, price: Decimal, volume: Decimal, *, fees: Fees, maker: bool) -> Fill:
    """Cost and fee rounded half up to the pair's cost decimals."""
    cost = pair.cost(price, volume)
    percent = fees.maker_percent if maker else fees.taker_percent
    return Fill(price, volume, cost, pair.round_cost(_percent_of(cost, percent)), maker)


def with_fee(price: Decimal, volume: Decimal, *, percent: Decimal) -> Decimal:
    """Price times volume plus a fee, unrounded."""
    cost = CONTEXT.multiply(price, volume)
    return cost + _percent_of(cost, percent) if volume else ZERO


def reached(order: Order, *, bid: Decimal, ask: Decimal, candle: Candle | None) -> bool:
    """Whether the market trades at the order's limit, now or at any moment of a candle that just closed."""
    if order.limit_price is None:
        return True
    if order.side == "buy":
        return ask <= order.limit_price or (candle is not None and candle.low <= order.limit_price)
    return bid >= order.limit_price or (candle is not None and candle.high >= order.limit_price)


def _percent_of(amount: Decimal, percent: Decimal) -> Decimal:
    return CONTEXT.divide(CONTEXT.multiply(amount, percent), Decimal(100))
