"""Sales that sold nothing: when the next one is tried, and what of it Kraken would take."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import takewhile

from django.db.models import QuerySet

from trading.domain import order_state
from trading.domain.money import Quantity
from trading.domain.order_state import OrderState
from trading.models import Order, OrderKind, OrderOrigin, Position
from trading.services import balances

#: After an exit that Kraken did not take, this long passes before the next: its cause may need a moment to go.
AGAIN_AFTER = timedelta(seconds=3)
AGAIN_MAX = timedelta(seconds=30)
FAILURES_MATTER_FOR = timedelta(minutes=5)
#: The second try comes within five seconds, the third within ten more.
STUCK_AFTER = timedelta(seconds=15)
ROWS_MAX = 20


def own_exits(position: Position) -> QuerySet[Order]:
    """Newest first, without what the master sold on Kraken's own page, which delays none of ours."""
    exits = Order.objects.filter(
        account_id=position.account_id, instrument_id=position.instrument_id, kind=OrderKind.EXIT
    )
    return exits.exclude(origin=OrderOrigin.OUTSIDE).order_by("-exit_number")


def failed_in_a_row(newest_first: Iterable[Order]) -> list[Order]:
    """The newest of these sales that are over and sold nothing, up to the last one that did sell."""
    return list(takewhile(lambda order: order.state in order_state.FINAL and not order.filled, newest_first))


def wait_after(failures: int) -> timedelta:
    """How long the next sale waits after so many in a row, at least one, that sold nothing: each doubles it."""
    return min(AGAIN_MAX, AGAIN_AFTER * (1 << (failures - 1)))


def may_try(position: Position, *, now: datetime) -> bool:
    """Whether none of its exits is under way, and after those that sold nothing it is time for the next."""
    newest = _of_this_opening(position)
    if newest and newest[0].state in order_state.LIVE:
        return False
    failed = failed_in_a_row(newest)
    return not failed or now >= _ended(failed[0]) + wait_after(len(failed))


def stuck(position: Position, *, now: datetime) -> list[Order]:
    """Its newest sales, when they have sold nothing for longer than the first tries again take; newest first."""
    failed = failed_in_a_row(_of_this_opening(position))
    # As long as anything asks for a sale, one is tried more often than this; then nobody wants to sell any more.
    is_tried = bool(failed) and _ended(failed[0]) > now - FAILURES_MATTER_FOR - AGAIN_MAX
    return failed if is_tried and _ended(failed[-1]) < now - STUCK_AFTER else []


def free_after_refusal(position: Position, *, now: datetime) -> Quantity | None:
    """What of the base asset is free, when Kraken refused the last sale lately; None when it did not or no balance surely tells.

    Coins may be on hold for orders that the owner placed, and then Kraken refuses the whole.
    """
    refused = own_exits(position).first()
    if refused is None or refused.state != OrderState.REJECTED or _ended(refused) < now - FAILURES_MATTER_FOR:
        return None
    free = balances.available([position.account_id], now=now).get(position.account_id)
    return balances.free_base(position.instrument, free)


def _of_this_opening(position: Position) -> list[Order]:
    exits = own_exits(position)
    if position.opened_at is not None:
        exits = exits.filter(created_at__gte=position.opened_at)
    return list(exits[:ROWS_MAX])


def _ended(order: Order) -> datetime:
    return order.closed_at or order.created_at
