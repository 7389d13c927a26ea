"""GTD orders: they end by themselves, what they executed counts, and what they held is free again."""

from __future__ import annotations

import pytest

from tests.trading.paper.conftest import Client
from trading.paper.server import RunningExchange

NOW = 1_795_364_000


@pytest.fixture(autouse=True)
def _manual_clock(exchange: RunningExchange) -> None:
    exchange.post("/paper/clock", mode="manual", now=NOW)


@pytest.mark.parametrize("expiretm", ["+60", str(NOW + 60)])
def test_an_order_expires_at_its_time_and_its_hold_ends(
    exchange: RunningExchange, client: Client, expiretm: str
) -> None:
    placed = client.order("buy", "1000", price="0.002000", timeinforce="GTD", expiretm=expiretm)
    (txid,) = placed["result"]["txid"]
    assert client.result("OpenOrders")["open"][txid]["expiretm"] == NOW + 60
    exchange.post("/paper/clock", mode="manual", now=NOW + 59)
    assert txid in client.result("OpenOrders")["open"]
    exchange.post("/paper/clock", mode="manual", now=NOW + 61)
    order = client.result("ClosedOrders")["closed"][txid]
    assert (order["status"], order["closetm"]) == ("expired", NOW + 60)
    assert client.result("BalanceEx")["ZUSD"]["hold_trade"] == "0.0000"


def test_what_was_executed_before_stays(exchange: RunningExchange, client: Client) -> None:
    exchange.post("/paper/limits", order_max="400")
    placed = client.order("buy", "1000", price="0.002918", timeinforce="GTD", expiretm="+10", oflags="fciq")
    (txid,) = placed["result"]["txid"]
    exchange.post("/paper/clock", mode="manual", now=NOW + 20)
    exchange.post("/paper/market/match")
    order = client.result("QueryOrders", txid=txid)[txid]
    assert (order["status"], order["vol_exec"]) == ("expired", "400.00000000")


@pytest.mark.parametrize(
    "fields",
    [
        {"timeinforce": "GTD"},
        {"timeinforce": "GTD", "expiretm": "+4"},
        {"timeinforce": "GTD", "expiretm": str(NOW - 1)},
        {"timeinforce": "GTD", "expiretm": "+9999999"},
        {"timeinforce": "GTD", "expiretm": "soon"},
        {"timeinforce": "GTC", "expiretm": "+60"},
    ],
)
def test_an_expiry_that_makes_no_sense_is_refused(client: Client, fields: dict[str, str]) -> None:
    answer = client.order("buy", "1000", price="0.002000", **fields)
    assert answer["error"] == ["EGeneral:Invalid arguments:expiretm"]
