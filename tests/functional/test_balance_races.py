"""Two reads of one account's balance that are stored at once, on PostgreSQL: the newer one is what stays."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from types import ModuleType

import pytest
from django.db import connection

from tests.functional.scenario import Fleet, gather
from tests.support.races import Actor, Hold
from tests.support.world import World
from trading.models import Account, AssetBalance, EquityPoint
from trading.services import balances, equity, unexplained
from trading.services.lanes import Purpose

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite lets one writer in at a time"),
]


def refreshing(fleet: Fleet) -> Callable[[], int]:
    return partial(balances.refresh, [fleet.master.account], clock=fleet.world.clock, purpose=Purpose.REFRESH)


def held_reader(fleet: Fleet, monkeypatch: pytest.MonkeyPatch, module: ModuleType, seam: str) -> tuple[Actor, Hold]:
    """Somebody who has read the master's balance and stands before `seam`."""
    fleet.world.move(5)
    reader = Actor(refreshing(fleet))
    gate = reader.hold(monkeypatch, module, seam, when="before")
    reader.start()
    gate.until_reached()
    return reader, gate


def held_there(fleet: Fleet) -> Decimal:
    return Decimal(fleet.world.at_exchange(fleet.master)["balances"]["ZUSD"])


def pay_in(fleet: Fleet) -> None:
    """So that the two readings differ."""
    fleet.world.move(5)
    fleet.world.paper("POST", f"/accounts/{fleet.master.paper_id}/deposit", asset="ZUSD", amount="7")


def test_an_older_balance_that_is_stored_late_does_not_replace_a_newer_one(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = gather(make_world)
    world, account = fleet.world, fleet.master.account
    older, looked = held_reader(fleet, monkeypatch, unexplained, "note")

    pay_in(fleet)
    newer = Actor(refreshing(fleet)).start()
    newer.until_it_waits()
    looked.let_go()
    older.until_it_ends()
    newer.until_it_ends()

    assert Account.objects.get(pk=account.pk).balances_as_of == world.clock.now()
    assert AssetBalance.objects.get(account=account, asset="ZUSD").total == held_there(fleet)


def test_an_older_balance_that_is_stored_after_a_newer_one_is_dropped(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = gather(make_world)
    world, account = fleet.world, fleet.master.account
    older, read = held_reader(fleet, monkeypatch, balances, "_store")

    pay_in(fleet)
    Actor(refreshing(fleet)).start().until_it_ends()
    read.let_go()
    older.until_it_ends()

    assert Account.objects.get(pk=account.pk).balances_as_of == world.clock.now()
    assert AssetBalance.objects.get(account=account, asset="ZUSD").total == held_there(fleet)


def test_equity_is_recorded_while_a_balance_is_being_stored(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both touch many accounts: if they waited for one another, there would be two that wait for each other."""
    fleet = gather(make_world, "ada")
    reader, looked = held_reader(fleet, monkeypatch, unexplained, "note")

    recorder = Actor(partial(equity.record, clock=fleet.world.clock)).start()
    recorder.until_it_ends()

    assert list(EquityPoint.objects.order_by("pk").values_list("account", flat=True)) == [
        fleet.master.account.pk,
        fleet["ada"].account.pk,
    ]
    looked.let_go()
    reader.until_it_ends()
    assert Account.objects.get(pk=fleet.master.account.pk).balances_as_of == fleet.world.clock.now()
