"""The PostgreSQL that a benchmark has to itself, with Django set up on it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.postgres import Cluster

#: As a production server has it: nothing that was committed is lost with the power.
PRODUCTION_DATABASE = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    # Tells when a booking was committed, which its own row cannot know.
    "track_commit_timestamp": "on",
}


@contextmanager
def migrated(say: Callable[[str], None]) -> Iterator[Cluster]:
    """A new cluster with NIJA's tables; gone after the block."""
    # A plain kill must still end every process.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    for name in ("TEST_DATABASE_URL", "REDIS_URL"):
        os.environ.pop(name, None)
    from tests.support import network, postgres

    with postgres.own_cluster(say, settings=PRODUCTION_DATABASE) as cluster, network.this_machine_only():
        os.environ["DATABASE_URL"] = cluster.url
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0)
        yield cluster
