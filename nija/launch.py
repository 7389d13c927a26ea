"""`manage.py up`: prepares a data directory and an environment, then runs every process until told to stop.

Runs before Django's settings are read, since it decides the environment they are read from.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import secrets
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

from nija import data_directory, environment, processes, valkey
from nija.data_directory import DataDirectory, Refused
from nija.supervisor import GaveUp, Supervisor

DEFAULT_PORT = "8000"
KRAKEN_URL = "https://api.kraken.com"
PAPER_VENUE = "paper"
READY_TIMEOUT_S = 90.0
STOP_GRACE_S = 3.0
REDIS_TIMEOUT_S = 5
SECRETS_FILE = "secrets.json"
#: What another shell needs to use the running system.
SHARED_VARIABLES = (
    "NIJA_ENV",
    "DATABASE_URL",
    "REDIS_URL",
    "KRAKEN_API_URL",
    "NIJA_VENUE",
    "LIVE_TRADING",
    "ENTRY_BLOCKING",
    "COPY_TRADING_MODE",
    "PORT",
    "SECRET_KEY",
    "ALLOWED_HOSTS",
    "NIJA_VAULT_PUBLIC_KEY",
)


class StopRequested(BaseException):
    """Ctrl-C or SIGTERM."""


@dataclass(frozen=True)
class Options:
    demo: bool
    port: str | None


@dataclass(frozen=True)
class Prepared:
    """A locked data directory; os.environ holds everything but the private key."""

    data: DataDirectory
    lock: int
    port: int
    paper_port: int | None
    redis_socket: Path | None
    private_key: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--demo", action="store_true", help="with a paper exchange and demo accounts of its own")
    parser.add_argument("--port", help=f"port of the pages on 127.0.0.1; 0 takes a free one (default {DEFAULT_PORT})")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="manage.py up", description="Runs every process of NIJA in the foreground.")
    add_arguments(parser)
    parsed = parser.parse_args(arguments)
    return start(Options(demo=parsed.demo, port=parsed.port))


def start(options: Options) -> int:
    """Exit status: 0 after Ctrl-C or SIGTERM, 1 with a sentence on standard error when it cannot start or go on."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Under nohup the end of the terminal is none of ours.
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _request_stop)
    try:
        _run(options)
    except StopRequested:
        say("stopped")
        return 0
    except (Refused, GaveUp) as error:
        say(str(error))
        return 1


def say(text: str) -> None:
    # Whoever listened may be gone, or the disk full; the processes are looked after all the same.
    with contextlib.suppress(OSError, ValueError):
        print(f"nija: {text}", file=sys.stderr, flush=True)


def prepare(options: Options) -> Prepared:
    """Decides everything and fills os.environ. Raises Refused."""
    base_dir = processes.BASE_DIR
    environment.read_dotenv(base_dir)
    for name in processes.MISLEADING_VARIABLES:
        os.environ.pop(name, None)
    os.environ["NIJA_ENV"] = os.environ.get("NIJA_ENV") or "development"
    ordinary = base_dir / ".nija"
    path = Path(os.environ.get("NIJA_DATA_DIR") or (ordinary / environment.DEMO_DIR if options.demo else ordinary))
    os.umask(0o077)
    data = DataDirectory(path.absolute())
    lock = data.lock()
    os.environ |= {"NIJA_DATA_DIR": str(data.path), "NIJA_PROCESS": "up"}
    port = _choose_port(options.port or os.environ.get("PORT") or DEFAULT_PORT)
    os.environ["PORT"] = str(port)
    # After everything that may refuse this start: the venue is written down for good.
    _choose_venue(data, demo=options.demo)
    paper_port = data.remembered_port("paper") if options.demo else None
    if paper_port is not None:
        os.environ["KRAKEN_API_URL"] = f"http://127.0.0.1:{paper_port}"
    private_key = _load_secrets(data)
    redis_socket = None
    if not os.environ.get("REDIS_URL"):
        redis_socket = data.socket_dir() / "redis.sock"
        os.environ["REDIS_URL"] = f"unix://{redis_socket}"
    prepared = Prepared(data, lock, port, paper_port, redis_socket, private_key)
    shared = {name: os.environ[name] for name in SHARED_VARIABLES if os.environ.get(name)}
    data.write_json(environment.RUNTIME_FILE, {"pid": os.getpid(), "url": prepared.url, "environment": shared})
    return prepared


def _choose_venue(data: DataDirectory, *, demo: bool) -> None:
    if demo:
        # Paper money only, whatever the caller's environment says about the real exchange.
        os.environ |= {"NIJA_VENUE": PAPER_VENUE, "LIVE_TRADING": "false"}
        data.claim_venue(PAPER_VENUE)
    else:
        os.environ.pop("NIJA_VENUE", None)
        data.claim_venue(os.environ.get("KRAKEN_API_URL", "").rstrip("/") or KRAKEN_URL)


def _load_secrets(data: DataDirectory) -> str:
    """The private key; the other secrets go to os.environ. Those of the environment win, the rest is generated once."""
    from accounts.services import vault_keys

    given = [bool(os.environ.get(name)) for name in ("NIJA_VAULT_PUBLIC_KEY", processes.PRIVATE_KEY)]
    if any(given) and not all(given):
        raise Refused("Set NIJA_VAULT_PUBLIC_KEY and NIJA_VAULT_PRIVATE_KEY both, or neither.")
    kept = data.read_json(SECRETS_FILE)
    if not kept:
        public, private = vault_keys.generate_key_pair()
        kept = {
            "SECRET_KEY": secrets.token_urlsafe(64),
            "NIJA_VAULT_PUBLIC_KEY": public,
            processes.PRIVATE_KEY: private,
        }
        data.write_json(SECRETS_FILE, kept)
    # Taken out of this process's environment, so that only the children meant to have it inherit it.
    private_key = os.environ.pop(processes.PRIVATE_KEY, "") or str(kept[processes.PRIVATE_KEY])
    os.environ[processes.PRIVATE_KEY] = ""
    for name in ("SECRET_KEY", "NIJA_VAULT_PUBLIC_KEY"):
        if not os.environ.get(name):
            os.environ[name] = str(kept[name])
    return private_key


def _choose_port(text: str) -> int:
    if not text.isdecimal() or not 0 <= int(text) <= 65_535:
        raise Refused(f"The port {text} is not a number from 0 to 65535.")
    port = int(text) or data_directory.free_port()
    try:
        is_free = data_directory.port_is_free(port)
    except PermissionError:
        raise Refused(f"Port {port} needs more rights than you have here: choose one from 1024 on.") from None
    if not is_free:
        raise Refused(
            f"Port {port} of 127.0.0.1 is in use: stop what uses it, or choose another port with --port or PORT."
        )
    return port


def _run(options: Options) -> NoReturn:
    prepared = prepare(options)
    say(f"starting, with the data in {prepared.data.path}")
    supervisor = Supervisor(log_dir=prepared.data.path / "logs", say=say, lock_fd=prepared.lock)
    try:
        _start_bystanders(supervisor, prepared)
        _migrate()
        if prepared.redis_socket is None:
            _require_redis()
        supervisor.wait_ready(timeout_s=READY_TIMEOUT_S)
        system = _system(prepared)
        children = processes.application(system)
        supervisor.start(child for child in children if child.name != "beat")
        supervisor.wait_ready(timeout_s=READY_TIMEOUT_S)
        if options.demo:
            # Without beat nothing trades yet.
            _make_history(prepared, system)
        supervisor.start(child for child in children if child.name == "beat")
        supervisor.wait_ready(timeout_s=READY_TIMEOUT_S)
        if options.demo:
            _load_demo(prepared)
        say(f"ready at {prepared.url} (Ctrl-C stops it)")
        print(json.dumps({"ready": True, "url": prepared.url}), flush=True)
        supervisor.run()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        supervisor.stop(grace_s=STOP_GRACE_S)


def _start_bystanders(supervisor: Supervisor, prepared: Prepared) -> None:
    """The Redis-compatible server and the paper exchange, where they are ours to run."""
    if prepared.redis_socket is not None:
        try:
            server = valkey.binary(installed_too=os.environ.get("NIJA_TEST_BARE") != "1")
        except valkey.NoServerFound as error:
            raise Refused(str(error)) from error
        directory = prepared.data.path / "valkey"
        command = valkey.command(server, socket=prepared.redis_socket, data_dir=directory)
        supervisor.start(
            [
                processes.redis_server(
                    command=command, socket=prepared.redis_socket, data_dir=directory, environment=os.environ
                )
            ]
        )
    if prepared.paper_port is not None:
        supervisor.start(
            [processes.paper_exchange(port=prepared.paper_port, data_dir=prepared.data.path, environment=os.environ)]
        )


def _migrate() -> None:
    """Brings the database up to date and makes sure it is of this venue. Raises Refused."""
    import django
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import call_command
    from django.core.management.base import SystemCheckError
    from django.db import DatabaseError, connection

    say("bringing the database up to date")
    try:
        django.setup()
        call_command("check", tags=["security"], stdout=io.StringIO())
        call_command("migrate", verbosity=0, interactive=False, stdout=sys.stderr)
        _refuse_foreign_database()
    except (ImproperlyConfigured, SystemCheckError) as error:
        raise Refused(str(error)) from error
    except DatabaseError as error:
        raise Refused(f"The database does not answer as it should: {str(error).strip()}") from error
    finally:
        # Settings that cannot be read have opened no connection.
        if settings.configured:
            connection.close()


def _require_redis() -> None:
    """Raises Refused when the Redis of REDIS_URL does not answer; its address may hold a password, so it is not said."""
    import redis
    from django.conf import settings

    try:
        with redis.Redis.from_url(settings.REDIS_CLIENT_URL, socket_connect_timeout=REDIS_TIMEOUT_S) as client:
            client.ping()
    except redis.RedisError as error:
        raise Refused(f"The Redis server of REDIS_URL does not answer: {error}") from error
    except ValueError:
        raise Refused("REDIS_URL cannot be read.") from None


def _refuse_foreign_database() -> None:
    from django.conf import settings

    from trading.models import Account

    other = Account.objects.exclude(venue=settings.VENUE).values_list("venue", flat=True).first()
    if other is not None:
        raise Refused(f"The accounts in this database belong to {other}, not to {settings.VENUE}.")


def _system(prepared: Prepared) -> processes.System:
    from django.conf import settings

    hosts = [host.lstrip(".") for host in settings.ALLOWED_HOSTS if host != "*"]
    return processes.System(
        environment=dict(os.environ),
        private_key=prepared.private_key,
        data_dir=prepared.data.path,
        port=prepared.port,
        host="127.0.0.1" if not hosts or "127.0.0.1" in hosts else hosts[0],
    )


def _make_history(prepared: Prepared, system: processes.System) -> None:
    from django.db import connection

    from nija import demo_process

    wanted = demo_process.is_wanted()
    connection.close()
    if wanted:
        say("making the demo's history")
        environment_of_keys = processes.environment_of("execution", system)
        log = prepared.data.path / "logs" / "history.log"
        demo_process.start_and_wait(environment=environment_of_keys, log=log, say=say)


def _load_demo(prepared: Prepared) -> None:
    from django.db import connection

    from nija import demo

    say("preparing the demo's accounts")
    demo.load(data=prepared.data, paper_url=os.environ["KRAKEN_API_URL"], say=say)
    connection.close()


def _request_stop(_number: int, _frame: FrameType | None) -> None:
    raise StopRequested
