"""The market page: what it tells of market, trades, orders and faults, and that it keeps to the strict policy."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
import requests

from tests.trading.paper.conftest import Client
from trading.paper.server import RunningExchange, run_in_thread
from trading.paper.settings import PaperSettings

START = 1_719_792_000


@pytest.fixture
def replay(settings: PaperSettings, tmp_path: Path) -> PaperSettings:
    path = tmp_path / "SOLUSD_5.csv"
    rows = (f"{START + 300 * n},{100 + n},{102 + n},{99 + n},{101 + n},5,2" for n in range(40))
    path.write_text("\n".join(rows))
    return replace(settings, market="replay", candles=(path,), warmup_candles=10, spread_bps=Decimal(0))


def test_a_replay_shows_its_clock_candles_and_trades_at_the_markets_time(
    replay: PaperSettings, account_at: Callable[..., Client]
) -> None:
    with run_in_thread(replay) as running:
        client = account_at(running, balances={"USD": "1000"})
        client.order("buy", "0.5", pair="SOLUSD")
        running.post("/paper/market/advance", candles=3)
        client.order("sell", "0.2", pair="SOLUSD")
        (resting,) = client.order("sell", "0.1", pair="SOLUSD", price="500")["result"]["txid"]
        view = running.get("/paper/market/view?pair=SOLUSD")
        assert view["sentence"] == (
            "A replay of one pair in 5-minute candles. The market's clock stands at 2024-07-01 01:05 UTC until it is "
            "advanced. No fault is at work."
        )
        assert view["candles"][-2:] == [[START + 3600, 112, 114, 111, 113], [START + 3900, 113, 113, 113, 113]]
        assert view["marks"] == [[START + 3900, False], [START + 3000, True]]
        assert [(t["account"], t["side"], t["volume"], t["price"]) for t in view["trades"]] == [
            ("test", "sell", "0.2", "113.00"),
            ("test", "buy", "0.5", "110.00"),
        ]
        assert [(o["order"], o["price"], o["executed"]) for o in view["orders"]] == [(resting, "500.00", "0")]
        assert view["intervals"] == [5, 15, 30, 60]
        longer = running.get("/paper/market/view?pair=SOLUSD&interval=15")["candles"]
        assert longer[0] == [START, 100, 104, 99, 103]


def test_quotes_pins_and_faults_are_told(exchange: RunningExchange, client: Client) -> None:
    exchange.post("/paper/faults", kind="lag", delay_s=5, match={"endpoint": "ClosedOrders", "api_key": client.api_key})
    exchange.post("/paper/faults", kind="html", times=3, match={"api_key": "somebody"})
    view = exchange.get("/paper/market/view?pair=BEAMUSD")
    assert view["kind"] == "pinned"
    assert view["sentence"].endswith("2 faults are at work.")
    beam = next(pair for pair in view["pairs"] if pair["id"] == "BEAMUSD")
    assert (beam["bid"], beam["ask"], beam["spread_bps"], beam["pinned"]) == ("0.002917", "0.002918", "3.4", True)
    assert [(fault["kind"], fault["account"], fault["times"]) for fault in view["faults"]] == [
        ("lag", "test", None),
        ("html", "an unknown key", 3),
    ]


@pytest.mark.parametrize("query", ["pair=NOPE", "interval=7", "interval=x"])
def test_a_wrong_choice_is_refused(exchange: RunningExchange, query: str) -> None:
    assert "error" in exchange.get(f"/paper/market/view?{query}")


def test_the_page_is_linked_and_everything_it_needs_is_served_under_the_policy(exchange: RunningExchange) -> None:
    assert 'href="/paper/market/"' in requests.get(f"{exchange.url}/paper/", timeout=10).text
    browser = {"Accept": "text/html,application/xhtml+xml"}
    page = requests.get(f"{exchange.url}/paper/market", headers=browser, timeout=10)
    assert page.url == f"{exchange.url}/paper/market/"
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "style=" not in page.text
    assert not re.search(r"<script(?![^>]*src=)|\son\w+=", page.text)
    assert "$" not in page.text
    for link in re.findall(r'(?:href|src)="(/[^"]+)"', page.text):
        assert requests.get(exchange.url + link, timeout=10).status_code == 200, link
    assert "Lightweight Charts" in requests.get(f"{exchange.url}/paper/static/charts.js", timeout=10).text[:200]


def test_tests_and_tools_still_get_the_market_as_json(exchange: RunningExchange) -> None:
    assert exchange.get("/paper/market")["quotes"]["BEAMUSD"] == {"bid": "0.002917", "ask": "0.002918"}


def test_a_market_that_moves_by_itself_says_so(settings: PaperSettings) -> None:
    with run_in_thread(replace(settings, market="demo")) as running:
        view = running.get("/paper/market/view")
        assert view["sentence"].startswith("The demo's market of 6 pairs moves by itself.")
        assert len(view["candles"]) == 720
