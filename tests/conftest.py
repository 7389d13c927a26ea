"""What every test may ask for: a Redis-compatible server, paper exchanges, a browser, the real set of processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from django.db import connection

from tests.settings import SCRATCH_DIR
from tests.support import browser, network, redis_server
from tests.support.paper import PaperExchange
from tests.support.stack import Stack, database_url


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests recorded as `figures`, whether they passed or not and on whichever worker they ran."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, [])]
    figures = [text for report in reports for name, text in report.user_properties if name == "figures"]
    if figures:
        terminalreporter.section("figures")
        for text in figures:
            terminalreporter.write_line(str(text))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What may take longest, by its own timeout, starts first: a long test begun last keeps one worker waiting."""
    items.sort(key=_own_timeout_s, reverse=True)


def _own_timeout_s(item: pytest.Item) -> float:
    marker = item.get_closest_marker("timeout")
    return float(marker.args[0]) if marker is not None else 0.0


@pytest.fixture(scope="session", autouse=True)
def this_machine_only() -> Iterator[None]:
    with network.this_machine_only():
        yield


@pytest.fixture(scope="session")
def _redis_client() -> Iterator[redis.Redis]:
    with redis_server.running(SCRATCH_DIR / "redis.sock") as client:
        yield client


@pytest.fixture(autouse=True)
def _empty_redis(request: pytest.FixtureRequest) -> None:
    """Tests that touch the database find an empty Redis: sessions, rate limits and queues are of no other test."""
    if request.node.get_closest_marker("django_db") or {"db", "transactional_db", "redis_url"} & set(
        request.fixturenames
    ):
        request.getfixturevalue("_redis_client").flushall()


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Emptied quickly between tests, and dropped although a thread ended without closing its connection."""
    with django_db_blocker.unblock(), pytest.MonkeyPatch.context() as patch:
        if connection.vendor == "postgresql" and _is_superuser():
            patch.setattr(type(connection.ops), "sql_flush", _delete_rows)
        yield
    with django_db_blocker.unblock():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )


def _is_superuser() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        row = cursor.fetchone()
    return bool(row and row[0])


def _delete_rows(_ops: Any, _style: Any, tables: Sequence[str], **_: Any) -> list[str]:
    """TRUNCATE makes new files for every table and index, ten times what it costs to delete the few rows of a test."""
    if not tables:
        return []
    deletions = [f'DELETE FROM "{table}"' for table in tables]
    return ["SET session_replication_role = replica", *deletions, "SET session_replication_role = DEFAULT"]


@pytest.fixture
def redis_url(_redis_client: redis.Redis) -> str:
    """Address of this test process's own server, empty at the start of the test."""
    return f"unix://{SCRATCH_DIR}/redis.sock"


@pytest.fixture
def paper_exchange(tmp_path: Path) -> Iterator[Callable[..., PaperExchange]]:
    """Starts paper exchanges over HTTP: `paper_exchange()` or `paper_exchange(market="...")`; all end with the test."""
    started: list[PaperExchange] = []

    def start(**options: str) -> PaperExchange:
        exchange = PaperExchange.start(directory=tmp_path / f"paper-{len(started)}", options=options)
        started.append(exchange)
        return exchange

    yield start
    for exchange in started:
        exchange.stop()


@pytest.fixture
def start_stack(transactional_db: None, redis_url: str, tmp_path: Path) -> Iterator[Callable[..., Stack]]:
    """Starts the real processes on this test's database and Redis: `start_stack(kraken_api_url=exchange.url)`."""
    with ExitStack() as started:

        def start(*, kraken_api_url: str, with_web: bool = True, **extra: str) -> Stack:
            return started.enter_context(
                Stack(
                    database_url=database_url(),
                    redis_url=redis_url,
                    kraken_api_url=kraken_api_url,
                    data_dir=tmp_path / "stack",
                    with_web=with_web,
                    extra=extra,
                )
            )

        yield start


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """An executable Chromium; `make system` provides one on any machine."""
    path = browser.find()
    if path is None:
        pytest.fail("No Chromium found; `make system` provides one, a bare pytest needs it installed.")
    return path
