"""Asking the execution process, which can speak to Kraken, to look at the accounts; the answer is a row."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from trading import doorbell
from trading.models import Inspection, InspectionKind
from trading.services.clock import Clock

#: Who does the work; rung once the question is committed, with its id.
TASKS = {
    InspectionKind.BOOKS: "copytrade.tasks.check_books",
    InspectionKind.DIAGNOSIS: "trading.tasks.diagnose",
    InspectionKind.ORDER: "trading.tasks.decide_order",
}
POLL_S = 0.2
KEPT_FOR = timedelta(days=7)
#: Most take some seconds. One that died with its worker delays the next question no longer than this.
JOINED_WITHIN = timedelta(minutes=1)


def ask(kind: InspectionKind, *, asked_by: str, clock: Clock, question: dict[str, Any] | None = None) -> Inspection:
    """A new question, its worker rung. `question` narrows it; it stands in `report` until the answer does.

    A check of the books joins one that was asked for lately: two at once would spend what keys may read, and compare less.
    """
    with transaction.atomic():
        if kind is InspectionKind.BOOKS:
            under_way = _awaited(kind, within=JOINED_WITHIN, clock=clock).order_by("-pk").first()
            if under_way is not None:
                return under_way
        inspection = Inspection.objects.create(
            kind=kind, asked_at=clock.now(), asked_by=asked_by, report=question or {}
        )
        doorbell.ring(TASKS[kind], inspection.pk)
    return inspection


def start(inspection_id: int, kind: InspectionKind, *, clock: Clock) -> Inspection | None:
    """Whoever gets the row does the work; None when somebody else has it, so that a repeated message does nothing."""
    mine = Inspection.objects.filter(pk=inspection_id, kind=kind, started_at__isnull=True)
    return Inspection.objects.get(pk=inspection_id) if mine.update(started_at=clock.now()) == 1 else None


def finish(inspection: Inspection, *, findings_count: int, report: dict[str, Any], clock: Clock) -> None:
    inspection.findings_count, inspection.report, inspection.finished_at = findings_count, report, clock.now()
    inspection.save(update_fields=["findings_count", "report", "finished_at"])


def is_asked(kind: InspectionKind, *, within: timedelta, clock: Clock) -> bool:
    """Whether an answer to such a question is awaited; one asked longer ago than `within` was lost with its worker."""
    return _awaited(kind, within=within, clock=clock).exists()


def _awaited(kind: InspectionKind, *, within: timedelta, clock: Clock) -> QuerySet[Inspection]:
    return Inspection.objects.filter(kind=kind, finished_at__isnull=True, asked_at__gt=clock.now() - within)


def prune(*, clock: Clock) -> int:
    """Forget the answers of long ago; how many."""
    old = Inspection.objects.filter(asked_at__lt=clock.now() - KEPT_FOR)
    # Looks before it writes: on SQLite a writer keeps all others waiting.
    return old.delete()[0] if old.exists() else 0


def wait(inspection: Inspection, *, timeout_s: float, sleep: Callable[[float], None] = time.sleep) -> Inspection:
    """The row once it is answered, or as it is after `timeout_s` seconds."""
    for _ in range(max(1, int(timeout_s / POLL_S))):
        inspection.refresh_from_db()
        if inspection.finished_at is not None:
            break
        sleep(POLL_S)
    return inspection
