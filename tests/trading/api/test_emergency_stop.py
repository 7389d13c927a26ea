"""The emergency stop over REST and from a shell."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.core.cache import cache
from django.core.management import call_command
from django.test import override_settings
from django.utils import timezone
from pytest_django.fixtures import Settings

from accounts.models import RiskSettings
from tests.copytrade import books
from tests.copytrade.books import Fleet
from tests.trading.api import callers
from trading.domain.order_state import OrderState
from trading.models import Account, Control, Event, EventKind, OrderKind
from trading.services import halts

pytestmark = pytest.mark.django_db
ADDRESS = "/api/v1/emergency-stop/"


@pytest.fixture
def fleet() -> Fleet:
    return books.fleet()


@pytest.fixture
def ann(fleet: Fleet) -> Account:
    return books.follower(fleet, "ann@example.com")


def on_its_way(account: Account, fleet: Fleet) -> None:
    books.order(
        account, fleet.dust, kind=OrderKind.ENTRY, quantity="100", now=fleet.now, state=OrderState.SENDING, filled=0,
        venue_order_id="",
    )  # fmt: skip


def test_an_operator_stops_the_platform_and_reads_what_the_stop_met(ann: Account, fleet: Fleet) -> None:
    on_its_way(ann, fleet)
    client = callers.by_token(callers.operator())
    response = client.post(ADDRESS, {"reason": "market gone mad", "scope": "platform"}, format="json")
    assert response.status_code == 200
    report = response.json()
    assert report["scope"] == "platform"
    assert (report["followers"], report["already_sent"], report["open_positions"]) == (1, 1, 2)
    assert report["stopped_at"].endswith("Z")
    assert halts.entries_stopped_shared() == "Entries are stopped for everybody: market gone mad"
    state = client.get(ADDRESS).json()["platform"]
    assert (state["stopped"], state["reason"], state["changed_by"]) == (True, "market gone mad", "operator@example.com")


def test_an_operator_who_names_no_scope_stops_and_resumes_the_platform(fleet: Fleet) -> None:
    client = callers.by_token(callers.operator())
    assert client.post(ADDRESS, {}, format="json").json()["scope"] == "platform"
    assert halts.control().stopped_at is not None
    state = client.delete(ADDRESS)
    assert state.status_code == 200
    assert state.json()["platform"]["stopped"] is False
    assert halts.entries_stopped_shared() == ""
    kinds = list(Event.objects.order_by("pk").values_list("kind", "actor"))
    assert kinds == [(EventKind.STOPPED, "operator@example.com"), (EventKind.RESUMED, "operator@example.com")]


def test_a_user_stops_and_resumes_the_own_account_only(ann: Account, fleet: Fleet) -> None:
    other = books.account(books.user("bob@example.com"), now=fleet.now)
    client = callers.by_token(ann.user)
    report = client.post(ADDRESS, {"reason": "holiday"}, format="json").json()
    assert (report["scope"], report["followers"], report["open_positions"]) == ("account", 1, 1)
    assert RiskSettings.objects.get(user=ann.user).stop_reason == "holiday"
    assert RiskSettings.objects.get(user=other.user).stopped_at is None
    assert halts.control().stopped_at is None
    state = client.get(ADDRESS).json()
    assert (state["account"]["stopped"], state["account"]["reason"]) == (True, "holiday")
    assert state["platform"]["stopped"] is False
    assert client.delete(ADDRESS).json()["account"]["stopped"] is False
    assert RiskSettings.objects.get(user=ann.user).stopped_at is None


@pytest.mark.parametrize("method", ["post", "delete"])
def test_a_user_cannot_stop_or_resume_the_platform(ann: Account, method: str) -> None:
    halts_before = Control.objects.filter(stopped_at__isnull=False).count()
    client = callers.by_token(ann.user)
    response = getattr(client, method)(ADDRESS, {"scope": "platform"}, format="json")
    assert response.status_code == 403
    assert client.delete(f"{ADDRESS}?scope=platform").status_code == 403
    assert Control.objects.filter(stopped_at__isnull=False).count() == halts_before == 0
    assert not Event.objects.exists()


def test_resuming_one_account_leaves_the_platform_stopped(fleet: Fleet) -> None:
    operator = callers.operator()
    books.account(operator, now=fleet.now)
    client = callers.by_token(operator)
    client.post(ADDRESS, {"reason": "all"}, format="json")
    client.post(ADDRESS, {"reason": "own", "scope": "account"}, format="json")
    state = client.delete(ADDRESS, {"scope": "account"}, format="json").json()
    assert (state["platform"]["stopped"], state["account"]["stopped"]) == (True, False)
    client.post(ADDRESS, {"scope": "account"}, format="json")
    state = client.delete(f"{ADDRESS}?scope=account").json()
    assert (state["platform"]["stopped"], state["account"]["stopped"]) == (True, False)


def test_two_different_scopes_resume_nothing(fleet: Fleet) -> None:
    client = callers.by_token(callers.operator())
    client.post(ADDRESS, {}, format="json")
    response = client.delete(f"{ADDRESS}?scope=platform", {"scope": "account"}, format="json")
    assert response.status_code == 400
    assert halts.control().stopped_at is not None


def test_a_tripped_loss_limit_is_told_and_lifted_by_its_owner(ann: Account) -> None:
    until = timezone.now() + timedelta(hours=1)
    RiskSettings.objects.filter(user=ann.user).update(close_only_until=until, close_only_reason="A drawdown")
    client = callers.by_token(ann.user)
    assert client.get(ADDRESS).json()["account"]["close_only_reason"] == "A drawdown"
    assert client.delete(ADDRESS).json()["account"]["close_only_until"] is None


def test_who_stopped_the_platform_is_told_to_operators_only(ann: Account) -> None:
    callers.by_token(callers.operator()).post(ADDRESS, {"reason": "mad"}, format="json")
    state = callers.by_token(ann.user).get(ADDRESS)
    assert state.json()["platform"]["reason"] == "mad"
    assert "operator@example.com" not in state.content.decode()


def test_somebody_without_an_account_has_nothing_to_stop() -> None:
    client = callers.by_token(books.user("new@example.com"))
    response = client.post(ADDRESS, {"reason": "x"}, format="json")
    assert response.status_code == 409
    assert "No Kraken account is connected" in response.json()["detail"]
    assert client.get(ADDRESS).status_code == 200


@pytest.mark.parametrize("body", [{"scope": "world"}, {"reason": "x" * 201}, {"reason": {}}, [1]])
def test_a_stop_that_cannot_be_understood_is_refused_with_a_reason(ann: Account, body: object) -> None:
    response = callers.by_token(ann.user).post(ADDRESS, body, format="json")
    assert response.status_code == 400
    assert response.json()
    assert RiskSettings.objects.get(user=ann.user).stopped_at is None


def test_a_stop_works_without_the_slash_at_the_end(ann: Account) -> None:
    response = callers.by_token(ann.user).post(ADDRESS.rstrip("/"), {}, format="json")
    assert response.status_code == 200
    assert RiskSettings.objects.get(user=ann.user).stopped_at is not None


def test_a_stop_and_all_other_calls_go_on_without_redis(ann: Account, settings: Settings) -> None:
    client = callers.by_token(ann.user)
    away = {**settings.CACHES["default"], "LOCATION": "unix:///nowhere/redis.sock?db=0"}
    with override_settings(CACHES={"default": away}):
        assert client.get(ADDRESS).status_code == 200
        assert client.post(ADDRESS, {}, format="json").status_code == 200
        assert client.get("/api/v1/orders/").status_code == 200
    assert RiskSettings.objects.get(user=ann.user).stopped_at is not None


def test_the_stop_command_stops_and_says_what_it_met(ann: Account, fleet: Fleet) -> None:
    on_its_way(ann, fleet)
    said = StringIO()
    call_command("stop_trading", "--reason", "fire drill", stdout=said)
    assert halts.entries_stopped_shared() == "Entries are stopped for everybody: fire drill"
    assert said.getvalue() == (
        "Entries are stopped for the master and 1 follower.\n"
        "1 entry had already left for Kraken; the exits sell what was bought.\n"
        "2 open positions stay; exits go on.\n"
        "Lift the stop with: manage.py resume_trading\n"
    )


def test_the_stop_command_works_on_an_empty_installation() -> None:
    said = StringIO()
    call_command("stop_trading", stdout=said)
    assert "No entries had already left for Kraken.\nNo open positions stay" in said.getvalue()
    assert halts.control().reason == "stopped from a shell"


def test_the_resume_command_lifts_the_stop() -> None:
    call_command("stop_trading", stdout=StringIO())
    said = StringIO()
    call_command("resume_trading", stdout=said)
    assert halts.entries_stopped_shared() == ""
    assert said.getvalue() == "Entries go on, except for followers who stopped on their own.\n"


def test_the_resume_command_says_when_the_environment_still_blocks() -> None:
    said = StringIO()
    with override_settings(ENTRY_BLOCKING=True):
        call_command("resume_trading", stdout=said)
    assert "ENTRY_BLOCKING is set in the environment and still blocks entries." in said.getvalue()


def test_who_has_spent_all_calls_can_still_stop_and_resume(fleet: Fleet) -> None:
    client = callers.by_token(callers.operator())
    cache.clear()
    while client.get(ADDRESS).status_code == 200:
        pass
    assert client.get("/api/v1/orders/").status_code == 429
    assert client.post(ADDRESS, {}, format="json").status_code == 200
    assert halts.control().stopped_at is not None
    assert client.delete(ADDRESS).status_code == 200
    cache.clear()
