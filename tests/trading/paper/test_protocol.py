"""Signatures, nonces, permissions, bodies and the envelope."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
import requests

from tests.trading.paper.conftest import Client
from trading.paper import auth
from trading.paper.errors import KrakenError
from trading.paper.records import ApiKey
from trading.paper.server import RunningExchange, run_in_thread
from trading.paper.settings import PaperSettings

SECRET = "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg=="
OFFICIAL_SIGN = "4/dpxb3iT4tp/ZCVEwSnEsLxx0bqyhLpdfOpc6fn7OR8+UClSV5n9E6aSS8MPtnRfp32bAb0nmbRn6H8ndwLUQ=="
OFFICIAL_BODY = b"nonce=1616492376594&ordertype=limit&pair=XBTUSD&price=37500&type=buy&volume=1.25"


def key(**changes: object) -> ApiKey:
    made = ApiKey("k", "a", SECRET, ["query-funds"], "name", 0.0)
    return replace(made, **changes)  # type: ignore[arg-type]


def test_the_official_signature_vector_is_accepted_and_any_other_is_not() -> None:
    path = "/0/private/AddOrder"
    assert auth.signature(path, nonce="1616492376594", body=OFFICIAL_BODY, secret=SECRET) == OFFICIAL_SIGN
    auth.check_signature(key(), path, nonce="1616492376594", body=OFFICIAL_BODY, given=OFFICIAL_SIGN)
    for given in ("", "not base64!", OFFICIAL_SIGN[:-4] + "AA==", OFFICIAL_SIGN.lower()):
        with pytest.raises(KrakenError, match="EAPI:Invalid signature"):
            auth.check_signature(key(), path, nonce="1616492376594", body=OFFICIAL_BODY, given=given)


@pytest.mark.parametrize(
    ("path", "nonce", "body", "sign"),
    [
        (
            "/0/private/AddOrder",
            "1616492376594",
            '{"nonce":"1616492376594","ordertype":"limit","pair":"XBTUSD","price":"37500","type":"buy","volume":"1.25"}',
            "r/o+GpKxXjV/mls/r5CKLu5R+yzK5psqvQ4hXxMX1nzdxTBhV+ui82QGgPZMMitpFwCOAdPEZMmXgZxD2chJEg==",
        ),
        (
            "/0/private/CancelOrder",
            "1616492376595",
            "nonce=1616492376595&txid=OHYO67-6LP66-HMQ437",
            "ro9du7pEIiQ/N7U+e+B+RbxiJyx8g3O9a5c35U9MIX/PGWmfH2HZ1FxfhSp9NHmJ/9+EK2wxRhjZeK2JUPsRxg==",
        ),
    ],
)
def test_json_and_form_bodies_sign_over_their_raw_bytes(path: str, nonce: str, body: str, sign: str) -> None:
    assert auth.signature(path, nonce=nonce, body=body.encode(), secret=SECRET) == sign


def test_nonces_strictly_increase_and_a_refused_one_moves_nothing() -> None:
    one = key(nonce=100)
    auth.consume_nonce(one, "101")
    for stale in ("101", "100", "-5", "", "1e9", "١٢٣", str(2**64)):
        with pytest.raises(KrakenError, match="EAPI:Invalid nonce"):
            auth.consume_nonce(one, stale)
    assert one.nonce == 101
    auth.consume_nonce(one, str(2**64 - 1))


def test_a_nonce_window_lets_lower_nonces_pass_but_no_repeat() -> None:
    one = key(nonce=100, nonce_window=10)
    auth.consume_nonce(one, "95")
    assert one.nonce == 100
    for refused in ("90", "100"):
        with pytest.raises(KrakenError, match="EAPI:Invalid nonce"):
            auth.consume_nonce(one, refused)


def test_an_unknown_key_a_wrong_secret_and_a_stale_nonce_are_refused_in_krakens_words(client: Client) -> None:
    client.result("Balance")
    stranger = replace(client, api_key="unknown")
    assert stranger.error("Balance") == "EAPI:Invalid key"
    forger = replace(client, api_secret=SECRET)
    assert forger.error("Balance") == "EAPI:Invalid signature"
    assert client.error("Balance", nonce="12345") == "EAPI:Invalid nonce"
    assert client.error("Balance", nonce=str(client.last_nonce)) == "EAPI:Invalid nonce"


def test_a_nonce_is_consumed_even_when_the_call_is_refused(exchange: RunningExchange, client: Client) -> None:
    assert client.error("AddOrder", pair="NOPE") == "EQuery:Unknown asset pair"
    (shown,) = exchange.get(f"/paper/accounts/{client.account}")["keys"]
    assert shown["nonce"] == str(client.last_nonce)


def test_a_signature_that_is_wrong_consumes_no_nonce(exchange: RunningExchange, client: Client) -> None:
    replace(client, api_secret=SECRET).error("Balance")
    (shown,) = exchange.get(f"/paper/accounts/{client.account}")["keys"]
    assert shown["nonce"] == "0"


@pytest.mark.parametrize(
    ("permissions", "method", "fields"),
    [
        ([], "Balance", {}),
        ([], "TradeBalance", {}),
        (["query-open-trades"], "ClosedOrders", {}),
        (["query-closed-trades"], "OpenOrders", {}),
        (["close-trades"], "AddOrder", {}),
        (["query-funds"], "CancelOrder", {"txid": "x"}),
        (["query-funds"], "TradesHistory", {}),
    ],
)
def test_an_endpoint_needs_its_permission(
    exchange: RunningExchange,
    account_at: Callable[..., Client],
    permissions: list[str],
    method: str,
    fields: dict[str, str],
) -> None:
    client = account_at(exchange, permissions=permissions)
    assert client.error(method, **fields) == "EGeneral:Permission denied"


def test_every_key_may_ask_what_it_may_do(exchange: RunningExchange, account_at: Callable[..., Client]) -> None:
    client = account_at(exchange, permissions=["withdraw-funds"])
    info = client.result("GetApiKeyInfo")
    assert info["permissions"] == ["withdraw-funds"]
    assert info["nonceWindow"] == 0
    assert info["nonce"] == str(client.last_nonce)
    further = exchange.post(f"/paper/accounts/{client.account}/keys", permissions=["query-funds"])
    second = replace(client, api_key=further["api_key"], api_secret=further["api_secret"])
    assert second.result("GetApiKeyInfo")["iban"] == info["iban"]
    assert second.result("GetApiKeyInfo")["apiKey"] != info["apiKey"]


def test_a_revoked_key_and_one_that_lost_a_right_are_refused(exchange: RunningExchange, client: Client) -> None:
    exchange.post("/paper/keys/update", api_key=client.api_key, permissions=["query-open-trades"])
    assert client.error("Balance") == "EGeneral:Permission denied"
    exchange.post("/paper/keys/update", api_key=client.api_key, revoked=True)
    assert client.error("OpenOrders") == "EAPI:Invalid key"


def test_a_json_body_is_read_like_a_form(client: Client) -> None:
    nonce = client.next_nonce()
    body = json.dumps({"nonce": int(nonce), "pair": "BEAMUSD", "type": "buy", "ordertype": "market", "volume": 1000})
    headers = {
        "API-Key": client.api_key,
        "API-Sign": client.sign("/0/private/AddOrder", nonce, body),
        "Content-Type": "application/json",
    }
    answer = client.session.post(client.url + "/0/private/AddOrder", data=body, headers=headers, timeout=10).json()
    assert answer["result"]["descr"]["order"] == "buy 1000.00000000 BEAMUSD @ market"


@pytest.mark.parametrize("body", ["[1]", "{", '{"nonce": {}}', "\\xff"])
def test_a_body_that_makes_no_sense_is_an_application_error(exchange: RunningExchange, body: str) -> None:
    headers = {"API-Key": "k", "Content-Type": "application/json"}
    answer = requests.post(f"{exchange.url}/0/private/Balance", data=body, headers=headers, timeout=10)
    assert answer.status_code == 200
    assert answer.json()["error"]


def test_unknown_methods_are_refused_with_status_200(exchange: RunningExchange, client: Client) -> None:
    assert client.error("Withdraw") == "EGeneral:Unknown method"
    assert exchange.get("/0/public/Nothing") == {"error": ["EGeneral:Unknown method"]}
    posted = requests.post(f"{exchange.url}/0/public/Time", timeout=10)
    assert (posted.status_code, posted.json()) == (200, {"error": ["EGeneral:Unknown method"]})


def test_the_call_counter_refuses_and_orders_are_free_of_it(
    settings: PaperSettings, account_at: Callable[..., Client]
) -> None:
    with run_in_thread(replace(settings, rate_tier="starter")) as running:
        running.post("/paper/clock", mode="manual", now=1_795_364_000)
        client = account_at(running)
        for _ in range(7):
            client.result("TradesHistory")
        client.result("Balance")
        assert client.error("Balance") == "EAPI:Rate limit exceeded"
        assert client.order("buy", "400", pair="BEAMUSD")["error"] == []
        running.post("/paper/clock", mode="manual", now=1_795_364_010)
        for _ in range(2):
            client.result("Balance")
        assert client.error("Balance") == "EAPI:Rate limit exceeded"


def test_the_public_shapes_are_krakens(exchange: RunningExchange) -> None:
    pairs = exchange.get("/0/public/AssetPairs")["result"]
    assert pairs["XXBTZUSD"]["altname"] == "XBTUSD"
    beam = pairs["BEAMUSD"]
    assert (beam["pair_decimals"], beam["cost_decimals"], beam["lot_decimals"]) == (6, 8, 8)
    assert (beam["ordermin"], beam["costmin"], beam["tick_size"]) == ("400", "0.5", "0.000001")
    assert exchange.get("/0/public/Assets?asset=XBT,BEAM,DOGE")["result"].keys() == {"XXBT", "BEAM", "XXDG"}
    for name in ("XBTUSD", "XXBTZUSD", "BTC/USD", "xbtusd"):
        assert exchange.get(f"/0/public/Ticker?pair={name}")["result"].keys() == {"XXBTZUSD"}
    beam_ticker = exchange.get("/0/public/Ticker?pair=BEAMUSD")["result"]["BEAMUSD"]
    assert (beam_ticker["a"][0], beam_ticker["b"][0]) == ("0.002918", "0.002917")
    book = exchange.get("/0/public/Depth?pair=BEAMUSD&count=2")["result"]["BEAMUSD"]
    assert [level[0] for level in book["asks"]] == ["0.002918", "0.002919"]
    assert [level[0] for level in book["bids"]] == ["0.002917", "0.002916"]
    assert exchange.get("/0/public/SystemStatus")["result"]["status"] == "online"
    candles = exchange.get("/0/public/OHLC?pair=BEAMUSD&interval=1")["result"]
    assert len(candles["BEAMUSD"]) == 720
    assert candles["last"] == candles["BEAMUSD"][-2][0]
    assert exchange.get("/0/public/OHLC?pair=BEAMUSD&interval=7")["error"] == ["EGeneral:Invalid arguments:interval"]
    assert exchange.get("/0/public/Ticker?pair=NOPE")["error"] == ["EQuery:Unknown asset pair"]
