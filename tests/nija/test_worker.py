"""What a worker loads when it starts, and what it refuses to start with. Each in a process of its own, as workers are."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_django import Settings

from accounts.services import vault_keys
from nija import celery, checks, pool, processes

#: Pages, the strategies' arithmetic, and the terminal shell of Celery's own program.
PAGES, ARITHMETIC, SHELL = "nija.urls", {"numpy", "talib"}, "prompt_toolkit"
#: As a worker does before it forks.
START = """
import json, sys
from nija import pool, worker
worker.app.loader.init_worker()
worker.app.finalize()
worker.app.amqp.queues.select(sys.argv[1].split(","))
from celery import signals
signals.worker_before_create_process.send(sender=None)
print(json.dumps({"modules": sorted(sys.modules), "tasks": sorted(worker.app.tasks)}))
"""


@pytest.fixture
def production(tmp_path: Path) -> dict[str, str]:
    public, private = vault_keys.generate_key_pair()
    return {
        "PATH": os.environ["PATH"],
        "NIJA_ENV": "production",
        "SECRET_KEY": secrets.token_urlsafe(64),
        "NIJA_DATA_DIR": str(tmp_path),
        "DATABASE_URL": f"sqlite:///{tmp_path}/nija.sqlite3",
        "LIVE_TRADING": "false",
        "NIJA_VAULT_PUBLIC_KEY": public,
        "NIJA_VAULT_PRIVATE_KEY": private,
        # Nobody is there: a worker that was not refused would go on asking.
        "REDIS_URL": f"unix://{tmp_path}/redis.sock",
    }


def _run(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        cwd=processes.BASE_DIR,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _started(queues: str, environment: dict[str, str]) -> tuple[set[str], set[str]]:
    done = _run("-c", START, queues, environment=environment)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    return set(told["modules"]), set(told["tasks"])


@pytest.mark.parametrize("name", ["execution", "booking", "exits"])
def test_a_worker_that_sends_or_books_loads_no_page_and_no_arithmetic(name: str, production: dict[str, str]) -> None:
    modules, tasks = _started(processes.WORKER_QUEUES[name], production)
    assert not modules & {PAGES, SHELL, *ARITHMETIC}
    assert set(celery.ROUTES) <= tasks


def test_the_worker_that_decides_loads_the_arithmetic_before_it_forks(production: dict[str, str]) -> None:
    modules, _ = _started(processes.WORKER_QUEUES["worker"], production)
    assert modules >= ARITHMETIC
    assert not modules & {PAGES, SHELL}
    assert set(pool.LOADED_FOR) <= set(celery.QUEUES)


@pytest.mark.parametrize(
    "command",
    [
        ("-m", "nija.worker", "-n", "exits@%h", "-Q", "exits", "-c", "1"),
        ("-m", "celery", "-A", "nija", "worker", "-Q", "exits", "-c", "1"),
        ("-m", "celery", "-A", "nija", "beat"),
    ],
    ids=["worker", "Celery's own program", "beat"],
)
def test_a_process_with_an_unsafe_setting_says_so_and_does_not_start(
    command: tuple[str, ...], production: dict[str, str]
) -> None:
    done = _run(*command, environment={**production, "KRAKEN_API_URL": "http://kraken.example"})
    assert done.returncode == 1
    assert "(nija.E006) KRAKEN_API_URL must start with https://, since keys are used there." in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("queues", ["entries,background", "bookings", "exits"])
def test_a_worker_that_opens_keys_does_not_start_without_the_vaults_key(
    queues: str, production: dict[str, str]
) -> None:
    """It would refuse every sale, and the owners' keys would be blamed for it."""
    command = ("-m", "nija.worker", "-n", "some@%h", "-Q", queues, "-P", "threads", "-c", "1")
    done = _run(*command, environment={**production, "NIJA_VAULT_PRIVATE_KEY": ""})
    assert done.returncode == 1
    assert "(nija.E012) NIJA_VAULT_PRIVATE_KEY is not set" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_process_that_must_not_decrypt_does_not_start_with_the_private_key(production: dict[str, str]) -> None:
    command = ("-m", "nija.worker", "-n", "worker@%h", "-Q", "planning,default", "-c", "1")
    done = _run(*command, environment={**production, "NIJA_PROCESS": "worker"})
    assert done.returncode == 1
    assert (
        "(nija.E004) The worker process holds NIJA_VAULT_PRIVATE_KEY; only execution, booking and exits may."
        in done.stderr
    )


def test_a_strategy_that_does_not_exist_holds_no_worker_up(settings: Settings) -> None:
    settings.MASTER_STRATEGY = "apx"
    assert checks.master() != []
    checks.at_start()
