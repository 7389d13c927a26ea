"""Replaying OHLCVT files: a market clock moved by hand, the last row forming, prices of the last closed candle."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from tests.trading.paper.conftest import Client
from trading.paper.server import CannotStart, run_in_thread
from trading.paper.settings import PaperSettings

START = 1_719_792_000
# Closes rise by a cent a candle; candle 7 is missing because nothing was traded in it; candle 12 dips.
ROWS = [
    f"{START + 300 * n},{100 + n / 100:.2f},{100.05 + n / 100:.2f},{(90 if n == 12 else 99.95) + n / 100:.2f},"
    f"{100.01 + n / 100:.2f},{10 + n},{n + 1}"
    for n in range(20)
    if n != 7
]


@pytest.fixture
def replay(settings: PaperSettings, tmp_path: Path) -> PaperSettings:
    """SOL, five candles closed at the start, no spread."""
    path = tmp_path / "SOLUSD_5.csv.gz"
    path.write_bytes(gzip.compress("\n".join(ROWS).encode()))
    return replace(settings, market="replay", candles=(path,), warmup_candles=5, spread_bps=Decimal(0))


def test_the_last_row_is_the_forming_candle_and_closed_means_not_the_last(replay: PaperSettings) -> None:
    with run_in_thread(replay) as running:
        answer = running.get("/0/public/OHLC?pair=SOLUSD&interval=5")["result"]
        rows = answer["SOLUSD"]
        assert [row[0] for row in rows] == [START + 300 * n for n in range(6)]
        assert rows[4][1:5] == ["100.04", "100.09", "99.99", "100.05"]
        assert rows[5] == [START + 1500, *["100.05"] * 5, "0.00000000", 0]
        assert answer["last"] == START + 1200
        newer = running.get(f"/0/public/OHLC?pair=SOLUSD&interval=5&since={START + 900}")["result"]["SOLUSD"]
        assert [row[0] for row in newer] == [START + 1200, START + 1500]


def test_advancing_closes_candles_and_moves_the_price_not_the_wall_clock(replay: PaperSettings) -> None:
    with run_in_thread(replay) as running:
        running.post("/paper/clock", mode="manual", now=1_795_364_000)
        assert running.get("/0/public/Ticker?pair=SOLUSD")["result"]["SOLUSD"]["a"][0] == "100.05"
        assert running.post("/paper/market/advance", candles=2)["market_time"] == START + 2100
        assert running.get("/0/public/Ticker?pair=SOLUSD")["result"]["SOLUSD"]["b"][0] == "100.07"
        assert running.get("/0/public/Time")["result"]["unixtime"] == 1_795_364_000


def test_advancing_sets_the_wall_clock_when_told_to(replay: PaperSettings) -> None:
    with run_in_thread(replay) as running:
        answer = running.post("/paper/market/advance", candles=1, now=1_795_364_010)
        assert answer["market_time"] == START + 1800
        assert running.get("/0/public/Time")["result"]["unixtime"] == 1_795_364_010


def test_an_interval_without_a_trade_appears_flat_and_keeps_the_rows_apart(replay: PaperSettings) -> None:
    with run_in_thread(replay) as running:
        running.post("/paper/market/advance", candles=4)
        rows = running.get("/0/public/OHLC?pair=SOLUSD&interval=5")["result"]["SOLUSD"]
        assert rows[7] == [START + 2100, *["100.07"] * 5, "0.00000000", 0]
        assert {later[0] - row[0] for row, later in pairwise(rows)} == {300}


def test_longer_intervals_are_put_together_from_the_files(replay: PaperSettings) -> None:
    with run_in_thread(replay) as running:
        running.post("/paper/market/advance", candles=2)
        first, second, forming = running.get("/0/public/OHLC?pair=SOLUSD&interval=15")["result"]["SOLUSD"]
        assert first[:5] == [START, "100.00", "100.07", "99.95", "100.03"]
        assert first[6:] == ["33.00000000", 6]
        assert (second[0], forming[0]) == (START + 900, START + 1800)
        assert running.get("/0/public/OHLC?pair=SOLUSD&interval=1")["error"]


def test_a_resting_limit_fills_when_a_closing_candle_passed_through_it(
    replay: PaperSettings, account_at: Callable[..., Client]
) -> None:
    with run_in_thread(replay) as running:
        client = account_at(running)
        (txid,) = client.order("buy", "0.5", pair="SOLUSD", price="95")["result"]["txid"]
        assert running.post("/paper/market/advance", candles=7)["trades"] == 0
        assert running.post("/paper/market/advance", candles=1)["trades"] == 1
        order = client.result("QueryOrders", txid=txid)[txid]
        assert (order["status"], order["price"]) == ("closed", "95.00000")


def test_the_market_clock_survives_a_restart_and_ends_with_the_files(replay: PaperSettings) -> None:
    with run_in_thread(replay) as running:
        running.post("/paper/market/advance", candles=3)
    with run_in_thread(replay) as running:
        assert running.get("/paper/market")["market_time"] == START + 2400
        running.post("/paper/market/advance", candles=12)
        assert "error" in running.post("/paper/market/advance", candles=1)


def test_a_start_outside_the_files_is_refused(replay: PaperSettings) -> None:
    with pytest.raises(CannotStart, match="outside"), run_in_thread(replace(replay, warmup_candles=500)):
        pass
