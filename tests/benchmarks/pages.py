"""`make bench-pages`: every page and every list of the API with ten thousand followers and a million copies.

`make bench-pages FOLLOWERS=10000 ROWS=1000000`. A PostgreSQL of its own is filled in bulk (`page_rows.py`), then each page is asked
for through Django's test client, with the settings of production: addresses, middleware, templates and log-ins are the real ones,
the network is left out. A table on standard output, progress on standard error. A target that is missed is printed; status 1 means
that a page failed, or that how many statements it takes depends on how much there is.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.database import PRODUCTION_DATABASE

if TYPE_CHECKING:
    from tests.benchmarks.page_list import Page
    from tests.benchmarks.page_rows import Size
    from tests.benchmarks.page_timing import Timing
    from tests.support.postgres import Cluster

FOLLOWERS, ROWS = 10_000, 1_000_000
#: The same pages on few rows: what they may not take more statements than.
FEW_FOLLOWERS, FEW_ROWS = 60, 2_000
FEWEST_FOLLOWERS = 20


def main(arguments: Sequence[str]) -> int:
    options = _options(arguments)
    # A plain kill must still end every process.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
    from tests.support import network, postgres

    with (
        _scratch() as scratch,
        postgres.own_cluster(_say, settings=PRODUCTION_DATABASE) as cluster,
        network.this_machine_only(),
    ):
        os.environ.update(_production(cluster.url, scratch))
        import django

        django.setup()
        from tests.support import redis_server

        with redis_server.running(scratch / "redis.sock"):
            return _run(options, cluster)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-pages", description=__doc__)
    parser.add_argument("--followers", type=int, default=int(os.environ.get("FOLLOWERS") or FOLLOWERS))
    parser.add_argument("--rows", type=int, default=int(os.environ.get("ROWS") or ROWS), help="copy orders, and fills")
    options = parser.parse_args(arguments)
    if options.followers < FEWEST_FOLLOWERS:
        parser.error(f"FOLLOWERS are {FEWEST_FOLLOWERS} at least")
    return options


def _production(database_url: str, scratch: Path) -> Mapping[str, str]:
    """The environment of a production server's web process, on this machine."""
    from accounts.services import vault_keys

    public, _ = vault_keys.generate_key_pair()
    return {
        "DJANGO_SETTINGS_MODULE": "nija.settings",
        "NIJA_ENV": "production",
        "NIJA_DATA_DIR": str(scratch),
        "STATIC_ROOT": str(scratch / "static"),
        "SECRET_KEY": secrets.token_urlsafe(48),
        "NIJA_VAULT_PUBLIC_KEY": public,
        "DATABASE_URL": database_url,
        "REDIS_URL": f"unix://{scratch}/redis.sock",
        "KRAKEN_API_URL": "http://127.0.0.1:9",
        "LIVE_TRADING": "false",
        "ALLOWED_HOSTS": "testserver",
        "EMAIL_URL": "consolemail://",
    }


def _run(options: argparse.Namespace, cluster: Cluster) -> int:
    from django.core.management import call_command

    from tests.benchmarks import page_report, page_rows, page_timing, stage

    began = time.monotonic()
    call_command("collectstatic", interactive=False, verbosity=0)
    call_command("migrate", verbosity=0)
    few, all_of_them = page_rows.Size(FEW_FOLLOWERS, FEW_ROWS), page_rows.Size(options.followers, options.rows)
    counted = []
    problems: list[str] = []
    timings: list[Timing] = []
    try:
        # Each on a fresh copy of the migrated database.
        stage.fresh_database(cluster, "few")
        page_rows.fill(few)
        counted.append([page_timing.statements(page) for page in _pages(few, newest=True)])
        stage.fresh_database(cluster, "many")
        page_rows.fill(all_of_them)
        filled_s = time.monotonic() - began
        page_report.machine(page_rows.counts(), filled_s=filled_s)
        counted.append([page_timing.statements(page) for page in _pages(all_of_them, newest=False)])
        pages = _pages(all_of_them, newest=True)
        page_report.head()
        for number, page in enumerate(pages):
            timing = page_timing.timed(page, others=[counts[number] for counts in counted])
            page_report.line(timing)
            timings.append(timing)
    except page_timing.Failed as failure:
        problems.append(str(failure))
    problems += [f"{timing.page.name} takes {timing.told} statements" for timing in timings if not timing.is_constant]
    page_report.summary(timings, problems, took_s=time.monotonic() - began)
    return 1 if problems else 0


def _pages(size: Size, *, newest: bool) -> list[Page]:
    """As the first follower sees them, who copied everything, or the last one, who copied what everybody did."""
    from tests.benchmarks import page_list

    return page_list.pages(page_list.scene(1 if newest else size.followers, newest=newest))


@contextmanager
def _scratch() -> Iterator[Path]:
    # Short, because a unix socket's path may hold about 100 bytes.
    path = Path(tempfile.mkdtemp(prefix="nija-pages-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _say(text: str) -> None:
    print(f"bench-pages: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("bench-pages: stopped", file=sys.stderr)
        sys.exit(130)
