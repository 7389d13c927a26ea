from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.core.cache import cache
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import Settings

from accounts import forms, selectors
from accounts.models import Credential, KeyCheck, RiskSettings, User
from accounts.services import credentials, people, tokens
from accounts.services import risk as risk_service
from tests.accounts import keys
from tests.trading.services import master_books
from trading.models import Account

pytestmark = pytest.mark.django_db
PASSWORD = "a long pass phrase"


@pytest.fixture(autouse=True)
def no_bells(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    rung: list[str] = []
    monkeypatch.setattr("trading.doorbell._send", lambda task, *_: rung.append(task))
    return rung


@pytest.fixture
def reader() -> User:
    return people.create("reader@example.com", password=PASSWORD)


@pytest.fixture
def browser(client: Client, reader: User) -> Client:
    client.force_login(reader)
    return client


def _text(client: Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200, path
    return str(response.content.decode())


def _code() -> str:
    found = re.search(r"^([A-Z0-9-]{4,12})$", str(mail.outbox[-1].body), re.MULTILINE)
    assert found, mail.outbox[-1].body
    return found[1]


def test_a_newcomer_signs_up_confirms_the_code_and_is_logged_in(client: Client) -> None:
    form = {"email": "New@Example.com", "password1": PASSWORD, "password2": PASSWORD}
    response = client.post(reverse("account_signup"), form)
    assert response["Location"] == reverse("account_email_verification_sent")
    assert "Confirm your address" in _text(client, response["Location"])
    response = client.post(response["Location"], {"code": _code()})
    assert response.status_code == 302
    user = User.objects.get(email="new@example.com")
    assert EmailAddress.objects.get(user=user).verified
    assert user.risk.state == "active"
    assert "new@example.com" in _text(client, reverse("account"))


def test_without_the_code_nobody_gets_in(client: Client) -> None:
    client.post(reverse("account_signup"), {"email": "n@example.com", "password1": PASSWORD, "password2": PASSWORD})
    client.post(reverse("account_email_verification_sent"), {"code": "WRONG1"})
    assert client.get(reverse("account")).status_code == 302
    assert not EmailAddress.objects.filter(verified=True).exists()


def test_an_address_that_has_an_account_is_not_given_away(client: Client, reader: User) -> None:
    form = {"email": reader.email.upper(), "password1": PASSWORD, "password2": PASSWORD}
    response = client.post(reverse("account_signup"), form)
    assert response["Location"] == reverse("account_email_verification_sent")
    assert User.objects.count() == 1
    assert "has one already" in str(mail.outbox[-1].body)


def test_log_in_by_address_in_any_case_and_log_out(client: Client, reader: User) -> None:
    response = client.post(reverse("account_login"), {"login": "READER@example.com", "password": PASSWORD})
    assert response["Location"] == "/dashboard/"
    assert "Log out" in _text(client, reverse("account_logout"))
    client.post(reverse("account_logout"))
    assert client.get(reverse("account"))["Location"].startswith(reverse("account_login"))


def test_an_address_signed_up_at_the_same_moment_is_answered_as_a_known_one(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both forms saw a free address; the later one meets the row of the earlier."""
    cache.clear()
    form = {"email": "n@example.com", "password1": PASSWORD, "password2": PASSWORD}
    monkeypatch.setattr(forms.AllauthSignupForm, "clean_email", lambda self: self.cleaned_data["email"], raising=True)
    monkeypatch.setattr(forms.AllauthSignupForm, "account_already_exists", False, raising=False)
    first, second = (Client().post(reverse("account_signup"), form) for _ in range(2))
    # Mail to one address is limited, so that a known one is told to wait at this moment.
    assert (first.status_code, second.status_code) == (302, 429)
    assert "That was tried too often" in second.content.decode()
    assert User.objects.filter(email="n@example.com").count() == 1


def test_a_wrong_password_is_refused_and_too_many_are_slowed_down(client: Client, reader: User) -> None:
    for _ in range(6):
        response = client.post(reverse("account_login"), {"login": reader.email, "password": "wrong"})
    assert "Too many failed" in response.content.decode()
    assert client.get(reverse("account")).status_code == 302


def test_a_forgotten_password_is_set_anew_by_a_link(client: Client, reader: User) -> None:
    client.post(reverse("account_reset_password"), {"email": reader.email})
    link = re.search(r"http://\S+", str(mail.outbox[-1].body))
    assert link
    response = client.get(link[0], follow=True)
    path = response.redirect_chain[-1][0]
    client.post(path, {"password1": "another long phrase", "password2": "another long phrase"})
    assert User.objects.get().check_password("another long phrase")


@pytest.mark.parametrize(
    "name",
    ["account_login", "account_signup", "account_reset_password", "account_reset_password_done"],
)
def test_pages_before_log_in_wear_the_same_dress(client: Client, name: str) -> None:
    page = _text(client, reverse(name))
    assert "site-head" in page
    assert "style=" not in page


@pytest.mark.parametrize(
    "name",
    [
        "account",
        "risk",
        "connect",
        "account_email",
        "account_change_password",
        "account_logout",
        "mfa_index",
        "account_reauthenticate",
    ],
)
def test_pages_after_log_in_wear_the_same_dress(browser: Client, name: str) -> None:
    page = _text(browser, reverse(name))
    assert "site-head" in page
    assert "style=" not in page


@pytest.mark.parametrize("name", ["account", "risk", "connect"])
def test_settings_are_behind_log_in(client: Client, name: str) -> None:
    assert client.get(reverse(name))["Location"].startswith(reverse("account_login"))


def _risk_form(**changes: str) -> dict[str, str]:
    form = {"state": "active", "multiplier": "1", "max_risk": "10", "max_open_positions": "8", "max_slippage": "0.5"}
    return form | changes


def test_risk_settings_are_shown_in_per_cent_and_saved_as_ratios(browser: Client, reader: User) -> None:
    page = _text(browser, reverse("risk"))
    assert 'name="max_risk" value="10"' in page
    assert 'name="max_slippage" value="0.5"' in page
    form = _risk_form(max_risk="2.5", max_daily_loss="5", max_drawdown="20", denied_symbols="beam-usd, BTC-USD")
    assert browser.post(reverse("risk"), form).status_code == 302
    risk = RiskSettings.objects.get(user=reader)
    assert (risk.max_risk, risk.max_drawdown, risk.max_daily_loss) == (Decimal("0.025"), Decimal("0.2"), Decimal(5))
    assert risk.denied_symbols == ["BEAM-USD", "BTC-USD"]


def test_the_master_is_told_which_of_these_settings_hold_for_what_he_buys(browser: Client, reader: User) -> None:
    assert "You are the master" not in _text(browser, reverse("risk"))
    Account.objects.create(user=reader, role="master", venue="v", iban="AA1", created_at=keys.NOW)
    assert "You are the master" in _text(browser, reverse("risk"))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"max_risk": "11"}, "at most 10 %"),
        ({"max_risk": "NaN"}, "Write a number"),
        ({"multiplier": "1_0"}, "Write a number"),
        ({"max_risk": "1e1000002"}, "Write a number"),
        ({"max_drawdown": "1e-1000002"}, "Write a number"),
        ({"max_slippage": "0." + "1" * 100}, "Write a number"),
        ({"multiplier": "８"}, "Write a number"),
        ({"multiplier": "-1"}, "more than 0 and at most 10"),
        ({"multiplier": "9" * 40}, "at most 10"),
        ({"allocation": "-3"}, "leave it empty"),
        ({"denied_symbols": "whatever"}, "looks like BEAM-USD"),
        ({"max_open_positions": "1.5"}, "whole number"),
        ({"state": "x"}, "valid choice"),
    ],
)
def test_wrong_risk_settings_are_answered_with_a_sentence(
    browser: Client, reader: User, changes: dict[str, str], sentence: str
) -> None:
    response = browser.post(reverse("risk"), _risk_form(**changes))
    assert response.status_code == 200
    assert sentence in response.content.decode()
    assert RiskSettings.objects.get(user=reader).max_risk == Decimal("0.1")


def test_a_page_opened_before_settings_were_changed_elsewhere_saves_nothing(browser: Client, reader: User) -> None:
    """Or a forgotten tab would switch copying on again."""
    page = browser.get(reverse("risk"))
    seen = page.context["form"].initial["seen"]
    assert f'name="seen" value="{seen}"' in page.content.decode()
    risk_service.change(reader, {"state": "close_only", "multiplier": "0.5"})
    response = browser.post(reverse("risk"), _risk_form(seen=seen, denied_symbols="BEAM-USD"))
    assert "changed elsewhere since this page was opened" in response.content.decode()
    risk = RiskSettings.objects.get(user=reader)
    assert (risk.state, risk.multiplier, risk.denied_symbols) == ("close_only", Decimal("0.5"), [])
    seen = browser.get(reverse("risk")).context["form"].initial["seen"]
    assert browser.post(reverse("risk"), _risk_form(seen=seen, state="close_only")).status_code == 302


def test_a_pair_that_kraken_does_not_quote_is_refused_with_the_name_it_is_meant_by(
    browser: Client, reader: User
) -> None:
    """Denied under a name that no pair has, bitcoin would be bought all the same."""
    master_books.instrument("BTC-USD")
    for typed, sentence in (("XBT-USD", "You may mean BTC-USD."), ("DOGG-USD", "Kraken quotes no pair DOGG-USD.")):
        response = browser.post(reverse("risk"), _risk_form(denied_symbols=f"BTC-USD {typed}"))
        assert sentence in response.content.decode()
    # One that was listed when it was written down stays.
    RiskSettings.objects.filter(user=reader).update(denied_symbols=["GONE-USD"])
    assert browser.post(reverse("risk"), _risk_form(denied_symbols="GONE-USD BTC-USD")).status_code == 302


def test_a_key_is_submitted_checked_and_the_verdict_shown(browser: Client, reader: User, no_bells: list[str]) -> None:
    assert "No Kraken account is connected" in _text(browser, reverse("connect"))
    api_key, api_secret = keys.pair("one")
    response = browser.post(reverse("connect"), {"api_key": api_key, "api_secret": api_secret})
    assert response["Location"] == reverse("connect")
    page = _text(browser, reverse("connect"))
    assert "being checked" in page
    credential = Credential.objects.get(user=reader)
    credentials.refuse(credential.pk, message="Switch off “Funds: Withdraw” at Kraken.", now=keys.NOW)
    page = _text(browser, reverse("connect"))
    assert "Funds: Withdraw" in page
    assert api_key not in page
    assert api_secret not in page


def test_a_text_that_is_no_key_is_refused_and_not_shown_again(browser: Client) -> None:
    response = browser.post(reverse("connect"), {"api_key": keys.pair("one")[0], "api_secret": "not a secret"})
    assert response.status_code == 200
    page = response.content.decode()
    assert "copy it again" in page.lower()
    assert "not a secret" not in page


def test_a_secret_pasted_in_the_keys_place_is_not_shown_again(browser: Client, reader: User) -> None:
    api_key, api_secret = keys.pair("one")
    for other in (api_key, api_secret):
        response = browser.post(reverse("connect"), {"api_key": api_secret, "api_secret": other})
        assert response.status_code == 200
        assert api_secret not in response.content.decode()
    assert not Credential.objects.exists()


def test_a_follower_cannot_ask_to_be_the_master(browser: Client, reader: User) -> None:
    api_key, api_secret = keys.pair("one")
    browser.post(reverse("connect"), {"api_key": api_key, "api_secret": api_secret, "role": "master"})
    assert Credential.objects.get(user=reader).role == "follower"


def test_an_operator_may_connect_the_master(browser: Client, reader: User) -> None:
    User.objects.update(is_staff=True)
    api_key, api_secret = keys.pair("one")
    browser.post(reverse("connect"), {"api_key": api_key, "api_secret": api_secret, "role": "master"})
    assert Credential.objects.get(user=reader).role == "master"


def test_the_key_is_disconnected_unless_positions_are_open(browser: Client, reader: User) -> None:
    credential = keys.submitted(reader)
    credentials.promote(credential, iban="AA1", permissions=keys.PERMISSIONS, now=keys.NOW)
    account = Account.objects.create(user=reader, role="follower", venue="v", iban="AA1", created_at=keys.NOW)
    position = keys.open_position(account)
    assert "still open" in browser.post(reverse("disconnect"), follow=True).content.decode()
    position.is_open = False
    position.save()
    assert "is disconnected" in browser.post(reverse("disconnect"), follow=True).content.decode()
    assert not Credential.objects.filter(status="active").exists()


def test_tokens_end_with_the_password_they_were_made_under(browser: Client, reader: User) -> None:
    other = people.create("other@example.com", password=PASSWORD)
    kept = tokens.create(other)
    tokens.create(reader)
    form = {"oldpassword": PASSWORD, "password1": "another long phrase", "password2": "another long phrase"}
    page = browser.post(reverse("account_change_password"), form, follow=True).content.decode()
    assert "Your 1 REST token was revoked with the old password" in page
    assert not selectors.tokens(reader)
    assert [row.key for row in selectors.tokens(other)] == [kept.key]


def test_a_token_is_shown_once_and_revoked(browser: Client, reader: User) -> None:
    page = browser.post(reverse("account")).content.decode()
    found = re.search(r'data-copy="([0-9a-f]{64})"', page)
    assert found
    headers = {"Authorization": f"Token {found[1]}"}
    assert Client(headers=headers).get("/api/v1/me/").status_code == 200
    assert found[1] not in _text(browser, reverse("account"))
    assert browser.post(reverse("revoke_token", args=[found[1][:15]])).status_code in (302, 404)
    for row in selectors.tokens(reader):
        assert browser.post(reverse("revoke_token", args=[row.key])).status_code == 302
    assert Client(headers=headers).get("/api/v1/me/").status_code == 401


def test_nobody_sees_or_revokes_another_users_things(browser: Client) -> None:
    other = people.create("other@example.com", password=PASSWORD)
    token = tokens.create(other)
    keys.submitted(other)
    KeyCheck.objects.update(message="a verdict for somebody else")
    assert token.key not in _text(browser, reverse("account"))
    assert browser.post(reverse("revoke_token", args=[token.key])).status_code == 404
    page = _text(browser, reverse("connect"))
    assert "somebody else" not in page
    assert Credential.objects.get().api_key_hint not in page
    browser.post(reverse("disconnect"))
    assert Credential.objects.filter(user=other).exists()


def test_kept_mail_is_for_this_machine_only(client: Client, settings: Settings, tmp_path: Path) -> None:
    settings.MAIL_DIR = tmp_path
    line = b"-" * 79 + b"\n"
    mails = [b"Subject: =?utf-8?q?Caf=C3=A9?=\nTo: a@example.com\n\ncode <b>ABC</b>\n", b"Subject: Two\nTo: b@x\n\nx\n"]
    (tmp_path / "1.log").write_bytes(line.join([*mails, b""]))
    page = _text(client, reverse("mail"))
    assert page.index("Two") < page.index("Café")
    assert "&lt;b&gt;ABC" in page
    assert client.get(reverse("mail"), REMOTE_ADDR="10.0.0.8").status_code == 404
    settings.MAIL_IS_KEPT = False
    assert client.get(reverse("mail")).status_code == 404


def test_the_admin_shows_keys_without_their_sealed_text_and_changes_none(client: Client, reader: User) -> None:
    credential = keys.submitted(reader)
    operator = people.create("operator@example.com", password=PASSWORD, operator=True)
    assert client.get("/admin/login/").status_code == 302
    client.force_login(operator)
    page = _text(client, f"/admin/accounts/credential/{credential.pk}/change/")
    assert credential.api_key_hint in page
    for secret in (*keys.pair("one"), bytes(credential.sealed).hex(), credential.fingerprint, 'name="sealed"'):
        assert secret not in page
    assert client.post(f"/admin/accounts/credential/{credential.pk}/delete/").status_code == 403
    for model in ("user", "risksettings", "keycheck", "credential"):
        assert "reader@example.com" in _text(client, f"/admin/accounts/{model}/")
