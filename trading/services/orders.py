"""The one door through which an order changes its state."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from trading.domain import order_state
from trading.domain.order_state import OrderEvent, OrderState
from trading.models import Order
from trading.services import bulk

_TARGETS: dict[OrderEvent, OrderState] = {event: after for (_, event), after in order_state.TRANSITIONS.items()}
assert all(_TARGETS[event] is after for (_, event), after in order_state.TRANSITIONS.items()), "an event has one target"


class LostRace(Exception):
    """Somebody else changed the order first; whatever was about to be done must not be."""


def move(order_ids: Collection[int], event: OrderEvent, **fields: Any) -> int:
    """Apply `event` to every one of these orders that can take it, with `fields`; how many could."""
    if not order_ids:
        return 0
    return Order.objects.filter(pk__in=order_ids, state__in=order_state.sources(event)).update(
        state=_TARGETS[event], **fields
    )


def move_one(order_id: int, event: OrderEvent, **fields: Any) -> None:
    """Apply `event` or raise LostRace."""
    if move([order_id], event, **fields) != 1:
        raise LostRace(f"order {order_id} could not take {event}")


def move_each(orders: Collection[Order], event: OrderEvent, *, fields: Collection[str]) -> frozenset[int]:
    """Apply `event` in one statement to orders whose `fields` differ from row to row; the ids of those that could take it."""
    for order in orders:
        order.state = _TARGETS[event]
    return bulk.update_each(orders, ["state", *fields], only={"state": order_state.sources(event)})


def move_every(orders: Collection[Order], event: OrderEvent, *, fields: Collection[str]) -> None:
    """Apply `event` to each of these orders or raise LostRace, which undoes the caller's transaction."""
    lost = {order.pk for order in orders} - move_each(orders, event, fields=fields)
    if lost:
        raise LostRace(f"orders {sorted(lost)} could not take {event}")
