"""Curves thinned for a chart keep the newest point, and find payments however far apart their points are."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from tests.trading.services import master_books
from tests.trading.services.master_books import NOW
from trading.models import Account, EquityPoint
from trading.selectors import equity_curve

pytestmark = pytest.mark.django_db

D = Decimal


def record(account: Account, count: int, *, paid_at: int, amount: str) -> None:
    """`count` points, half a minute apart until now, money moved just before the one of that number."""
    EquityPoint.objects.bulk_create(
        EquityPoint(
            account=account,
            at=NOW - timedelta(seconds=30 * (count - 1 - n)),
            equity=D(100) + D(n % 7) + (D(amount) if n >= paid_at else 0),
            cash=D(60) - D(n % 3) + (D(amount) if n >= paid_at else 0),
            profit=D(n % 7),
        )
        for n in range(count)
    )


@pytest.mark.parametrize("count", [50, 1000, 2880])
def test_a_payment_of_a_minute_ago_is_marked_on_every_range(count: int) -> None:
    master = master_books.master()
    record(master, count, paid_at=count - 2, amount="25")
    curve = equity_curve.read(master.pk, since=None)
    assert len(curve.points) <= equity_curve.POINTS_MAX
    assert curve.points[-1].at == NOW
    assert [point.moved for point in curve.movements] == [D(25)]


def test_a_withdrawal_in_the_past_stands_at_the_first_point_that_shows_it() -> None:
    master = master_books.master()
    record(master, 1000, paid_at=500, amount="-40")
    (moved,) = equity_curve.read(master.pk, since=None).movements
    assert moved.moved == D(-40)
    paid = NOW - timedelta(seconds=30 * 499)
    assert paid <= moved.at <= paid + timedelta(seconds=30 * 9)


def test_the_deepest_drawdown_is_named_and_absent_when_there_was_none() -> None:
    master = master_books.master()
    EquityPoint.objects.create(account=master, at=NOW, equity=D(100), cash=D(100), profit=D(0))
    assert equity_curve.read(master.pk, since=None).deepest is None
    later = NOW + timedelta(seconds=30)
    EquityPoint.objects.create(account=master, at=later, equity=D(95), cash=D(100), profit=D(-5))
    deepest = equity_curve.read(master.pk, since=None).deepest
    assert deepest is not None
    assert (deepest.at, deepest.drawdown) == (later, D("0.05"))


def test_a_curve_begins_where_the_range_begins_and_may_be_empty() -> None:
    master = master_books.master()
    record(master, 20, paid_at=0, amount="0")
    assert len(equity_curve.read(master.pk, since=NOW - timedelta(seconds=120)).points) == 4
    assert equity_curve.read(master.pk, since=NOW).points == []
