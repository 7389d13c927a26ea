"""State in one file: it survives a restart and SIGKILL, and an answered order is never forgotten."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest
import requests

from tests.trading.paper.conftest import Client
from trading.paper.server import CannotStart, run_in_thread
from trading.paper.settings import PaperSettings

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[str], str]]]:
    """Starts exchange processes; gives the process and its URL."""
    started: list[subprocess.Popen[str]] = []

    def run(*options: str) -> tuple[subprocess.Popen[str], str]:
        arguments = ["--state", str(tmp_path / "paper.sqlite3"), *options]
        process = subprocess.Popen(
            [sys.executable, "-m", "trading.paper.server", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        out: IO[str] | None = process.stdout
        assert out is not None
        ready = json.loads(out.readline())
        assert ready["ready"] is True
        return process, ready["url"]

    yield run
    for process in started:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def open_account(url: str) -> Client:
    made = requests.post(f"{url}/paper/accounts", json={"balances": {"USD": "1000"}}, timeout=10).json()
    return Client(url, made["api_key"], made["api_secret"], made["account"])


def test_everything_survives_a_restart(settings: PaperSettings, account_at: Callable[..., Client]) -> None:
    with run_in_thread(settings) as running:
        running.post("/paper/market/pin", pair="BEAMUSD", bid="0.002917", ask="0.002918")
        client = account_at(running)
        client.order("buy", "1000")
        (resting,) = client.order("buy", "1000", price="0.0028", cl_ord_id="rest")["result"]["txid"]
        before = running.get(f"/paper/accounts/{client.account}")
        nonce = str(client.last_nonce)
    with run_in_thread(settings) as running:
        after = running.get(f"/paper/accounts/{client.account}")
        assert [after[name] for name in ("balances", "holds", "orders", "trades", "iban")] == [
            before[name] for name in ("balances", "holds", "orders", "trades", "iban")
        ]
        again = replace(client, url=running.url, session=client.session)
        assert again.error("Balance", nonce=nonce) == "EAPI:Invalid nonce"
        assert again.order("buy", "1000", cl_ord_id="rest")["error"] == ["EOrder:Duplicate order"]
        assert running.get("/0/public/Ticker?pair=BEAMUSD")["result"]["BEAMUSD"]["a"][0] == "0.002918"
        assert again.result("CancelOrder", txid=resting) == {"count": 1}


def test_an_order_that_was_answered_is_there_after_sigkill(
    start: Callable[..., tuple[subprocess.Popen[str], str]],
) -> None:
    process, url = start("--market", "pinned")
    client = open_account(url)
    with client.session:
        answered = [client.order("buy", "400", cl_ord_id=f"order-{n}")["result"]["txid"][0] for n in range(40)]
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, url = start("--market", "pinned")
    held = requests.get(f"{url}/paper/accounts/{client.account}", timeout=10).json()
    assert [order["txid"] for order in held["orders"]] == answered
    assert len(held["trades"]) == 40
    assert held["balances"]["BEAM"] == "16000"
    assert held["keys"][0]["nonce"] == str(client.last_nonce)


def test_the_demo_market_goes_on_where_it_was(start: Callable[..., tuple[subprocess.Popen[str], str]]) -> None:
    process, url = start("--market", "demo", "--seed", "3")
    ohlc = "/0/public/OHLC?pair=BEAMUSD&interval=1"
    before = requests.get(url + ohlc, timeout=10).json()["result"]["BEAMUSD"][-30:-1]
    process.kill()
    process.wait()
    _, url = start("--market", "demo", "--seed", "99")
    after = {row[0]: row for row in requests.get(url + ohlc, timeout=10).json()["result"]["BEAMUSD"]}
    assert [after[row[0]] for row in before] == before


def test_sigterm_ends_it_with_code_zero(start: Callable[..., tuple[subprocess.Popen[str], str]]) -> None:
    process, url = start("--market", "pinned")
    with requests.Session() as session:
        session.get(f"{url}/0/public/Time", timeout=10)
        began = time.monotonic()
        process.terminate()
        assert process.wait(timeout=10) == 0
        # Promised: one second; the margin is for a busy machine.
        assert time.monotonic() - began < 4


def test_a_busy_port_a_locked_state_and_a_missing_folder_each_give_a_sentence(
    settings: PaperSettings, tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(CannotStart, match=f"Port {port} on 127.0.0.1 is already in use"),
            run_in_thread(replace(settings, port=port)),
        ):
            pass
    with (
        run_in_thread(settings),
        pytest.raises(CannotStart, match="another paper exchange is using it"),
        run_in_thread(settings),
    ):
        pass
    nowhere = replace(settings, state=tmp_path / "missing" / "paper.sqlite3")
    with pytest.raises(CannotStart, match="cannot be used"), run_in_thread(nowhere):
        pass


def test_a_state_that_cannot_be_used_ends_the_process_with_a_sentence_and_a_code(tmp_path: Path) -> None:
    arguments = ["--market", "pinned", "--state", str(tmp_path / "missing" / "paper.sqlite3")]
    ended = subprocess.run(
        [sys.executable, "-m", "trading.paper.server", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.startswith("The state file ")
    assert "Traceback" not in ended.stderr
