"""A position of the strategy begins with what its entry really cost: the same rounding live and in backtests."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from trading.domain.money import CONTEXT, Money, Price, Quantity
from trading.strategy.decisions import OpenPosition
from trading.strategy.plan import EntryPlan

#: Finer than any tick: an average price and the stop below it need no more digits.
AVERAGE_STEP = Decimal("1e-12")


def opened_by_fills(plan: EntryPlan, *, notional: Money, quantity: Quantity, opened_at: int) -> OpenPosition:
    """The position that `quantity`, bought for `notional` without fees, opens; levels hang on the average price.

    `opened_at` is market time in unix seconds. `quantity` must not be zero.
    """
    average = Price(CONTEXT.divide(notional.value, quantity.value).quantize(AVERAGE_STEP))
    opened = OpenPosition.opened(plan, entry_price=average, opened_at=opened_at)
    return replace(opened, stop=Price(opened.stop.value.quantize(AVERAGE_STEP)))
