"""Doorbells: ids in, one service call each. Queues are in nija/celery.py; losing or repeating any of them changes nothing.

What brings numpy and the indicators along is imported by its own task: every worker loads this module, and few compute.
"""

from __future__ import annotations

import time
import uuid
from functools import partial

from celery import shared_task

from trading import doorbell
from trading.models import OrderKind
from trading.services import (
    alert_mail,
    balances,
    booking,
    cancelling,
    diagnosis,
    equity,
    fees,
    intake,
    market,
    outside,
    private,
    pulses,
    reconciliation,
    sending,
    signals,
    undecided,
)
from trading.services.clock import SYSTEM

LEVELS_TASK = "trading.tasks.watch_master_levels"
_key_info = partial(private.key_info, clock=SYSTEM)


@shared_task
def run_due_cycle() -> None:
    from trading.services import cycles

    cycles.run_due_cycle(clock=SYSTEM)


@shared_task
def watch_master_levels() -> None:
    from trading.services import levels

    levels.watch(clock=SYSTEM)


@shared_task
def emit_due_signals() -> None:
    signals.emit_due(clock=SYSTEM)


@shared_task
def refresh_instruments() -> None:
    market.refresh_instruments(clock=SYSTEM)


@shared_task
def refresh_prices() -> None:
    if market.refresh_prices(clock=SYSTEM):
        # Levels are looked at on every new price; the timetable repeats it in case this bell is not heard.
        doorbell.ring(LEVELS_TASK)


@shared_task
def keep_candles() -> None:
    from trading.services import kept_candles

    kept_candles.keep(clock=SYSTEM)


@shared_task
def measure_venue_clock() -> None:
    market.measure_venue_clock(clock=SYSTEM)


@shared_task
def record_equity() -> None:
    equity.record(clock=SYSTEM)


@shared_task
def thin_equity() -> None:
    equity.thin(clock=SYSTEM)


@shared_task
def send_entries() -> None:
    sending.send_ready(OrderKind.ENTRY, clock=SYSTEM)


@shared_task
def send_exits() -> None:
    sending.send_ready(OrderKind.EXIT, clock=SYSTEM)


@shared_task
def resolve_unknown() -> None:
    reconciliation.resolve_due(clock=SYSTEM)


@shared_task
def cancel_entries() -> None:
    cancelling.cancel_stopped_entries(clock=SYSTEM)


@shared_task
def book_answered(order_ids: list[int]) -> None:
    booking.book_answered(order_ids, clock=SYSTEM)


@shared_task
def book_orders() -> None:
    booking.book_due(clock=SYSTEM)


@shared_task
def watch_outside_trades() -> None:
    outside.look(clock=SYSTEM)


@shared_task
def refresh_balances() -> None:
    balances.refresh_due(clock=SYSTEM)


@shared_task
def refresh_fees() -> None:
    fees.refresh_due(clock=SYSTEM)


@shared_task
def check_credential(credential_id: str) -> None:
    intake.check_pending(credential_id, clock=SYSTEM)
    balances.refresh_due(clock=SYSTEM)
    fees.refresh_due(clock=SYSTEM)


@shared_task
def check_pending_credentials() -> None:
    intake.check_all_pending(clock=SYSTEM)


@shared_task
def recheck_credential(credential_id: str) -> None:
    intake.recheck(uuid.UUID(credential_id), ask=_key_info, clock=SYSTEM)


@shared_task
def check_credentials_daily() -> None:
    intake.recheck_all(ask=_key_info, clock=SYSTEM)


@shared_task
def diagnose(inspection_id: int) -> None:
    diagnosis.run(inspection_id, clock=SYSTEM)


@shared_task
def pulse(queue: str) -> None:
    pulses.beat(queue, clock=SYSTEM)


@shared_task
def mail_alerts() -> None:
    alert_mail.send(clock=SYSTEM)


@shared_task
def give_up_unknown() -> None:
    undecided.give_up(clock=SYSTEM)


@shared_task
def decide_order(inspection_id: int) -> None:
    undecided.decide(inspection_id, clock=SYSTEM, sleep=time.sleep)
