"""`make run`, `make test`, `make lint`, `make replay` and their like on a machine that has only Python: makes .venv, installs, hands over.

Run as a script by any Python 3; standard library only, and nothing newer than Python 3.8 in this file, so that an old one can
still say what is missing.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

BASE_DIR = Path(__file__).resolve().parent.parent
VENV_DIR = BASE_DIR / ".venv"
CACHE_DIR = BASE_DIR / ".cache"
MINIMUM = (3, 11)
#: The versions this set of packages was tried with come first; the newest known to have wheels for all of it is the last.
CANDIDATES = ("python3.11", "python3.12", "python3.13", "python3")
#: What each task installs, and the free disk it needs for that, in megabytes.
RUNTIME, TESTS = "requirements.txt", "tests/requirements-dev.txt"
REQUIREMENTS: dict[str, tuple[str, ...]] = {
    "run": (RUNTIME,),
    "test": (RUNTIME, TESTS),
    "system": (RUNTIME, TESTS),
    "lint": (RUNTIME, TESTS),
    "replay": (RUNTIME, TESTS),
    "bench": (RUNTIME, TESTS),
    "bench-background": (RUNTIME, TESTS),
    "bench-backtest": (RUNTIME,),
    "bench-pages": (RUNTIME, TESTS),
    "chaos": (RUNTIME, TESTS),
    "simulate": (RUNTIME, TESTS),
    "nonces": (RUNTIME, TESTS),
    "mutants": (RUNTIME, TESTS),
}
DISK_MB = {
    "run": 700,
    "test": 2000,
    "system": 2000,
    "lint": 1500,
    "replay": 4000,
    "bench": 2000,
    "bench-background": 2000,
    "bench-backtest": 700,
    "bench-pages": 4000,
    "chaos": 2000,
    "simulate": 1500,
    "nonces": 2000,
    "mutants": 2000,
}
#: An installed environment and its data grow little.
DISK_INSTALLED_MB = 150
SAY_EVERY_S = 5.0

#: Of the caller's, they would make Python or pip look or install elsewhere.
MISLEADING_PREFIXES = ("PYTHON", "CONDA_", "UV_PROJECT", "DJANGO_", "COVERAGE_", "PYTEST_")
MISLEADING = frozenset(
    {
        "VIRTUAL_ENV",
        "PIP_TARGET",
        "PIP_PREFIX",
        "PIP_ROOT",
        "PIP_PYTHON",
        "PIP_REQUIRE_VIRTUALENV",
        "PIP_REQUIREMENT",
        "PIP_CONSTRAINT",
        "PIP_DRY_RUN",
        "PIP_NO_DEPS",
        "PIP_IGNORE_INSTALLED",
        "UV_PYTHON",
        "UV_SYSTEM_PYTHON",
        "UV_TARGET",
        "__PYVENV_LAUNCHER__",
    }
)


class CannotGoOn(Exception):
    """The text is a sentence for the user."""


def say(text: str) -> None:
    print("nija: " + text, file=sys.stderr, flush=True)


def clean_environment(variables: dict[str, str]) -> dict[str, str]:
    """A copy without what would lead Python or pip away from .venv; indexes, certificates and proxies stay."""
    kept = {
        name: value
        for name, value in variables.items()
        if name not in MISLEADING and not name.startswith(MISLEADING_PREFIXES)
    }
    # Set, not removed: a pip.conf may hold `user = true`.
    kept.update(PIP_USER="0", PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_NO_INPUT="1")
    return kept


def version_of(python: str) -> tuple[int, int] | None:
    """Version of an interpreter that really starts (a shim may not), None otherwise."""
    code = "import sys; print(*sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, timeout=30, check=False)
        major, minor = done.stdout.split()
        return int(major), int(minor)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def find_python(names: Sequence[str] = CANDIDATES) -> str:
    """A Python that is new enough and can make virtual environments. Raises CannotGoOn with what to install."""
    seen: list[tuple[int, int]] = []
    incomplete: list[tuple[int, int]] = []
    for name in names:
        path = shutil.which(name)
        version = version_of(path) if path else None
        if path is None or version is None:
            continue
        seen.append(version)
        if version < MINIMUM:
            continue
        if can_make_environments(path):
            return path
        incomplete.append(version)
    if incomplete:
        package = "python{}.{}-venv".format(*incomplete[0])
        raise CannotGoOn(
            f"Python cannot make virtual environments here: install {package} (Debian: apt install {package})."
        )
    found = f"; found is {'.'.join(map(str, max(seen)))}" if seen else ""
    raise CannotGoOn(f"Python 3.11 or newer is needed{found} (Debian: apt install python3 python3-venv).")


def can_make_environments(python: str) -> bool:
    command = [python, "-I", "-c", "import ensurepip, venv"]
    return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0


def stamp_of(task: str, version: tuple[int, int]) -> str:
    """Changes with the Python version, the place of .venv and every requirement."""
    digest = hashlib.sha256(f"{version} {VENV_DIR}".encode())
    for name in REQUIREMENTS[task]:
        digest.update((BASE_DIR / name).read_bytes())
    return digest.hexdigest()


def stamp_file(task: str) -> Path:
    return VENV_DIR / f"nija-installed-{'tests' if TESTS in REQUIREMENTS[task] else 'run'}"


def is_installed(task: str) -> bool:
    """True when .venv works and holds what the task needs; the tests' set includes what running needs."""
    version = version_of(str(VENV_DIR / "bin" / "python"))
    if version is None:
        return False
    for kind in ("test", task):
        try:
            if stamp_file(kind).read_text() == stamp_of(kind, version):
                return True
        except OSError:
            continue
    return False


def check_disk(megabytes: int) -> None:
    free = shutil.disk_usage(BASE_DIR).free // 1_000_000
    if free < megabytes:
        raise CannotGoOn(f"The disk is too full: {free} MB are free in {BASE_DIR}, {megabytes} MB are needed.")


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Two shells may run make at once; the second one waits for the first one's installation."""
    CACHE_DIR.mkdir(exist_ok=True)
    with (CACHE_DIR / "install.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("waiting for another installation in this directory")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def install(task: str, environment: dict[str, str]) -> None:
    """Makes .venv hold the task's requirements; an environment that does not start is made anew."""
    python = str(VENV_DIR / "bin" / "python")
    version = version_of(python)
    if version is None or version < MINIMUM:
        base = find_python()
        say(f"making .venv with Python {'.'.join(map(str, version_of(base) or MINIMUM))}")
        run_with_progress("making .venv", [base, "-I", "-m", "venv", "--clear", str(VENV_DIR)], environment)
    arguments = [part for name in REQUIREMENTS[task] for part in ("-r", str(BASE_DIR / name))]
    uv = shutil.which("uv")
    what = f"installing {' and '.join(REQUIREMENTS[task])}"
    if uv is not None:
        with contextlib.suppress(CannotGoOn):
            run_with_progress(what + " with uv", [uv, "pip", "install", "--python", python, *arguments], environment)
            return
        say("uv could not install; trying pip")
    if subprocess.run([python, "-m", "pip", "--version"], capture_output=True, env=environment, check=False).returncode:
        run_with_progress("adding pip", [python, "-m", "ensurepip"], environment)
    run_with_progress(what, [python, "-m", "pip", "install", *arguments], environment)


def run_with_progress(what: str, command: list[str], environment: dict[str, str]) -> None:
    """Runs quietly but for a line with the elapsed seconds. Raises CannotGoOn with the end of its output."""
    started = said = time.monotonic()
    log_path = CACHE_DIR / "install.log"
    say(what)
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=str(BASE_DIR)
        )
        while process.poll() is None:
            time.sleep(0.1)
            if time.monotonic() - said >= SAY_EVERY_S:
                said = time.monotonic()
                say(f"{what}: {said - started:.0f} s{latest_package(log_path)}")
    if process.returncode != 0:
        lines = log_path.read_text(errors="replace").strip().splitlines()
        for line in lines[-12:]:
            print("  " + line, file=sys.stderr)
        full = any("No space left" in line for line in lines) or shutil.disk_usage(BASE_DIR).free < 20_000_000
        reason = "the disk is full" if full else f"see {log_path}"
        raise CannotGoOn(f"{what} failed: {reason}.")
    say(f"{what}: done in {time.monotonic() - started:.0f} s")


def latest_package(log_path: Path) -> str:
    """What pip is at, from its output so far."""
    for line in reversed(log_path.read_text(errors="replace").splitlines()[-30:]):
        words = line.split()
        if len(words) > 1 and words[0] in ("Collecting", "Downloading", "Building"):
            return f", {words[1].split('/')[-1][:60]}"
        if line.startswith("Installing collected packages"):
            return ", unpacking"
    return ""


def hand_over(task: str, extra: Sequence[str], environment: dict[str, str]) -> NoReturn:
    python = str(VENV_DIR / "bin" / "python")
    command = {
        "run": [python, "manage.py", "up", "--demo", *extra],
        "test": [python, "-m", "tests.support.suite", *extra],
        "system": [python, "-m", "tests.support.suite", "--system", *extra],
        "lint": [python, "-m", "tests.support.suite", "--lint-only", *extra],
        "replay": [python, "-m", "tests.support.whole_replay", *extra],
        "bench": [python, "-m", "tests.benchmarks.fan_out", *extra],
        "bench-background": [python, "-m", "tests.benchmarks.background", *extra],
        "bench-backtest": [python, "-m", "tests.benchmarks.backtest", *extra],
        "bench-pages": [python, "-m", "tests.benchmarks.pages", *extra],
        "chaos": [python, "-m", "tests.chaos", *extra],
        "simulate": [python, "-m", "tests.simulation", *extra],
        "nonces": [python, "-m", "tests.nonces", *extra],
        "mutants": [python, "-m", "tests.mutants", *extra],
    }[task]
    os.chdir(BASE_DIR)
    sys.stdout.flush()
    os.execve(python, command, environment)


def main(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] not in REQUIREMENTS:
        print(
            f"usage: python3 nija/bootstrap.py {'|'.join(REQUIREMENTS)} [further arguments]",
            file=sys.stderr,
        )
        return 2
    task = arguments[0]
    environment = clean_environment(dict(os.environ))
    try:
        if is_installed(task):
            check_disk(DISK_INSTALLED_MB)
        else:
            if version_of(str(VENV_DIR / "bin" / "python")) is None:
                find_python()
            check_disk(DISK_MB[task])
            with one_at_a_time():
                install(task, environment)
                version = version_of(str(VENV_DIR / "bin" / "python")) or MINIMUM
                stamp_file(task).write_text(stamp_of(task, version))
    except CannotGoOn as error:
        say(str(error))
        return 1
    except OSError as error:
        say(f"{error.strerror or error}{f' ({error.filename})' if error.filename else ''}; nothing was started.")
        return 1
    hand_over(task, arguments[1:], environment)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        say("stopped")
        sys.exit(130)
