"""The process that makes the demo's history: started and watched by `up --demo`, run by `manage.py make_demo_history`."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import requests
from celery import current_app
from django.conf import settings
from django.db import connection

from nija import demo, demo_history, launch, processes
from nija.data_directory import DataDirectory, Refused
from nija.demo_history import HistoryFailed
from trading.models import Account

#: Far more than it takes: it watches its own time.
TIMEOUT_S = 90.0
COMMAND = (sys.executable, "manage.py", "make_demo_history")


def is_wanted() -> bool:
    """Only before the demo's first account: what has begun to live keeps its own history."""
    return not Account.objects.exists()


def start_and_wait(*, environment: Mapping[str, str], log: Path, say: Callable[[str], None]) -> bool:
    """Run the process and pass its progress on; False, said in a sentence, when it failed. It ends with its caller."""
    with log.open("ab") as errors:
        process = subprocess.Popen(  # noqa: S603
            COMMAND,
            env=dict(environment),
            cwd=processes.BASE_DIR,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
            text=True,
        )
    timer = threading.Timer(TIMEOUT_S, process.kill)
    timer.start()
    try:
        assert process.stdout is not None
        for line in process.stdout:
            say(line.rstrip())
        failed = process.wait() != 0
    finally:
        timer.cancel()
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
    if failed:
        say(f"the demo's history is not complete; see {log}")
        _use_the_real_clock(environment["KRAKEN_API_URL"])
    return not failed


def _use_the_real_clock(paper_url: str) -> None:
    """What a killed process could not do itself. Raises Refused."""
    with requests.Session() as session:
        # A proxy of the user's is for the outside world.
        session.trust_env = False
        try:
            session.post(f"{paper_url}/paper/clock", json={"mode": "real"}, timeout=10).raise_for_status()
        except requests.RequestException as error:
            raise Refused(f"The demo's exchange does not answer: {error}") from error


def run() -> int:
    """Exit status. Nothing but the demo's own exchange is ever asked, and only for a database without accounts."""
    if settings.VENUE != launch.PAPER_VENUE or not settings.VENUE_IS_LOCAL or not is_wanted():
        print("Only `manage.py up --demo` makes a history, at its first start.", file=sys.stderr)
        return 1
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    # Nobody listens yet, and what is rung now would be stale by then.
    current_app.conf.update(broker_url="memory://localhost/")
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            # Of a demo that loses its power while it starts nothing is missed.
            cursor.execute("PRAGMA synchronous=NORMAL")
    try:
        demo_history.make(
            paper_url=settings.KRAKEN_API_URL,
            passwords=demo.passwords(DataDirectory(settings.NIJA_DATA_DIR)),
            say=lambda text: print(text, flush=True),
        )
    except (HistoryFailed, Refused, requests.RequestException) as error:
        print(f"ERROR {error}", file=sys.stderr)
        return 1
    return 0


def _end_with_parent() -> None:
    """End this process when whoever started it has ended, however that came: its end of the pipe closes."""
    while os.read(0, 1):
        continue
    os._exit(1)
