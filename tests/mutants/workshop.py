"""Copies of the source in which mutants are applied and judged, one at a time in each copy."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.catalogue import Mutant

BASE_DIR = Path(__file__).resolve().parents[2]
#: The caller's own database, broker and settings are not for mutants; the tests have theirs.
OURS = frozenset({"DATABASE_URL", "TEST_DATABASE_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE", "SEEDS", "SEED_START"})
#: A test's own limit, and the one of everything that is run for one mutant.
TEST_LIMIT_S = 90
LIMIT_S = 900.0
_FAILED = re.compile(r"^FAILED (\S+::.+?)(?: - .*)?$", re.MULTILINE)
_VIOLATED = re.compile(r"^(seed \d+: .*?)(?:   again: .*)?$", re.MULTILINE)
_TIMED_OUT = re.compile(r"Timeout \(>")
#: A bug that cannot even run shows nothing.
_BROKEN = re.compile(r"\b(NameError|ImportError|ModuleNotFoundError|SyntaxError|UnboundLocalError)\b")


class NoCheckout(Exception):
    """The text is a sentence."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended; `status` None: stopped at its time limit."""

    status: int | None
    output: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """`problem`: the run says nothing about the mutant, so the catalogue has to be put right."""

    mutant: Mutant
    caught_by: str
    problem: str
    seconds: float


def judge(mutant: Mutant, ended: Ended) -> Verdict:
    """Caught is a test that failed or a run that was violated, and nothing else: not a crash, not a collection error."""
    caught_by, problem = "", ""
    failed = (_VIOLATED if mutant.seeds else _FAILED).search(ended.output)
    if ended.status is None or (failed is not None and _TIMED_OUT.search(failed[0])):
        caught_by, problem = ("time limit", "") if mutant.may_hang else ("", "ran into the time limit")
    elif failed is not None and _BROKEN.search(failed[0]):
        problem = f"does not run: {failed[0][:200]}"
    elif failed is not None and ended.status != 0:
        caught_by = failed[1]
    elif ended.status != 0:
        problem = f"ended with status {ended.status} and no failed test"
    return Verdict(mutant, caught_by, problem, ended.seconds)


def copy_source(target: Path) -> None:
    """Every tracked file as it is in the checkout now, changes that are not committed included. Raises NoCheckout."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=BASE_DIR, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        raise NoCheckout(f"git names no files in {BASE_DIR}; mutants need a git checkout") from None
    for name in filter(None, listed.stdout.split("\0")):
        source = BASE_DIR / name
        if source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)


class Workshop:
    """One copy. `database_url` gives the PostgreSQL database of this copy's own, when a mutant needs one."""

    def __init__(self, place: Path, *, database_url: str = "") -> None:
        self.place, self.database_url = place / "source", database_url
        #: What is left by processes that were ended goes with the copy.
        self.scratch = place / "tmp"
        self.scratch.mkdir(parents=True)
        copy_source(self.place)
        self._running: subprocess.Popen[str] | None = None
        self._closed = False

    def try_out(self, mutant: Mutant) -> Verdict:
        path = self.place / mutant.path
        source = path.read_text()
        if source.count(mutant.old) != 1:
            return Verdict(mutant, "", f"{mutant.path} has its text {source.count(mutant.old)} times", 0)
        self._write(path, source.replace(mutant.old, mutant.new))
        try:
            if mutant.seeds:
                return judge(mutant, self.simulate(mutant.seeds))
            return judge(mutant, self.test(mutant.tests, postgres=mutant.postgres))
        finally:
            self._write(path, source)

    def test(self, tests: Sequence[str], *, postgres: bool, more: Sequence[str] = ()) -> Ended:
        """Stops at the first failure."""
        options = ["-x", "-q", "-p", "no:cacheprovider", f"--timeout={TEST_LIMIT_S}", *more]
        environment = {"DATABASE_URL": self.database_url} if postgres else {}
        return self._run([sys.executable, "-m", "pytest", *options, *tests], environment)

    def simulate(self, seeds: int, *, jobs: int = 1) -> Ended:
        """Stops at the first violation."""
        chosen = ["--start", "0", "--seeds", str(seeds), "--jobs", str(jobs)]
        command = [sys.executable, "-m", "tests.simulation", *chosen]
        return self._run(command, {}, enough=lambda line: _VIOLATED.match(line) is not None)

    def close(self) -> None:
        """Ends what is under way; nothing is started any more."""
        self._closed = True
        if self._running is not None:
            _end(self._running)

    @staticmethod
    def _write(path: Path, source: str) -> None:
        """Compiled files are told apart by second and size only, which two mutants may share."""
        path.write_text(source)
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            compiled.unlink()

    def _run(
        self, command: Sequence[str], more: dict[str, str], *, enough: Callable[[str], bool] = lambda _line: False
    ) -> Ended:
        """In a process group of its own, so that nothing it started stays behind."""
        environment = {name: value for name, value in os.environ.items() if name not in OURS}
        environment |= {"TMPDIR": str(self.scratch), **more}
        began, lines = time.monotonic(), []
        if self._closed:
            return Ended(None, "", 0)
        process = subprocess.Popen(
            command,
            cwd=self.place,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._running, late = process, threading.Event()
        limit = threading.Timer(LIMIT_S, lambda: (late.set(), _end(process)))
        limit.start()
        try:
            assert process.stdout is not None, "it is a pipe"
            for line in process.stdout:
                lines.append(line)
                if enough(line):
                    _end(process)
                    break
            status = process.wait()
        finally:
            limit.cancel()
            _end(process)
            process.stdout.close()
            self._running = None
        return Ended(None if late.is_set() else status, "".join(lines), time.monotonic() - began)


def _end(process: subprocess.Popen[str]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
