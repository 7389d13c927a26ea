"""What a batch costs does not depend on how many are in it: statements are counted, and bounded."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from copytrade.models import CopyOrder, CopyStatus, FanOut
from copytrade.services import entries, exits, fan_out
from tests.functional.scenario import Fleet, gather
from tests.support.world import World
from trading import doorbell
from trading.domain.order_state import OrderState
from trading.models import Account, AssetBalance, Order, OrderKind, SignalKind
from trading.services import balances, sending

pytestmark = [pytest.mark.django_db(transaction=True)]
FEW, MANY = 4, 40
#: The stop, copies with the clock, lanes with accounts and settings, what they hold; lanes taken, orders written, copies settled.
CLAIM_MAX = 7
#: And once more the stop; outcomes, lanes given back.
SEND_MAX = CLAIM_MAX + 3
#: The signals, the claim of one, its copies, their number; whom the open pages belong to.
FAN_OUT_MAX = 5
#: The newest exits, candidates and empty copies; positions, sales under way, failed ones, adjustments, balances, the books in five,
#: copies without an outcome; orders, their numbers, the copies they serve, and these written.
PLAN_MAX = 18
PLAN_IDLE_MAX = 3
#: Who is due, their keys, lanes locked and taken and given back; accounts, what is noted of the master, balances, of which
#: none changed, accounts written; open positions.
REFRESH_MAX = 12


def fleet_of(make_world: Callable[..., World], size: int) -> Fleet:
    return gather(make_world, *(f"f{n}" for n in range(size)))


def statements(queries: CaptureQueriesContext) -> list[str]:
    """Without what begins and ends transactions. Django writes many rows to SQLite in several statements, counted as one."""
    told = [query["sql"] for query in queries.captured_queries]
    told = [sql for sql in told if not sql.startswith(("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE"))]
    first = {sql.partition("(")[0]: sql for sql in reversed(told) if sql.startswith("INSERT")}
    return [sql for sql in told if not sql.startswith("INSERT") or sql in first.values()]


def claimed(make_world: Callable[..., World], size: int) -> list[str]:
    fleet = fleet_of(make_world, size)
    fleet.buy()
    fleet.world.send(OrderKind.ENTRY)
    fan_out.claim_signals(clock=fleet.world.clock)
    waiting = list(CopyOrder.objects.filter(status=CopyStatus.PENDING).values_list("pk", flat=True))
    assert len(waiting) == size
    with CaptureQueriesContext(connection) as queries:
        outcome = entries._claim(waiting, freshened=False, clock=fleet.world.clock)
    assert len(outcome.outgoing) == Order.objects.filter(state=OrderState.SENDING).count() == size
    return statements(queries)


@pytest.mark.parametrize("size", [FEW, MANY])
def test_a_claim_of_entries_takes_the_same_statements_for_few_and_for_many(
    make_world: Callable[..., World], size: int
) -> None:
    assert len(claimed(make_world, size)) == CLAIM_MAX


@pytest.mark.parametrize("size", [FEW, MANY])
def test_a_batch_of_entries_takes_the_same_statements_for_few_and_for_many(
    make_world: Callable[..., World], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = fleet_of(make_world, size)
    fleet.buy()
    fleet.world.send(OrderKind.ENTRY)
    fan_out.claim_signals(clock=fleet.world.clock)
    waiting = list(CopyOrder.objects.filter(status=CopyStatus.PENDING).values_list("pk", flat=True))
    # However slow this machine is now, all answers come within this.
    monkeypatch.setattr(sending, "TOGETHER_S", 5.0)
    with CaptureQueriesContext(connection) as queries:
        assert entries.execute(waiting, clock=fleet.world.clock) == size
    assert len(statements(queries)) == SEND_MAX


@pytest.mark.parametrize("size", [FEW, MANY])
def test_a_fan_out_takes_the_same_statements_for_few_and_for_many_and_rings_for_each_copy_once(
    make_world: Callable[..., World], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = fleet_of(make_world, size)
    fleet.buy()
    fleet.world.send(OrderKind.ENTRY)
    rung: list[list[int]] = []
    monkeypatch.setattr(doorbell, "_send", lambda _task, args: rung.append(*args) if args else None)
    monkeypatch.setattr(fan_out, "FIRST_BATCH", 2)
    monkeypatch.setattr(fan_out, "BATCH", 3)
    with CaptureQueriesContext(connection) as queries:
        assert fan_out.claim_signals(clock=fleet.world.clock) == 1
    assert len(statements(queries)) == FAN_OUT_MAX
    assert [len(ids) for ids in rung[:-1]] == [2] + [3] * (len(rung) - 2)
    assert [pk for ids in rung for pk in ids] == list(CopyOrder.objects.order_by("pk").values_list("pk", flat=True))
    assert FanOut.objects.get().followers == CopyOrder.objects.count() == size


def test_a_bell_is_rung_again_only_when_it_must_be_lost(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = fleet_of(make_world, 2)
    fleet.buy()
    fleet.world.send(OrderKind.ENTRY)
    fan_out.claim_signals(clock=fleet.world.clock)
    rung: list[int] = []
    monkeypatch.setattr(doorbell, "_send", lambda _task, args: rung.extend(*args))
    fleet.world.move(1.9)
    assert (entries.sweep(clock=fleet.world.clock), rung) == (0, [])
    fleet.world.move(0.1)
    assert entries.sweep(clock=fleet.world.clock) == 2
    assert sorted(rung) == list(CopyOrder.objects.order_by("pk").values_list("pk", flat=True))


@pytest.mark.parametrize("size", [FEW, MANY])
def test_planning_exits_takes_the_same_statements_for_few_and_for_many(
    make_world: Callable[..., World], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exits, "FIRST_BATCH", MANY)
    fleet = fleet_of(make_world, size)
    fleet.buy()
    fleet.live(3)
    fleet.sell()
    fleet.world.send(OrderKind.EXIT)
    fan_out.claim_signals(clock=fleet.world.clock)
    with CaptureQueriesContext(connection) as queries:
        assert exits.plan_due(clock=fleet.world.clock) == size
    assert len(statements(queries)) == PLAN_MAX
    assert CopyOrder.objects.filter(kind=SignalKind.EXIT, status=CopyStatus.ORDERED).count() == size
    with CaptureQueriesContext(connection) as queries:
        assert exits.plan_due(clock=fleet.world.clock) == 0
    assert len(statements(queries)) == PLAN_IDLE_MAX


@pytest.mark.parametrize("size", [FEW, MANY])
def test_a_refresh_of_balances_takes_the_same_statements_for_few_and_for_many(
    make_world: Callable[..., World], size: int
) -> None:
    fleet = fleet_of(make_world, size)
    fleet.world.move(25)
    asked = fleet.asked(fleet["f0"], "BalanceEx")
    with CaptureQueriesContext(connection) as queries:
        assert balances.refresh_due(clock=fleet.world.clock) == size + 1
    assert len(statements(queries)) == REFRESH_MAX
    assert fleet.asked(fleet["f0"], "BalanceEx") == asked + 1
    assert set(Account.objects.values_list("balances_as_of", flat=True)) == {fleet.world.clock.now()}


def test_only_what_changed_of_the_balances_is_written(make_world: Callable[..., World]) -> None:
    fleet = fleet_of(make_world, 2)
    world = fleet.world

    def pay(asset: str, amount: str) -> None:
        world.paper("POST", f"/accounts/{fleet['f0'].paper_id}/deposit", asset=asset, amount=amount)

    def refreshed() -> tuple[set[str], list[str]]:
        """The kinds of statements, and the assets that were written."""
        world.move(25)
        with CaptureQueriesContext(connection) as queries:
            assert balances.refresh_due(clock=world.clock) == 3
        told = [sql for sql in statements(queries) if "trading_assetbalance" in sql]
        written = AssetBalance.objects.filter(as_of=world.clock.now()).values_list("asset", flat=True)
        return {sql.split(" ")[0] for sql in told}, list(written)

    assert refreshed() == ({"SELECT"}, [])
    pay("XXBT", "0.5")
    assert refreshed() == ({"SELECT", "INSERT"}, ["XXBT"])
    assert AssetBalance.objects.get(account=fleet["f0"].account, asset="XXBT").total == Decimal("0.5")
    pay("ZUSD", "-1")
    assert refreshed() == ({"SELECT", "INSERT"}, ["ZUSD"])
    # As if it were of a reading in which Kraken still named it.
    AssetBalance.objects.create(account=fleet["f1"].account, asset="ADA", total=1, as_of=world.clock.now())
    assert refreshed() == ({"SELECT", "DELETE"}, [])
    assert not AssetBalance.objects.filter(asset="ADA").exists()


def test_one_whose_balance_cannot_be_read_spoils_nobody_elses(make_world: Callable[..., World]) -> None:
    fleet = fleet_of(make_world, 3)
    before = fleet.world.clock.now()
    fleet.world.move(25)
    fleet.spoil("error:EService:Busy", name="f1", endpoint="BalanceEx")
    assert balances.refresh_due(clock=fleet.world.clock) == 3
    told = {name: Account.objects.get(pk=trader.account.pk) for name, trader in fleet.followers.items()}
    assert told["f1"].balances_failing_since == fleet.world.clock.now()
    assert told["f1"].balances_as_of is not None
    assert told["f1"].balances_as_of <= before
    assert "Busy" in told["f1"].balances_error
    for name in ("f0", "f2"):
        assert told[name].balances_as_of == fleet.world.clock.now()
        assert told[name].balances_error == ""
