"""Reads that lag: orders, trades and balances come to light some seconds late, each endpoint by itself."""

from __future__ import annotations

from typing import Any

import pytest

from tests.trading.paper.conftest import Client
from trading.paper.server import RunningExchange

NOW = 1_795_364_000.0
LAG_S = 5


@pytest.fixture
def late(exchange: RunningExchange, client: Client) -> Client:
    """An account with a filled purchase of old; the clock stands at NOW."""
    at(exchange, -100)
    assert client.order("buy", "1000", cl_ord_id="old")["error"] == []
    at(exchange, 0)
    return client


def at(exchange: RunningExchange, seconds: float) -> None:
    exchange.post("/paper/clock", mode="manual", now=NOW + seconds)


def lag(exchange: RunningExchange, client: Client, *endpoints: str) -> None:
    for endpoint in endpoints:
        exchange.post(
            "/paper/faults", kind="lag", delay_s=LAG_S, match={"endpoint": endpoint, "api_key": client.api_key}
        )


def shown(client: Client, txid: str) -> dict[str, Any]:
    """What each read knows of one order."""
    looked_up = client.call("QueryOrders", txid=txid)
    return {
        "OpenOrders": txid in client.result("OpenOrders")["open"],
        "ClosedOrders": txid in client.result("ClosedOrders")["closed"],
        "QueryOrders": looked_up["error"] or looked_up["result"][txid]["status"],
        "TradesHistory": txid in {row["ordertxid"] for row in client.result("TradesHistory")["trades"].values()},
        "BalanceEx": client.result("BalanceEx")["BEAM"]["balance"],
        "Balance": client.result("Balance")["BEAM"],
    }


NOT_YET = {
    "OpenOrders": False,
    "ClosedOrders": False,
    "QueryOrders": ["EOrder:Invalid order"],
    "TradesHistory": False,
    "BalanceEx": "1000.00000000",
    "Balance": "1000.00000000",
}
AT_LAST = {
    "OpenOrders": False,
    "ClosedOrders": True,
    "QueryOrders": "closed",
    "TradesHistory": True,
    "BalanceEx": "3000.00000000",
    "Balance": "3000.00000000",
}


def test_a_filled_order_comes_to_light_everywhere_after_the_lag(exchange: RunningExchange, late: Client) -> None:
    lag(exchange, late, *NOT_YET)
    (txid,) = late.order("buy", "2000")["result"]["txid"]
    at(exchange, LAG_S - 0.5)
    assert shown(late, txid) == NOT_YET
    at(exchange, LAG_S)
    assert shown(late, txid) == AT_LAST


@pytest.mark.parametrize("endpoint", NOT_YET)
def test_each_read_lags_by_itself(exchange: RunningExchange, late: Client, endpoint: str) -> None:
    lag(exchange, late, endpoint)
    (txid,) = late.order("buy", "2000")["result"]["txid"]
    assert shown(late, txid) == {**AT_LAST, endpoint: NOT_YET[endpoint]}


def test_an_order_that_rests_in_parts_is_shown_as_it_was(exchange: RunningExchange, late: Client) -> None:
    exchange.post("/paper/limits", order_max="500")
    lag(exchange, late, "OpenOrders", "QueryOrders", "BalanceEx")
    (txid,) = late.order("buy", "2000", price="0.002918")["result"]["txid"]
    at(exchange, 3)
    exchange.post("/paper/limits")
    exchange.post("/paper/market/match")
    at(exchange, 6)
    (order,) = late.result("OpenOrders", trades="true")["open"].values()
    assert (order["status"], order["vol_exec"], len(order["trades"])) == ("open", "500.00000000", 1)
    funds = late.result("BalanceEx")
    assert (funds["BEAM"]["balance"], funds["ZUSD"]["hold_trade"]) == ("1500.00000000", "4.4121")
    assert late.result("QueryOrders", txid=txid)[txid]["status"] == "open"
    at(exchange, 9)
    assert late.result("QueryOrders", txid=txid)[txid]["status"] == "closed"
    assert late.result("OpenOrders")["open"] == {}
    assert late.result("BalanceEx")["BEAM"]["balance"] == "3000.00000000"


def test_a_cancelled_order_still_looks_open_for_a_while(exchange: RunningExchange, late: Client) -> None:
    (txid,) = late.order("buy", "1000", price="0.002000")["result"]["txid"]
    at(exchange, 20)
    lag(exchange, late, "OpenOrders", "ClosedOrders")
    late.result("CancelOrder", txid=txid)
    assert txid in late.result("OpenOrders")["open"]
    assert txid not in late.result("ClosedOrders")["closed"]
    at(exchange, 26)
    assert late.result("OpenOrders")["open"] == {}
    assert late.result("ClosedOrders")["closed"][txid]["reason"] == "User requested"


def test_a_lag_strikes_one_key_and_lasts_until_it_is_cleared(
    exchange: RunningExchange, late: Client, account_at: Any
) -> None:
    other = account_at(exchange)
    lag(exchange, late, "ClosedOrders")
    for client in (late, other):
        assert client.order("buy", "1000")["error"] == []
    for _ in range(3):
        assert late.result("ClosedOrders")["count"] == 1
        assert other.result("ClosedOrders")["count"] == 1
    exchange.delete("/paper/faults")
    assert late.result("ClosedOrders")["count"] == 2


def test_a_client_order_id_is_found_late_and_the_log_says_so(exchange: RunningExchange, late: Client) -> None:
    lag(exchange, late, "ClosedOrders")
    late.order("buy", "1000", cl_ord_id="new")
    assert late.result("ClosedOrders", cl_ord_id="new")["closed"] == {}
    assert late.result("ClosedOrders", cl_ord_id="old")["count"] == 1
    assert exchange.get("/paper/log")["log"][-1]["result"] == "ok, 5 s late"
    assert late.order("sell", "2000")["error"] == []
