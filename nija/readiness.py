"""How a worker or beat tells `up` that it answers: a file in the data directory that holds its process id."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from django.conf import settings


def path(*, data_dir: Path, name: str) -> Path:
    return data_dir / "ready" / f"{name}.pid"


def announce(**_signal: Any) -> None:
    """Receiver of Celery's worker_ready and beat_init."""
    if not settings.NIJA_PROCESS:
        return
    file = path(data_dir=settings.NIJA_DATA_DIR, name=settings.NIJA_PROCESS)
    file.parent.mkdir(exist_ok=True)
    file.write_text(str(os.getpid()))


def is_ready(*, data_dir: Path, name: str, pid: int) -> bool:
    """True when the process `pid` has announced itself; the file of a dead predecessor does not count."""
    try:
        return path(data_dir=data_dir, name=name).read_text() == str(pid)
    except OSError:
        return False
