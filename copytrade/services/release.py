"""Handing positions over to their owner: what is managed becomes the owner's own, and nothing is sold (DESIGN section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from django.db import transaction

from copytrade.domain.reasons import SkipReason
from copytrade.models import CopyOrder, CopyStatus
from trading import doorbell
from trading.domain import order_state
from trading.domain import position as fold
from trading.domain.money import Quantity, plain
from trading.domain.order_state import OrderState
from trading.models import Account, Adjustment, AdjustmentKind, Event, EventKind, Order, Position, Role, SignalKind
from trading.services import balances, positions
from trading.services.clock import Clock

TAKEN_OVER = "You took the coins over before this was sold."


class ReleaseRefused(Exception):
    """Nothing was handed over; the text is a sentence for the owner."""


@dataclass(frozen=True, slots=True)
class ReleaseReport:
    """What was handed over, such as `2,898.5 BEAM`, and why something was not."""

    released: tuple[str, ...]
    refused: tuple[str, ...]


def release_all(account: Account, *, actor: str, clock: Clock) -> ReleaseReport:
    """Hand every open position over, each as a whole or not at all. Raises ReleaseRefused for the master."""
    if account.role == Role.MASTER:
        raise ReleaseRefused("The master's positions are what followers copy; they are sold, not handed over.")
    released: list[str] = []
    refused: list[str] = []
    held = Position.objects.filter(account=account, is_open=True).order_by("pk")
    for position_id in held.values_list("pk", flat=True):
        done, sentence = _release(account, position_id, actor=actor, clock=clock)
        if sentence:
            (released if done else refused).append(sentence)
    return ReleaseReport(tuple(released), tuple(refused))


def _release(account: Account, position_id: int, *, actor: str, clock: Clock) -> tuple[bool, str]:
    """Under the locks of the position, which plans and bookings take, and of the account, which claims of entries take.

    In this order, which is that of a booking; whoever plans a sale at this moment sees what is left, or we see the sale.
    """
    with transaction.atomic(durable=True):
        rows = Position.objects.select_for_update(of=("self",)).select_related("instrument__price")
        position = rows.get(pk=position_id)
        Account.objects.select_for_update().get(pk=account.pk)
        if not position.is_open:
            return False, ""
        symbol = position.instrument.symbol
        busy = _busy(position)
        if busy:
            return False, f"{symbol}: {busy}"
        # An adjustment is dated after the fills it knows, whatever the clock of the machine that booked them.
        now = max(clock.now(), position.updated_at)
        before = position.managed
        value = positions.value_leaving(position, Decimal(0), position.instrument)
        state = fold.reduced(positions.state_of(position), managed_after=Quantity.zero(), value=value)
        positions.store(position, state, now=now)
        Adjustment.objects.create(
            account=account,
            instrument=position.instrument,
            kind=AdjustmentKind.RELEASED,
            managed_before=before,
            managed_after=0,
            value=None if value is None else value.value,
            after_sequence=balances.latest_sequence(position.instrument_id),
            round_trip=position.round_trip,
            created_at=now,
        )
        waiting = CopyOrder.objects.filter(
            account=account,
            signal__instrument=position.instrument,
            kind=SignalKind.EXIT,
            status=CopyStatus.SKIPPED,
            reason__in=(SkipReason.WAITING_MIN.value, SkipReason.DUST.value),
        )
        waiting.update(reason=SkipReason.NOTHING_TO_SELL.value, sentence=TAKEN_OVER)
        told = f"{plain(before)} {symbol.partition('-')[0]}"
        message = f"{told} handed over to their owner; nothing was sold"
        Event.objects.create(at=now, kind=EventKind.RELEASED, account=account, actor=actor, message=message)
        doorbell.executions_booked()
        doorbell.changed([account.user_id])
    return True, told


def _busy(position: Position) -> str:
    """Why it cannot be handed over now: an order of ours may still change it."""
    under_way = Order.objects.filter(
        account_id=position.account_id,
        instrument_id=position.instrument_id,
        state__in=order_state.OUTSTANDING | {OrderState.READY, OrderState.PLANNED},
    )
    states = set(under_way.values_list("state", flat=True))
    if not states:
        return ""
    if states & {OrderState.MANUAL, OrderState.UNKNOWN}:
        return "what became of an order is not known yet. NIJA or an operator finds out; try again later."
    return "an order is on its way. Try again in some seconds."
