"""Starts a worker: `python -m nija.worker -n execution@%h -Q entries,background -c 4`, with all options of `celery worker`.

Celery's own program loads every command it has, among them a shell for the terminal: 9 MB in each worker for nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from celery.bin.base import CLIContext
from celery.bin.worker import worker

from nija.celery import app


def main(arguments: Sequence[str]) -> None:
    worker.main(list(arguments), prog_name="nija.worker", obj=CLIContext(app, no_color=True, workdir=None))


if __name__ == "__main__":
    main(sys.argv[1:])
