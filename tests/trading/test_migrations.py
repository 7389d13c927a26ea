"""Migrations that move data, on rows as they were before."""

from __future__ import annotations

import importlib
from datetime import timedelta
from decimal import Decimal

import pytest
from django.apps import apps

from tests.trading.services import master_books
from tests.trading.services.master_books import NOW
from trading.models import Adjustment, AdjustmentKind, Execution, Order, Position

pytestmark = [pytest.mark.django_db]


def test_the_history_of_a_position_is_numbered_by_its_round_trips() -> None:
    account, row = master_books.master(), master_books.instrument()
    position = Position.objects.create(
        account=account, instrument=row, managed=Decimal(3), is_open=True, updated_at=NOW
    )
    never_traded = Position.objects.create(
        account=account, instrument=master_books.instrument("ETH-USD"), updated_at=NOW
    )
    order = Order.objects.create(
        account=account, instrument=row, kind="entry", origin="manual", side="buy", quantity=1, state="filled", created_at=NOW
    )  # fmt: skip
    steps = [("buy", 2), ("buy", 1), ("sell", 3), ("buy", 4), ("by hand", 4), ("buy", 5), ("by hand", 2), ("sell", 1)]
    managed = Decimal(0)
    rows: list[Execution | Adjustment] = []
    for minute, (what, quantity) in enumerate([*steps, ("buy", 1)]):
        after = managed + quantity if what == "buy" else managed - quantity
        at = NOW + timedelta(minutes=minute)
        if what == "by hand":
            adjustment = Adjustment.objects.create(
                account=account, instrument=row, kind=AdjustmentKind.USER_REDUCED, managed_before=managed,
                managed_after=after, after_sequence=1, created_at=at,
            )  # fmt: skip
            rows.append(adjustment)
        else:
            execution = Execution.objects.create(
                account=account, instrument=row, order=order, trade_id=f"T{minute}", side=what, quantity=quantity,
                price=1, notional=quantity, fee=0, executed_at=at, booked_at=at,
            )  # fmt: skip
            rows.append(execution)
        managed = after
    importlib.import_module("trading.migrations.0010_number_round_trips").number_what_is_there(apps, None)
    for item in (*rows, position, never_traded):
        item.refresh_from_db()
    assert [item.round_trip for item in rows] == [1, 1, 1, 2, 2, 3, 3, 3, 3]
    assert (position.round_trip, never_traded.round_trip) == (3, 0)
