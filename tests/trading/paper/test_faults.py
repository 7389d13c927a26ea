"""Misbehaviour on demand, and what the exchange remembers of it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.trading.paper.conftest import Client
from trading.paper.server import RunningExchange

ORDER = {"pair": "BEAMUSD", "type": "buy", "ordertype": "market", "volume": "1000"}


def placed(exchange: RunningExchange, client: Client) -> int:
    return len(exchange.get(f"/paper/accounts/{client.account}")["orders"])


@pytest.mark.parametrize(("kind", "orders"), [("drop_before", 0), ("drop_after", 1)])
def test_a_connection_lost_before_or_after_the_order_was_taken(
    exchange: RunningExchange, client: Client, kind: str, orders: int
) -> None:
    exchange.post("/paper/faults", match={"endpoint": "AddOrder"}, kind=kind)
    with pytest.raises(requests.ConnectionError):
        client.send("AddOrder", **ORDER)
    assert placed(exchange, client) == orders
    assert client.order("buy", "1000")["error"] == []


@pytest.mark.parametrize(
    ("kind", "status", "orders"),
    [
        ("http_520_before", 520, 0),
        ("http_520_after", 520, 1),
        ("http_502_before", 502, 0),
        ("html", 200, 0),
        ("html_after", 200, 1),
    ],
)
def test_a_gateway_page_instead_of_an_answer(
    exchange: RunningExchange, client: Client, kind: str, status: int, orders: int
) -> None:
    exchange.post("/paper/faults", match={"endpoint": "AddOrder"}, kind=kind)
    answer = client.send("AddOrder", **ORDER)
    assert (answer.status_code, answer.headers["Content-Type"].split(";")[0]) == (status, "text/html")
    assert placed(exchange, client) == orders


@pytest.mark.parametrize(("kind", "orders"), [("bad_json", 0), ("bad_json_after", 1)])
def test_an_answer_that_is_no_json(exchange: RunningExchange, client: Client, kind: str, orders: int) -> None:
    exchange.post("/paper/faults", match={"endpoint": "AddOrder"}, kind=kind)
    answer = client.send("AddOrder", **ORDER)
    assert (answer.status_code, answer.headers["Content-Type"].split(";")[0]) == (200, "application/json")
    with pytest.raises(requests.exceptions.JSONDecodeError):
        answer.json()
    assert placed(exchange, client) == orders


@pytest.mark.parametrize(
    "error",
    [
        "EOrder:Insufficient funds",
        "EOrder:Orders limit exceeded",
        "EGeneral:Permission denied",
        "EGeneral:Internal error",
        "EService:Unavailable",
        "EService:Deadline elapsed",
    ],
)
def test_any_refusal_can_be_asked_for_and_places_nothing(exchange: RunningExchange, client: Client, error: str) -> None:
    exchange.post("/paper/faults", match={"endpoint": "AddOrder"}, kind=f"error:{error}")
    assert client.error("AddOrder", **ORDER) == error
    assert placed(exchange, client) == 0


@pytest.mark.parametrize(
    ("kind", "error"), [("rate_limit", "EAPI:Rate limit exceeded"), ("wrong_nonce", "EAPI:Invalid nonce")]
)
def test_a_rate_limit_and_a_wrong_nonce_by_name(
    exchange: RunningExchange, client: Client, kind: str, error: str
) -> None:
    exchange.post("/paper/faults", match={"endpoint": "AddOrder", "api_key": client.api_key}, kind=kind, times=2)
    for _ in range(2):
        assert client.error("AddOrder", **ORDER) == error
    assert client.order("buy", "1000")["error"] == []


@pytest.mark.parametrize(("prefix", "orders"), [("error", 0), ("error_after", 1)])
def test_an_error_with_and_without_the_order_placed(
    exchange: RunningExchange, client: Client, prefix: str, orders: int
) -> None:
    exchange.post("/paper/faults", match={"endpoint": "AddOrder"}, kind=f"{prefix}:EService:Busy", times=1)
    assert client.error("AddOrder", **ORDER) == "EService:Busy"
    assert placed(exchange, client) == orders


def test_a_fault_meets_only_what_it_names_and_so_often(exchange: RunningExchange, client: Client) -> None:
    match = {"endpoint": "AddOrder", "api_key": client.api_key, "cl_ord_id": "this"}
    exchange.post("/paper/faults", match=match, kind="error:EService:Unavailable", times=2)
    assert client.order("buy", "1000", cl_ord_id="other")["error"] == []
    for _ in range(2):
        assert client.order("buy", "1000", cl_ord_id="this")["error"] == ["EService:Unavailable"]
    assert client.order("buy", "1000", cl_ord_id="this")["error"] == []
    exchange.post("/paper/faults", kind="html", times=1000)
    exchange.delete("/paper/faults")
    client.result("Balance")


def test_a_request_held_back_is_overtaken_by_a_higher_nonce(exchange: RunningExchange, client: Client) -> None:
    exchange.post("/paper/faults", match={"endpoint": "AddOrder"}, kind="delay", delay_s=0.4)
    started = threading.Event()

    def late_order() -> list[str]:
        nonce = client.next_nonce()
        started.set()
        with requests.Session() as session:
            slow = Client(client.url, client.api_key, client.api_secret, client.account, session=session)
            return list(slow.call("AddOrder", nonce=nonce, **ORDER)["error"])

    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(late_order)
        started.wait()
        client.result("Balance")
        assert late.result() == ["EAPI:Invalid nonce"]
    (key,) = exchange.get(f"/paper/accounts/{client.account}")["keys"]
    assert key["invalid_nonces"] == 1
    assert placed(exchange, client) == 0


def test_a_late_answer_outlives_the_clients_patience_and_the_order_stands(
    exchange: RunningExchange, client: Client
) -> None:
    exchange.post("/paper/faults", match={"endpoint": "AddOrder"}, kind="delay_after", delay_s=5)
    with pytest.raises(requests.ReadTimeout):
        client.send("AddOrder", timeout=0.3, **ORDER)
    assert placed(exchange, client) == 1


@pytest.mark.parametrize("kind", ["delay", "delay_after"])
def test_a_client_that_gave_up_and_comes_again_at_once_has_one_request_in_flight(
    exchange: RunningExchange, client: Client, kind: str
) -> None:
    exchange.post("/paper/faults", match={"endpoint": "Balance"}, kind=kind, delay_s=1, times=10)
    for _ in range(10):
        with pytest.raises(requests.ReadTimeout):
            client.send("Balance", timeout=0.03)
        client.result("OpenOrders")
    assert exchange.get(f"/paper/accounts/{client.account}")["requests"]["max_in_flight"] == 1


def test_public_endpoints_misbehave_too(exchange: RunningExchange) -> None:
    exchange.post("/paper/faults", match={"endpoint": "Ticker"}, kind="http_520_before")
    assert requests.get(f"{exchange.url}/0/public/Ticker", timeout=10).status_code == 520
    assert exchange.get("/0/public/Ticker")["error"] == []


def test_chance_is_seeded_and_only_what_strikes_is_counted(exchange: RunningExchange, client: Client) -> None:
    def pattern(seed: int) -> list[bool]:
        exchange.post("/paper/faults", kind="error:EService:Busy", probability=0.5, seed=seed, times=6)
        struck = []
        while exchange.get("/paper/faults")["faults"]:
            struck.append(client.call("Balance")["error"] == ["EService:Busy"])
        return struck

    first = pattern(3)
    assert sum(first) == 6 < len(first)
    assert pattern(3) == first
    assert pattern(4) != first


def test_faults_are_listed_and_cleared_one_by_one_or_all(exchange: RunningExchange, client: Client) -> None:
    one = exchange.post("/paper/faults", kind="html", match={"endpoint": "Balance"}, times=None)
    two = exchange.post("/paper/faults", kind="drop_before", match={"api_key": client.api_key}, times=3)
    assert client.send("Balance").text.startswith("<!DOCTYPE html>")
    shown = exchange.get("/paper/faults")["faults"]
    assert [(f["id"], f["kind"], f["endpoint"], f["times"], f["struck"]) for f in shown] == [
        (one["id"], "html", "Balance", None, 1),
        (two["id"], "drop_before", None, 3, 0),
    ]
    assert exchange.delete(f"/paper/faults/{two['id']}") == {"faults": 1}
    assert "error" in exchange.delete(f"/paper/faults/{two['id']}")
    client.result("TradesHistory")
    assert exchange.delete("/paper/faults") == {"faults": 0}
    client.result("Balance")


@pytest.mark.parametrize(
    "wish",
    [
        {"kind": "explode"},
        {"kind": "error:"},
        {"kind": "delay", "delay_s": -1},
        {"kind": "html", "times": 0},
        {"kind": "html", "match": {"method": "AddOrder"}},
        {"kind": "html", "probability": 2},
        {"kind": "lag", "delay_s": "five"},
        {"kind": "html", "seed": -1},
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(exchange: RunningExchange, wish: dict[str, object]) -> None:
    assert "error" in exchange.post("/paper/faults", **wish)
