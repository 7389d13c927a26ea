"""The real processes (web, workers, beat) against a given database, Redis and exchange, for functional tests."""

from __future__ import annotations

import os
import secrets
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from accounts.services import vault_keys
from nija import processes
from nija.data_directory import DataDirectory, free_port
from nija.supervisor import Child, Supervisor

READY_TIMEOUT_S = 120
STOP_GRACE_S = 4


class Stack:
    """`with Stack(...) as stack:` returns when every process answers. Uses nija.processes, so there is no second list.

    The database must be migrated. `extra` adds or overrides environment variables of every process;
    `altered` may start a process in another way than `up` does.
    """

    def __init__(
        self,
        *,
        database_url: str,
        redis_url: str,
        kraken_api_url: str,
        data_dir: Path,
        with_web: bool = True,
        extra: Mapping[str, str] | None = None,
        altered: Callable[[Child], Child] = lambda child: child,
    ) -> None:
        public, private = _vault_keys()
        self.data_dir = DataDirectory(data_dir).path
        self.port = free_port()
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ},
            "NIJA_ENV": "development",
            "SECRET_KEY": os.environ.get("SECRET_KEY") or secrets.token_urlsafe(48),
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "KRAKEN_API_URL": kraken_api_url,
            "NIJA_VAULT_PUBLIC_KEY": public,
            "ALLOWED_HOSTS": "127.0.0.1,localhost",
            "LIVE_TRADING": "false",
            "EMAIL_URL": "",
            "PORT": str(self.port),
            **(extra or {}),
        }
        self._system = processes.System(
            environment=environment, private_key=private, data_dir=self.data_dir, port=self.port
        )
        self._with_web = with_web
        self._altered = altered
        self._supervisor: Supervisor | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Stack:
        self._supervisor = Supervisor(log_dir=self.data_dir / "logs", say=_say)
        try:
            children = processes.application(self._system, with_web=self._with_web)
            self._supervisor.start(self._altered(child) for child in children)
            self._supervisor.wait_ready(timeout_s=READY_TIMEOUT_S)
        except BaseException:
            self._supervisor.stop(grace_s=STOP_GRACE_S)
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        assert self._supervisor is not None
        self._supervisor.stop(grace_s=STOP_GRACE_S)

    def pid(self, name: str) -> int | None:
        """Process id of one process, None between its death and its restart."""
        assert self._supervisor is not None
        return self._supervisor.pid(name)

    def kill(self, name: str) -> int:
        """SIGKILLs one process, which the supervisor then starts again; returns the process id that died."""
        pid = self.pid(name)
        assert pid is not None, f"{name} is not running"
        os.kill(pid, signal.SIGKILL)
        return pid

    def environment(self, name: str) -> dict[str, str]:
        """What a process of this name would be given, for a shell command beside the stack."""
        return processes.environment_of(name, self._system)

    def wait_ready(self) -> None:
        assert self._supervisor is not None
        self._supervisor.wait_ready(timeout_s=READY_TIMEOUT_S)

    def log(self, name: str) -> str:
        return (self.data_dir / "logs" / f"{name}.log").read_text(errors="replace")


def database_url() -> str:
    """URL of the database that the current test uses; the test must be `django_db(transaction=True)`."""
    from django.db import connection

    settings = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{settings['NAME']}"
    address = f"{settings['USER']}:{settings['PASSWORD']}@{settings['HOST']}:{settings['PORT']}"
    return f"postgres://{address}/{settings['NAME']}"


def _vault_keys() -> tuple[str, str]:
    """Those of this test process, so that keys sealed by a test open in the stack."""
    from django.conf import settings

    if settings.NIJA_VAULT_PRIVATE_KEY:
        return settings.NIJA_VAULT_PUBLIC_KEY, settings.NIJA_VAULT_PRIVATE_KEY
    return vault_keys.generate_key_pair()


def _say(text: str) -> None:
    print(f"stack: {text}", file=sys.stderr)
