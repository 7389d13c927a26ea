"""A manual trade of the master over REST."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from rest_framework.response import Response

from accounts.models import User
from tests.copytrade import books
from tests.copytrade.books import Fleet
from tests.trading.api import callers
from tests.trading.api.callers import D
from trading.domain.order_state import OrderState
from trading.models import Account, MarketPrice, Order
from trading.services import halts
from trading.services.clock import SYSTEM

pytestmark = pytest.mark.django_db
ADDRESS = "/api/v1/master/orders/"


@pytest.fixture
def fleet() -> Fleet:
    return books.fleet()


@pytest.fixture(autouse=True)
def _fresh_prices(fleet: Fleet) -> None:
    """Fresh however slow the machine is."""
    MarketPrice.objects.update(as_of=SYSTEM.now() + timedelta(hours=1))


def order(body: Any) -> Response:
    operator = User.objects.filter(is_staff=True).first() or callers.operator()
    response: Response = callers.by_token(operator).post(ADDRESS, body, format="json")
    return response


def planned() -> list[Order]:
    return list(Order.objects.filter(origin="manual"))


def test_an_operator_buys_for_the_master_and_is_told_the_order(fleet: Fleet) -> None:
    response = order({"symbol": "beam-usd", "side": "buy", "notional": "9.94", "reason": "a hunch"})
    assert response.status_code == 201, response.content
    (row,) = planned()
    told = response.json()
    assert told["client_order_id"] == str(row.client_order_id)
    assert (told["symbol"], told["side"], told["state"], told["origin"]) == ("BEAM-USD", "buy", "ready", "manual")
    assert (told["reason"], told["venue_order_id"], told["account"]) == ("a hunch", None, fleet.master.pk)
    assert D(told["quantity"]) == row.quantity > 3000


def test_an_operator_buys_a_quantity(fleet: Fleet) -> None:
    assert order({"symbol": "BEAM-USD", "side": "buy", "quantity": "1000"}).json()["quantity"] == "1000"


def test_an_operator_sells_a_share_of_the_position(fleet: Fleet) -> None:
    told = order({"symbol": "BEAM-USD", "side": "sell", "fraction": "1/2"}).json()
    assert (told["side"], told["kind"], told["limit_price"]) == ("sell", "exit", None)
    assert D(told["quantity"]) == D("1702.41745")


@pytest.mark.parametrize(
    "amount",
    ["NaN", "-1", "0", "Infinity", "1e400", "1e15", "ten", "", "0x10", "9" * 60, "1,5"],
)
@pytest.mark.parametrize("name", ["notional", "quantity"])
def test_an_amount_that_is_none_is_refused_in_words(fleet: Fleet, name: str, amount: str) -> None:
    response = order({"symbol": "BEAM-USD", "side": "buy", name: amount})
    assert response.status_code == 400, response.content
    assert response.json()
    assert planned() == []


@pytest.mark.parametrize("name", ["notional", "quantity"])
def test_more_than_all_the_money_is_refused_in_words(fleet: Fleet, name: str) -> None:
    response = order({"symbol": "BEAM-USD", "side": "buy", name: "999999999999999"})
    assert response.status_code in {400, 409}
    assert response.json()["code"] in {"amount", "no_free_cash"}
    assert response.json()["detail"].endswith(".")
    assert planned() == []


@pytest.mark.parametrize("fraction", ["NaN", "-1", "0", "1.1", "1/0", "Infinity", "1e5", "half", "3/2"])
def test_a_share_that_is_none_is_refused_in_words(fleet: Fleet, fraction: str) -> None:
    response = order({"symbol": "BEAM-USD", "side": "sell", "fraction": fraction})
    assert response.status_code == 400
    assert response.json()["code"] == "fraction"
    assert "is not a share of the position" in response.json()["detail"]
    assert planned() == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"side": "buy", "notional": "10"}, "symbol"),
        ({"symbol": "BEAM-USD", "notional": "10"}, "side"),
        ({"symbol": "BEAM-USD", "side": "short", "notional": "10"}, "side"),
        ({"symbol": "BEAM-USD", "side": "buy", "notional": 9.94}, "notional"),
        ({"symbol": "BEAM-USD", "side": "buy", "quantity": True}, "quantity"),
        ({"symbol": "BEAM-USD", "side": "buy", "quantity": "1", "leverage": "5"}, "leverage"),
        ({"symbol": "BEAM-USD", "side": "buy", "notional": ["10"]}, "notional"),
        ("BEAM", "non_field_errors"),
    ],
)
def test_a_body_that_makes_no_sense_is_named(fleet: Fleet, body: object, field: str) -> None:
    response = order(body)
    assert response.status_code == 400
    assert list(response.json()) == [field]
    assert planned() == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"symbol": "MOON-USD", "side": "buy", "notional": "10"}, "unknown_symbol"),
        ({"symbol": "BEAM-USD", "side": "buy"}, "amount"),
        ({"symbol": "BEAM-USD", "side": "buy", "notional": "10", "quantity": "1"}, "amount"),
        ({"symbol": "BEAM-USD", "side": "sell", "quantity": "10"}, "amount"),
        ({"symbol": "BEAM-USD", "side": "buy", "fraction": "1"}, "amount"),
        ({"symbol": "BEAM-USD", "side": "buy", "notional": "0.01"}, "below_minimum"),
    ],
)
def test_what_cannot_be_ordered_is_a_bad_request_with_a_code_and_a_sentence(
    fleet: Fleet, body: dict[str, str], code: str
) -> None:
    response = order(body)
    assert response.status_code == 400
    assert response.json()["code"] == code
    assert response.json()["detail"].endswith(".")
    assert planned() == []


def test_what_cannot_be_ordered_now_is_a_conflict(fleet: Fleet) -> None:
    buy = {"symbol": "BEAM-USD", "side": "buy", "notional": "9.94"}
    operator = callers.by_token(callers.operator())

    def code(body: dict[str, str]) -> str:
        response = operator.post(ADDRESS, body, format="json")
        assert response.status_code == 409, response.content
        found: str = response.json()["code"]
        return found

    assert code(buy | {"notional": "500"}) == "no_free_cash"
    assert code({"symbol": "DOGE-USD", "side": "sell"}) == "no_position"
    halts.stop_platform(actor="operator", reason="drill", clock=SYSTEM)
    assert code(buy) == "halted"
    assert planned() == []
    assert operator.post(ADDRESS, {"symbol": "BEAM-USD", "side": "sell"}, format="json").status_code == 201
    assert code({"symbol": "BEAM-USD", "side": "sell"}) == "live_exit"


def test_a_price_that_kraken_does_not_tell_is_a_conflict(fleet: Fleet) -> None:
    MarketPrice.objects.update(as_of=SYSTEM.now() - timedelta(minutes=1))
    response = order({"symbol": "BEAM-USD", "side": "buy", "notional": "9.94"})
    assert response.status_code == 409
    assert response.json()["code"] == "price_unknown"


OURS = "7d2f3a52-5a6e-4b8e-9d5a-3f0f2f7f4c11"
BUY = {"symbol": "BEAM-USD", "side": "buy", "notional": "9.94", "client_order_id": OURS}
SELL = {"symbol": "BEAM-USD", "side": "sell", "fraction": "1/2", "client_order_id": OURS}


@pytest.mark.parametrize("body", [BUY, SELL])
def test_a_call_that_is_repeated_with_its_own_id_orders_once(fleet: Fleet, body: dict[str, str]) -> None:
    first, again = order(body), order(body)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["client_order_id"] == again.json()["client_order_id"] == OURS
    assert first.json()["id"] == again.json()["id"]
    assert len(planned()) == 1


def test_a_repeated_call_is_told_what_has_become_of_its_order_even_while_entries_are_stopped(fleet: Fleet) -> None:
    order(BUY)
    halts.stop_platform(actor="operator", reason="drill", clock=SYSTEM)
    Order.objects.filter(client_order_id=OURS).update(state=OrderState.NOT_PLACED)
    again = order(BUY)
    assert (again.status_code, again.json()["state"]) == (200, "not_placed")
    assert len(planned()) == 1


def test_a_repeated_call_that_names_another_amount_is_told_that_it_ordered_nothing_new(fleet: Fleet) -> None:
    first = order(BUY).json()
    again = order(BUY | {"notional": "5"})
    assert (again.status_code, again.json()["quantity"]) == (200, first["quantity"])
    assert len(planned()) == 1


def test_a_call_that_was_refused_may_be_repeated_with_its_id(fleet: Fleet) -> None:
    halts.stop_platform(actor="operator", reason="drill", clock=SYSTEM)
    assert order(BUY).status_code == 409
    halts.resume_platform(actor="operator", clock=SYSTEM)
    assert order(BUY).json()["client_order_id"] == OURS


@pytest.mark.parametrize("other", [{"side": "sell", "notional": None}, {"symbol": "DOGE-USD"}])
def test_the_id_of_another_order_is_refused(fleet: Fleet, other: dict[str, str | None]) -> None:
    order(BUY)
    response = order({name: text for name, text in (BUY | other).items() if text is not None})
    assert (response.status_code, response.json()["code"]) == (409, "client_order_id_used")
    assert len(planned()) == 1


def test_the_id_of_a_followers_order_is_refused_and_not_shown(fleet: Fleet) -> None:
    ann: Account = books.follower(fleet, "ann@example.com")
    theirs = books.order(ann, fleet.beam, kind="entry", quantity="10", now=fleet.now)
    response = order(BUY | {"client_order_id": str(theirs.client_order_id)})
    assert (response.status_code, response.json()["code"]) == (409, "client_order_id_used")
    assert planned() == []


@pytest.mark.parametrize("text", ["", "1", "not-an-id", None, 7, ["x"]])
def test_an_id_that_is_no_uuid_is_named(fleet: Fleet, text: object) -> None:
    response = order(BUY | {"client_order_id": text})
    assert response.status_code == 400
    assert list(response.json()) == ["client_order_id"]
    assert planned() == []


def test_only_operators_trade_for_the_master(fleet: Fleet) -> None:
    ann: Account = books.follower(fleet, "ann@example.com")
    body = {"symbol": "BEAM-USD", "side": "buy", "notional": "9.94"}
    assert callers.by_token(ann.user).post(ADDRESS, body, format="json").status_code == 403
    assert callers.by_token(fleet.master.user).post(ADDRESS, body, format="json").status_code == 403
    assert planned() == []
    assert not Order.objects.filter(state=OrderState.READY).exists()
