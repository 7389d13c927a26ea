"""Two reads of one account's balance that are stored at once, on PostgreSQL: the newer one is what stays."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from django.db import connection

from tests.functional.scenario import gather
from tests.support.races import Actor
from tests.support.world import World
from trading.models import Account, AssetBalance
from trading.services import balances, unexplained
from trading.services.lanes import Purpose

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite lets one writer in at a time"),
]


def test_an_older_balance_that_is_stored_late_does_not_replace_a_newer_one(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = gather(make_world)
    world, account = fleet.world, fleet.master.account
    refresh = partial(balances.refresh, [account], clock=world.clock, purpose=Purpose.REFRESH)
    world.move(5)
    older = Actor(refresh)
    looked = older.hold(monkeypatch, unexplained, "note", when="before")
    older.start()
    looked.until_reached()

    world.move(5)
    newer = Actor(refresh).start()
    newer.until_it_waits()
    looked.let_go()
    older.until_it_ends()
    newer.until_it_ends()

    assert Account.objects.get(pk=account.pk).balances_as_of == world.clock.now()
    assert set(AssetBalance.objects.filter(account=account).values_list("as_of", flat=True)) == {world.clock.now()}


def test_an_older_balance_that_is_stored_after_a_newer_one_is_dropped(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = gather(make_world)
    world, account = fleet.world, fleet.master.account
    refresh = partial(balances.refresh, [account], clock=world.clock, purpose=Purpose.REFRESH)
    world.move(5)
    older = Actor(refresh)
    read = older.hold(monkeypatch, balances, "_store", when="before")
    older.start()
    read.until_reached()

    world.move(5)
    Actor(refresh).start().until_it_ends()
    read.let_go()
    older.until_it_ends()

    assert Account.objects.get(pk=account.pk).balances_as_of == world.clock.now()
    assert set(AssetBalance.objects.filter(account=account).values_list("as_of", flat=True)) == {world.clock.now()}
