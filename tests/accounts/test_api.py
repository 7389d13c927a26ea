from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.test import Client

from accounts.models import Credential, RiskSettings, User
from accounts.services import credentials, people, tokens
from tests.accounts import keys

pytestmark = pytest.mark.django_db
ALL = {"state": "close_only", "multiplier": "0.5", "max_risk": "0.05", "max_open_positions": 3, "max_slippage": "0.01"}


@pytest.fixture(autouse=True)
def no_bells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trading.doorbell._send", lambda *_: None)


@pytest.fixture
def reader() -> User:
    return people.create("reader@example.com")


@pytest.fixture
def api(reader: User) -> Client:
    return Client(headers={"Authorization": f"Token {tokens.create(reader).token.reveal()}"})


def _send(api: Client, method: str, path: str, body: object) -> tuple[int, Any]:
    response = getattr(api, method)(path, body, content_type="application/json")
    return response.status_code, response.json()


@pytest.mark.parametrize("path", ["/api/v1/me/", "/api/v1/settings/risk/", "/api/v1/credentials/"])
def test_without_a_token_there_is_no_answer(path: str) -> None:
    assert Client().get(path).status_code == 401
    assert Client(headers={"Authorization": "Token wrong"}).get(path).status_code == 401


def test_me_is_the_owner_of_the_token(api: Client, reader: User) -> None:
    people.create("other@example.com")
    body = api.get("/api/v1/me/").json()
    assert (body["id"], body["email"], body["is_operator"]) == (reader.pk, "reader@example.com", False)
    assert "password" not in body


def test_risk_settings_are_told_as_decimal_text(api: Client) -> None:
    body = api.get("/api/v1/settings/risk/").json()
    assert (body["multiplier"], body["max_risk"], body["max_slippage"]) == ("1", "0.1", "0.005")
    assert body["allocation"] is None


def test_put_sets_everything_and_empties_what_is_left_out(api: Client, reader: User) -> None:
    RiskSettings.objects.update(allocation=5, denied_symbols=["BTC-USD"])
    status, body = _send(api, "put", "/api/v1/settings/risk/", ALL)
    assert (status, body["max_risk"], body["allocation"], body["denied_symbols"]) == (200, "0.05", None, [])
    assert RiskSettings.objects.get(user=reader).state == "close_only"


def test_patch_leaves_the_rest(api: Client, reader: User) -> None:
    RiskSettings.objects.update(allocation=5)
    assert _send(api, "patch", "/api/v1/settings/risk/", {"max_risk": "0.02"})[0] == 200
    risk = RiskSettings.objects.get(user=reader)
    assert (risk.max_risk, risk.allocation) == (Decimal("0.02"), Decimal(5))


@pytest.mark.parametrize(
    "body",
    [
        {"max_risk": "0.2"},
        {"max_risk": 0.05},
        {"max_risk": "NaN"},
        {"multiplier": "1_0"},
        {"multiplier": "８"},
        {"multiplier": "-1"},
        {"state": "x"},
        {"close_only_until": None, "leverage": "5"},
        {"allowed_symbols": ["<script>"]},
        {"denied_symbols": "BEAM-USD"},
        [1],
        "x",
    ],
)
def test_what_cannot_be_is_refused_by_field(api: Client, reader: User, body: object) -> None:
    before = RiskSettings.objects.filter(user=reader).values().get()
    status, answer = _send(api, "patch", "/api/v1/settings/risk/", body)
    assert status == 400
    assert answer
    assert RiskSettings.objects.filter(user=reader).values().get() == before


@pytest.mark.parametrize("body", ['{"\\ud800": 1}', '{"state": "\\ud800"}', '{"denied_symbols": ["\\udfff-USD"]}'])
def test_half_a_character_is_refused_with_an_answer(api: Client, body: str) -> None:
    status, answer = _send(api, "patch", "/api/v1/settings/risk/", body)
    assert status == 400
    assert "surrogates not allowed" in answer["detail"]


def test_a_key_is_submitted_and_no_answer_ever_holds_it(api: Client, reader: User) -> None:
    assert api.get("/api/v1/credentials/").json() == {"active": None, "pending": None, "check": None}
    api_key, api_secret = keys.pair("one")
    response = api.post(
        "/api/v1/credentials/", {"api_key": api_key, "api_secret": api_secret}, content_type="application/json"
    )
    assert response.status_code == 202
    credential = Credential.objects.get(user=reader)
    credentials.promote(credential, iban="AA1", permissions=keys.PERMISSIONS, now=keys.NOW)
    credentials.finish_check(credential.pk, accepted=True, message="Connected.", now=keys.NOW)
    body = api.get("/api/v1/credentials/")
    assert body.json()["active"]["api_key_hint"] == credential.api_key_hint
    assert body.json()["check"]["accepted"] is True
    for text in (response.content.decode(), body.content.decode()):
        for secret in (api_key, api_secret, credential.fingerprint, bytes(credential.sealed).hex()):
            assert secret not in text
    assert api.delete("/api/v1/credentials/").status_code == 204
    assert api.get("/api/v1/credentials/").json()["active"] is None


@pytest.mark.parametrize("body", [{}, {"api_key": "x"}, {"api_key": "x" * 50, "api_secret": "hush hush"}, [1]])
def test_what_is_no_key_is_refused_without_repeating_it(api: Client, body: object) -> None:
    status, answer = _send(api, "post", "/api/v1/credentials/", body)
    assert status == 400
    assert "hush" not in str(answer)
    assert not Credential.objects.exists()


def test_another_users_key_is_not_seen_and_not_deleted(api: Client) -> None:
    other = people.create("other@example.com")
    keys.submitted(other)
    assert api.get("/api/v1/credentials/").json() == {"active": None, "pending": None, "check": None}
    assert api.delete("/api/v1/credentials/").status_code == 204
    assert Credential.objects.filter(user=other).exists()
