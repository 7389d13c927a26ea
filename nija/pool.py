"""What a worker does before its pool forks and in each process of the pool, so that they share memory and no first task waits."""

from __future__ import annotations

import gc
import importlib
import logging
from typing import Any

from celery import current_app, signals
from django.db import OperationalError, connection

from trading import doorbell

logger = logging.getLogger(__name__)

#: By queue: what its tasks import themselves, since no other worker needs numpy and the indicators.
LOADED_FOR = {
    "planning": ("trading.services.cycles", "trading.services.levels"),
    "default": ("trading.services.kept_candles",),
}


def share_memory(**_signal: Any) -> None:
    """Receiver of worker_before_create_process, in the parent.

    What is loaded by then stays for good. Looked at by no later garbage collection, its pages are never written, and all
    processes of the pool go on sharing them: a parent with four children takes 121 MB instead of 282.
    """
    for queue in current_app.amqp.queues.consume_from:
        for module in LOADED_FOR.get(queue, ()):
            importlib.import_module(module)
    gc.collect()
    gc.freeze()
    # Here, so that it comes after Celery's own receiver, which closes every connection that a process begins with.
    signals.worker_process_init.connect(connect)


def connect(**_signal: Any) -> None:
    """Receiver of worker_process_init, in each process of the pool: it connects before there is something to do."""
    try:
        connection.ensure_connection()
    except OperationalError as error:
        logger.warning("the database is away, the first task tries again: %s", type(error).__name__)
    doorbell.connect()
