"""Doorbells of the copy engine: ids in, one service call each."""

from __future__ import annotations

from celery import shared_task

from copytrade.services import entries, exits, fan_out
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
