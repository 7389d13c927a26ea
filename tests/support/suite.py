"""`make test` after the bootstrap: style, types, contracts, then all tests on PostgreSQL but those of whole systems.

`make system` runs these, and on SQLite what depends on the database. Run as `python -m tests.support.suite [--lint-only | --system]
[pytest arguments]`. Stops at the first step that fails.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from accounts.services import vault_keys
from tests.support import browser, postgres

BASE_DIR = Path(__file__).resolve().parents[2]
WORKERS = 2
#: What the two databases might answer differently: who waits for whom, sums and comparisons of exact decimals, every
#: statement of `check_books`. All other tests run on PostgreSQL, where real money needs it; `up` is tested on SQLite there too.
ALSO_ON_SQLITE = tuple(
    f"tests/functional/test_{name}.py" for name in ("golden_numbers", "stop", "lanes", "check_books")
)
#: Of the caller's environment, these are not for the tests: importing nija named its settings, and they have their own.
OURS = frozenset({"DATABASE_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE"})


class StepFailed(Exception):
    """The text is a sentence; what went wrong was printed above it."""


def say(text: str) -> None:
    print(f"\n== {text}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str]) -> int:
    lint_only, system = "--lint-only" in arguments, "--system" in arguments
    rest = [argument for argument in arguments if argument not in ("--lint-only", "--system")]
    # A plain kill must still remove the database cluster.
    signal.signal(signal.SIGTERM, _end)
    started = time.monotonic()
    try:
        if not system:
            lint()
        if not lint_only:
            run_tests(rest, system=system)
    except (StepFailed, postgres.NoPostgres, browser.NoBrowser) as error:
        print(f"nija: {error}", file=sys.stderr)
        return 1
    if lint_only:
        say(f"all clean after {time.monotonic() - started:.0f} s")
    return 0


def lint() -> None:
    python = sys.executable
    contracts = "import sys; from importlinter.cli import lint_imports_command as c; sys.argv[0] = 'lint-imports'; c()"
    step("ruff check", [python, "-m", "ruff", "check", "--quiet", "."])
    step("ruff format", [python, "-m", "ruff", "format", "--check", "--quiet", "."])
    step("import contracts", [python, "-c", contracts])
    with tempfile.TemporaryDirectory(prefix="nija-lint-") as directory:
        own = {"NIJA_DATA_DIR": directory, "NIJA_PROCESS": "lint"}
        development = {**os.environ, **own, "NIJA_ENV": "development"}
        step("mypy", [python, "-m", "mypy"], environment=development)
        makemigrations = [python, "manage.py", "makemigrations", "--check", "--dry-run"]
        step("migrations are complete", makemigrations, environment=development)
        deploy = [python, "-W", "ignore", "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
        step("check --deploy with production settings", deploy, environment=_production(Path(directory)))


def _production(directory: Path) -> dict[str, str]:
    return {
        **os.environ,
        "NIJA_ENV": "production",
        "NIJA_PROCESS": "web",
        "NIJA_DATA_DIR": str(directory),
        "SECRET_KEY": secrets.token_urlsafe(64),
        "ALLOWED_HOSTS": "nija.example",
        "CSRF_TRUSTED_ORIGINS": "https://nija.example",
        "DATABASE_URL": "postgres://nija@db.example/nija",
        "REDIS_URL": "redis://redis.example:6379/0",
        "EMAIL_URL": "smtp://mail.example:25",
        "NIJA_VAULT_PUBLIC_KEY": vault_keys.generate_key_pair()[0],
        "NIJA_VAULT_PRIVATE_KEY": "",
        "KRAKEN_API_URL": "https://api.kraken.com",
        "LIVE_TRADING": "false",
    }


def run_tests(arguments: Sequence[str], *, system: bool) -> None:
    """On PostgreSQL last, so that its summary is what is printed last. `arguments` are for pytest there."""
    environment = {name: value for name, value in os.environ.items() if name not in OURS}
    # A worker that is done takes over from one that still has long tests before it.
    pytest = [sys.executable, "-m", "pytest", "--durations=10", "-n", str(WORKERS), "--dist", "worksteal"]
    if system:
        environment[browser.VARIABLE] = browser.provide(say)
        step("what depends on the database, on SQLite", [*pytest, *ALSO_ON_SQLITE], environment=environment)
    with postgres.provided(say) as url:
        environment["DATABASE_URL"] = url
        name, marked = ("tests of whole systems", "system") if system else ("all other tests", "not system")
        step(f"{name}, on PostgreSQL", [*pytest, "-m", marked, *arguments], environment=environment)


def step(
    name: str,
    command: Sequence[str],
    *,
    environment: dict[str, str] | None = None,
) -> None:
    """Raises StepFailed."""
    say(name)
    status = subprocess.run(command, cwd=BASE_DIR, env=environment, check=False).returncode
    if status != 0:
        raise StepFailed(f"{name}: failed.")


def _end(_number: int, _frame: FrameType | None) -> None:
    sys.exit(1)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("nija: stopped", file=sys.stderr)
        sys.exit(130)
