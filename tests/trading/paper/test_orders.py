"""Placing, filling, cancelling and finding orders over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from tests.trading.paper.conftest import Client
from trading.paper.server import RunningExchange, run_in_thread
from trading.paper.settings import PaperSettings

NOW = 1_795_364_000


def test_a_market_buy_fills_at_the_ask_and_pays_the_taker_fee(exchange: RunningExchange, client: Client) -> None:
    answer = client.order("buy", "3404.8349")["result"]
    (txid,) = answer["txid"]
    assert answer["descr"]["order"] == "buy 3404.83490000 BEAMUSD @ market"
    order = client.result("QueryOrders", txid=txid, trades="true")[txid]
    assert (order["status"], order["vol_exec"], order["price"]) == ("closed", "3404.83490000", "0.00291800")
    assert (order["cost"], order["fee"]) == ("9.93530824", "0.07948247")
    (trade_id,) = order["trades"]
    trade = client.result("QueryTrades", txid=trade_id)[trade_id]
    assert (trade["ordertxid"], trade["pair"], trade["maker"]) == (txid, "BEAMUSD", False)
    held = exchange.get(f"/paper/accounts/{client.account}")["balances"]
    assert held == {"ZUSD": "89.98520929", "BEAM": "3404.8349"}
    assert client.result("Balance") == {"ZUSD": "89.9852", "BEAM": "3404.83490000"}


def test_a_sale_fills_at_the_bid_and_its_fee_comes_off_the_proceeds(client: Client) -> None:
    client.order("buy", "1000")
    before = Decimal(client.result("Balance")["ZUSD"])
    client.order("sell", "1000")
    balance = client.result("Balance")
    assert balance["BEAM"] == "0.00000000"
    # 2.917 of proceeds less 0.8 %.
    assert Decimal(balance["ZUSD"]) - before == Decimal("2.8937")


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"volume": "399.99999999"}, "EOrder:Order minimum not met"),
        ({"volume": "400", "price": "0.001249"}, "EOrder:Cost minimum not met"),
        (
            {"volume": "400", "price": "0.0029181"},
            "EOrder:Invalid price:BEAMUSD price can only be specified up to 6 decimals.",
        ),
        ({"volume": "400.123456789"}, "EGeneral:Invalid arguments:volume"),
        ({"volume": "-400"}, "EGeneral:Invalid arguments:volume"),
        ({"volume": "NaN"}, "EGeneral:Invalid arguments:volume"),
        ({"volume": "4e2"}, "EGeneral:Invalid arguments:volume"),
        ({"volume": "0"}, "EGeneral:Invalid arguments:volume"),
        ({"volume": "400", "type": "hold"}, "EGeneral:Invalid arguments:type"),
        ({"volume": "400", "ordertype": "iceberg"}, "EGeneral:Invalid arguments:ordertype"),
        ({"volume": "400", "ordertype": "limit"}, "EGeneral:Invalid arguments:price"),
        ({"volume": "400", "price": "+1"}, "EGeneral:Invalid arguments:price"),
        ({"volume": "400", "timeinforce": "DAY"}, "EGeneral:Invalid arguments:timeinforce"),
        ({"volume": "400", "leverage": "5"}, "EGeneral:Invalid arguments:leverage"),
        ({"volume": "400", "oflags": "viqc"}, "EGeneral:Invalid arguments:oflags"),
        ({"volume": "400", "cl_ord_id": "x" * 19}, "EGeneral:Invalid arguments:cl_ord_id"),
        ({"volume": "400", "cl_ord_id": "x", "userref": "1"}, "EGeneral:Invalid arguments:cl_ord_id"),
        ({"volume": "400", "userref": "3000000000"}, "EGeneral:Invalid arguments:userref"),
        ({"volume": "400", "pair": "NOPEUSD"}, "EQuery:Unknown asset pair"),
        ({"volume": "400", "price": "0.002918", "oflags": "post"}, "EOrder:Post only order"),
        ({"volume": "34000"}, "EOrder:Insufficient funds"),
    ],
)
def test_a_bad_order_is_refused_in_krakens_words_and_leaves_nothing(
    exchange: RunningExchange, client: Client, fields: dict[str, str], error: str
) -> None:
    assert client.order("buy", fields.pop("volume"), **fields)["error"] == [error]
    shown = exchange.get(f"/paper/accounts/{client.account}")
    assert (shown["orders"], shown["trades"], shown["balances"]) == ([], [], {"ZUSD": "100"})


def test_a_price_off_the_tick_is_refused_where_the_tick_is_coarser(client: Client) -> None:
    answer = client.order("buy", "0.001", pair="XBTUSD", price="90000.05")
    assert answer["error"] == ["EOrder:Invalid price:XXBTZUSD price can only be specified up to 1 decimals."]


def test_trailing_zeros_are_no_decimals(client: Client) -> None:
    assert client.order("buy", "400.0000000000", price="0.0029170000")["error"] == []


def test_the_whole_order_must_be_affordable_with_its_fee(client: Client) -> None:
    # 34,000 x 0.002918 x 1.008 = 100.0057; one dollar-cent less fits.
    assert client.order("buy", "34000", price="0.002918")["error"] == ["EOrder:Insufficient funds"]
    assert client.order("buy", "33998", price="0.002918")["error"] == []


def test_an_ioc_limit_that_the_market_does_not_reach_is_cancelled_unfilled(client: Client) -> None:
    (txid,) = client.order("buy", "1000", price="0.0029", timeinforce="IOC")["result"]["txid"]
    order = client.result("QueryOrders", txid=txid)[txid]
    assert (order["status"], order["vol_exec"], order["reason"]) == ("canceled", "0.00000000", "Immediate or cancel")


def test_an_ioc_remainder_is_cancelled_and_what_filled_counts(exchange: RunningExchange, client: Client) -> None:
    exchange.post("/paper/limits", pair="BEAMUSD", match_max="250", order_max="600")
    (txid,) = client.order("buy", "1000", price="0.00292", timeinforce="IOC")["result"]["txid"]
    order = client.result("QueryOrders", txid=txid, trades="true", consolidate_taker="false")[txid]
    assert (order["status"], order["vol_exec"], order["reason"]) == ("canceled", "600.00000000", "Immediate or cancel")
    assert len(order["trades"]) == 3
    merged = client.result("TradesHistory")["trades"]
    assert [trade["vol"] for trade in merged.values()] == ["600.00000000"]
    apart = client.result("TradesHistory", consolidate_taker="false")["trades"]
    assert sorted(trade["vol"] for trade in apart.values()) == ["100.00000000", "250.00000000", "250.00000000"]
    assert sum(Decimal(trade["cost"]) for trade in apart.values()) == Decimal(order["cost"])


def test_fill_or_kill_does_nothing_when_not_everything_is_there(exchange: RunningExchange, client: Client) -> None:
    exchange.post("/paper/limits", order_max="600")
    (txid,) = client.order("buy", "1000", price="0.00292", timeinforce="FOK")["result"]["txid"]
    order = client.result("QueryOrders", txid=txid)[txid]
    assert (order["status"], order["vol_exec"]) == ("canceled", "0.00000000")


def test_a_market_order_may_fill_over_several_passes(exchange: RunningExchange, client: Client) -> None:
    exchange.post("/paper/limits", order_max="400", market_orders_wait=True)
    (txid,) = client.order("buy", "1000")["result"]["txid"]
    assert client.result("OpenOrders")["open"][txid]["vol_exec"] == "400.00000000"
    exchange.post("/paper/market/match")
    exchange.post("/paper/market/match")
    order = client.result("QueryOrders", txid=txid)[txid]
    assert (order["status"], order["vol_exec"]) == ("closed", "1000.00000000")


def test_a_resting_limit_holds_funds_and_fills_as_maker_when_crossed(exchange: RunningExchange, client: Client) -> None:
    (txid,) = client.order("buy", "10000", price="0.0029", cl_ord_id="rest")["result"]["txid"]
    funds = client.result("BalanceEx")["ZUSD"]
    assert (funds["balance"], funds["hold_trade"]) == ("100.0000", "29.2320")
    assert client.order("buy", "25000", price="0.0029")["error"] == ["EOrder:Insufficient funds"]
    assert list(client.result("OpenOrders", cl_ord_id="rest")["open"]) == [txid]
    assert client.result("OpenOrders", cl_ord_id="other")["open"] == {}
    exchange.post("/paper/market/pin", pair="BEAMUSD", bid="0.002898", ask="0.002899")
    order = client.result("ClosedOrders", cl_ord_id="rest", trades="true")["closed"][txid]
    assert (order["status"], order["price"], order["fee"]) == ("closed", "0.00290000", "0.11600000")
    assert client.result("QueryTrades", txid=order["trades"][0])[order["trades"][0]]["maker"] is True
    assert client.result("BalanceEx")["ZUSD"] == {"balance": "70.8840", "hold_trade": "0.0000"}


def test_a_resting_sale_holds_the_base_asset(client: Client) -> None:
    client.order("buy", "1000")
    client.order("sell", "700", price="0.0031")
    assert client.result("BalanceEx")["BEAM"] == {"balance": "1000.00000000", "hold_trade": "700.00000000"}
    assert client.order("sell", "400")["error"] == ["EOrder:Insufficient funds"]


def test_cancelling_frees_the_hold_and_twice_is_an_unknown_order(client: Client) -> None:
    (txid,) = client.order("buy", "1000", price="0.0028")["result"]["txid"]
    assert client.result("CancelOrder", txid=txid) == {"count": 1}
    assert client.error("CancelOrder", txid=txid) == "EOrder:Unknown order"
    assert client.result("BalanceEx")["ZUSD"]["hold_trade"] == "0.0000"
    client.order("buy", "1000", price="0.0028", cl_ord_id="mine")
    assert client.result("CancelOrder", cl_ord_id="mine") == {"count": 1}
    for _ in range(2):
        client.order("buy", "1000", price="0.0028", userref="7")
    assert client.result("CancelOrder", txid="7") == {"count": 2}
    assert client.result("CancelAll") == {"count": 0}


def test_a_client_order_id_is_unique_among_open_orders_only(client: Client) -> None:
    assert client.order("buy", "1000", price="0.0028", cl_ord_id="same")["error"] == []
    assert client.order("buy", "1000", cl_ord_id="same")["error"] == ["EOrder:Duplicate order"]
    client.result("CancelOrder", cl_ord_id="same")
    assert client.order("buy", "1000", cl_ord_id="same")["error"] == []
    assert client.order("buy", "1000", cl_ord_id="same")["error"] == []
    assert client.result("ClosedOrders", cl_ord_id="same")["count"] == 3


def test_two_accounts_may_use_the_same_client_order_id_and_see_only_their_own(
    exchange: RunningExchange, client: Client, account_at: Callable[..., Client]
) -> None:
    other = account_at(exchange)
    (txid,) = client.order("buy", "1000", price="0.0028", cl_ord_id="same")["result"]["txid"]
    assert other.order("buy", "1000", price="0.0028", cl_ord_id="same")["error"] == []
    assert other.error("QueryOrders", txid=txid) == "EOrder:Invalid order"
    assert other.error("CancelOrder", txid=txid) == "EOrder:Unknown order"
    assert len(other.result("OpenOrders")["open"]) == 1


def test_validate_checks_and_places_nothing(client: Client) -> None:
    answer = client.order("buy", "1000", validate="true")
    assert answer == {"error": [], "result": {"descr": {"order": "buy 1000.00000000 BEAMUSD @ market"}}}
    assert client.order("buy", "40000", validate="true")["error"] == ["EOrder:Insufficient funds"]
    assert client.result("ClosedOrders")["closed"] == {}


@pytest.mark.parametrize(
    ("ahead_s", "error"),
    [
        (-1, ["EService:Deadline elapsed"]),
        (1, ["EGeneral:Invalid arguments:deadline"]),
        (61, ["EGeneral:Invalid arguments:deadline"]),
        (2, []),
        (60, []),
    ],
)
def test_a_deadline_lies_two_to_sixty_seconds_ahead(
    exchange: RunningExchange, client: Client, ahead_s: int, error: list[str]
) -> None:
    exchange.post("/paper/clock", mode="manual", now=NOW)
    deadline = f"{datetime.fromtimestamp(NOW + ahead_s, UTC):%Y-%m-%dT%H:%M:%S}.000000000Z"
    assert client.order("buy", "1000", deadline=deadline)["error"] == error
    assert len(client.result("ClosedOrders")["closed"]) == (0 if error else 1)


def test_closed_orders_and_trades_come_newest_first_fifty_a_page(exchange: RunningExchange, client: Client) -> None:
    placed = []
    for second in range(53):
        exchange.post("/paper/clock", mode="manual", now=NOW + second)
        placed += client.order("buy", "400")["result"]["txid"]
    first, second_page = (client.result("ClosedOrders", ofs=str(offset)) for offset in (0, 50))
    assert (first["count"], list(first["closed"])) == (53, placed[::-1][:50])
    assert list(second_page["closed"]) == placed[::-1][50:]
    trades = client.result("TradesHistory", start=str(NOW + 10), end=str(NOW + 12))
    assert [trade["ordertxid"] for trade in trades["trades"].values()] == [placed[12], placed[11]]
    since = client.result("ClosedOrders", start=placed[50])
    assert list(since["closed"]) == [placed[52], placed[51]]
    assert "count" not in client.result("ClosedOrders", without_count="true")


def test_too_many_ids_in_one_question_are_refused(client: Client) -> None:
    assert client.error("QueryOrders", txid=",".join("O" * 51)) == "EGeneral:Invalid arguments:txid"
    assert client.error("QueryTrades", txid=",".join("T" * 21)) == "EGeneral:Invalid arguments:txid"
    assert client.error("QueryOrders", txid="OXXXXX-XXXXX-XXXXXX") == "EOrder:Invalid order"


def test_equity_and_fees_are_told(client: Client) -> None:
    client.order("buy", "1000")
    equity = client.result("TradeBalance")
    # 100 - 2.918 - 0.023344 + 1000 x 0.002917
    assert equity["eb"] == "99.9756"
    fees = client.result("TradeVolume", pair="BEAMUSD")
    assert (fees["fees"]["BEAMUSD"]["fee"], fees["fees_maker"]["BEAMUSD"]["fee"]) == ("0.8000", "0.4000")
    assert fees["volume"] == "2.9180"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("cancel_only", "EService:Market in cancel_only mode"),
        ("post_only", "EService:Market in post_only mode"),
        ("maintenance", "EService:Unavailable"),
    ],
)
def test_a_restricted_market_refuses_orders(exchange: RunningExchange, client: Client, status: str, error: str) -> None:
    exchange.post("/paper/status", status=status)
    assert client.order("buy", "1000")["error"] == [error]
    assert exchange.get("/0/public/SystemStatus")["result"]["status"] == status


def test_the_number_of_open_orders_per_pair_is_limited_by_the_tier(
    settings: PaperSettings, account_at: Callable[..., Client]
) -> None:
    with run_in_thread(replace(settings, rate_tier="starter")) as running:
        running.post("/paper/clock", mode="manual", now=1_795_364_000)
        client = account_at(running)
        for _ in range(60):
            assert client.order("buy", "400", price="0.0020")["error"] == []
        running.post("/paper/clock", mode="manual", now=1_795_364_060)
        assert client.order("buy", "400", price="0.0020")["error"] == ["EOrder:Orders limit exceeded"]


def test_the_exchanges_own_view_counts_what_each_key_did(exchange: RunningExchange, client: Client) -> None:
    client.order("buy", "1000")
    client.order("buy", "1")
    requests = exchange.get(f"/paper/accounts/{client.account}")["requests"]
    assert requests == {"requests": 2, "accepted_orders": 1, "invalid_nonces": 0, "max_in_flight": 1}
    rows = exchange.get("/paper/log")["log"]
    assert [row["result"] for row in rows] == ["ok", "EOrder:Order minimum not met"]
    assert rows[0]["nonce"] < rows[1]["nonce"]
