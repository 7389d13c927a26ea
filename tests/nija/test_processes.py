from __future__ import annotations

import re
import subprocess
from pathlib import Path

from nija import celery, processes

SYSTEM = processes.System(
    environment={
        "PATH": "/bin",
        "PYTHONPATH": "/elsewhere",
        "SECRET_KEY": "s",
        "NO_PROXY": "intranet",
        "KRAKEN_PLATFORM_API_SECRET": "plain",
        "KRAKEN_USER_ADA_API_KEY": "plain",
    },
    private_key="private",
    data_dir=Path("/data"),
    port=8000,
)


def test_only_execution_booking_and_exits_hold_the_private_key() -> None:
    held = {child.name: child.environment["NIJA_VAULT_PRIVATE_KEY"] for child in processes.application(SYSTEM)}
    assert held == {
        "web": "",
        "worker": "",
        "execution": "private",
        "booking": "private",
        "exits": "private",
        "beat": "",
    }


def test_no_process_holds_plain_api_keys_of_the_environment() -> None:
    for child in processes.application(SYSTEM):
        assert "plain" not in child.environment.values()
        # Blank and not absent: what is absent would be read from .env.
        assert child.environment["KRAKEN_PLATFORM_API_KEY"] == ""


def test_redis_and_the_paper_exchange_are_told_nothing() -> None:
    assert set(processes.bystander_environment(SYSTEM.environment)) == {"PATH", "PYTHONUNBUFFERED"}


def test_the_callers_python_path_reaches_no_process() -> None:
    assert all("PYTHONPATH" not in child.environment for child in processes.application(SYSTEM))


def test_our_own_exchange_is_never_asked_through_a_proxy() -> None:
    assert processes.environment_of("worker", SYSTEM)["NO_PROXY"] == "intranet,127.0.0.1,localhost"


def test_every_queue_is_consumed_by_exactly_one_process() -> None:
    consumed = [queue for queues in processes.WORKER_QUEUES.values() for queue in queues.split(",")]
    assert sorted(consumed) == sorted(celery.QUEUES)


def test_the_procfile_runs_the_same_processes_on_the_same_queues() -> None:
    lines = (processes.BASE_DIR / "Procfile").read_text().splitlines()
    commands = dict(line.split(": ", 1) for line in lines if line and not line.startswith("#"))
    assert set(commands) == {"release", "web", "worker", "execution", "booking", "exits", "beat"}
    queues = {name: match[1] for name, text in commands.items() if (match := re.search(r" -Q (\S+)", text))}
    assert queues == processes.WORKER_QUEUES


def test_the_procfile_says_how_many_processes_each_pool_has_and_lets_the_environment_say_otherwise() -> None:
    for name in processes.WORKER_QUEUES:
        line = next(
            line for line in (processes.BASE_DIR / "Procfile").read_text().splitlines() if line.startswith(name)
        )
        command = line.replace("python -m", "echo")
        for variables, processes_wanted in (({}, r"[2-4]"), ({f"{name.upper()}_PROCESSES": "9"}, "9")):
            said = subprocess.run(
                ["sh", "-c", command.split(": ", 1)[1]], env=variables, capture_output=True, text=True, check=True
            )
            assert re.search(rf" -c {processes_wanted}$", said.stdout.strip())
