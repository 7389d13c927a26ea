from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from allauth.account.models import EmailAddress
from django.core.management import CommandError, call_command
from knox.auth import TokenAuthentication
from knox.models import AuthToken

from accounts.models import Credential, User
from accounts.services import credentials, people
from accounts.services.credentials import Secret
from nija import importing
from nija.importing import Outcome, Waiting
from tests.accounts import keys
from tests.accounts.keys import KeyExchange, MovedClock
from trading.models import Account
from trading.services import intake

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_bells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trading.doorbell._send", lambda *_: None)


@pytest.fixture
def exchange() -> KeyExchange:
    return KeyExchange()


def _line(exchange: KeyExchange, email: str, name: str, *, known: bool = True, **more: object) -> str:
    api_key, api_secret = exchange.knows(name) if known else keys.pair(name)
    return json.dumps({"email": email, "role": "follower", "api_key": api_key, "api_secret": api_secret} | more)


def _imported(exchange: KeyExchange, *lines: str, engine: Callable[[], object] | None = None) -> list[Outcome]:
    """Outcomes, with the execution process played by every pause of the wait."""
    clock = MovedClock()

    def check() -> object:
        return intake.check_all_pending(clock=clock, transport=exchange)

    ticks = iter(range(1000))
    waiting = Waiting(timeout_s=5, pause=lambda _s: (engine or check)() and None, monotonic=lambda: float(next(ticks)))
    return list(importing.run(importing.from_jsonl(lines), clock=clock, waiting=waiting))


def test_good_lines_become_connected_users_who_set_their_own_password(exchange: KeyExchange) -> None:
    outcomes = _imported(
        exchange,
        _line(exchange, "M@example.com", "master", role="master"),
        "",
        _line(exchange, "f@example.com", "follower", risk={"max_risk": "0.05", "multiplier": 2, "state": "close_only"}),
    )
    assert [(o.where, o.email, o.accepted) for o in outcomes] == [
        ("line 1", "m@example.com", True),
        ("line 3", "f@example.com", True),
    ]
    assert dict(Account.objects.values_list("user__email", "role")) == {
        "m@example.com": "master",
        "f@example.com": "follower",
    }
    user = User.objects.get(email="f@example.com")
    assert (user.risk.max_risk, user.risk.multiplier, user.risk.state) == (Decimal("0.05"), 2, "close_only")
    assert not user.has_usable_password()
    assert EmailAddress.objects.get(user=user).verified


def test_amounts_written_as_json_numbers_lose_no_digit(exchange: KeyExchange) -> None:
    line = _line(exchange, "f@example.com", "one").replace("}", ', "risk": {"max_risk": 0.012345}}')
    assert _imported(exchange, line)[0].accepted
    assert User.objects.get().risk.max_risk == Decimal("0.012345")


def test_a_bad_line_in_the_middle_is_one_refusal_and_the_others_are_kept(exchange: KeyExchange) -> None:
    outcomes = _imported(
        exchange,
        _line(exchange, "a@example.com", "one"),
        '{"email": "broken@example.com", ',
        _line(exchange, "b@example.com", "two"),
    )
    assert [o.accepted for o in outcomes] == [True, False, True]
    assert str(outcomes[1]) == "line 2: -: refused: This line is not JSON."


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("[1]", "one JSON object"),
        ('"text"', "one JSON object"),
        ("{" * 9000, "not JSON"),
        ('{"email": "a@example.com", "role": "follower", "x": NaN}', "not JSON"),
        ("x" * 30_000, "too long"),
        ('{"email": "a@example.com", "role": "operator", "role": "master"}', "not JSON"),
        (
            '{"email": "a@example.com", "role": "operator", "password": "\\ud800 a long pass phrase"}',
            "password is a text",
        ),
        ('{"email": "a\\u0000@example.com", "role": "operator"}', "email is a text"),
        ('{"email": "a@example.com", "role": "operator", "\\ud800\\u001b[2J": 1}', "no field called"),
        ('{"email": "a@example.com", "role": "operator", "risk": {"multiplier": 1e999999999}}', "can be used"),
        ('{"email": "a@example.com", "role": "operator", "risk": {"allowed_symbols": null}}', "list of symbols"),
        ('{"email": "a@example.com", "role": "operator", "risk": {"max_risk": -0.01}}', "max_risk: .*more than 0 %"),
        ('{"email": "nobody", "role": "operator"}', "not an e-mail address"),
        ('{"email": 5, "role": "operator"}', "email is a text"),
        ('{"email": "a@example.com", "role": "king"}', "follower or master"),
        ('{"email": "a@example.com"}', "follower or master"),
        ('{"email": "a@example.com", "role": "follower", "api_key": "k"}', "api_key and api_secret are needed"),
        ('{"email": "a@example.com", "role": "operator", "api_key": "k"}', "An operator has no Kraken key"),
        ('{"email": "a@example.com", "role": "operator", "secret": "hush"}', "no field called secret"),
        ('{"email": "a@example.com", "role": "operator", "risk": "all"}', "risk is an object"),
        ('{"email": "a@example.com", "role": "operator", "risk": {"max_risk": "2"}}', "max_risk: .*at most 10 %"),
        ('{"email": "a@example.com", "role": "operator", "risk": {"leverage": "2"}}', "no setting called leverage"),
        ('{"email": "a@example.com", "role": "operator", "password": "123"}', "too weak"),
    ],
)
def test_a_line_that_cannot_be_an_account_is_refused_and_makes_no_user(
    exchange: KeyExchange, line: str, reason: str
) -> None:
    (outcome,) = _imported(exchange, line)
    assert not outcome.accepted
    assert not User.objects.exists()

    assert re.search(reason, outcome.message)
    assert "hush" not in str(outcome)
    assert str(outcome).isprintable()


def test_refused_keys_leave_nothing_behind_and_are_not_printed(exchange: KeyExchange) -> None:
    outcomes = _imported(
        exchange,
        _line(exchange, "wrong@example.com", "unknown", known=False),
        _line(exchange, "short@example.com", "one", api_secret="hush"),
        _line(exchange, "kept@example.com", "two"),
        _line(exchange, "twice@example.com", "two"),
    )
    assert [o.accepted for o in outcomes] == [False, False, True, False]
    assert list(User.objects.values_list("email", flat=True)) == ["kept@example.com"]
    printed = "\n".join(map(str, outcomes))
    for secret in ("hush", *keys.pair("unknown"), *keys.pair("two")):
        assert secret not in printed


def test_a_withdraw_capable_key_is_refused_with_what_to_change(exchange: KeyExchange) -> None:
    line = _line(exchange, "f@example.com", "one")
    exchange.knows("one", permissions=(*keys.PERMISSIONS, "withdraw-funds"))
    (outcome,) = _imported(exchange, line)
    assert "Funds: Withdraw" in outcome.message
    assert not User.objects.exists()


def test_an_existing_user_keeps_their_row_when_the_key_is_refused_and_gets_no_second_key(exchange: KeyExchange) -> None:
    people.create("f@example.com")
    assert not _imported(exchange, _line(exchange, "f@example.com", "one", known=False))[0].accepted
    assert User.objects.count() == 1
    assert _imported(exchange, _line(exchange, "f@example.com", "two"))[0].accepted
    again = _imported(exchange, _line(exchange, "f@example.com", "three"))[0]
    assert "connected key already" in again.message


def test_without_a_running_system_the_wait_ends_with_a_sentence_and_nothing_is_kept(exchange: KeyExchange) -> None:
    line = _line(exchange, "f@example.com", "one")
    (outcome,) = _imported(exchange, line, engine=lambda: None)
    assert "Is NIJA running" in outcome.message
    assert not User.objects.exists()
    assert not Credential.objects.exists()


def test_an_operator_with_a_password_can_log_in(exchange: KeyExchange) -> None:
    line = '{"email": "op@example.com", "role": "operator", "password": "a long pass phrase"}'
    (outcome,) = _imported(exchange, line)
    assert outcome.accepted
    operator = User.objects.get()
    assert operator.is_staff
    assert operator.check_password("a long pass phrase")


def test_an_entry_masks_its_secrets_in_print() -> None:
    entry = importing.Entry("a@example.com", "follower", api_key=Secret("hush"), password=Secret("hush"))
    assert "hush" not in repr(entry)


def test_the_command_prints_a_line_per_account_and_fails_when_one_was_refused(tmp_path: Path) -> None:
    file = tmp_path / "accounts.jsonl"
    file.write_bytes(b'{"email": "op@example.com", "role": "operator"}\n\xff\xfe broken\n')
    out = io.StringIO()
    with pytest.raises(CommandError, match="1 refused") as failed:
        call_command("import_accounts", str(file), stdout=out)
    assert failed.value.returncode == 1
    assert len(out.getvalue().splitlines()) == 2
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("import_accounts", str(tmp_path / "missing.jsonl"), stdout=out)


def test_a_printed_token_works() -> None:
    user = people.create("f@example.com")
    out = io.StringIO()
    call_command("create_api_token", "F@example.com", stdout=out)
    authenticated, _ = TokenAuthentication().authenticate_credentials(out.getvalue().strip().encode())
    assert authenticated == user
    with pytest.raises(CommandError, match="no user"):
        call_command("create_api_token", "nobody@example.com", stdout=out)


def test_one_address_or_one_key_twice_is_refused_the_second_time(exchange: KeyExchange) -> None:
    outcomes = _imported(
        exchange,
        _line(exchange, "f@example.com", "one", risk={"max_risk": "0.05"}),
        _line(exchange, "F@example.com", "two", risk={"max_risk": "0.1", "state": "close_only"}),
        _line(exchange, "g@example.com", "one"),
    )
    assert [o.accepted for o in outcomes] == [True, False, False]
    kept = User.objects.get()
    assert (kept.email, kept.risk.max_risk, kept.risk.state) == ("f@example.com", Decimal("0.05"), "active")
    assert Credential.objects.count() == 1


def test_a_refused_line_leaves_the_settings_of_a_known_user_as_they_were(exchange: KeyExchange) -> None:
    user = people.create("f@example.com")
    line = _line(
        exchange, "f@example.com", "one", known=False, risk={"max_risk": "0.01", "denied_symbols": ["BTC-USD"]}
    )
    assert not _imported(exchange, line)[0].accepted
    user.risk.refresh_from_db()
    assert (user.risk.max_risk, user.risk.denied_symbols) == (Decimal("0.1"), [])


def test_an_interrupted_wait_keeps_no_half_account(exchange: KeyExchange) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _imported(exchange, _line(exchange, "f@example.com", "one"), engine=interrupt)
    assert not User.objects.exists()
    assert not Credential.objects.exists()


def test_a_disabled_user_gets_no_key_and_a_followers_account_does_not_become_the_masters(exchange: KeyExchange) -> None:
    user = people.create("f@example.com")
    assert _imported(exchange, _line(exchange, "f@example.com", "one"))[0].accepted
    credentials.disconnect(user)
    (outcome,) = _imported(exchange, _line(exchange, "f@example.com", "two", role="master"))
    assert "is a follower's and stays one" in outcome.message
    User.objects.update(is_active=False)
    (outcome,) = _imported(exchange, _line(exchange, "f@example.com", "two"))
    assert outcome.message == "This user is disabled; enable them first."
    assert not Credential.objects.filter(status="active").exists()


def test_a_file_may_begin_with_a_mark_and_hold_blank_and_endless_lines(tmp_path: Path) -> None:
    file = tmp_path / "accounts.jsonl"
    operator = b'{"email": "op%d@example.com", "role": "operator"}'
    lines = [b"\xef\xbb\xbf" + operator % 1, b"", b"  \t", b"x" * 3_000_000, b'{"email": "\xff', operator % 2 + b"\r"]
    file.write_bytes(b"\n".join(lines))
    out = io.StringIO()
    with pytest.raises(CommandError, match="2 refused"):
        call_command("import_accounts", str(file), stdout=out)
    assert out.getvalue().splitlines() == [
        "line 1: op1@example.com: accepted: Operator.",
        "line 4: -: refused: The line is too long to be an account.",
        "line 5: -: refused: This line is not text in UTF-8.",
        "line 6: op2@example.com: accepted: Operator.",
    ]


def test_no_token_is_made_for_a_disabled_user() -> None:
    user = people.create("f@example.com")
    User.objects.update(is_active=False)
    out = io.StringIO()
    with pytest.raises(CommandError, match=r"f@example.com is disabled") as refused:
        call_command("create_api_token", "f@example.com", stdout=out)
    assert (refused.value.returncode, out.getvalue(), AuthToken.objects.filter(user=user).count()) == (1, "", 0)
