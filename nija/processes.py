"""Which processes NIJA consists of, and what each may hold. `up`, the tests and the Procfile all follow this table."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import redis
import requests

from nija import readiness
from nija.supervisor import Child

BASE_DIR = Path(__file__).resolve().parent.parent
ANSWER_TIMEOUT_S = 2

#: Queue lists of the worker processes. Exits have one of their own, so that no entry delays one; so have bookings, which sending
#: does not wait for.
WORKER_QUEUES = {
    "worker": "planning,default",
    "execution": "entries,background",
    "booking": "bookings",
    "exits": "exits",
}
#: Only these open API keys.
HOLDERS_OF_THE_PRIVATE_KEY = frozenset({"execution", "booking", "exits"})
PRIVATE_KEY = "NIJA_VAULT_PRIVATE_KEY"
#: Plain API keys in the environment are for `import_accounts` alone.
PLAIN_KEY_PREFIXES = ("KRAKEN_PLATFORM_API_", "KRAKEN_USER_")
#: They lead another Python to other modules or options than ours.
MISLEADING_VARIABLES = frozenset(
    {"PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONWARNINGS", "PYTHONSAFEPATH", "PYTHONOPTIMIZE", "VIRTUAL_ENV"}
)
LAST_TO_STOP = 1
THREADS = 4


@dataclass(frozen=True, kw_only=True)
class System:
    """Everything the processes share. `environment` is complete but for the private key; `host` is what /health/ is asked as."""

    environment: Mapping[str, str]
    private_key: str
    data_dir: Path
    port: int
    host: str = "127.0.0.1"


def environment_of(name: str, system: System) -> dict[str, str]:
    """What the process `name` gets to know. Blank, not absent: a variable that is set is not read from .env."""
    variables = {key: value for key, value in system.environment.items() if key not in MISLEADING_VARIABLES}
    for key in variables:
        if key.startswith(PLAIN_KEY_PREFIXES):
            variables[key] = ""
    variables |= {"KRAKEN_PLATFORM_API_KEY": "", "KRAKEN_PLATFORM_API_SECRET": ""}
    variables[PRIVATE_KEY] = system.private_key if name in HOLDERS_OF_THE_PRIVATE_KEY else ""
    # Kraken may be reached through a proxy, our own exchange never is.
    own = "127.0.0.1,localhost"
    for key in ("NO_PROXY", "no_proxy"):
        variables[key] = ",".join(filter(None, (variables.get(key), own)))
    # Else each thread that sends gets a heap of its own, which gives nothing back.
    variables.setdefault("MALLOC_ARENA_MAX", "2")
    variables |= {"NIJA_PROCESS": name, "NIJA_DATA_DIR": str(system.data_dir), "PYTHONUNBUFFERED": "1"}
    return variables


def application(system: System, *, with_web: bool = True, with_beat: bool = True) -> tuple[Child, ...]:
    """The web process, the workers and beat."""
    names = [*(["web"] if with_web else []), *WORKER_QUEUES, *(["beat"] if with_beat else [])]
    commands = {"web": web_command(port=system.port), "beat": beat_command()}
    commands |= {name: worker_command(name) for name in WORKER_QUEUES}
    return tuple(
        Child(
            name=name,
            command=commands[name],
            environment=environment_of(name, system),
            directory=BASE_DIR,
            is_ready=_web_answers(system) if name == "web" else _announced(name, system.data_dir),
        )
        for name in names
    )


def web_command(*, port: int) -> tuple[str, ...]:
    options = ("--interface", "asginl", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", "--no-ws")
    # An open live-update stream would hold a stopping server up for ever without the kill timeout.
    stopping = ("--respawn-failed-workers", "--workers-kill-timeout", "3")
    return (sys.executable, "-m", "granian", *options, *stopping, "nija.asgi:application")


def worker_command(name: str) -> tuple[str, ...]:
    # Threads, not processes: on one machine memory is dearer, and the work is waiting for HTTP.
    pool = ("-n", f"{name}@%h", "-Q", WORKER_QUEUES[name], "-P", "threads", "-c", str(THREADS))
    alone = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    return (sys.executable, "-m", "nija.worker", *pool, *alone)


def beat_command() -> tuple[str, ...]:
    return (sys.executable, "-m", "celery", "-A", "nija", "beat", "--pidfile", "")


def redis_server(*, command: tuple[str, ...], socket: Path, data_dir: Path, environment: Mapping[str, str]) -> Child:
    return Child(
        name="redis",
        command=command,
        environment=bystander_environment(environment),
        directory=data_dir,
        is_ready=lambda _pid: _redis_answers(socket),
        stop_stage=LAST_TO_STOP,
    )


def paper_exchange(*, port: int, data_dir: Path, environment: Mapping[str, str]) -> Child:
    place = ("--port", str(port), "--state", str(data_dir / "paper.sqlite3"))
    # The limits of an ordinary account, so that the demo trades under them.
    options = (*place, "--market", "demo", "--rate-tier", "intermediate")
    return Child(
        name="paper",
        command=(sys.executable, "-m", "trading.paper.server", *options),
        environment=bystander_environment(environment),
        directory=BASE_DIR,
        is_ready=lambda _pid: _answers(f"http://127.0.0.1:{port}/0/public/Time", {}),
        stop_stage=LAST_TO_STOP,
    )


def bystander_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """For a process that needs nothing of ours: no address, no key."""
    needed = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE")
    return {name: environment[name] for name in needed if name in environment} | {"PYTHONUNBUFFERED": "1"}


def _announced(name: str, data_dir: Path) -> Callable[[int], bool]:
    return lambda pid: readiness.is_ready(data_dir=data_dir, name=name, pid=pid)


def _web_answers(system: System) -> Callable[[int], bool]:
    return lambda _pid: _answers(f"http://127.0.0.1:{system.port}/health/", {"Host": system.host})


def _answers(url: str, headers: Mapping[str, str]) -> bool:
    with requests.Session() as session:
        # A proxy of the user's is for the outside world.
        session.trust_env = False
        try:
            return session.get(url, headers=dict(headers), timeout=ANSWER_TIMEOUT_S).status_code == 200
        except requests.RequestException:
            return False


def _redis_answers(socket: Path) -> bool:
    try:
        with redis.Redis(unix_socket_path=str(socket), socket_timeout=ANSWER_TIMEOUT_S) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False
