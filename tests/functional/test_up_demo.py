"""What `make run` starts: `manage.py up --demo` in an empty data directory, seen from outside."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import requests

BASE_DIR = Path(__file__).resolve().parents[2]
READY_WITHIN_S = 120
COPY_WITHIN_S = 60
STOP_WITHIN_S = 20

#: The processes start twice and the strategy waits for its candle.
pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]


class Up:
    """One run of `up --demo`, with nothing of the caller's environment but a path and a home."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(data_dir.parent),
            "NIJA_DATA_DIR": str(data_dir),
        }
        self.errors = (data_dir.parent / "up.err").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "up", "--demo", "--port", "0"],
            cwd=BASE_DIR,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        self.url = ""

    def wait_ready(self) -> None:
        assert self.process.stdout is not None
        end = time.monotonic() + READY_WITHIN_S
        line = self.process.stdout.readline()
        assert line, f"up ended: {self.said()}"
        assert time.monotonic() < end, "up took too long"
        said = json.loads(line)
        assert said["ready"] is True
        self.url = said["url"].rstrip("/")

    def said(self) -> str:
        return (self.data_dir.parent / "up.err").read_text()[-3000:]

    def manage(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=BASE_DIR,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout.strip().splitlines()[-1]

    def get(self, path: str, token: str) -> Any:
        answer = requests.get(f"{self.url}/api/v1/{path}", headers={"Authorization": f"Token {token}"}, timeout=10)
        answer.raise_for_status()
        return answer.json()

    def children(self) -> dict[int, str]:
        """Living processes of this data directory: pid by NIJA name, the paper exchange and Redis included."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                variables = (entry / "environ").read_bytes()
                # A zombie has no command line.
                mine = str(self.data_dir).encode() in variables or str(self.data_dir) in command
            except OSError:
                continue
            if mine and command and int(entry.name) != self.process.pid:
                found[int(entry.name)] = command
        return found

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=STOP_WITHIN_S)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.errors.close()


@pytest.fixture
def start_up(tmp_path: Path) -> Iterator[Callable[[], Up]]:
    started: list[Up] = []

    def start() -> Up:
        up = Up(tmp_path / "data")
        started.append(up)
        up.wait_ready()
        return up

    yield start
    for up in started:
        up.end()


def until(true: Callable[[], Any], *, within_s: float, what: str) -> Any:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.5)
    raise AssertionError(f"waited {within_s:.0f} s for {what}")


def filled_strategy_copies(up: Up, token: str) -> list[str]:
    """Order ids of filled entry copies of what the strategy did."""
    copies = up.get("copies/?page_size=200", token)["results"]
    return [
        copy["order"]["venue_order_id"]
        for copy in copies
        if copy["kind"] == "entry" and copy["outcome"] in {"filled", "reduced"} and "apex" in copy["signal"]["reason"]
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")
def test_the_demo_trades_survives_a_killed_child_stops_and_comes_back(start_up: Callable[[], Up]) -> None:
    up = start_up()
    started_at = time.time()
    token = up.manage("create_api_token", "ada@nija.example")

    def copied_since_ready() -> list[str]:
        orders = {o["venue_order_id"]: o for o in up.get("orders/?page_size=200", token)["results"]}
        fresh = [txid for txid in filled_strategy_copies(up, token) if txid in orders]
        return [txid for txid in fresh if _instant(orders[txid]["created_at"]) > started_at - 60]

    until(copied_since_ready, within_s=COPY_WITHIN_S, what="a filled copy of a strategy's trade")

    (worker,) = [pid for pid, command in up.children().items() if "planning,default" in command][:1]
    os.kill(worker, signal.SIGKILL)
    until(
        lambda: [p for p, c in up.children().items() if "planning,default" in c and p != worker],
        within_s=40,
        what="the killed worker to come back",
    )

    assert up.stop() == 0
    until(lambda: not up.children(), within_s=10, what="every process to end")
    before = set(_order_ids(up))

    again = start_up()
    token = again.manage("create_api_token", "ada@nija.example")
    assert before <= {o["venue_order_id"] for o in again.get("orders/?page_size=200", token)["results"]}
    assert again.stop() == 0


def _order_ids(up: Up) -> list[str]:
    with closing(sqlite3.connect(next(up.data_dir.rglob("nija.sqlite3")))) as database:
        rows = database.execute(
            "SELECT o.venue_order_id FROM trading_order o JOIN trading_account a ON a.id = o.account_id "
            "JOIN accounts_user u ON u.id = a.user_id WHERE u.email = 'ada@nija.example' AND o.venue_order_id <> ''"
        ).fetchall()
    assert rows
    return [row[0] for row in rows]


def _instant(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
