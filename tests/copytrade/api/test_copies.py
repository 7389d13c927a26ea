"""Copies over REST: one outcome for every signal and follower, with the reason and the ids."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from copytrade.api.outcomes import outcome_of
from copytrade.models import CopyOrder, CopyStatus
from tests.copytrade import books
from tests.copytrade.books import Fleet
from tests.trading.api import callers
from tests.trading.api.callers import NOW, D
from trading.domain.order_state import OrderState
from trading.models import Account, Order, Signal, SignalKind

pytestmark = pytest.mark.django_db


@pytest.fixture
def fleet() -> Fleet:
    return books.fleet(now=NOW)


@pytest.fixture
def ann(fleet: Fleet) -> Account:
    return books.account(books.user("ann@example.com"), now=NOW)


def told_to(account: Account) -> dict[str, Any]:
    (told,) = callers.rows(callers.by_token(account.user), "copies")
    return told


def test_a_filled_copy_tells_its_signal_its_sizing_its_order_and_its_times(fleet: Fleet, ann: Account) -> None:
    order = books.copied(fleet, ann).order
    assert order is not None
    told = told_to(ann)
    assert told["outcome"] == "filled"
    assert told["account"] == ann.pk
    assert told["signal"]["id"] == fleet.buy.pk
    assert (told["signal"]["symbol"], told["signal"]["quantity"]) == ("BEAM-USD", "3404.8349")
    assert "master_equity" not in told["signal"]
    assert told["sizing"] == {
        "equity": "84.5785",
        "equity_as_of": "2026-07-01T11:18:00Z",
        "equity_source": "live",
        "proportional": "13.8815",
        "notional": "8.45785",
        "cap": "max_risk",
    }
    assert told["order"]["client_order_id"] == str(order.client_order_id)
    assert told["order"]["venue_order_id"] == order.venue_order_id
    assert (told["order"]["quantity"], told["order"]["filled_notional"]) == ("2898.50925", "8.45784999")
    assert told["times"] == {
        "master_filled_at": "2026-07-01T11:18:00Z",
        "signal_at": "2026-07-01T11:18:00.011000Z",
        "sent_at": "2026-07-01T11:18:00.030000Z",
        "acknowledged_at": "2026-07-01T11:18:00.092000Z",
        "booked_at": "2026-07-01T11:18:00.231000Z",
    }
    assert told["reason_code"] is None
    assert told["reason"] == "$8.46 instead of $13.88: your limit in one trade left 10 % of your equity."


def test_a_skipped_copy_tells_why_as_a_code_and_a_sentence(fleet: Fleet, ann: Account) -> None:
    books.skipped(fleet, ann)
    told = told_to(ann)
    assert (told["outcome"], told["reason_code"]) == ("skipped", "below_quantity_min")
    assert "about $23.40 of balance" in told["reason"]
    assert told["order"] is None
    assert told["sizing"]["cap"] is None
    assert told["sizing"]["equity_source"] is None
    assert told["times"]["sent_at"] is None


@pytest.mark.parametrize(
    ("state", "filled", "kind", "outcome"),
    [
        (OrderState.PLANNED, "0", "entry", "pending"),
        (OrderState.READY, "0", "entry", "pending"),
        (OrderState.SENDING, "0", "entry", "sent"),
        (OrderState.ACKED, "0", "entry", "sent"),
        (OrderState.PARTIAL, "1", "entry", "partly_filled"),
        (OrderState.FILLED, "2", "entry", "filled"),
        (OrderState.FILLED, "2", "exit", "filled"),
        (OrderState.CANCELED, "1", "entry", "partly_filled"),
        (OrderState.CANCELED, "0", "entry", "unfilled"),
        (OrderState.EXPIRED, "0", "entry", "unfilled"),
        (OrderState.REJECTED, "0", "entry", "rejected"),
        (OrderState.UNKNOWN, "0", "entry", "unknown"),
        (OrderState.MANUAL, "0", "entry", "unknown"),
        (OrderState.NOT_PLACED, "0", "entry", "missed"),
        (OrderState.NOT_PLACED, "0", "exit", "pending"),
        (OrderState.SKIPPED, "0", "entry", "skipped"),
        (OrderState.MISSED, "0", "entry", "missed"),
    ],
)
def test_the_outcome_of_an_ordered_copy_follows_its_order(
    state: OrderState, filled: str, kind: str, outcome: str
) -> None:
    copy = CopyOrder(status=CopyStatus.ORDERED, kind=kind, order=Order(state=state, filled=D(filled)))
    assert outcome_of(copy).value == outcome


def test_every_order_state_and_copy_status_has_an_outcome() -> None:
    for state in OrderState:
        for kind in SignalKind:
            assert outcome_of(CopyOrder(status=CopyStatus.ORDERED, kind=kind, order=Order(state=state, filled=D(0))))
    words = {status: outcome_of(CopyOrder(status=status, kind="entry")).value for status in CopyStatus}
    assert words == {"pending": "pending", "ordered": "pending", "skipped": "skipped", "missed": "missed"}


def test_copies_are_filtered(fleet: Fleet) -> None:
    ann = books.follower(fleet, "ann@example.com")
    client = callers.by_token(ann.user)

    def found(**query: Any) -> list[str]:
        return [row["kind"] for row in callers.rows(client, "copies", **query)]

    assert found() == ["exit", "entry"]
    assert found(symbol="BEAM-USD") == found(side="buy") == found(kind="entry") == ["entry"]
    assert found(signal=fleet.sale.pk) == found(side="sell") == ["exit"]
    assert found(status="ordered") == found(state="filled") == ["exit", "entry"]
    assert found(status="skipped") == found(reason_code="dust") == []
    assert found(since=fleet.sale.created_at.isoformat()) == ["exit"]
    assert found(until=fleet.sale.created_at.isoformat()) == ["entry"]
    for query in ({"status": "done"}, {"signal": "x"}, {"signal": "0"}, {"signal": "9" * 30}, {"reason_code": "luck"}):
        assert client.get("/api/v1/copies/", query).status_code == 400


def test_nobody_sees_the_copies_of_another(fleet: Fleet, ann: Account) -> None:
    copy = books.copied(fleet, ann)
    bob = books.account(books.user("bob@example.com"), now=NOW)
    client = callers.by_token(bob.user)
    assert callers.rows(client, "copies") == []
    assert callers.rows(client, "copies", signal=fleet.buy.pk) == []
    assert client.get("/api/v1/copies/", {"account": "all"}).status_code == 403
    assert client.get("/api/v1/copies/", {"account": ann.pk}).status_code == 404
    others, nobodys = client.get(f"/api/v1/copies/{copy.pk}/"), client.get("/api/v1/copies/987654/")
    assert others.status_code == nobodys.status_code == 404
    assert others.json() == nobodys.json()
    assert client.get(f"/api/v1/copies/{'9' * 40}/").status_code == 404


def test_one_copy_is_told_to_its_owner_and_to_operators(fleet: Fleet, ann: Account) -> None:
    copy = books.copied(fleet, ann)
    address = f"/api/v1/copies/{copy.pk}/"
    assert callers.by_token(ann.user).get(address).json() == told_to(ann)
    assert callers.by_token(callers.operator()).get(address).json()["id"] == copy.pk


def test_an_operator_asks_for_the_copies_of_the_fleet(fleet: Fleet, ann: Account) -> None:
    books.copied(fleet, ann)
    bob = books.account(books.user("bob@example.com"), now=NOW)
    books.skipped(fleet, bob)
    client = callers.by_token(callers.operator())
    assert callers.rows(client, "copies") == []
    fleets = callers.rows(client, "copies", account="all", signal=fleet.buy.pk)
    assert [(row["account"], row["outcome"]) for row in fleets] == [(bob.pk, "skipped"), (ann.pk, "filled")]
    assert [row["account"] for row in callers.rows(client, "copies", account=ann.pk)] == [ann.pk]


def test_copies_take_as_many_queries_for_thirty_rows_as_for_three(fleet: Fleet, ann: Account) -> None:
    client = APIClient()
    client.force_authenticate(ann.user)
    counts = []
    for number in range(30):
        signal = Signal.objects.create(
            account=fleet.master, instrument=fleet.beam, order=fleet.buy.order, sequence=100 + number, kind="entry",
            quantity=D(1), price=D(1), notional=D(1), executed_at=NOW, created_at=NOW,
        )  # fmt: skip
        order = books.order(ann, fleet.beam, kind="entry", quantity="1", now=NOW, signal=signal)
        CopyOrder.objects.create(
            signal=signal, account=ann, kind="entry", status=CopyStatus.ORDERED, order=order, created_at=NOW
        )
    for count in (3, 30):
        with CaptureQueriesContext(connection) as queries:
            assert len(callers.rows(client, "copies", page_size=count)) == count
        counts.append(len(queries))
    # Whose they are, and the rows.
    assert counts[0] == counts[1] == 2
