"""Doorbells of the copy engine: ids in, one service call each."""

from __future__ import annotations

from celery import shared_task

from copytrade.services import books, breaker, closing, entries, exits, fan_out
from copytrade.services import watch as watching
from trading.services.clock import SYSTEM


@shared_task
def claim_signals() -> None:
    fan_out.claim_signals(clock=SYSTEM)


@shared_task
def execute_entries(copy_ids: list[int]) -> None:
    entries.execute(copy_ids, clock=SYSTEM)


@shared_task
def sweep_entries() -> None:
    entries.sweep(clock=SYSTEM)


@shared_task
def plan_exits() -> None:
    exits.plan_due(clock=SYSTEM)


@shared_task
def look_at_exits_again() -> None:
    exits.look_again(clock=SYSTEM)


@shared_task
def close_master_on() -> None:
    closing.close_master_on(clock=SYSTEM)


@shared_task
def check_books(inspection_id: int) -> None:
    books.inspect(inspection_id, clock=SYSTEM)


@shared_task
def ask_books_check() -> None:
    books.ask_due(clock=SYSTEM)


@shared_task
def watch_breaker() -> None:
    breaker.watch(clock=SYSTEM)


@shared_task
def watch() -> None:
    watching.look(clock=SYSTEM)
