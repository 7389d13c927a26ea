"""Bodies, parameters and callers that no route takes: a 4xx in one shape, and nothing changed."""

from __future__ import annotations

import pytest
from django.db.models import Model
from django.test import Client
from rest_framework.response import Response

from accounts.models import Credential, RiskSettings, User
from tests.accounts import keys
from tests.copytrade import books
from tests.copytrade.books import Fleet
from tests.trading.api import callers
from trading.models import Control, Event, Order
from trading.services import halts
from trading.services.clock import SYSTEM

pytestmark = pytest.mark.django_db

READ = (
    "me",
    "balances",
    "positions",
    "orders",
    "fills",
    "signals",
    "copies",
    "settings/risk",
    "credentials",
    "emergency-stop",
)
LISTS = ("positions", "orders", "fills", "signals", "copies")
WRITE = (
    ("patch", "settings/risk"), ("put", "settings/risk"), ("post", "credentials"), ("delete", "credentials"),
    ("post", "emergency-stop"), ("delete", "emergency-stop"), ("post", "master/orders"),
)  # fmt: skip
WITH_BODY = tuple(pair for pair in WRITE if pair != ("delete", "credentials"))


@pytest.fixture
def fleet() -> Fleet:
    return books.fleet()


@pytest.fixture
def operator() -> User:
    return callers.operator()


def everything() -> list[list[dict[str, object]]]:
    """What a refused request must leave alone."""
    tables: tuple[type[Model], ...] = (RiskSettings, Credential, Control, Event, Order)
    return [list(table._default_manager.order_by("pk").values()) for table in tables]


def shape_is_one(response: Response) -> bool:
    """An object of sentences: by field, or `detail`."""
    answer = response.json()
    return isinstance(answer, dict) and bool(answer) and all(
        isinstance(text, str) or (isinstance(text, list) and all(isinstance(each, str) for each in text))
        for text in answer.values()
    )  # fmt: skip


@pytest.mark.parametrize(("method", "address"), WITH_BODY)
@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b'{"reason": ', "application/json", 400),
        (b"[1, 2]", "application/json", 400),
        (b'"text"', "application/json", 400),
        (b"null", "application/json", 400),
        (b"NaN", "application/json", 400),
        (b'{"reason": NaN}', "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b'{"a": ' * 5000, "application/json", 400),
        (b'{"n": ' + b"9" * 5000 + b"}", "application/json", 400),
        (b'{"scope": "account", "scope": "platform"}', "application/json", 400),
        (b"scope=platform", "application/x-www-form-urlencoded", 415),
        (b"<xml/>", "text/xml", 415),
    ],
    ids=lambda value: value[:12] if isinstance(value, bytes) else None,
)
def test_a_body_that_is_none_is_refused_and_changes_nothing(
    operator: User, method: str, address: str, body: bytes, kind: str, status: int
) -> None:
    client = callers.by_token(operator)
    before = everything()
    response = client.generic(method.upper(), f"/api/v1/{address}/", body, content_type=kind)
    assert response.status_code == status, response.content
    assert shape_is_one(response)
    assert everything() == before


@pytest.mark.parametrize(
    "name",
    ["multiplier", "max_risk", "allocation", "max_daily_loss", "max_drawdown", "max_slippage", "max_open_positions"],
)
@pytest.mark.parametrize(
    "value", ["NaN", "Infinity", "-1", "1e400", "1e-999999999", "ten", "", [], {}, True, 0.05, "9" * 2000]
)
def test_a_limit_that_is_none_is_refused_by_its_name(operator: User, name: str, value: object) -> None:
    before = everything()
    response = callers.by_token(operator).patch("/api/v1/settings/risk/", {name: value}, format="json")
    assert response.status_code == 400, response.content
    assert list(response.json()) == [name]
    assert shape_is_one(response)
    assert everything() == before


@pytest.mark.parametrize(("method", "address"), [pair for pair in WITH_BODY if pair != ("post", "emergency-stop")])
def test_a_field_that_does_not_exist_is_named_and_nothing_is_done(
    fleet: Fleet, operator: User, method: str, address: str
) -> None:
    halts.stop_platform(actor="operator", reason="drill", clock=SYSTEM)
    api_key, api_secret = keys.pair("one")
    good = {
        "credentials": {"api_key": api_key, "api_secret": api_secret},
        "master/orders": {"symbol": "BEAM-USD", "side": "sell"},
        "settings/risk": {"max_risk": "0.05"},
    }.get(address, {})
    before = everything()
    response = getattr(callers.by_token(operator), method)(
        f"/api/v1/{address}/", good | {"scop": "account"}, format="json"
    )
    assert response.status_code == 400, response.content
    assert list(response.json()) == ["scop"]
    assert everything() == before


def test_a_resume_with_a_misspelt_parameter_resumes_nobody(operator: User) -> None:
    halts.stop_platform(actor="operator", reason="drill", clock=SYSTEM)
    assert callers.by_token(operator).delete("/api/v1/emergency-stop/?scop=account").status_code == 400
    assert halts.control().stopped_at is not None


def test_a_stop_is_carried_out_however_sloppy_its_body(operator: User) -> None:
    assert callers.by_token(operator).post("/api/v1/emergency-stop/", {"resaon": "x"}, format="json").status_code == 200
    assert halts.control().stopped_at is not None


@pytest.mark.parametrize("address", LISTS)
@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("since=yesterday", 400),
        ("until=2026-13-01T00:00:00Z", 400),
        ("symbol=" + "X" * 25, 400),
        ("symbol=%00", 400),
        ("surprise=1", 400),
        ("since=", 400),
        ("symbol=", 400),
        ("cursor=nonsense", 404),
        ("cursor=cD05OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5", 404),
    ],
)
def test_a_parameter_that_is_none_is_refused_by_every_list(
    operator: User, address: str, query: str, status: int
) -> None:
    response = callers.by_token(operator).get(f"/api/v1/{address}/?{query}")
    assert response.status_code == status, response.content
    assert shape_is_one(response)


@pytest.mark.parametrize("page_size", ["-1", "0", "many", "1e9", "９", "9" * 5000])
def test_a_page_size_that_is_none_is_refused(operator: User, page_size: str) -> None:
    response = callers.by_token(operator).get("/api/v1/orders/", {"page_size": page_size})
    assert response.status_code == 400
    assert "from 1 to 200" in response.json()["page_size"][0]
    assert callers.by_token(operator).get("/api/v1/orders/", {"page_size": "100000"}).status_code == 200


@pytest.mark.parametrize("address", ["me", "settings/risk", "balances", "credentials"])
def test_who_asks_for_another_account_where_there_is_only_ones_own_is_told_so(operator: User, address: str) -> None:
    """An operator who names one would otherwise change his own limits in the belief that they are a follower's."""
    client = callers.by_token(operator)
    response = client.get(f"/api/v1/{address}/?account=2")
    assert response.status_code == 400
    assert shape_is_one(response)
    before = everything()
    changed = client.patch("/api/v1/settings/risk/?account=2", {"max_risk": "0.05"}, format="json")
    assert changed.status_code == 400
    assert everything() == before
    assert client.get(f"/api/v1/{address}/")["Cache-Control"] == "no-store, private"


@pytest.mark.parametrize("method", ["get", "post", "patch", "delete"])
@pytest.mark.parametrize("address", ["nothing", "copies/-1", "orders/no-uuid/", "settings/risk/9"])
def test_an_address_that_is_none_is_answered_in_json(operator: User, method: str, address: str) -> None:
    for client in (callers.by_token(operator), Client(enforce_csrf_checks=True)):
        response = getattr(client, method)(f"/api/v1/{address}")
        assert (response.status_code, response.json()) == (404, {"detail": "Not found."})


@pytest.mark.parametrize("token", [b"\xff", b"\xc3\xa9" * 32, b"a-b", "٣".encode()])
def test_a_strangers_bytes_are_no_token_and_no_error(client: Client, token: bytes) -> None:
    response = client.get("/api/v1/me/", HTTP_AUTHORIZATION="Token " + token.decode("latin-1"))
    assert response.status_code == 401


def test_an_order_is_found_however_its_id_is_written(operator: User) -> None:
    fleet = books.fleet()
    [order] = callers.orders(fleet.master, fleet.beam, count=1)
    found = callers.by_token(fleet.master.user).get(f"/api/v1/orders/{str(order.client_order_id).upper()}/")
    assert (found.status_code, found.json()["client_order_id"]) == (200, str(order.client_order_id))


def test_a_disabled_user_is_nobody_on_every_route_by_token_and_by_session(operator: User) -> None:
    by_token = callers.by_token(operator)
    by_session = Client()
    by_session.force_login(operator)
    assert by_token.get("/api/v1/me/").status_code == by_session.get("/api/v1/me/").status_code == 200
    User.objects.filter(pk=operator.pk).update(is_active=False)
    before = everything()
    for address in READ:
        assert by_token.get(f"/api/v1/{address}/").status_code == 401, address
        assert by_session.get(f"/api/v1/{address}/").status_code == 401, address
    for method, address in WRITE:
        assert getattr(by_token, method)(f"/api/v1/{address}/", {}, format="json").status_code == 401, address
        refused = by_session.generic(method.upper(), f"/api/v1/{address}/", b"{}", content_type="application/json")
        assert refused.status_code == 401, address
    for page in ("/dashboard/", "/operator/", "/settings/account/", "/admin/"):
        assert by_session.get(page).status_code in {302, 404}, page
    assert by_session.get("/live/").status_code == 401
    assert everything() == before
