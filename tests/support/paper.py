"""The paper exchange as a process of its own, the way `up --demo` runs it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

START_TIMEOUT_S = 30
BASE_DIR = Path(__file__).resolve().parents[2]


@dataclass
class PaperAccount:
    api_key: str
    api_secret: str
    iban: str


@dataclass
class PaperExchange:
    """`kill()` and `restart()` keep the state file and the port, as after a crash."""

    url: str
    port: int
    directory: Path
    options: Mapping[str, str]
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, *, directory: Path, options: Mapping[str, str]) -> PaperExchange:
        directory.mkdir(parents=True, exist_ok=True)
        port = free_port()
        process = _launch(directory=directory, port=port, options=options)
        return cls(url=f"http://127.0.0.1:{port}", port=port, directory=directory, options=options, process=process)

    def create_account(
        self, label: str, *, balances: Mapping[str, str], permissions: Sequence[str] | None = None
    ) -> PaperAccount:
        """A funded account and its key. `permissions` default to all that trading needs."""
        body: dict[str, Any] = {"label": label, "balances": dict(balances)}
        if permissions is not None:
            body["permissions"] = list(permissions)
        answer = requests.post(f"{self.url}/paper/accounts", json=body, timeout=10)
        answer.raise_for_status()
        created = answer.json()
        return PaperAccount(**{name: created[name] for name in ("api_key", "api_secret", "iban")})

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=10)

    def restart(self) -> None:
        self.stop()
        self.process = _launch(directory=self.directory, port=self.port, options=self.options)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _launch(*, directory: Path, port: int, options: Mapping[str, str]) -> subprocess.Popen[bytes]:
    arguments = {"--port": str(port), "--state": str(directory / "paper.sqlite3"), "--market": "demo"}
    arguments |= {f"--{name.replace('_', '-')}": value for name, value in options.items()}
    out, log = directory / "ready.json", (directory / "paper.log").open("ab")
    with log, out.open("wb") as ready:
        process = subprocess.Popen(
            [sys.executable, "-m", "trading.paper.server", *(part for pair in arguments.items() for part in pair)],
            cwd=BASE_DIR,
            stdout=ready,
            stderr=log,
        )
    end = time.monotonic() + START_TIMEOUT_S
    while not _said_ready(out):
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            raise RuntimeError(f"The paper exchange did not start: {(directory / 'paper.log').read_text()[-2000:]}")
        time.sleep(0.05)
    return process


def _said_ready(out: Path) -> bool:
    try:
        return bool(json.loads(out.read_text().splitlines()[0])["ready"])
    except (IndexError, ValueError):
        return False
