"""The life of an order: what can never happen to one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.domain import order_state
from trading.domain.order_state import (
    FINAL,
    LIVE,
    OUTSTANDING,
    TRANSITIONS,
    IllegalTransition,
    OrderEvent,
    OrderState,
)

S, E = OrderState, OrderEvent
BEFORE_SENDING = {S.PLANNED, S.READY}

walks = st.lists(st.sampled_from(list(OrderEvent)), max_size=12)


def reachable(start: OrderState) -> set[OrderState]:
    found, todo = {start}, [start]
    while todo:
        state = todo.pop()
        after = {target for (source, _), target in TRANSITIONS.items() if source is state}
        todo += after - found
        found |= after
    return found


@given(walks)
def test_a_walk_passes_through_sending_at_most_once(events: list[OrderEvent]) -> None:
    state, sent = S.PLANNED, 0
    for event in events:
        try:
            state = order_state.after(state, event)
        except IllegalTransition:
            continue
        sent += state is S.SENDING
    assert sent <= 1


def test_only_what_is_ready_is_sent() -> None:
    assert {state for (state, _), after in TRANSITIONS.items() if after is S.SENDING} == {S.READY}


@pytest.mark.parametrize("state", sorted(set(OrderState) - BEFORE_SENDING))
def test_nothing_that_was_sent_or_is_over_becomes_ready_again(state: OrderState) -> None:
    assert not reachable(state) & BEFORE_SENDING


@pytest.mark.parametrize("state", sorted(FINAL))
@pytest.mark.parametrize("event", list(OrderEvent))
def test_a_final_order_takes_no_event(state: OrderState, event: OrderEvent) -> None:
    with pytest.raises(IllegalTransition, match=f"an order that is {state} cannot take {event}"):
        order_state.after(state, event)


@pytest.mark.parametrize("state", sorted(LIVE))
def test_every_live_order_can_still_become_final(state: OrderState) -> None:
    assert reachable(state) & FINAL


def test_every_state_and_every_event_is_used() -> None:
    assert reachable(S.PLANNED) == set(OrderState)
    assert {event for _, event in TRANSITIONS} == set(OrderEvent)


def test_only_an_unknown_unwritten_or_a_persons_case_becomes_not_placed() -> None:
    ways = {source for (source, _), target in TRANSITIONS.items() if target is S.NOT_PLACED}
    assert ways == {S.UNKNOWN, S.SENDING, S.MANUAL}
    assert order_state.sources(E.PROVEN_ABSENT) == {S.UNKNOWN, S.MANUAL}


def test_a_persons_case_is_found_or_proved_absent_and_nothing_else() -> None:
    ways = {event: target for (source, event), target in TRANSITIONS.items() if source is S.MANUAL}
    assert ways == {E.FOUND: S.ACKED, E.PROVEN_ABSENT: S.NOT_PLACED}


def test_what_the_exchange_may_hold_is_neither_final_nor_unsent() -> None:
    assert OUTSTANDING == LIVE - BEFORE_SENDING
    assert set(OrderState) == LIVE | FINAL
    assert not LIVE & FINAL
