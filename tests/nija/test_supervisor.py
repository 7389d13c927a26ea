from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nija.supervisor import Child, GaveUp, Supervisor

PATIENCE_S = 20.0
BASE_DIR = Path(__file__).resolve().parents[2]
#: Starts a child of its own, so that a whole family has to go; says both process ids.
FAMILY = (
    "import os, subprocess, sys, time\n"
    "inner = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    "print(os.getpid(), inner.pid, flush=True)\n"
    "time.sleep(600)\n"
)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """A zombie that nobody has collected yet is dead."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    if Path("/proc/self").exists():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def child(name: str, code: str, *, stop_stage: int = 0, is_ready: Callable[[int], bool] = lambda _pid: True) -> Child:
    return Child(
        name=name,
        command=(sys.executable, "-u", "-c", code),
        environment={"PATH": os.environ["PATH"]},
        directory=Path("/"),
        is_ready=is_ready,
        stop_stage=stop_stage,
    )


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def supervisor(tmp_path: Path, said: list[str]) -> Iterator[Supervisor]:
    made = Supervisor(log_dir=tmp_path, say=said.append)
    yield made
    made.stop(grace_s=2)


def family(log: Path) -> list[int]:
    return [int(word) for word in log.read_text().split()] if log.exists() else []


def test_a_killed_child_comes_back_and_its_own_children_are_gone(
    supervisor: Supervisor, said: list[str], tmp_path: Path
) -> None:
    supervisor.start([child("web", FAMILY)])
    until(lambda: len(family(tmp_path / "web.log")) == 2)
    first, inner = family(tmp_path / "web.log")
    os.kill(first, signal.SIGKILL)
    until(lambda: len(family(tmp_path / "web.log")) == 4)
    assert supervisor.pid("web") == family(tmp_path / "web.log")[2] != first
    assert not is_alive(inner)
    assert said == ["web was killed by signal 9; starting it again"]


def test_five_deaths_in_a_minute_end_everything_with_a_sentence(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start([child("worker", "raise SystemExit('no database')"), child("web", FAMILY)])
    with pytest.raises(GaveUp, match="worker died 5 times within a minute and last ended with status 1"):
        supervisor.run()


def test_a_child_that_never_answers_is_named(supervisor: Supervisor) -> None:
    supervisor.start([child("web", FAMILY), child("beat", FAMILY, is_ready=lambda _pid: False)])
    with pytest.raises(GaveUp, match=r"^beat did not answer within 0 s"):
        supervisor.wait_ready(timeout_s=0.2)


def test_a_program_that_does_not_exist_is_a_sentence(supervisor: Supervisor) -> None:
    missing = Child(
        name="redis",
        command=("/nonexistent/server",),
        environment={},
        directory=Path("/"),
        is_ready=lambda _pid: True,
    )
    with pytest.raises(GaveUp, match="redis cannot be started: No such file"):
        supervisor.start([missing])


def test_who_can_no_longer_be_told_does_not_keep_a_child_from_coming_back(tmp_path: Path) -> None:
    """As when the terminal is gone: `say` of the launcher bears it, and what does not ends everything with a sentence."""

    def broken(_text: str) -> None:
        raise OSError(5, "Input/output error")

    supervisor = Supervisor(log_dir=tmp_path, say=broken)
    try:
        supervisor.start([child("web", "raise SystemExit(3)")])
        with pytest.raises(GaveUp, match=r"can no longer be looked after: OSError: .*Input/output error"):
            supervisor.run()
    finally:
        supervisor.stop(grace_s=2)


def test_errors_of_a_child_are_passed_on_once(supervisor: Supervisor, said: list[str], tmp_path: Path) -> None:
    code = "for n in range(50): print('2026-11-22 16:00:00,000 ERROR x: attempt', n)\nprint('done')\nimport time; time.sleep(600)"
    supervisor.start([child("web", code)])
    until(lambda: (tmp_path / "web.log").exists() and "done" in (tmp_path / "web.log").read_text())
    assert said == ["web: x: attempt 0"]


def test_stopping_ends_the_later_stage_after_the_earlier_and_kills_the_stubborn(tmp_path: Path) -> None:
    note = tmp_path / "order"
    obedient = (
        "import signal, sys, time\n"
        f"def end(*_): open({str(note)!r}, 'a').write(sys.argv[0] and 'redis '); sys.exit()\n"
        "signal.signal(signal.SIGTERM, end); print('up'); time.sleep(600)"
    )
    first = obedient.replace("redis ", "web ")
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); time.sleep(600)"
    supervisor = Supervisor(log_dir=tmp_path, say=lambda _text: None)
    supervisor.start([child("redis", obedient, stop_stage=1), child("web", first), child("exits", stubborn)])
    until(lambda: all((tmp_path / f"{name}.log").exists() for name in ("redis", "web", "exits")))
    pids = [supervisor.pid(name) for name in ("redis", "web", "exits")]
    supervisor.stop(grace_s=0.5)
    assert note.read_text() == "web redis "
    assert not any(is_alive(pid) for pid in pids if pid)


def _outer_program(tmp_path: Path) -> str:
    """A process that supervises a family, as `up` does."""
    return (
        f"import sys, time; sys.path.insert(0, {str(BASE_DIR)!r})\n"
        "from pathlib import Path\n"
        "from nija.supervisor import Child, Supervisor\n"
        f"log_dir = Path({str(tmp_path)!r})\n"
        "supervisor = Supervisor(log_dir=log_dir, say=print)\n"
        f"supervisor.start([Child(name='web', command=(sys.executable, '-u', '-c', {FAMILY!r}), environment={{}},"
        " directory=log_dir, is_ready=lambda pid: True)])\n"
        "while True:\n"
        "    (log_dir / 'watcher.new').write_text(str(supervisor.watcher_pid))\n"
        "    (log_dir / 'watcher.new').replace(log_dir / 'watcher')\n"
        "    supervisor.wait_ready(timeout_s=10)\n"
        "    time.sleep(0.05)\n"
    )


@pytest.fixture
def outer(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that supervises a family, which is running."""
    process = subprocess.Popen([sys.executable, "-c", _outer_program(tmp_path)], start_new_session=True)
    try:
        until(lambda: len(family(tmp_path / "web.log")) == 2 and (tmp_path / "watcher").exists())
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("whole_group", [False, True], ids=["the process", "its whole process group"])
def test_nothing_is_left_when_the_supervising_process_is_killed(
    outer: subprocess.Popen[bytes], tmp_path: Path, whole_group: bool
) -> None:
    pids = family(tmp_path / "web.log")
    if whole_group:
        os.killpg(outer.pid, signal.SIGKILL)
    else:
        outer.kill()
    outer.wait()
    end = time.monotonic() + 5
    until(lambda: not any(map(is_alive, pids)))
    assert time.monotonic() < end


def test_a_watcher_that_is_killed_is_replaced_and_knows_every_child(
    outer: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    old = (tmp_path / "watcher").read_text()
    os.kill(int(old), signal.SIGKILL)
    until(lambda: (tmp_path / "watcher").read_text() != old)
    outer.kill()
    outer.wait()
    until(lambda: not any(map(is_alive, family(tmp_path / "web.log"))))
