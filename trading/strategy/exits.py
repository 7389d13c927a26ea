"""When a managed position is sold, and how much of it: stop, trailing stop, stepped targets, time, stagnation.

The rules read the levels that the entry decision fixed in the position's plan, so a change of parameters never moves
the levels of a position that is already open.
"""

from __future__ import annotations

from fractions import Fraction

from trading.domain.money import Price
from trading.strategy.decisions import TARGET_REASONS, ExitDecision, ExitReason, OpenPosition, lasted, percent, shown
from trading.strategy.plan import ONE

ALL = Fraction(1)


def evaluate(position: OpenPosition, *, price: Price, market_time: int) -> ExitDecision | None:
    """What to sell at `price`, or None. The first rule that holds decides, in the order written here.

    `market_time` is unix seconds of market time. A position with nothing left owes nothing.
    """
    if position.fraction_left <= 0:
        return None
    if price <= position.stop:
        sentence = f"stop: price {price} is at or below {shown(position.stop)}"
        return _whole(position, ExitReason.STOP, position.stop, sentence)
    trailing = trailing_level(position, price=price)
    if trailing is not None and price <= trailing:
        sentence = f"trailing stop: price {price} is at or below {shown(trailing)}"
        return _whole(position, ExitReason.TRAILING, trailing, sentence)
    return _target(position, price) or _clock(position, price, market_time)


def trailing_level(position: OpenPosition, *, price: Price) -> Price | None:
    """The trailing stop: `trail` of the entry price below the highest price; None before the first target."""
    highest = max(position.highest, price)
    armed = position.targets_hit > 0 or highest >= position.plan.targets[0].level(position.entry_price)
    if not armed:
        return None
    return max(position.stop, highest - position.entry_price * position.plan.trail)


def _whole(position: OpenPosition, reason: ExitReason, level: Price | None, sentence: str) -> ExitDecision:
    return ExitDecision(reason, ALL, level, position.targets_hit, sentence)


def _target(position: OpenPosition, price: Price) -> ExitDecision | None:
    """The furthest target reached; a jump over several sells their shares together."""
    targets = position.plan.targets
    for hit in range(len(targets), position.targets_hit, -1):
        level = targets[hit - 1].level(position.entry_price)
        if price < level:
            continue
        planned_left = ALL - sum((target.fraction for target in targets[:hit]), Fraction(0))
        # Sold by hand in between: what is left may already be less than the plan keeps.
        fraction = ALL - planned_left / position.fraction_left
        if fraction <= 0:
            return None
        above = percent(targets[hit - 1].distance)
        sentence = f"target {hit}: price {price} is at or above {shown(level)}, {above} over the entry"
        return ExitDecision(TARGET_REASONS[hit - 1], fraction, level, hit, sentence)
    return None


def _clock(position: OpenPosition, price: Price, market_time: int) -> ExitDecision | None:
    plan = position.plan
    held_s = market_time - position.opened_at
    if held_s >= plan.max_holding_s:
        return _whole(
            position, ExitReason.TIME, None, f"time: held {lasted(held_s)}, limit {lasted(plan.max_holding_s)}"
        )
    wanted = position.entry_price * (ONE + plan.stagnation_below)
    stagnant = held_s >= plan.stagnation_after_s and max(position.highest, price) < wanted
    if position.targets_hit == 0 and stagnant:
        sentence = f"stagnation: held {lasted(held_s)} and never {percent(plan.stagnation_below)} above the entry"
        return _whole(position, ExitReason.STAGNATION, None, sentence)
    return None
