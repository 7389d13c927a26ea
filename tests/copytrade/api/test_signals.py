"""Signals over REST: the master's public facts."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from tests.copytrade import books
from tests.copytrade.books import Fleet
from tests.trading.api import callers
from tests.trading.api.callers import NOW, D
from trading.models import Signal

pytestmark = pytest.mark.django_db
PUBLIC = {
    "id", "sequence", "symbol", "kind", "side", "quantity", "price", "notional", "reason", "executed_at", "created_at",
    "master_equity", "strategy", "strategy_version", "parameters_hash",
}  # fmt: skip


@pytest.fixture
def fleet() -> Fleet:
    return books.fleet(now=NOW)


def more(fleet: Fleet, count: int) -> None:
    first = Signal.objects.filter(instrument=fleet.beam).count() + 1
    Signal.objects.bulk_create(
        Signal(
            account=fleet.master, instrument=fleet.beam, order=fleet.buy.order, sequence=first + n, kind="entry",
            quantity=D(1), price=D(1), notional=D(1), executed_at=NOW, created_at=NOW,
        )
        for n in range(count)
    )  # fmt: skip


def test_everybody_reads_the_masters_facts_and_nothing_else_of_them(fleet: Fleet) -> None:
    sale, buy = callers.rows(callers.by_token(books.user("new@example.com")), "signals")
    assert set(buy) == PUBLIC
    assert (buy["symbol"], buy["kind"], buy["side"], buy["sequence"]) == ("BEAM-USD", "entry", "buy", 1)
    assert (buy["quantity"], buy["price"], buy["notional"]) == ("3404.8349", "0.002918", "9.9353")
    assert buy["reason"] == "apex: score 82 of 100, target 2.40 % above"
    assert buy["executed_at"] == "2026-07-01T11:18:00Z"
    assert (sale["symbol"], sale["kind"], sale["side"]) == ("DOGE-USD", "exit", "sell")


def test_the_masters_equity_is_told_to_operators_only(fleet: Fleet) -> None:
    response = callers.by_token(books.user("ann@example.com")).get("/api/v1/signals/")
    assert [row["master_equity"] for row in response.json()["results"]] == [None, None]
    assert "60.534" not in response.content.decode()
    told = callers.rows(callers.by_token(callers.operator()), "signals")
    assert [row["master_equity"] for row in told] == [None, "60.534"]


def test_signals_are_filtered_by_symbol_kind_side_and_time(fleet: Fleet) -> None:
    client = callers.by_token(books.user("ann@example.com"))
    buy, sale = [fleet.buy.pk], [fleet.sale.pk]

    def found(**query: str) -> list[int]:
        return [row["id"] for row in callers.rows(client, "signals", **query)]

    assert found() == sale + buy
    assert found(symbol="beam-usd") == found(kind="entry") == found(side="buy") == buy
    assert found(side="sell") == found(kind="exit", side="sell") == sale
    assert found(kind="exit", side="buy") == []
    at = fleet.sale.executed_at
    assert found(since=at.isoformat()) == sale
    assert found(until=at.isoformat(), since=(at - timedelta(hours=1)).isoformat()) == buy


def test_signals_take_as_many_queries_for_thirty_rows_as_for_three(fleet: Fleet) -> None:
    client = APIClient()
    client.force_authenticate(books.user("ann@example.com"))
    more(fleet, 1)
    with CaptureQueriesContext(connection) as few:
        assert len(callers.rows(client, "signals")) == 3
    more(fleet, 27)
    with CaptureQueriesContext(connection) as many:
        assert len(callers.rows(client, "signals")) == 30
    assert len(few) == len(many) == 1
