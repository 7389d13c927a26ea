"""Orders and fills over REST: whose, which, in what order and in what words."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from tests.copytrade import books
from tests.copytrade.books import Fleet
from tests.trading.api import callers
from tests.trading.api.callers import NOW, D
from trading.domain.order_state import OrderState
from trading.models import Account, Order, OrderKind

pytestmark = pytest.mark.django_db
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


@pytest.fixture
def fleet() -> Fleet:
    return books.fleet(now=NOW)


@pytest.fixture
def ann(fleet: Fleet) -> Account:
    return books.account(books.user("ann@example.com"), now=NOW)


@pytest.fixture
def bob(fleet: Fleet) -> Account:
    return books.account(books.user("bob@example.com"), now=NOW)


@pytest.mark.parametrize(
    "address", ["orders", "fills", "positions", "balances", "signals", "copies", "emergency-stop", "me"]
)
def test_nobody_reads_without_a_token_or_a_session(client: APIClient, address: str) -> None:
    assert client.get(f"/api/v1/{address}/").status_code == 401


def test_a_wrong_token_is_refused() -> None:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION="Token " + "0" * 64)
    assert client.get("/api/v1/orders/").status_code == 401


def test_a_session_reads_as_a_token_does(ann: Account, fleet: Fleet) -> None:
    callers.orders(ann, fleet.beam, count=1)
    browser = APIClient()
    browser.force_login(ann.user)
    assert callers.rows(browser, "orders") == callers.rows(callers.by_token(ann.user), "orders")


def test_an_order_is_told_with_every_id_amount_and_instant(ann: Account, fleet: Fleet) -> None:
    order = books.order(
        ann, fleet.beam, kind=OrderKind.ENTRY, quantity="2898.50925", now=NOW, limit_price=D("0.002932"),
        filled_notional=D("8.45784999"), fee=D("0.06770000"), signal=fleet.buy,
    )  # fmt: skip
    order.refresh_from_db()
    (told,) = callers.rows(callers.by_token(ann.user), "orders")
    assert told["client_order_id"] == str(order.client_order_id)
    assert told["venue_order_id"] == order.venue_order_id
    assert told["account"] == ann.pk
    assert told["signal"] == fleet.buy.pk
    assert (told["symbol"], told["side"], told["kind"], told["state"]) == ("BEAM-USD", "buy", "entry", "filled")
    assert (told["quantity"], told["limit_price"], told["fee"]) == ("2898.50925", "0.002932", "0.0677")
    assert (told["filled"], told["filled_notional"]) == ("2898.50925", "8.45784999")
    assert D(told["average_price"]) == pytest.approx(D("0.002918"), rel=D("1e-9"))
    assert len(told["average_price"]) < 25
    for name in ("created_at", "sent_at", "acknowledged_at", "booked_at"):
        assert INSTANT.fullmatch(told[name]), name


def test_what_is_not_known_yet_is_null(ann: Account, fleet: Fleet) -> None:
    Order.objects.create(
        account=ann, instrument=fleet.beam, kind=OrderKind.EXIT, origin="copy", exit_number=1, side="sell",
        quantity=D("1000"), state=OrderState.READY, created_at=NOW,
    )  # fmt: skip
    (told,) = callers.rows(callers.by_token(ann.user), "orders")
    for name in ("venue_order_id", "limit_price", "average_price", "sent_at", "acknowledged_at", "booked_at"):
        assert told[name] is None, name
    assert (told["filled"], told["quantity"]) == ("0", "1000")


def test_a_fill_names_its_trade_and_its_order(ann: Account, fleet: Fleet) -> None:
    (order,) = callers.orders(ann, fleet.beam, count=1)
    (told,) = callers.rows(callers.by_token(ann.user), "fills")
    assert told["trade_id"] == "T00000-ABCDE-FGHIJK"
    assert told["client_order_id"] == str(order.client_order_id)
    assert told["venue_order_id"] == order.venue_order_id
    assert (told["quantity"], told["price"], told["fee"]) == ("2898.50925", "0.002918", "0.0677")
    assert told["executed_at"] == "2026-07-01T12:00:00Z"


@pytest.mark.parametrize("address", ["orders", "fills"])
def test_lists_are_newest_first_in_pages_that_neither_repeat_nor_miss_a_row(
    ann: Account, fleet: Fleet, address: str
) -> None:
    callers.orders(ann, fleet.beam, count=7)
    client = callers.by_token(ann.user)
    seen: list[str] = []
    following: str | None = f"/api/v1/{address}/?page_size=3"
    for _ in range(3):
        assert following is not None
        page = client.get(following).json()
        seen += [row["client_order_id"] for row in page["results"]]
        following = page["next"]
    assert following is None
    assert seen == [str(order.client_order_id) for order in Order.objects.filter(account=ann).order_by("-pk")]


def test_a_page_holds_fifty_rows_and_at_most_two_hundred(ann: Account, fleet: Fleet) -> None:
    Order.objects.bulk_create(
        Order(
            account=ann, instrument=fleet.beam, kind=OrderKind.ENTRY, origin="copy", side="buy", quantity=D(1),
            state=OrderState.MISSED, created_at=NOW,
        )
        for _ in range(201)
    )  # fmt: skip
    client = callers.by_token(ann.user)
    assert len(callers.rows(client, "orders")) == 50
    assert len(callers.rows(client, "orders", page_size=100_000)) == 200


@pytest.mark.parametrize("address", ["orders", "fills"])
def test_a_list_takes_as_many_queries_for_thirty_rows_as_for_three(ann: Account, fleet: Fleet, address: str) -> None:
    client = APIClient()
    client.force_authenticate(ann.user)
    callers.orders(ann, fleet.beam, count=3)
    with CaptureQueriesContext(
        connection,
    ) as few:
        assert len(callers.rows(client, address)) == 3
    callers.orders(ann, fleet.beam, count=27)
    with CaptureQueriesContext(connection) as many:
        assert len(callers.rows(client, address)) == 30
    assert len(many) == len(few) <= 2


def test_filters_narrow_a_list(ann: Account, fleet: Fleet) -> None:
    first, second, third = callers.orders(ann, fleet.beam, count=3)
    sale = books.order(
        ann, fleet.dust, kind=OrderKind.EXIT, quantity="100", now=NOW - timedelta(hours=1), exit_number=1,
        state=OrderState.CANCELED,
    )  # fmt: skip
    client = callers.by_token(ann.user)

    def found(**query: str) -> set[str]:
        return {row["client_order_id"] for row in callers.rows(client, "orders", **query)}

    entries = {str(order.client_order_id) for order in (first, second, third)}
    assert found(symbol="BEAM-USD") == found(symbol="beam-usd") == entries
    assert found(side="sell") == found(state="canceled") == found(kind="exit") == {str(sale.client_order_id)}
    assert found(venue_order_id=second.venue_order_id) == {str(second.client_order_id)}
    assert found(client_order_id=str(third.client_order_id)) == {str(third.client_order_id)}
    since, until = "2026-07-01T12:01:00Z", "2026-07-01T14:02:00+02:00"
    assert found(since=since, until=until) == {str(second.client_order_id)}
    fills = callers.rows(client, "fills", since=since, until=until)
    assert [row["client_order_id"] for row in fills] == [str(second.client_order_id)]
    assert callers.rows(client, "fills", symbol="DOGE-USD") == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"since": "yesterday"}, "since"),
        ({"until": "0001-01-01T00:00:00+14:00"}, "until"),
        ({"since": "9999-12-31T23:59:59-14:00"}, "since"),
        ({"side": "sideways"}, "side"),
        ({"state": "'; drop table orders"}, "state"),
        ({"symbol": "BEAM\x00USD"}, "symbol"),
        ({"symbol": "X" * 25}, "symbol"),
        ({"client_order_id": "7"}, "client_order_id"),
        ({"ordering": "account__user__email"}, "ordering"),
        ({"account__user": "1"}, "account__user"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_named(ann: Account, query: dict[str, str], field: str) -> None:
    response = callers.by_token(ann.user).get("/api/v1/orders/", query)
    assert response.status_code == 400
    assert list(response.json()) == [field]


@pytest.mark.parametrize("cursor", ["nonsense", "cD1hYmM=", "cD05OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5", "cj0xJnA9LTE="])
def test_a_cursor_that_no_list_gave_is_refused(ann: Account, cursor: str) -> None:
    response = callers.by_token(ann.user).get("/api/v1/orders/", {"cursor": cursor})
    assert response.status_code == 404
    assert response.json() == {"detail": "Invalid cursor"}


@pytest.mark.parametrize("address", ["orders", "fills"])
def test_nobody_sees_rows_of_another_by_any_parameter(ann: Account, bob: Account, fleet: Fleet, address: str) -> None:
    (bobs,) = callers.orders(bob, fleet.beam, count=1)
    client = callers.by_token(ann.user)
    assert callers.rows(client, address) == []
    for query in (
        {"client_order_id": str(bobs.client_order_id)},
        {"venue_order_id": bobs.venue_order_id},
        {"symbol": "BEAM-USD"},
    ):
        assert callers.rows(client, address, **query) == []
    assert client.get(f"/api/v1/{address}/", {"account": "all"}).status_code == 403
    existing = client.get(f"/api/v1/{address}/", {"account": bob.pk})
    missing = client.get(f"/api/v1/{address}/", {"account": 987654})
    assert existing.status_code == missing.status_code == 404
    assert existing.json() == missing.json()


def test_a_cursor_of_another_person_shows_only_own_rows(ann: Account, bob: Account, fleet: Fleet) -> None:
    mine = callers.orders(ann, fleet.beam, count=1)
    callers.orders(bob, fleet.beam, count=3)
    following = callers.by_token(bob.user).get("/api/v1/orders/?page_size=1").json()["next"]
    seen = callers.by_token(ann.user).get(following).json()["results"]
    assert [row["client_order_id"] for row in seen] == [str(mine[0].client_order_id)]


def test_one_order_is_found_by_our_id_and_by_its_owner_only(ann: Account, bob: Account, fleet: Fleet) -> None:
    (order,) = callers.orders(bob, fleet.beam, count=1)
    address = f"/api/v1/orders/{order.client_order_id}/"
    assert callers.by_token(bob.user).get(address).json()["venue_order_id"] == order.venue_order_id
    others, nobodys = (callers.by_token(ann.user).get(asked) for asked in (address, f"/api/v1/orders/{uuid.uuid4()}/"))
    assert others.status_code == nobodys.status_code == 404
    assert others.json() == nobodys.json()
    assert callers.by_token(callers.operator()).get(address).status_code == 200
    assert callers.by_token(ann.user).get(f"/api/v1/orders/{'-' * 36}/").status_code == 404


def test_an_operator_sees_his_own_rows_until_he_asks_for_the_fleet(ann: Account, bob: Account, fleet: Fleet) -> None:
    Order.objects.filter(account=fleet.master, signals=None).delete()
    callers.orders(ann, fleet.beam, count=1)
    callers.orders(bob, fleet.beam, count=2)
    client = callers.by_token(callers.operator())
    assert callers.rows(client, "fills") == []
    assert {row["account"] for row in callers.rows(client, "fills", account="all")} == {ann.pk, bob.pk}
    assert [row["account"] for row in callers.rows(client, "orders", account=str(bob.pk))] == [bob.pk] * 2
    assert client.get("/api/v1/orders/", {"account": "987654"}).status_code == 404
    assert client.get("/api/v1/orders/", {"account": "everybody"}).status_code == 404


def test_answers_are_not_kept_by_anything_in_between(ann: Account) -> None:
    response = callers.by_token(ann.user).get("/api/v1/orders/")
    assert response["Cache-Control"] == "no-store, private"


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_history_cannot_be_written(ann: Account, method: str) -> None:
    client = callers.by_token(ann.user)
    for address in ("orders", "fills", "positions", "balances", "signals", "copies"):
        assert getattr(client, method)(f"/api/v1/{address}/", {}, format="json").status_code == 405
