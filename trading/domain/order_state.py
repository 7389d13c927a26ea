"""The life of an order: one table, one door (DESIGN section 4)."""

from __future__ import annotations

from enum import StrEnum


class OrderState(StrEnum):
    PLANNED = "planned"
    READY = "ready"
    SENDING = "sending"
    ACKED = "acked"
    PARTIAL = "partial"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    NOT_PLACED = "not_placed"
    MANUAL = "manual"
    SKIPPED = "skipped"
    MISSED = "missed"


class OrderEvent(StrEnum):
    APPROVED = "approved"  # every check before sending passed
    SKIP = "skip"  # refused by us, with a reason
    MISS = "miss"  # its time to live ended before it was sent
    SEND = "send"  # the intent is committed, bytes may leave
    ACKNOWLEDGED = "acknowledged"  # Kraken answered with a txid
    REFUSED = "refused"  # Kraken answered with a refusal
    LOST = "lost"  # no proof either way
    NEVER_WRITTEN = "never_written"  # its owner certainly wrote no byte
    FOUND = "found"  # reconciliation found it at Kraken
    PROVEN_ABSENT = "proven_absent"  # reconciliation proved that Kraken never took it
    GIVEN_UP = "given_up"  # a person has to look
    FILLED_PART = "filled_part"  # executions booked, the order still lives
    CLOSED = "closed"  # Kraken: closed, everything executed is booked
    CANCELED = "canceled"  # Kraken: cancelled, everything executed is booked
    EXPIRED = "expired"  # Kraken: expired, everything executed is booked


S, E = OrderState, OrderEvent

_AT_VENUE = {
    E.FILLED_PART: S.PARTIAL,
    E.CLOSED: S.FILLED,
    E.CANCELED: S.CANCELED,
    E.EXPIRED: S.EXPIRED,
}

TRANSITIONS: dict[tuple[OrderState, OrderEvent], OrderState] = {
    (S.PLANNED, E.APPROVED): S.READY,
    (S.PLANNED, E.SKIP): S.SKIPPED,
    (S.PLANNED, E.MISS): S.MISSED,
    (S.READY, E.SEND): S.SENDING,
    (S.READY, E.SKIP): S.SKIPPED,
    (S.READY, E.MISS): S.MISSED,
    (S.SENDING, E.ACKNOWLEDGED): S.ACKED,
    (S.SENDING, E.REFUSED): S.REJECTED,
    (S.SENDING, E.LOST): S.UNKNOWN,
    (S.SENDING, E.NEVER_WRITTEN): S.NOT_PLACED,
    (S.UNKNOWN, E.FOUND): S.ACKED,
    (S.UNKNOWN, E.ACKNOWLEDGED): S.ACKED,  # the answer arrived after the lease had passed to a successor
    (S.UNKNOWN, E.PROVEN_ABSENT): S.NOT_PLACED,
    (S.UNKNOWN, E.GIVEN_UP): S.MANUAL,
    # A person decides, and a read at Kraken proves it.
    (S.MANUAL, E.FOUND): S.ACKED,
    (S.MANUAL, E.PROVEN_ABSENT): S.NOT_PLACED,
    **{(state, event): after for state in (S.ACKED, S.PARTIAL) for event, after in _AT_VENUE.items()},
}

#: Nothing changes these any more.
FINAL = frozenset(
    {S.FILLED, S.CANCELED, S.EXPIRED, S.REJECTED, S.NOT_PLACED, S.SKIPPED, S.MISSED},
)
#: May still move the account's balances. MANUAL counts: nobody has proved that it does not.
LIVE = frozenset(OrderState) - FINAL
#: The exchange may hold it, or may be about to.
OUTSTANDING = frozenset({S.SENDING, S.UNKNOWN, S.ACKED, S.PARTIAL, S.MANUAL})


class IllegalTransition(Exception):
    """A programmer's error: `event` cannot happen to an order in `state`."""


def after(state: OrderState, event: OrderEvent) -> OrderState:
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(f"an order that is {state} cannot take {event}") from None


def sources(event: OrderEvent) -> frozenset[OrderState]:
    """The states in which `event` is allowed: the WHERE of the conditional update."""
    return frozenset(state for state, known in TRANSITIONS if known is event)
