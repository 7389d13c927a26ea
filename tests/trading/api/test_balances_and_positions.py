"""Balances and positions over REST: unknown is null and never zero."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from tests.copytrade import books
from tests.copytrade.books import Fleet
from tests.trading.api import callers
from tests.trading.api.callers import D
from trading.api.fields import amount_text
from trading.models import Account, AssetBalance, Instrument, MarketPrice, Position

pytestmark = pytest.mark.django_db


@pytest.fixture
def fleet() -> Fleet:
    return books.fleet()


@pytest.fixture
def ann(fleet: Fleet) -> Account:
    return books.account(books.user("ann@example.com"), cash="76.1200", now=fleet.now)


def test_a_fresh_balance_is_live_and_says_as_of_when(ann: Account, fleet: Fleet) -> None:
    AssetBalance.objects.filter(account=ann).update(hold=D("6.12"))
    books.position(ann, fleet.beam, managed="1000", cost="3", now=fleet.now)
    told = callers.by_token(ann.user).get("/api/v1/balances/").json()
    assert told["source"] == "live"
    assert told["account"] == ann.pk
    assert datetime.fromisoformat(told["as_of"]) == ann.balances_as_of
    assert told["cash"] == "76.12"
    assert told["free_cash"] == "70"
    assert told["equity"] == "79.07"
    assert told["assets"] == [{"name": "USD", "asset": "ZUSD", "total": "76.12", "hold": "6.12", "available": "70"}]


def test_an_older_balance_says_that_it_is_cached(fleet: Fleet) -> None:
    old = books.account(books.user("old@example.com"), cash="10", now=fleet.now, age_s=120)
    told = callers.by_token(old.user).get("/api/v1/balances/").json()
    assert (told["source"], told["cash"]) == ("cached", "10")


def test_an_unknown_balance_is_null_and_never_zero(fleet: Fleet) -> None:
    lost = books.account(books.user("lost@example.com"), cash="10", now=fleet.now, age_s=3600)
    since = datetime(2026, 1, 1, tzinfo=UTC)
    Account.objects.filter(pk=lost.pk).update(balances_failing_since=since, balances_error="Kraken does not answer")
    told = callers.by_token(lost.user).get("/api/v1/balances/").json()
    assert told["source"] == "unknown"
    assert [told[name] for name in ("equity", "cash", "free_cash")] == [None, None, None]
    assert told["assets"] == [{"name": "USD", "asset": "ZUSD", "total": None, "hold": None, "available": None}]
    assert told["failing_since"] == "2026-01-01T00:00:00Z"
    assert told["problem"] == "Kraken does not answer"


def test_somebody_without_an_account_reads_that_nothing_is_known() -> None:
    told = callers.by_token(books.user("new@example.com")).get("/api/v1/balances/").json()
    assert told["account"] is None
    assert told["source"] == "unknown"
    assert told["cash"] is None
    assert told["assets"] == []


def test_an_asset_has_its_usual_name_beside_krakens(ann: Account, fleet: Fleet) -> None:
    Instrument.objects.filter(symbol="DOGE-USD").update(base_asset="XXDG")
    AssetBalance.objects.bulk_create(
        AssetBalance(account=ann, asset=asset, total=D(1), as_of=fleet.now) for asset in ("XXDG", "XTZ.S")
    )
    told = callers.by_token(ann.user).get("/api/v1/balances/").json()["assets"]
    assert {row["asset"]: row["name"] for row in told} == {"ZUSD": "USD", "XXDG": "DOGE", "XTZ.S": "XTZ.S"}


def test_balances_take_as_many_queries_with_thirty_assets_as_with_three(ann: Account, fleet: Fleet) -> None:
    client = APIClient()
    client.force_authenticate(ann.user)

    def measured(count: int) -> int:
        AssetBalance.objects.filter(account=ann).exclude(asset="ZUSD").delete()
        AssetBalance.objects.bulk_create(
            AssetBalance(account=ann, asset=f"A{n}", total=D(n), as_of=fleet.now) for n in range(count - 1)
        )
        with CaptureQueriesContext(connection) as queries:
            assert len(client.get("/api/v1/balances/").json()["assets"]) == count
        return len(queries)

    assert measured(3) == measured(30)


def test_a_position_tells_what_is_managed_what_it_cost_and_what_it_earned(ann: Account, fleet: Fleet) -> None:
    row = books.position(ann, fleet.beam, managed="1000.00", cost="3.0000", now=fleet.now, realised="5.1100")
    Position.objects.filter(pk=row.pk).update(fees=D("0.0240"))
    (told,) = callers.rows(callers.by_token(ann.user), "positions")
    assert (told["symbol"], told["state"], told["managed"]) == ("BEAM-USD", "open", "1000")
    assert (told["cost"], told["realised"], told["fees"]) == ("3", "5.11", "0.024")
    assert (told["price"], told["value"], told["unrealised"]) == ("0.00295", "2.95", "-0.05")
    assert told["price_as_of"].endswith("Z")


def test_a_position_without_a_known_price_has_no_value(ann: Account, fleet: Fleet) -> None:
    books.position(ann, fleet.beam, managed="1000", cost="3", now=fleet.now)
    MarketPrice.objects.all().delete()
    client = callers.by_token(ann.user)
    (told,) = callers.rows(client, "positions")
    assert [told[name] for name in ("price", "price_as_of", "value", "unrealised")] == [None] * 4
    assert client.get("/api/v1/balances/").json()["equity"] is None


def test_a_closed_position_stays_with_what_it_earned(ann: Account, fleet: Fleet) -> None:
    books.position(ann, fleet.beam, managed="0", cost="0", now=fleet.now, realised="-0.5")
    books.position(ann, fleet.dust, managed="20", cost="2", now=fleet.now)
    client = callers.by_token(ann.user)
    (closed,) = callers.rows(client, "positions", state="closed")
    assert (closed["managed"], closed["value"], closed["unrealised"], closed["realised"]) == ("0", "0", "0", "-0.5")
    (opened,) = callers.rows(client, "positions", state="open")
    assert opened["symbol"] == "DOGE-USD"
    assert len(callers.rows(client, "positions")) == 2
    assert callers.rows(client, "positions", symbol="BEAM-USD") == [closed]
    later = (fleet.now + timedelta(seconds=1)).isoformat()
    assert callers.rows(client, "positions", since=later) == []


def test_positions_of_others_are_not_told_to_anybody(ann: Account, fleet: Fleet) -> None:
    books.position(ann, fleet.beam, managed="1000", cost="3", now=fleet.now)
    other = books.account(books.user("bob@example.com"), now=fleet.now)
    assert callers.rows(callers.by_token(other.user), "positions") == []
    operator = callers.by_token(callers.operator())
    assert callers.rows(operator, "positions") == []
    assert operator.get("/api/v1/positions/", {"account": "all"}).status_code == 400


def test_positions_take_as_many_queries_for_thirty_rows_as_for_three(ann: Account, fleet: Fleet) -> None:
    client = APIClient()
    client.force_authenticate(ann.user)
    for number in range(30):
        row = books.instrument(f"C{number}-USD", bid="2", quantity_min="1", now=fleet.now)
        books.position(ann, row, managed="1", cost="1", now=fleet.now)
    counts = []
    for count in (3, 30):
        with CaptureQueriesContext(connection) as queries:
            assert len(callers.rows(client, "positions", page_size=count)) == count
        counts.append(len(queries))
    assert counts[0] == counts[1] == 1


def test_a_quotient_is_told_without_its_endless_digits_and_an_exact_amount_with_all_of_them() -> None:
    assert amount_text(D("0.1891108199999999999999999999999999999999999999999")) == "0.18911082"
    assert amount_text(D("123456789.123456789012345678")) == "123456789.123456789012345678"
