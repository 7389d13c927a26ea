"""Completes the environment before settings read it: the file .env, and the running system that a second shell means."""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import MutableMapping
from pathlib import Path

import environ

#: Written by `manage.py up` into its data directory: what another shell needs, never the vault's private key.
RUNTIME_FILE = "runtime.json"
LOCK_FILE = "up.lock"
DEMO_DIR = "demo"
#: With all of these set the environment is complete, and no data directory is asked.
DECIDED_BY = ("SECRET_KEY", "DATABASE_URL", "REDIS_URL")


def load(base_dir: Path) -> None:
    """Adds .env and then the running system's environment to os.environ; what is already set always wins."""
    read_dotenv(base_dir)
    if not os.environ.get("NIJA_PROCESS"):
        adopt_running(os.environ, base_dir=base_dir)


def written() -> dict[str, str]:
    """The environment as settings read it: a blank value, as in `DATABASE_URL=`, is as if the line were not there."""
    return {name: value for name, value in os.environ.items() if value.strip()}


def read_dotenv(base_dir: Path) -> None:
    if (base_dir / ".env").is_file():
        environ.Env.read_env(str(base_dir / ".env"))


def adopt_running(variables: MutableMapping[str, str], *, base_dir: Path) -> Path | None:
    """Fills what is unset from the data directory of an `up`, and returns that directory.

    With NIJA_DATA_DIR set only that directory counts. Without it: the ordinary one when it runs, the demo's when it runs
    (said on standard error), the ordinary one as it was last run; that not for an installation that has a key or database of its
    own, which an old trial in the same folder must not turn into a development one.
    """
    if all(variables.get(name) for name in DECIDED_BY):
        return None
    named = variables.get("NIJA_DATA_DIR", "")
    ordinary, demo = base_dir / ".nija", base_dir / ".nija" / DEMO_DIR
    ended = [] if any(variables.get(name) for name in ("SECRET_KEY", "DATABASE_URL")) else [ordinary]
    candidates = [Path(named)] if named else [*filter(is_running, (ordinary, demo)), *ended]
    for directory in candidates:
        runtime = _read(directory / RUNTIME_FILE)
        if runtime is None:
            continue
        if directory == demo and not named:
            print(f"nija: using the running demo in {directory}", file=sys.stderr)
        for name, value in {**runtime, "NIJA_DATA_DIR": str(directory.absolute())}.items():
            if not variables.get(name):
                variables[name] = value
        return directory
    return None


def is_running(directory: Path) -> bool:
    """True while an `up` holds this data directory (or what it left is still being ended)."""
    try:
        with (directory / LOCK_FILE).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _read(path: Path) -> dict[str, str] | None:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict):
        return None
    return {str(name): str(value) for name, value in content.get("environment", {}).items()}
