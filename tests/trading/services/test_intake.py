from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings
from django.core import mail
from pytest_django import DjangoCaptureOnCommitCallbacks
from pytest_django.fixtures import Settings

from accounts.models import Credential, User
from accounts.services import credentials
from tests.accounts import keys
from tests.accounts.keys import NOW, KeyExchange, MovedClock
from tests.support.paper import PaperExchange
from trading.kraken.connections import LoopTransport
from trading.kraken.errors import (
    CredentialsRefused,
    KeyNotOpened,
    KrakenError,
    OutcomeUnknown,
    RateLimited,
    RateScope,
    Unavailable,
)
from trading.kraken.senders import of_this_process
from trading.kraken.transport import Answer
from trading.kraken.values import ApiKeyInfo
from trading.models import Account, AssetBalance, Event, Lane, Order, Role
from trading.services import intake
from trading.services.clock import SYSTEM

pytestmark = pytest.mark.django_db


@pytest.fixture
def exchange() -> KeyExchange:
    return KeyExchange()


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


def _check(credential: Credential, exchange: KeyExchange, clock: MovedClock | None = None) -> str:
    """The sentence the owner reads after the check."""
    intake.check_pending(credential.pk, clock=clock or MovedClock(), transport=exchange)
    return keys.verdict(credential).message


def _connected(exchange: KeyExchange, email: str, name: str, *, role: str = "follower", iban: str = "") -> Account:
    exchange.knows(name, iban=iban)
    owner = User.objects.filter(email=email).first() or keys.user(email)
    credential = keys.submitted(owner, name, role=role)
    assert _check(credential, exchange) == intake.CONNECTED
    return Account.objects.get(user=owner)


def test_a_good_key_connects_the_account_with_a_lane_above_the_nonce_that_was_used(exchange: KeyExchange) -> None:
    account = _connected(exchange, "f@example.com", "one", iban="AA88 N84G")
    assert (account.role, account.venue, account.iban) == (Role.FOLLOWER, settings.VENUE, "AA88N84G")
    credential = Credential.objects.get()
    assert (credential.status, credential.iban) == (Credential.Status.ACTIVE, "AA88N84G")
    assert credential.permissions == sorted(keys.PERMISSIONS)
    assert Lane.objects.get(credential=credential).last_nonce == exchange.nonces[-1] == MovedClock().ns()
    assert Event.objects.get().account == account


@pytest.mark.parametrize(
    ("known", "sentence"),
    [
        ({"permissions": (*keys.PERMISSIONS, "withdraw-funds")}, "Funds: Withdraw"),
        ({"permissions": (*keys.PERMISSIONS, "add-withdraw-address")}, "Add withdrawal addresses"),
        ({"permissions": keys.PERMISSIONS[1:]}, "lacks “Funds: Query”"),
        ({"permissions": ()}, "Switch that on"),
        ({"permissions": None}, "did not say what this key may do"),
        ({"nonce_window": 10}, "nonce window of 10"),
    ],
)
def test_an_unsuitable_key_is_refused_with_what_to_change_and_leaves_no_row(
    exchange: KeyExchange, known: dict[str, Any], sentence: str
) -> None:
    exchange.knows("one", **known)
    credential = keys.submitted(keys.user())
    assert sentence in _check(credential, exchange)
    assert keys.verdict(credential).accepted is False
    assert not Credential.objects.exists()
    assert not Account.objects.exists()
    assert not Lane.objects.exists()


@pytest.mark.parametrize(
    "code", ["EAPI:Invalid key", "EAPI:Invalid signature", "EAPI:Invalid nonce", "EGeneral:Permission denied"]
)
def test_a_key_that_kraken_does_not_accept_is_refused_and_leaves_no_row(exchange: KeyExchange, code: str) -> None:
    exchange.knows("one")
    exchange.errors = [code]
    credential = keys.submitted(keys.user())
    assert _check(credential, exchange)
    assert keys.verdict(credential).accepted is False
    assert not Credential.objects.exists()


@pytest.mark.parametrize(
    "silence",
    [
        Unavailable("Kraken cannot be reached."),
        OutcomeUnknown("Kraken did not answer in time."),
        RateLimited("Too many calls.", scope=RateScope.KEY),
    ],
)
def test_while_kraken_is_silent_the_key_waits_and_connects_when_it_answers(
    exchange: KeyExchange, clock: MovedClock, silence: KrakenError
) -> None:
    exchange.knows("one")
    exchange.failure = silence
    credential = keys.submitted(keys.user())
    assert "tried again until 12:10 UTC" in _check(credential, exchange, clock)
    assert keys.verdict(credential).finished_at is None
    exchange.failure = None
    clock.advance(20)
    assert intake.check_all_pending(clock=clock, transport=exchange) == 1
    assert keys.verdict(credential).accepted is True
    assert exchange.nonces == sorted(set(exchange.nonces))


@pytest.mark.parametrize("body", [b"<html>maintenance</html>", b"{", b'{"error":["EService:Unavailable"]}'])
def test_an_answer_that_says_nothing_about_the_key_keeps_it_waiting(exchange: KeyExchange, body: bytes) -> None:
    exchange.raw = Answer(status=520 if body.startswith(b"<") else 200, body=body)
    credential = keys.submitted(keys.user())
    _check(credential, exchange)
    assert keys.verdict(credential).finished_at is None
    assert Credential.objects.filter(pk=credential.pk).exists()


def test_a_key_that_kraken_never_judged_is_forgotten(exchange: KeyExchange, clock: MovedClock) -> None:
    exchange.failure = Unavailable("Kraken cannot be reached.")
    credential = keys.submitted(keys.user())
    _check(credential, exchange, clock)
    clock.advance(600)
    assert intake.check_all_pending(clock=clock, transport=exchange) == 0
    assert not Credential.objects.exists()
    assert keys.verdict(credential).accepted is False


def test_a_repeated_message_changes_nothing(exchange: KeyExchange) -> None:
    exchange.knows("one")
    credential = keys.submitted(keys.user())
    _check(credential, exchange)
    _check(credential, exchange)
    assert len(exchange.nonces) == 1
    assert Lane.objects.count() == Account.objects.count() == 1


def test_the_same_kraken_account_is_not_connected_twice(exchange: KeyExchange) -> None:
    _connected(exchange, "f@example.com", "one", iban="AA1")
    exchange.knows("two", iban="AA 1")
    credential = keys.submitted(keys.user("other@example.com"), "two")
    sentence = _check(credential, exchange)
    assert "connected to another NIJA account" in sentence
    assert "f@example.com" not in sentence
    assert not Credential.objects.filter(pk=credential.pk).exists()


def test_the_masters_account_cannot_be_a_follower(exchange: KeyExchange) -> None:
    _connected(exchange, "m@example.com", "master", role="master", iban="MM1")
    exchange.knows("second key", iban="MM1")
    credential = keys.submitted(keys.user("other@example.com"), "second key")
    assert "the master cannot copy itself" in _check(credential, exchange)
    assert Account.objects.count() == 1


def test_there_is_one_master(exchange: KeyExchange) -> None:
    _connected(exchange, "m@example.com", "master", role="master")
    exchange.knows("usurper")
    credential = keys.submitted(keys.user("u@example.com"), "usurper", role="master")
    assert "exactly one" in _check(credential, exchange)


def test_another_key_of_the_same_account_replaces_the_first(exchange: KeyExchange) -> None:
    account = _connected(exchange, "f@example.com", "one", iban="AA1")
    keys.open_position(account)
    assert _connected(exchange, "f@example.com", "two", iban="AA1").pk == account.pk
    assert Credential.objects.get(status="active").version == 2
    assert bytes(Credential.objects.get(status="replaced").sealed) == b""


def test_a_key_of_another_account_is_refused_once_there_is_history(exchange: KeyExchange) -> None:
    account = _connected(exchange, "f@example.com", "one", iban="AA1")
    position = keys.open_position(account)
    order = {"kind": "entry", "origin": "manual", "side": "buy", "quantity": "1", "state": "FILLED", "created_at": NOW}
    fields = {field.name for field in Order._meta.get_fields()}
    Order.objects.create(
        account=account, instrument=position.instrument, **{k: v for k, v in order.items() if k in fields}
    )
    exchange.knows("two", iban="BB2")
    credential = keys.submitted(account.user, "two")
    assert "another Kraken account" in _check(credential, exchange)
    assert Credential.objects.get(status="active").iban == "AA1"


def test_before_any_order_another_account_may_take_the_place_and_its_balances_are_read_anew(
    exchange: KeyExchange,
) -> None:
    account = _connected(exchange, "f@example.com", "one", iban="AA1")
    AssetBalance.objects.create(account=account, asset="ZUSD", total="5", as_of=NOW)
    assert _connected(exchange, "f@example.com", "two", iban="BB2").iban == "BB2"
    assert not AssetBalance.objects.exists()


def test_what_the_master_traded_on_another_account_before_he_connected_it_is_his_own(exchange: KeyExchange) -> None:
    account = _connected(exchange, "m@example.com", "one", iban="AA1", role="master")
    long_ago = NOW - timedelta(days=7)
    Account.objects.update(
        created_at=long_ago, trades_known_until=long_ago, trades_read_at=long_ago, taker_fee="0.004", fees_as_of=NOW
    )
    account = _connected(exchange, "m@example.com", "two", iban="BB2", role="master")
    account.refresh_from_db()
    assert account.created_at == account.trades_known_until == MovedClock().now()
    assert account.trades_read_at is account.taker_fee is account.fees_as_of is None


def test_a_key_submitted_for_another_exchange_is_refused(exchange: KeyExchange, settings: Settings) -> None:
    credential = keys.submitted(keys.user())
    settings.VENUE = "https://elsewhere.example"
    assert "another exchange" in _check(credential, exchange)
    assert exchange.nonces == []


def test_a_key_that_was_used_here_before_starts_above_its_old_nonce(exchange: KeyExchange) -> None:
    account = _connected(exchange, "f@example.com", "one")
    Lane.objects.update(last_nonce=MovedClock().ns() + 500)
    assert intake.disconnect(account.user, clock=MovedClock()) == ""
    _connected(exchange, "f@example.com", "one")
    assert exchange.nonces[-1] == MovedClock().ns() + 501


def test_the_key_stays_while_positions_are_open(exchange: KeyExchange) -> None:
    account = _connected(exchange, "f@example.com", "one")
    position = keys.open_position(account)
    refusal = intake.disconnect(account.user, clock=MovedClock())
    assert "1 copied position is still open" in refusal
    assert "Sell or take over it" in refusal
    assert Credential.objects.filter(status="active").exists()
    position.is_open = False
    position.save()
    assert intake.disconnect(account.user, clock=MovedClock()) == ""
    assert not Credential.objects.filter(status="active").exists()


def test_the_master_is_told_who_closes_his_positions(exchange: KeyExchange) -> None:
    master = _connected(exchange, "m@example.com", "one", role="master")
    keys.open_position(master)
    assert intake.disconnect(master.user, clock=MovedClock()).endswith(
        "Have it closed on the operator's page, then disconnect."
    )


def _info(*, permissions: frozenset[str] = frozenset(keys.PERMISSIONS), iban: str = "AA1") -> ApiKeyInfo:
    return ApiKeyInfo(name="", permissions=permissions, iban=iban, nonce_window=0, valid_until=None, ip_allowlist=())


def test_a_key_that_drifted_blocks_entries_and_its_owner_is_told_once(
    exchange: KeyExchange, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    account = _connected(exchange, "f@example.com", "one", iban="AA1")
    drifted = _info(permissions=frozenset(keys.PERMISSIONS) | {"withdraw-funds"})
    for _ in range(2):
        with django_capture_on_commit_callbacks(execute=True):
            assert intake.recheck_all(ask=lambda _id: drifted, clock=MovedClock()) == 1
    assert "Funds: Withdraw" in Credential.objects.get().entries_blocked_reason
    assert [message.to for message in mail.outbox] == [["f@example.com"]]
    assert Event.objects.filter(account=account, message__contains="Withdraw").count() == 1
    with django_capture_on_commit_callbacks(execute=True):
        assert intake.recheck_all(ask=lambda _id: _info(), clock=MovedClock()) == 0
    assert Credential.objects.get().entries_blocked_reason == ""
    assert len(mail.outbox) == 2


def test_a_revoked_key_blocks_entries_and_silence_does_not(exchange: KeyExchange) -> None:
    _connected(exchange, "f@example.com", "one", iban="AA1")

    def revoked(_id: UUID) -> ApiKeyInfo:
        raise CredentialsRefused("Kraken does not know this API key.")

    def silent(_id: UUID) -> ApiKeyInfo:
        raise OutcomeUnknown("Kraken did not answer in time.")

    assert intake.recheck_all(ask=silent, clock=MovedClock()) == 0
    assert intake.recheck_all(ask=revoked, clock=MovedClock()) == 1
    assert "Replace the key" in Credential.objects.get().entries_blocked_reason
    assert intake.recheck_all(ask=silent, clock=MovedClock()) == 1


def test_no_log_line_or_error_of_a_check_holds_the_key(
    exchange: KeyExchange, caplog: pytest.LogCaptureFixture, settings: Settings
) -> None:
    caplog.set_level(logging.DEBUG)
    api_key, api_secret = exchange.knows("one")
    credential = keys.submitted(keys.user())
    Credential.objects.filter(pk=credential.pk).update(version=9)
    sentence = _check(credential, exchange)
    shown = caplog.text + sentence + repr(credential) + repr(credentials.OpenedKey.__doc__)
    assert "could not be opened" in sentence
    assert api_key not in shown
    assert api_secret not in shown


def test_an_opened_key_is_masked_in_print() -> None:
    credential = keys.submitted(keys.user())
    api_key, api_secret = keys.pair("one")
    shown = f"{credentials.open_credential(credential.pk)!r}"
    assert api_key not in shown
    assert api_secret not in shown


def test_submitting_seals_the_key_and_rings_its_check_after_commit(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    monkeypatch: pytest.MonkeyPatch,
    clock: MovedClock,
) -> None:
    rung: list[tuple[object, ...]] = []
    monkeypatch.setattr("trading.doorbell._send", lambda task, args: rung.append((task, *args)))
    api_key, api_secret = keys.pair("one")
    with django_capture_on_commit_callbacks(execute=True):
        credential = intake.submit(keys.user(), api_key=api_key, api_secret=api_secret, clock=clock)
        assert rung == []
    assert rung == [("trading.tasks.check_credential", str(credential.pk))]
    assert credential.expires_at == NOW + timedelta(minutes=10)


def test_keys_of_the_paper_exchange_are_judged_over_http(paper_exchange: Callable[..., PaperExchange]) -> None:
    paper = paper_exchange()
    good = paper.create_account("good", balances={"ZUSD": "100"})
    bad = paper.create_account("bad", balances={"ZUSD": "100"}, permissions=[*keys.PERMISSIONS, "withdraw-funds"])
    transport = LoopTransport(paper.url)
    sentences = []
    for number, account in enumerate((good, bad)):
        owner = keys.user(f"{number}@example.com")
        credential = intake.submit(owner, api_key=account.api_key, api_secret=account.api_secret, clock=SYSTEM)
        intake.check_pending(credential.pk, clock=SYSTEM, transport=transport)
        sentences.append(keys.verdict(credential).message)
    of_this_process().run(transport.close)
    assert sentences[0] == intake.CONNECTED
    assert "Funds: Withdraw" in sentences[1]
    assert Account.objects.get().iban == "".join(good.iban.split())


def test_a_vault_key_that_does_not_fit_is_held_against_no_key_and_told_to_no_owner(exchange: KeyExchange) -> None:
    _connected(exchange, "f@example.com", "one", iban="AA1")

    def not_opened(_key: UUID) -> ApiKeyInfo:
        raise KeyNotOpened("The stored key does not open here.")

    assert intake.recheck_all(ask=not_opened, clock=MovedClock()) == 0
    assert Credential.objects.get().entries_blocked_reason == ""
    assert mail.outbox == []


def test_where_the_vault_is_closed_a_submitted_key_waits(exchange: KeyExchange, settings: Settings) -> None:
    exchange.knows("one")
    credential = keys.submitted(keys.user("f@example.com"), "one")
    settings.NIJA_VAULT_PRIVATE_KEY = ""
    intake.check_pending(credential.pk, clock=MovedClock(), transport=exchange)
    assert "tried again until" in keys.verdict(credential).message
    assert Credential.objects.get(pk=credential.pk).status == Credential.Status.PENDING
