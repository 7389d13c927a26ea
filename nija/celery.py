"""The Celery app: queues, routes and the whole beat timetable."""

from __future__ import annotations

import os
import sys
from typing import Any

from celery import Celery, signals
from django.db import close_old_connections
from kombu import Queue

from nija import logs, readiness

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nija.settings")
# Celery would run all of Django's checks, which load every page and the strategies, and then heed no answer.
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")

#: Which process consumes a queue is written in `nija.processes`; exits have a worker of their own, so an entry never delays
#: one, and so have bookings: no entry waits for them, and the master's, which all copies wait for, for no entry or balance.
QUEUES = ("planning", "default", "entries", "background", "bookings", "exits")

ROUTES = {
    "trading.tasks.run_due_cycle": "planning",
    "trading.tasks.watch_master_levels": "planning",
    "copytrade.tasks.claim_signals": "planning",
    "copytrade.tasks.sweep_entries": "planning",
    "copytrade.tasks.plan_exits": "planning",
    "copytrade.tasks.look_at_exits_again": "planning",
    "copytrade.tasks.close_master_on": "planning",
    "copytrade.tasks.watch_breaker": "planning",
    "trading.tasks.emit_due_signals": "planning",
    "trading.tasks.refresh_instruments": "default",
    "trading.tasks.refresh_prices": "default",
    "trading.tasks.measure_venue_clock": "default",
    "trading.tasks.record_equity": "default",
    "trading.tasks.thin_equity": "default",
    "trading.tasks.keep_candles": "default",
    "copytrade.tasks.watch": "default",
    "trading.tasks.mail_alerts": "default",
    "trading.tasks.give_up_unknown": "default",
    "trading.tasks.pulse": "default",
    "trading.tasks.send_entries": "entries",
    "copytrade.tasks.execute_entries": "entries",
    "trading.tasks.check_credential": "background",
    "trading.tasks.check_pending_credentials": "background",
    "trading.tasks.recheck_credential": "background",
    "trading.tasks.check_credentials_daily": "background",
    "trading.tasks.diagnose": "background",
    "trading.tasks.refresh_balances": "background",
    "trading.tasks.watch_outside_trades": "background",
    "trading.tasks.refresh_fees": "background",
    "copytrade.tasks.check_books": "background",
    "copytrade.tasks.ask_books_check": "background",
    "trading.tasks.decide_order": "background",
    "trading.tasks.book_answered": "bookings",
    "trading.tasks.book_orders": "bookings",
    "trading.tasks.send_exits": "exits",
    "trading.tasks.resolve_unknown": "exits",
    "trading.tasks.cancel_entries": "exits",
}


def _every(seconds: float, task: str) -> dict[str, Any]:
    # A tick that waited longer than its period is worthless: the next one does the same work.
    return {"task": task, "schedule": seconds, "options": {"expires": max(seconds, 1.0)}}


BEAT = {
    name.rsplit(".", 1)[1]: _every(seconds, name)
    for seconds, name in (
        (1.0, "trading.tasks.run_due_cycle"),
        (1.0, "trading.tasks.emit_due_signals"),
        (1.0, "trading.tasks.send_entries"),
        (1.0, "trading.tasks.send_exits"),
        (1.0, "trading.tasks.resolve_unknown"),
        (1.0, "trading.tasks.book_orders"),
        (1.0, "copytrade.tasks.claim_signals"),
        (1.0, "copytrade.tasks.sweep_entries"),
        (1.0, "copytrade.tasks.plan_exits"),
        (1.0, "copytrade.tasks.look_at_exits_again"),
        (1.0, "copytrade.tasks.watch_breaker"),
        (2.0, "trading.tasks.refresh_prices"),
        (2.0, "trading.tasks.watch_master_levels"),
        (2.0, "copytrade.tasks.close_master_on"),
        (5.0, "trading.tasks.watch_outside_trades"),
        (5.0, "trading.tasks.refresh_balances"),
        (5.0, "trading.tasks.check_pending_credentials"),
        # A stop rings it; this is for the bell that is lost with its process.
        (5.0, "trading.tasks.cancel_entries"),
        (5.0, "copytrade.tasks.watch"),
        (5.0, "trading.tasks.mail_alerts"),
        (10.0, "trading.tasks.measure_venue_clock"),
        (10.0, "trading.tasks.give_up_unknown"),
        (30.0, "trading.tasks.record_equity"),
        (30.0, "trading.tasks.keep_candles"),
        # Whether a check is due, every ten minutes, is read from the last ones.
        (60.0, "copytrade.tasks.ask_books_check"),
        (60.0, "trading.tasks.thin_equity"),
        (300.0, "trading.tasks.refresh_instruments"),
        (3600.0, "trading.tasks.refresh_fees"),
        (3600.0, "trading.tasks.check_credentials_daily"),
    )
}

for _queue in QUEUES:
    # One for each queue, whatever its route: who does it shows that the queue's workers are alive.
    BEAT[f"pulse_{_queue}"] = {
        "task": "trading.tasks.pulse",
        "schedule": 5.0,
        "args": (_queue,),
        "options": {"queue": _queue, "expires": 5.0},
    }

app = Celery("nija")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.task_queues = [Queue(name) for name in QUEUES]
app.conf.task_default_queue = "default"
app.conf.task_routes = {task: {"queue": queue} for task, queue in ROUTES.items()}
app.conf.beat_schedule = BEAT
app.conf.beat_scheduler = "nija.timetable:Scheduler"
# Celery would close the database connection before and after every task, which costs more than a short one's work. Instead each
# task begins as a request does: one that is too old is replaced, and one that is dead by Django's health check.
app.conf.CELERY_DB_REUSE_MAX = sys.maxsize
app.autodiscover_tasks(["trading", "copytrade"])


def _refuse_what_is_unsafe(**signal: Any) -> None:
    # Imported late: it needs Django's applications, which Celery's own receiver has loaded by now.
    from nija import checks

    checks.at_start(**signal)


def _refuse_without_the_vaults_key(**signal: Any) -> None:
    from nija import checks

    checks.can_open_keys(**signal)


def _share_memory(**signal: Any) -> None:
    # Imported late for the same reason.
    from nija import pool

    pool.share_memory(**signal)


def _close_old_connections(**_signal: Any) -> None:
    close_old_connections()


signals.task_prerun.connect(_close_old_connections)
signals.task_postrun.connect(_close_old_connections)
signals.import_modules.connect(_refuse_what_is_unsafe, sender=app)
signals.celeryd_after_setup.connect(_refuse_without_the_vaults_key)
# Without a receiver Celery would set up logging of its own, past the redaction.
signals.setup_logging.connect(logs.configure)
signals.worker_before_create_process.connect(_share_memory)
signals.worker_ready.connect(readiness.announce)
signals.beat_init.connect(readiness.announce)

#: What a new installation needs to know before it can trade, and would otherwise learn only after a first period.
AT_START = (
    "trading.tasks.measure_venue_clock",
    "trading.tasks.refresh_instruments",
    "trading.tasks.refresh_balances",
    "trading.tasks.refresh_fees",
    "trading.tasks.keep_candles",
)


@signals.beat_init.connect
def _ring_at_start(**_: Any) -> None:
    for task in AT_START:
        app.send_task(task)
