"""Doorbells: ids in, one service call each. Queues are in nija/celery.py; losing or repeating any of them changes nothing."""

from __future__ import annotations

import uuid
from functools import partial

from celery import shared_task

from trading.models import OrderKind
from trading.services import (
    balances,
    booking,
    cancelling,
    cycles,
    equity,
    fees,
    intake,
    levels,
    market,
    private,
    reconciliation,
    sending,
    signals,
)
from trading.services.clock import SYSTEM

_key_info = partial(private.key_info, clock=SYSTEM)


@shared_task
def run_due_cycle() -> None:
    cycles.run_due_cycle(clock=SYSTEM)


@shared_task
def watch_master_levels() -> None:
    levels.watch(clock=SYSTEM)


@shared_task
def emit_due_signals() -> None:
    signals.emit_due(clock=SYSTEM)


@shared_task
def refresh_instruments() -> None:
    market.refresh_instruments(clock=SYSTEM)


@shared_task
def refresh_prices() -> None:
    market.refresh_prices(clock=SYSTEM)


@shared_task
def measure_venue_clock() -> None:
    market.measure_venue_clock(clock=SYSTEM)


@shared_task
def record_equity() -> None:
    equity.record(clock=SYSTEM)


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
def book_orders() -> None:
    booking.book_due(clock=SYSTEM)


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
