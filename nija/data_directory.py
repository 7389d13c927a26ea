"""The directory in which `manage.py up` keeps everything: database, secrets, sockets, logs. Standard library only."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nija.environment import LOCK_FILE, RUNTIME_FILE

#: Linux allows 107 bytes for a unix socket's path, macOS 103.
SOCKET_PATH_MAX = 100
#: Room for the database, the append-only file and the logs to grow while somebody notices.
FREE_BYTES_MIN = 100_000_000
#: The watcher of a killed `up` needs this long to end what is left.
LOCK_PATIENCE_S = 8.0


class Refused(Exception):
    """This system cannot start; the text is a sentence for the user."""


class DataDirectory:
    """Private to its user (0700), as is every file written here (0600). Raises Refused where it cannot be used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o700)
            for name in ("logs", "ready", "valkey", "mail"):
                (path / name).mkdir(exist_ok=True)
        except OSError as error:
            raise Refused(f"The data directory {path} cannot be used: {error.strerror}.") from error
        free = shutil.disk_usage(path).free
        if free < FREE_BYTES_MIN:
            raise Refused(
                f"The disk that holds {path} is full: {free // 1_000_000} MB are free, "
                f"{FREE_BYTES_MIN // 1_000_000} MB are needed."
            )

    def lock(self) -> int:
        """File descriptor of the held lock. Raises Refused when another `up` runs here."""
        descriptor = os.open(self.path / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + LOCK_PATIENCE_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return descriptor
            except BlockingIOError:
                runtime = self.read_json(RUNTIME_FILE)
                if _is_alive(int(runtime.get("pid", 0))) or time.monotonic() > deadline:
                    where = f" at {runtime['url']}" if "url" in runtime else ""
                    raise Refused(f"NIJA is already running{where} with the data in {self.path}.") from None
                time.sleep(0.1)

    def read_json(self, name: str) -> dict[str, Any]:
        """Content of a file of ours; empty when there is none. Raises Refused when it is damaged."""
        try:
            text = (self.path / name).read_text()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise Refused(f"{self.path / name} cannot be read: {error.strerror}.") from error
        try:
            content: dict[str, Any] = json.loads(text)
        except ValueError:
            raise Refused(f"{self.path / name} is damaged; restore it from a backup.") from None
        return content

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Whole or not at all, readable by its user only. Raises Refused when the disk is full."""
        temporary = self.path / f".{name}.new"
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump(content, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path / name)
        except OSError as error:
            raise Refused(f"{self.path / name} cannot be written: {error.strerror}.") from error

    def claim_venue(self, venue: str) -> None:
        """Ties the directory to a venue at its first start. Raises Refused on another one."""
        known = self.read_json("venue.json").get("venue")
        if known is None:
            self.write_json("venue.json", {"venue": venue})
        elif known != venue:
            raise Refused(
                f"The data in {self.path} belong to {known}, not to {venue}: "
                "set NIJA_DATA_DIR to another directory, or KRAKEN_API_URL back."
            )

    def socket_dir(self) -> Path:
        """Where sockets go: here, or where the path would be too long or hold signs that no URL can carry, in a short
        private directory that is recorded here and used again."""
        if len(os.fsencode(self.path / "redis.sock")) <= SOCKET_PATH_MAX and re.fullmatch(r"[\w./-]+", str(self.path)):
            return self.path
        recorded = self.read_json("sockets.json").get("directory", "")
        if recorded and _is_private(Path(recorded)):
            return Path(recorded)
        base = tempfile.gettempdir()
        directory = Path(tempfile.mkdtemp(prefix="nija-", dir=base if len(base) < SOCKET_PATH_MAX // 2 else "/tmp"))  # noqa: S108
        self.write_json("sockets.json", {"directory": str(directory)})
        return directory

    def remembered_port(self, name: str) -> int:
        """A free port of 127.0.0.1, the same one at every start as long as nothing else takes it."""
        ports = self.read_json("ports.json")
        if name not in ports or not port_is_free(int(ports[name])):
            ports[name] = free_port()
            self.write_json("ports.json", ports)
        return int(ports[name])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def port_is_free(port: int) -> bool:
    """Raises PermissionError for one that this user may not have."""
    with socket.socket() as probe:
        # As the server does it, so that connections of a stopped one that still linger do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError:
            raise
        except OSError:
            return False
    return True


def _is_private(directory: Path) -> bool:
    try:
        status = directory.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077


def _is_alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
