"""The latest round trip of one account in one instrument."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from trading.domain import position as fold
from trading.domain.instrument import Side
from trading.domain.money import Money, Quantity
from trading.domain.position import PositionState
from trading.models import Adjustment, Execution, Position

#: A round trip of more steps than this is shown by its newest ones, without a profit.
STEPS_MAX = 1000

Step = Execution | Adjustment


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """`fills` and `adjustments` oldest first. `state` is what they add up to; None when not all of them were read."""

    fills: Sequence[Execution]
    adjustments: Sequence[Adjustment]
    opened_at: datetime
    closed_at: datetime | None
    state: PositionState | None


def latest(position: Position) -> RoundTrip | None:
    """The one under way, else the last finished one; None for an account that never traded the instrument."""
    steps = _newest_first(position)[::-1]
    if not steps:
        return None
    fills = [step for step in steps if isinstance(step, Execution)]
    return RoundTrip(
        fills=fills,
        adjustments=[step for step in steps if isinstance(step, Adjustment)],
        opened_at=_at(steps[0]),
        closed_at=None if position.managed else _at(steps[-1]),
        state=_folded(steps, managed=Quantity(position.managed)),
    )


def _newest_first(position: Position) -> list[Step]:
    mine = {
        "account_id": position.account_id,
        "instrument_id": position.instrument_id,
        "round_trip": position.round_trip,
    }
    fills = Execution.objects.filter(**mine).select_related("order").order_by("-pk")[:STEPS_MAX]
    adjustments = Adjustment.objects.filter(**mine).order_by("-pk")[:STEPS_MAX]
    steps: list[Step] = [*fills, *adjustments]
    # Sorting keeps the order of fills that were booked at one instant.
    return sorted(steps, key=_booked_at, reverse=True)[:STEPS_MAX]


def _booked_at(step: Step) -> datetime:
    return step.booked_at if isinstance(step, Execution) else step.created_at


def _at(step: Step) -> datetime:
    return step.executed_at if isinstance(step, Execution) else step.created_at


def _value(step: Adjustment) -> Money | None:
    return None if step.value is None else Money(step.value)


def _folded(steps: Sequence[Step], *, managed: Quantity) -> PositionState | None:
    """None when the steps do not lead to what is managed: then the first ones are missing."""
    state = PositionState.flat()
    try:
        for step in steps:
            if isinstance(step, Adjustment):
                state = fold.reduced(state, managed_after=Quantity(step.managed_after), value=_value(step))
                continue
            change = fold.bought if step.side == Side.BUY else fold.sold
            state = change(state, quantity=Quantity(step.quantity), notional=Money(step.notional), fee=Money(step.fee))
    except fold.OverSold:
        return None
    return state if state.managed == managed else None
