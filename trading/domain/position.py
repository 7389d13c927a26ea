"""A position is a fold of executions and adjustments (DESIGN section 3, Managed quantity). Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from trading.domain.money import Money, Quantity


class OverSold(Exception):
    """More was sold than is managed: somebody else's coins, or a booking error. Hold and tell."""


@dataclass(frozen=True, slots=True)
class PositionState:
    """`cost` is what was paid, fees included, for what is still managed; `realised` is net of all fees."""

    managed: Quantity
    cost: Money
    realised: Money
    fees: Money

    @classmethod
    def flat(cls) -> PositionState:
        return cls(Quantity.zero(), Money.zero(), Money.zero(), Money.zero())


def bought(state: PositionState, *, quantity: Quantity, notional: Money, fee: Money) -> PositionState:
    return replace(state, managed=state.managed + quantity, cost=state.cost + notional + fee, fees=state.fees + fee)


def sold(state: PositionState, *, quantity: Quantity, notional: Money, fee: Money) -> PositionState:
    """Average cost. Raises OverSold."""
    if quantity > state.managed:
        raise OverSold(f"{quantity} were sold of {state.managed} managed")
    cost = _share(state, quantity)
    return PositionState(
        managed=state.managed - quantity,
        cost=state.cost - cost,
        realised=state.realised + notional - fee - cost,
        fees=state.fees + fee,
    )


def managed_share(quantity: Quantity, *, managed: Quantity, bought_since: Quantity, taken_since: Quantity) -> Quantity:
    """How much of a sale made outside NIJA was managed when it happened; the rest were the owner's own coins.

    Told late, it cannot have sold what was `bought_since`; what left the position without a trade since then
    (`taken_since`) was taken off for want of this very trade.
    """
    zero = Quantity.zero()
    return max(zero, min(quantity - taken_since, managed - bought_since))


def reduced(state: PositionState, *, managed_after: Quantity, value: Money | None) -> PositionState:
    """Left without an order of ours, worth `value` at that moment: its cost goes with it, and what it had gained stays gained, so
    that profit is the same before and after. Without a known value no profit is claimed for it."""
    if managed_after > state.managed or managed_after < Quantity.zero():
        raise OverSold(f"{state.managed} managed cannot be reduced to {managed_after}")
    cost = _share(state, state.managed - managed_after)
    gained = Money.zero() if value is None else value - cost
    return replace(state, managed=managed_after, cost=state.cost - cost, realised=state.realised + gained)


def _share(state: PositionState, quantity: Quantity) -> Money:
    """The cost of `quantity`; all of it when nothing is left, so that no rest stays behind."""
    return state.cost if quantity == state.managed else state.cost * quantity.per(state.managed)
