"""The page that makes paper accounts, and who may post to it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import requests

from tests.trading.paper.conftest import Client
from trading.paper.server import RunningExchange


def shown(page: str, testid: str) -> str:
    found = re.search(rf'data-testid="{testid}">([^<]+)<', page)
    assert found is not None
    return found.group(1)


def create(exchange: RunningExchange, headers: dict[str, str] | None = None, **fields: str) -> requests.Response:
    return requests.post(f"{exchange.url}/paper/", data=fields, headers=headers, timeout=10)


def test_a_form_post_makes_an_account_and_shows_a_working_key_once(exchange: RunningExchange) -> None:
    answer = create(exchange, label="Ada", usd="1,234.50", back=exchange.url + "/connect")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert f'href="{exchange.url}/connect"' in answer.text
    with requests.Session() as session:
        key, secret = shown(answer.text, "paper-api-key"), shown(answer.text, "paper-api-secret")
        client = Client(exchange.url, key, secret, "", session=session)
        assert client.result("Balance") == {"ZUSD": "1234.5000"}
        assert "withdraw-funds" not in client.result("GetApiKeyInfo")["permissions"]
    (account,) = exchange.get("/paper/accounts")["accounts"]
    assert "secret" not in str(exchange.get(f"/paper/accounts/{account['account']}"))


def test_the_withdraw_box_makes_a_key_that_must_be_refused(exchange: RunningExchange) -> None:
    answer = create(exchange, usd="10", withdraw="1")
    with requests.Session() as session:
        key, secret = shown(answer.text, "paper-api-key"), shown(answer.text, "paper-api-secret")
        info = replace(Client(exchange.url, key, secret, ""), session=session).result("GetApiKeyInfo")
    assert "withdraw-funds" in info["permissions"]


@pytest.mark.parametrize("usd", ["", "lots", "-1", "NaN", "1e30", "0.00001", "84,57", "1,23,456", "10000001", "１０"])
def test_a_bad_balance_is_answered_with_a_sentence_and_makes_nothing(exchange: RunningExchange, usd: str) -> None:
    answer = create(exchange, usd=usd, label="<b>Ada</b>")
    assert answer.status_code == 400
    assert 'data-testid="paper-problem"' in answer.text
    assert "&lt;b&gt;Ada&lt;/b&gt;" in answer.text
    assert exchange.get("/paper/accounts")["accounts"] == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "evil.example"},
    ],
)
def test_posts_from_other_sites_are_refused(exchange: RunningExchange, headers: dict[str, str]) -> None:
    assert create(exchange, headers, usd="10").status_code == 403
    answer = requests.post(f"{exchange.url}/paper/accounts", json={}, headers=headers, timeout=10)
    assert answer.status_code == 403
    assert exchange.get("/paper/accounts")["accounts"] == []


def test_the_control_api_takes_no_form_that_any_page_could_send(exchange: RunningExchange) -> None:
    answer = requests.post(f"{exchange.url}/paper/accounts", data='{"label": "x"}', timeout=10)
    assert (answer.status_code, answer.json()) == (400, {"error": "EAPI:Bad request"})


def test_the_page_is_self_contained_under_a_strict_policy(exchange: RunningExchange) -> None:
    page = requests.get(f"{exchange.url}/paper/", timeout=10)
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "style=" not in page.text
    links = re.findall(r'(?:href|src)="([^"]+)"', page.text)
    assert links
    for link in links:
        assert link.startswith("/paper/")
        assert requests.get(exchange.url + link, timeout=10).status_code == 200


def test_a_link_back_leads_only_to_this_machine(exchange: RunningExchange) -> None:
    page = requests.get(f"{exchange.url}/paper/", params={"back": "https://evil.example/"}, timeout=10)
    assert "evil.example" not in page.text
    page = requests.get(f"{exchange.url}/paper/", params={"back": "http://127.0.0.1:8000/keys"}, timeout=10)
    assert '<a href="http://127.0.0.1:8000/keys">' in page.text
