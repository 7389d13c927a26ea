"""Starts processes, starts dead ones again, and stops them all. Knows nothing of what they do."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NoReturn

from nija import watcher
from nija.process_log import ProcessLog

DEATHS_MAX = 5
DEATHS_WINDOW_S = 60.0
BACKOFF_S = (0.2, 0.5, 1.0, 2.0)
POLL_S = 0.1


class GaveUp(Exception):
    """A child died too often, or never answered; the text is a sentence for the user."""


@dataclass(frozen=True, kw_only=True)
class Child:
    """What to run. `is_ready` is asked with the process id whether it answers; `stop_stage` 0 stops before 1."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    directory: Path
    is_ready: Callable[[int], bool]
    stop_stage: int = 0


@dataclass
class _Running:
    child: Child
    log: ProcessLog
    process: subprocess.Popen[bytes] | None = None
    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=DEATHS_MAX))
    restart_at: float = 0.0


class Supervisor:
    """Every child leads a process group of its own, so that its own children end with it.

    `lock_fd` is handed to the watcher, which keeps it open until everything has ended. `start` and `stop` are called from one
    thread; a second thread watches. A fault it finds is raised by the next `wait_ready` or `run`.
    """

    def __init__(self, *, log_dir: Path, say: Callable[[str], None], lock_fd: int | None = None) -> None:
        self._log_dir = log_dir
        self._say = say
        self._lock_fd = lock_fd
        self._running: dict[str, _Running] = {}
        self._mutex = threading.RLock()
        self._stopping = threading.Event()
        self._fault: GaveUp | None = None
        self._watcher = self._start_watcher()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._thread.start()

    def start(self, children: Iterable[Child]) -> None:
        for child in children:
            log = ProcessLog(self._log_dir / f"{child.name}.log", surface=self._surface(child.name))
            with self._mutex:
                running = self._running[child.name] = _Running(child, log)
                self._try_launch(running)
            self._raise_fault()

    def pid(self, name: str) -> int | None:
        """Process id of a child, None between its death and its restart."""
        process = self._running[name].process
        return process.pid if process is not None and process.poll() is None else None

    @property
    def watcher_pid(self) -> int:
        """Process id of the watcher, which knows every child by the time this returns."""
        with self._mutex:
            return self._watcher.pid

    def wait_ready(self, *, timeout_s: float) -> None:
        """Returns when every child answers. Raises GaveUp."""
        waiting = set(self._running)
        deadline = time.monotonic() + timeout_s
        while waiting:
            self._raise_fault()
            for name in sorted(waiting):
                pid = self.pid(name)
                if pid is not None and self._running[name].child.is_ready(pid):
                    waiting.discard(name)
            if not waiting:
                return
            if time.monotonic() > deadline:
                raise GaveUp(
                    f"{' and '.join(sorted(waiting))} did not answer within {timeout_s:.0f} s; see {self._log_dir}."
                )
            time.sleep(POLL_S)

    def run(self) -> NoReturn:
        """Ends only by an exception: GaveUp, or whatever a signal handler raises."""
        while True:
            self._raise_fault()
            time.sleep(POLL_S)

    def stop(self, *, grace_s: float) -> None:
        """Ends everything in stages, each within `grace_s`; what does not go is killed."""
        self._stopping.set()
        self._thread.join()
        with self._mutex:
            for stage in sorted({running.child.stop_stage for running in self._running.values()}):
                self._end_stage(stage, grace_s=grace_s)
        pipe = self._watcher.stdin
        if pipe is not None:
            pipe.close()
        self._watcher.wait()

    def _end_stage(self, stage: int, *, grace_s: float) -> None:
        processes = [
            running.process
            for running in self._running.values()
            if running.child.stop_stage == stage and running.process is not None
        ]
        groups = {process.pid for process in processes}
        watcher.send(groups, signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        while time.monotonic() < deadline and any(process.poll() is None for process in processes):
            time.sleep(0.02)
        watcher.send(groups, signal.SIGKILL)
        for process in processes:
            process.wait()
            self._tell_watcher("-", process.pid)

    def _launch(self, running: _Running) -> None:
        child = running.child
        running.process = subprocess.Popen(
            child.command,
            env=dict(child.environment),
            cwd=child.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._tell_watcher("+", running.process.pid)
        assert running.process.stdout is not None
        running.log.follow(running.process.stdout)

    def _watch(self) -> None:
        try:
            while not self._stopping.wait(POLL_S) and self._fault is None:
                with self._mutex:
                    if self._watcher.poll() is not None:
                        self._replace_watcher()
                    for running in self._running.values():
                        self._look_after(running)
        except Exception as error:
            # Else nobody would start what dies, and nobody would say so.
            self._fault = GaveUp(f"The processes can no longer be looked after: {type(error).__name__}: {error}.")

    def _look_after(self, running: _Running) -> None:
        now = time.monotonic()
        process = running.process
        if process is None:
            if now >= running.restart_at:
                self._try_launch(running)
            return
        status = process.poll()
        if status is None:
            return
        # What the dead process started itself may still hold its port.
        watcher.send({process.pid}, signal.SIGKILL)
        self._tell_watcher("-", process.pid)
        running.process = None
        self._count_death(running, status=status, now=now)

    def _count_death(self, running: _Running, *, status: int, now: float) -> None:
        name, deaths = running.child.name, running.deaths
        deaths.append(now)
        recent = sum(now - at < DEATHS_WINDOW_S for at in deaths)
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        if recent >= DEATHS_MAX:
            for line in running.log.tail:
                self._say(f"{name}: {line}")
            self._fault = GaveUp(
                f"{name} died {DEATHS_MAX} times within a minute and last {how}; its log is {self._log_dir}/{name}.log."
            )
            return
        running.restart_at = now + BACKOFF_S[min(recent, len(BACKOFF_S)) - 1]
        self._say(f"{name} {how}; starting it again")

    def _try_launch(self, running: _Running) -> None:
        try:
            self._launch(running)
        except OSError as error:
            self._fault = GaveUp(f"{running.child.name} cannot be started: {error.strerror}.")

    def _start_watcher(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", watcher.__file__],
            stdin=subprocess.PIPE,
            start_new_session=True,
            pass_fds=() if self._lock_fd is None else (self._lock_fd,),
            env={},
            cwd="/",
        )

    def _replace_watcher(self) -> None:
        self._watcher = self._start_watcher()
        for running in self._running.values():
            if running.process is not None:
                self._tell_watcher("+", running.process.pid)

    def _tell_watcher(self, sign: str, pid: int) -> None:
        pipe: IO[bytes] | None = self._watcher.stdin
        assert pipe is not None
        try:
            pipe.write(f"{sign}{pid}\n".encode())
            pipe.flush()
        except OSError:
            # The watcher is dead; its replacement is told everything.
            return

    def _surface(self, name: str) -> Callable[[str], None]:
        return lambda line: self._say(f"{name}: {line}")

    def _raise_fault(self) -> None:
        if self._fault is not None:
            raise self._fault
