"""I7: every position folded again from its executions and adjustments, and what its open exits may still sell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from trading.domain import order_state
from trading.domain import position as fold
from trading.domain.instrument import Side
from trading.domain.money import Money, Quantity, plain
from trading.domain.position import OverSold, PositionState
from trading.models import Adjustment, Execution, Order, OrderKind, Position, Role
from trading.selectors.books.reading import CHUNK, together
from trading.selectors.books.report import Check

#: PostgreSQL keeps 18 decimals of a cost that was divided; a fold in one go keeps 50 digits.
DIVIDED = Decimal("1e-9")

_PLACE = ("account_id", "instrument_id")
_POSITION = "pk account_id instrument_id managed cost realised fees is_open opened_at opened_sequence account__role"
_EXECUTION = "pk account_id instrument_id side quantity notional fee booked_at"
_ADJUSTMENT = "pk account_id instrument_id managed_before managed_after value created_at"
_EXIT = "pk account_id instrument_id quantity filled"


def checks() -> list[Check]:
    check = Check("I7", "managed quantity is what was bought less what was sold, and exits stay within it", "positions")
    exits = Order.objects.filter(kind=OrderKind.EXIT, side=Side.SELL, state__in=order_state.LIVE).exclude(
        origin="outside"
    )
    tables: list[tuple[Any, str, str]] = [
        (Position.objects.all(), _POSITION, "pk"),
        (Execution.objects.all(), _EXECUTION, "pk"),
        (Adjustment.objects.all(), _ADJUSTMENT, "pk"),
        (exits, _EXIT, "pk"),
    ]
    streams = [
        (rows.order_by(*_PLACE, last).values_list(*fields.split(), named=True).iterator(CHUNK), _place)
        for rows, fields, last in tables
    ]
    for place, (positions, executions, adjustments, live) in together(*streams):
        check.looked_at += 1
        if not positions:
            if executions:
                sentence = f"{len(executions)} executions are booked, and there is no position"
                check.tell(sentence, account=place[0], row=f"instrument {place[1]}")
            continue
        position = positions[0]
        sentences = [*_folded(position, executions, adjustments), *_open_exits(position, live), *_flags(position)]
        for sentence in sentences:
            check.tell(sentence, account=place[0], row=f"position {position.pk}")
    return [check]


def _place(row: Any) -> tuple[int, int]:
    return row.account_id, row.instrument_id


def _folded(position: Any, executions: Sequence[Any], adjustments: Sequence[Any]) -> Iterator[str]:
    try:
        state = _fold(executions, adjustments)
    except OverSold as error:
        yield f"its executions do not add up: {error}"
        return
    for word, stored, folded, divided in (
        ("managed quantity", position.managed, state.managed.value, False),
        ("fees", position.fees, state.fees.value, False),
        ("cost", position.cost, state.cost.value, True),
        ("realised profit", position.realised, state.realised.value, True),
    ):
        if abs(stored - folded) > (DIVIDED if divided else 0):
            yield f"{word}: {plain(stored)} here, executions and adjustments make {plain(folded)}"


def _fold(executions: Sequence[Any], adjustments: Sequence[Any]) -> PositionState:
    """In the order of booking. Raises OverSold. An adjustment is dated when the balance was read, after the fills it knew."""
    state = PositionState.flat()
    pending = list(adjustments)
    for execution in executions:
        while pending and pending[0].created_at <= execution.booked_at:
            state = _adjusted(state, pending.pop(0))
        change = fold.bought if execution.side == Side.BUY else fold.sold
        state = change(
            state,
            quantity=Quantity(execution.quantity),
            notional=Money(execution.notional),
            fee=Money(execution.fee),
        )
    for adjustment in pending:
        state = _adjusted(state, adjustment)
    return state


def _adjusted(state: PositionState, adjustment: Any) -> PositionState:
    if state.managed.value != adjustment.managed_before:
        raise OverSold(
            f"adjustment {adjustment.pk} was made of {plain(adjustment.managed_before)}, {state.managed} were managed"
        )
    value = None if adjustment.value is None else Money(adjustment.value)
    return fold.reduced(state, managed_after=Quantity(adjustment.managed_after), value=value)


def _open_exits(position: Any, live: Sequence[Any]) -> Iterator[str]:
    to_sell = sum((order.quantity - order.filled for order in live), Decimal(0))
    if to_sell > position.managed:
        yield f"its open exits may sell {plain(to_sell)} of {plain(position.managed)} managed"


def _flags(position: Any) -> Iterator[str]:
    if position.managed < 0:
        yield f"its managed quantity is {plain(position.managed)}"
    if position.is_open != (position.managed != 0):
        yield f"it is {'open' if position.is_open else 'closed'} with {plain(position.managed)} managed"
    if not position.is_open and (position.cost or position.opened_sequence is not None):
        yield "it is closed and still has a cost or a first signal"
    if position.is_open and position.opened_at is None:
        yield "it is open without an instant"
    if position.is_open and position.account__role == Role.FOLLOWER and position.opened_sequence is None:
        yield "it is open without the signal it began with"
