"""Outcomes counted in the database: the same as copy by copy, and kept once nothing can change them."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from statistics import median
from typing import Any

import pytest
import redis
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext

from copytrade.models import Cap, CopyOrder, CopyStatus
from copytrade.selectors import outcomes
from copytrade.selectors.copies import CopyRow
from tests.copytrade import books
from tests.copytrade.books import D, Fleet
from trading.models import Signal

pytestmark = pytest.mark.django_db


@pytest.fixture
def fleet() -> Fleet:
    return books.fleet()


def copied(fleet: Fleet, signal: Signal, *, late_s: float = 0.5, **fields: Any) -> CopyOrder:
    """A copy of another follower; `state` and `filled` are its order's."""
    account = books.account(books.user(f"f{CopyOrder.objects.count()}@example.com"), now=fleet.now)
    order, values = None, {"status": CopyStatus.ORDERED, "cap": Cap.NONE, **fields}
    if "state" in values:
        number = {"exit_number": 1} if signal.kind == "exit" else {"signal": signal}
        order = books.order(
            account, signal.instrument, kind=signal.kind, quantity="10", now=signal.executed_at,
            state=values.pop("state"), filled=D(values.pop("filled", "10")), **number,
        )  # fmt: skip
        order.sent_at = signal.executed_at + timedelta(seconds=late_s)
        order.save(update_fields=["sent_at"])
    return CopyOrder.objects.create(
        signal=signal, account=account, kind=signal.kind, order=order, created_at=fleet.now, **values
    )


def as_python_counts(signal: Signal) -> tuple[Counter[str], float | None]:
    rows = [CopyRow(copy) for copy in CopyOrder.objects.filter(signal=signal).select_related("order", "signal")]
    lags = [row.lag.total_seconds() for row in rows if row.lag is not None]
    return Counter(row.outcome for row in rows), round(median(lags), 2) if lags else None


@pytest.mark.parametrize("more", [0, 1])
def test_counts_and_the_median_are_those_of_the_copies_one_by_one(fleet: Fleet, more: int) -> None:
    for number, (state, filled) in enumerate(
        [("filled", "10"), ("canceled", "3"), ("canceled", "0"), ("expired", "0.000000000000000001"), ("rejected", "0"),
         ("not_placed", "0"), ("unknown", "0"), ("manual", "0"), ("acked", "0"), ("partial", "2")]
    ):  # fmt: skip
        copied(fleet, fleet.buy, state=state, filled=filled, late_s=number * 0.37 - 0.4)
    copied(fleet, fleet.buy, state="filled", cap=Cap.MAX_RISK, late_s=9)
    copied(fleet, fleet.buy, status=CopyStatus.SKIPPED, reason="dust")
    copied(fleet, fleet.buy, status=CopyStatus.SKIPPED, reason="halted")
    copied(fleet, fleet.buy, status=CopyStatus.MISSED, reason="too_late")
    copied(fleet, fleet.buy, status=CopyStatus.PENDING)
    for _ in range(more):
        copied(fleet, fleet.buy, state="filled", late_s=2)
    found = outcomes.summaries([fleet.buy, fleet.sale])
    counts, lag = as_python_counts(fleet.buy)
    assert found[fleet.buy.pk].counts == counts
    assert found[fleet.buy.pk].median_lag_s == lag
    assert found[fleet.sale.pk] == outcomes.Summary({}, None)


def asked(signal: Signal) -> int:
    with CaptureQueriesContext(connection) as queries:
        outcomes.summaries([signal])
    return len(queries)


def test_a_signal_whose_copies_are_all_settled_is_counted_once(fleet: Fleet) -> None:
    copied(fleet, fleet.buy, state="filled")
    copied(fleet, fleet.buy, state="rejected", filled="0")
    assert [asked(fleet.buy), asked(fleet.buy)] == [2, 0]
    assert outcomes.summaries([fleet.buy])[fleet.buy.pk].counts == {"filled": 1, "rejected": 1}


@pytest.mark.parametrize("state", ["unknown", "acked", "ready", "manual"])
def test_a_signal_with_a_copy_under_way_is_counted_again(fleet: Fleet, state: str) -> None:
    copied(fleet, fleet.buy, state="filled")
    copied(fleet, fleet.buy, state=state, filled="0")
    assert [asked(fleet.buy), asked(fleet.buy)] == [2, 2]


@pytest.mark.parametrize("state", ["rejected", "not_placed"])
def test_an_exit_that_came_to_nothing_is_not_settled_since_it_is_tried_again(fleet: Fleet, state: str) -> None:
    copied(fleet, fleet.sale, state="filled")
    assert [asked(fleet.sale), asked(fleet.sale)] == [2, 0]
    cache.clear()
    copied(fleet, fleet.sale, state=state, filled="0")
    assert [asked(fleet.sale), asked(fleet.sale)] == [2, 2]


def test_a_sale_that_waits_for_more_is_not_settled(fleet: Fleet) -> None:
    copied(fleet, fleet.sale, status=CopyStatus.SKIPPED, reason="waiting_min")
    assert [asked(fleet.sale), asked(fleet.sale)] == [2, 2]


def test_without_the_cache_signals_are_counted_as_ever(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: Any, **__: Any) -> Any:
        raise redis.ConnectionError("nobody listens")

    copied(fleet, fleet.buy, state="filled")
    monkeypatch.setattr(cache, "get_many", gone)
    monkeypatch.setattr(cache, "set_many", gone)
    assert outcomes.summaries([fleet.buy])[fleet.buy.pk].counts == {"filled": 1}
    assert asked(fleet.buy) == 2
