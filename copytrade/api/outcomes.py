"""The one word that tells what became of a copy: its own status and, once it has an order, that order's state."""

from __future__ import annotations

from enum import StrEnum

from copytrade.models import CopyOrder, CopyStatus
from trading.domain.order_state import OrderState
from trading.models import SignalKind


class Outcome(StrEnum):
    PENDING = "pending"
    SENT = "sent"
    UNKNOWN = "unknown"
    FILLED = "filled"
    PARTLY_FILLED = "partly_filled"
    UNFILLED = "unfilled"  # Kraken took the order and nothing was traded
    REJECTED = "rejected"
    SKIPPED = "skipped"
    MISSED = "missed"


OUTCOMES = [(outcome.value, outcome.value) for outcome in Outcome]
_BY_STATUS = {
    CopyStatus.PENDING: Outcome.PENDING,
    CopyStatus.SKIPPED: Outcome.SKIPPED,
    CopyStatus.MISSED: Outcome.MISSED,
}
_BY_STATE = {
    OrderState.PLANNED: Outcome.PENDING,
    OrderState.READY: Outcome.PENDING,
    OrderState.SENDING: Outcome.SENT,
    OrderState.ACKED: Outcome.SENT,
    OrderState.PARTIAL: Outcome.PARTLY_FILLED,
    OrderState.FILLED: Outcome.FILLED,
    OrderState.REJECTED: Outcome.REJECTED,
    OrderState.UNKNOWN: Outcome.UNKNOWN,
    OrderState.MANUAL: Outcome.UNKNOWN,
    OrderState.SKIPPED: Outcome.SKIPPED,
    OrderState.MISSED: Outcome.MISSED,
}


def outcome_of(copy: CopyOrder) -> Outcome:
    decided = _BY_STATUS.get(CopyStatus(copy.status))
    if decided is not None:
        return decided
    if copy.order is None:
        return Outcome.PENDING
    state = OrderState(copy.order.state)
    if state is OrderState.NOT_PLACED:
        # An entry is never chased; what is owed of an exit is planned again.
        return Outcome.MISSED if copy.kind == SignalKind.ENTRY else Outcome.PENDING
    if state in {OrderState.CANCELED, OrderState.EXPIRED}:
        return Outcome.PARTLY_FILLED if copy.order.filled else Outcome.UNFILLED
    return _BY_STATE[state]
