"""Signals: what the master's executions tell the followers, written with them in one transaction (DESIGN section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.db import transaction

from trading import doorbell
from trading.domain import order_state
from trading.domain.instrument import Side
from trading.domain.money import CONTEXT, Money, Price, Quantity
from trading.domain.order_state import OrderState
from trading.models import (
    Execution,
    MarketPrice,
    Order,
    OrderKind,
    OrderOrigin,
    Position,
    Role,
    Signal,
    SignalKind,
)
from trading.services.clock import Clock

#: An order that is not final signals what has filled so far after this long.
PARTIAL_AFTER = timedelta(seconds=1)
BATCH_MAX = 200
TAKEN = "Left the master's Kraken account without a trade in US dollars"
AVERAGE_STEP = Decimal("1e-12")


def emit_due(*, clock: Clock) -> int:
    """Signal the fills of orders that are not final but have waited a second; how many signals."""
    due = (
        Execution.objects.filter(
            account__role=Role.MASTER,
            account__venue=settings.VENUE,
            signal__isnull=True,
            booked_at__lte=clock.now() - PARTIAL_AFTER,
        )
        .values_list("order_id", flat=True)
        .distinct()
    )
    emitted = 0
    for order_id in list(due[:BATCH_MAX]):
        with transaction.atomic(durable=True):
            order = Order.objects.select_related("account", "instrument").get(pk=order_id)
            position = Position.objects.select_for_update().get(account=order.account, instrument=order.instrument)
            emitted += emit(order, position, now=clock.now())
    return emitted


def emit_owing(position: Position, *, besides: Order | None = None, now: datetime) -> None:
    """Signal what orders of this position still owe, so that signals keep the order of the bookings."""
    owing = Order.objects.filter(
        account_id=position.account_id,
        instrument_id=position.instrument_id,
        executions__isnull=False,
        executions__signal__isnull=True,
    )
    if besides is not None:
        owing = owing.exclude(pk=besides.pk)
    for order in owing.distinct().order_by("pk"):
        emit(order, position, now=now)


def emit_if_due(order: Order, position: Position, *, now: datetime) -> bool:
    """Signal `order`'s fills when it is final, or when the first has waited a second. Holds the position's lock.

    Fills outside NIJA were waiting at Kraken before they were found, and their second counts from there.
    """
    first = Execution.objects.filter(order=order, signal__isnull=True).order_by("booked_at").first()
    if first is None:
        return False
    since = first.executed_at if order.origin == OrderOrigin.OUTSIDE else first.booked_at
    if order.state not in order_state.FINAL and since > now - PARTIAL_AFTER:
        return False
    return emit(order, position, now=now)


def emit(order: Order, position: Position, *, now: datetime) -> bool:
    """Write one signal that carries every unsignalled execution of `order`. Holds the position's lock."""
    carried = list(Execution.objects.filter(order=order, signal__isnull=True).order_by("executed_at", "pk"))
    if not carried:
        return False
    quantity = sum((Quantity(e.quantity) for e in carried), Quantity.zero())
    notional = sum((Money(e.notional) for e in carried), Money.zero())
    position.signal_count += 1
    position.save(update_fields=["signal_count"])
    signal = Signal.objects.create(
        account_id=order.account_id,
        instrument_id=order.instrument_id,
        order=order,
        sequence=position.signal_count,
        kind=SignalKind.ENTRY if order.kind == OrderKind.ENTRY else SignalKind.EXIT,
        quantity=quantity.value,
        price=_average(carried),
        notional=notional.value,
        master_equity=order.equity_before if order.kind == OrderKind.ENTRY else None,
        managed_before=None if order.kind == OrderKind.ENTRY else (Quantity(position.managed) + quantity).value,
        reason=order.reason,
        strategy=order.strategy,
        strategy_version=order.strategy_version,
        parameters_hash=order.parameters_hash,
        executed_at=max(e.executed_at for e in carried),
        created_at=now,
    )
    Execution.objects.filter(pk__in=[e.pk for e in carried]).update(signal=signal)
    doorbell.signal_written()
    return True


def emit_reduction(position: Position, *, before: Quantity, after: Quantity, now: datetime) -> None:
    """What was withdrawn, converted or sold for another currency is an exit like any other. Holds the position's lock.

    An order that was never sent carries the signal, since there is none at Kraken that we could book.
    """
    sold = before - after
    last = MarketPrice.objects.filter(instrument_id=position.instrument_id).first()
    price = last.bid_price if last is not None else Price.zero()
    position.exit_count += 1
    position.signal_count += 1
    position.save(update_fields=["exit_count", "signal_count"])
    order = Order.objects.create(
        account_id=position.account_id,
        instrument_id=position.instrument_id,
        kind=OrderKind.EXIT,
        origin=OrderOrigin.OUTSIDE,
        exit_number=position.exit_count,
        side=Side.SELL,
        quantity=sold.value,
        reason=TAKEN,
        state=OrderState.SKIPPED,
        refusal=TAKEN,
        created_at=now,
        closed_at=now,
    )
    Signal.objects.create(
        account_id=position.account_id,
        instrument_id=position.instrument_id,
        order=order,
        sequence=position.signal_count,
        kind=SignalKind.EXIT,
        quantity=sold.value,
        price=price.value,
        notional=sold.at(price).value,
        managed_before=before.value,
        reason=TAKEN,
        executed_at=now,
        created_at=now,
    )
    doorbell.signal_written()


def _average(executions: Sequence[Execution]) -> Decimal:
    """Exactly the price when all executions have the same; otherwise Σ quantity × price / Σ quantity."""
    prices: set[Decimal] = {e.price for e in executions}
    if len(prices) == 1:
        return prices.pop()
    total = sum((CONTEXT.multiply(e.quantity, e.price) for e in executions), Decimal(0))
    average = CONTEXT.divide(total, sum((e.quantity for e in executions), Decimal(0)))
    return average.quantize(AVERAGE_STEP)
