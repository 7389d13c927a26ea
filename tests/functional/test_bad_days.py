"""Workers that die between two steps, messages that come twice or in any order: the same end, each order once."""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import patch

import pytest
from django.db import connection, transaction

from copytrade.models import CopyOrder, FanOut
from copytrade.services import entries, exits, fan_out
from tests.functional.scenario import BEAM, Fleet, gather
from tests.support.world import World
from trading.kraken import parse
from trading.kraken.errors import Unparsable
from trading.models import Account, Event, EventKind, Execution, Lane, Order, OrderKind, Signal
from trading.services import balances, booking, lanes, private, reconciliation, sending, signals
from trading.services.lanes import Purpose

pytestmark = pytest.mark.django_db(transaction=True)

UNTIL_PROVEN_S = 34


def master_bought(fleet: Fleet) -> None:
    """The master's entry is filled and signalled; nothing is copied yet."""
    fleet.buy()
    fleet.world.send(OrderKind.ENTRY)
    assert Signal.objects.count() == 1


def waiting_copies() -> list[int]:
    return list(CopyOrder.objects.filter(kind="entry").values_list("pk", flat=True))


def send_and_forget(fleet: Fleet, outgoing: list[sending.Outgoing]) -> None:
    """The request leaves and is answered, and its worker dies before it could write anything down."""
    for item in outgoing:
        kraken = private.client(item.grant.credential_id)
        named = {"stops": sending._Stops([]), "clock": fleet.world.clock}
        private.ask(partial(sending._write, item, kraken, **named))


def claimed_exits(fleet: Fleet) -> list[sending.Outgoing]:
    """READY exits claimed for sending, as `send_ready` does just before it writes."""
    ids = list(Order.objects.filter(kind="exit", state="ready").values_list("pk", flat=True))
    keys = lanes.active_keys(Account.objects.filter(orders__in=ids))
    with transaction.atomic(durable=True):
        return sending._claim_ready(ids, keys, kind=OrderKind.EXIT, clock=fleet.world.clock)


def test_an_entry_claimed_by_a_worker_that_died_unwritten_is_proven_absent(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada", "ben")
    master_bought(fleet)
    fan_out.claim_signals(clock=fleet.world.clock)
    copies = waiting_copies()
    entries._claim(copies[:1], freshened=True, clock=fleet.world.clock)
    fleet.live(2)
    assert [o.state for o in fleet.orders(fleet["ada"], OrderKind.ENTRY)] == ["sending"]
    assert [o.state for o in fleet.orders(fleet["ben"], OrderKind.ENTRY)] == ["filled"]
    fleet.live(UNTIL_PROVEN_S)
    assert [o.state for o in fleet.orders(fleet["ada"], OrderKind.ENTRY)] == ["not_placed"]
    assert fleet.asked(fleet["ada"]) == 0
    fleet.assert_books_agree()


def test_an_order_whose_lane_has_passed_on_is_unknown_while_the_successor_holds_it(
    make_world: Callable[..., World],
) -> None:
    fleet = gather(make_world, "ada")
    master_bought(fleet)
    fan_out.claim_signals(clock=fleet.world.clock)
    (lost,) = entries._claim(waiting_copies(), freshened=True, clock=fleet.world.clock).outgoing
    assert reconciliation.adopt_orphans(clock=fleet.world.clock) == 0
    fleet.world.move(13)
    with private.session(lost.grant.credential_id, purpose=Purpose.FENCE, cost=0, clock=fleet.world.clock):
        assert reconciliation.adopt_orphans(clock=fleet.world.clock) == 1
    assert [o.state for o in fleet.orders(fleet["ada"], OrderKind.ENTRY)] == ["unknown"]


def test_an_entry_whose_worker_died_after_sending_is_found_and_gets_the_masters_exit(
    make_world: Callable[..., World],
) -> None:
    fleet = gather(make_world, "ada")
    master_bought(fleet)
    fan_out.claim_signals(clock=fleet.world.clock)
    send_and_forget(fleet, entries._claim(waiting_copies(), freshened=True, clock=fleet.world.clock).outgoing)
    fleet.live(2)
    fleet.sell()
    fleet.live(4)
    assert fleet.held(fleet.master) == 0
    assert fleet.held(fleet["ada"]) > 0
    assert fleet.copy(fleet["ada"], sequence=2).status == "pending"
    fleet.live(14)
    assert fleet.held(fleet["ada"]) == 0
    assert fleet.asked(fleet["ada"]) == 2
    assert fleet.copy(fleet["ada"], sequence=2).status == "ordered"
    fleet.assert_books_agree()


def test_exits_of_dead_workers_are_sold_once_whether_written_or_not(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada", "ben")
    fleet.buy()
    fleet.live(3)
    fleet.sell()
    fleet.world.round()
    signals.emit_due(clock=fleet.world.clock)
    fan_out.claim_signals(clock=fleet.world.clock)
    exits.plan_due(clock=fleet.world.clock)
    outgoing = claimed_exits(fleet)
    if not outgoing:
        pytest.fail("the exits were not claimed")
    send_and_forget(fleet, [item for item in outgoing if item.order.account_id == fleet["ada"].account.pk])
    fleet.live(UNTIL_PROVEN_S + 8)
    for name in ("ada", "ben"):
        assert fleet.held(fleet[name]) == 0
        assert len(fleet.at_exchange(fleet[name], "sell")) == 1
    assert [o.state for o in fleet.orders(fleet["ada"], OrderKind.EXIT)] == ["filled"]
    assert [o.state for o in fleet.orders(fleet["ben"], OrderKind.EXIT)] == ["not_placed", "filled"]
    fleet.assert_books_agree()


def test_a_booking_that_breaks_off_leaves_nothing_and_is_done_again(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = gather(make_world, "ada")

    def dies(*_: object, **__: object) -> None:
        raise SystemExit("killed")

    fleet.buy()
    with monkeypatch.context() as patch:
        patch.setattr(booking, "_move", dies)
        with pytest.raises(SystemExit):
            fleet.world.send(OrderKind.ENTRY)
    assert not Execution.objects.exists()
    assert fleet.world.managed(fleet.master, BEAM) == 0
    fleet.live(5)
    assert fleet.held(fleet["ada"]) == fleet.held(fleet.master) > 0
    assert Signal.objects.count() == 1
    fleet.assert_books_agree()


def test_a_fan_out_that_breaks_off_leaves_nothing_and_is_done_again(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = gather(make_world, "ada")
    master_bought(fleet)

    def dies(*_: object, **__: object) -> None:
        raise SystemExit("killed")

    with monkeypatch.context() as patch:
        patch.setattr(fan_out, "_write_entries", dies)
        with pytest.raises(SystemExit):
            fan_out.claim_signals(clock=fleet.world.clock)
    assert not FanOut.objects.exists()
    fleet.live(3)
    assert fleet.held(fleet["ada"]) == fleet.held(fleet.master) > 0


def test_a_signal_nobody_was_told_of_is_fanned_out_and_executed_by_the_sweeps(
    make_world: Callable[..., World],
) -> None:
    fleet = gather(make_world, "ada", "ben")
    master_bought(fleet)
    fleet.world.move(3)
    assert fan_out.claim_signals(clock=fleet.world.clock) == 1
    fleet.world.move(2)
    assert entries.sweep(clock=fleet.world.clock) == 2
    assert fleet.world.copy(waiting_copies()) == 2
    assert fleet.held(fleet["ada"]) == fleet.held(fleet["ben"]) == fleet.held(fleet.master)


def test_a_copy_that_waited_too_long_is_missed_and_never_chased(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada")
    master_bought(fleet)
    fan_out.claim_signals(clock=fleet.world.clock)
    fleet.world.move(7.4)
    assert entries.sweep(clock=fleet.world.clock) == 1, "2.5 s are left"
    fleet.world.move(0.2)
    assert fleet.world.copy(waiting_copies()) == 0
    copied = fleet.copy(fleet["ada"])
    assert (copied.status, copied.reason) == ("missed", "too_late")
    assert fleet.asked(fleet["ada"]) == 0


def test_a_message_of_which_a_part_was_done_does_the_rest_only(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada", "ben")
    master_bought(fleet)
    fan_out.claim_signals(clock=fleet.world.clock)
    copies = waiting_copies()
    assert fleet.world.copy(copies[:1]) == 1
    assert fleet.world.copy(copies) == 1
    assert fleet.world.copy(copies) == 0
    assert [fleet.asked(trader) for trader in fleet.followers.values()] == [1, 1]
    assert [fleet.copy(trader).status for trader in fleet.followers.values()] == ["ordered", "ordered"]


def test_an_entry_still_in_time_carries_a_deadline_within_its_life(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada")
    master_bought(fleet)
    fan_out.claim_signals(clock=fleet.world.clock)
    fleet.world.move(7)
    assert fleet.world.copy(waiting_copies()) == 1
    (order,) = fleet.orders(fleet["ada"], OrderKind.ENTRY)
    assert order.expires_at is not None
    assert order.deadline == order.expires_at
    assert order.state == "filled"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_any_order_and_number_of_deliveries_ends_the_same(make_world: Callable[..., World], seed: int) -> None:
    fleet = gather(make_world, "ada", "ben")
    clock, chance = fleet.world.clock, random.Random(seed)
    tasks: list[Callable[[], object]] = [
        lambda: signals.emit_due(clock=clock),
        lambda: fan_out.claim_signals(clock=clock),
        lambda: entries.sweep(clock=clock),
        lambda: entries.execute(waiting_copies(), clock=clock),
        lambda: exits.plan_due(clock=clock),
        lambda: sending.send_ready(OrderKind.EXIT, clock=clock),
        lambda: sending.send_ready(OrderKind.ENTRY, clock=clock),
        lambda: reconciliation.resolve_due(clock=clock),
        lambda: booking.book_due(clock=clock),
        lambda: balances.refresh_due(clock=clock),
    ]

    def deliver(rounds: int) -> None:
        for _ in range(rounds):
            for task in chance.choices(tasks, k=2 * len(tasks)):
                task()
            fleet.world.move(1)

    fleet.spoil("drop_after", name="ada")
    fleet.buy()
    deliver(4)
    fleet.sell(fraction="1/3")
    deliver(4)
    fleet.sell()
    deliver(4)
    fleet.live(15)
    assert FanOut.objects.count() == Signal.objects.count() == 3
    assert CopyOrder.objects.count() == 6
    for trader in (fleet.master, fleet["ada"], fleet["ben"]):
        assert fleet.held(trader) == 0
        assert [len(fleet.at_exchange(trader, side)) for side in ("buy", "sell")] == [1, 2]
    fleet.assert_books_agree()


def test_many_threads_keep_one_request_in_flight_per_key_and_nonces_rising(
    make_world: Callable[..., World],
) -> None:
    fleet = gather(make_world, "ada", "ben")
    credentials = [key.pk for key in lanes.active_keys(Account.objects.all()).values()]
    for trader in (fleet["ada"], fleet["ben"], fleet.master):
        fleet.world.paper("POST", "/faults", kind="delay", match={"api_key": trader.api_key}, delay_s=0.02, times=1000)
    fleet.world.move(120)
    before = {name: len(fleet.log(trader)) for name, trader in fleet.followers.items()}

    def work() -> None:
        try:
            for _ in range(6):
                requests = {key: (lambda kraken, nonce: kraken.balance_ex(nonce=nonce)) for key in credentials}
                private.call_each(requests, purpose=Purpose.FENCE, cost=0, clock=fleet.world.clock)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, trader in fleet.followers.items():
        requests = fleet.world.at_exchange(trader)["requests"]
        assert len(fleet.log(trader)) > before[name]
        assert requests["max_in_flight"] == 1
        assert requests["invalid_nonces"] == 0
    assert not Lane.objects.exclude(leased_until=None).exists()


def test_a_lost_lease_is_fenced_by_a_read_before_the_next_order(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada")
    key = lanes.active_keys([fleet["ada"].account])[fleet["ada"].account.pk]
    with transaction.atomic(durable=True):
        lost = lanes.claim([key.pk], purpose=Purpose.ENTRY, cost=0, clock=fleet.world.clock)[key.pk]
    fleet.world.move(13)
    balances.refresh([fleet["ada"].account], clock=fleet.world.clock, purpose=Purpose.REFRESH)
    Lane.objects.filter(pk=lost.lane_id).update(needs_fence=True)
    fleet.buy()
    fleet.live(3)
    asked = [row["endpoint"] for row in fleet.log(fleet["ada"])]
    assert "BalanceEx" in asked[: asked.index("AddOrder")]
    assert [o.state for o in fleet.orders(fleet["ada"], OrderKind.ENTRY)] == ["filled"]
    assert not Lane.objects.filter(needs_fence=True).exists()


def test_a_lane_of_a_lost_lease_takes_no_order_before_it_is_fenced(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada")
    clock = fleet.world.clock
    key = lanes.active_keys([fleet["ada"].account])[fleet["ada"].account.pk]

    def claim(purpose: Purpose) -> dict[uuid.UUID, lanes.Grant]:
        with transaction.atomic(durable=True):
            return lanes.claim([key.pk], purpose=purpose, cost=0, clock=clock)

    lost = claim(Purpose.EXIT)[key.pk]
    fleet.world.move(13)
    assert claim(Purpose.ENTRY) == claim(Purpose.EXIT) == {}
    private.fence([key.pk], clock=clock)
    assert claim(Purpose.EXIT)[key.pk].nonce > int(fleet.log(fleet["ada"])[-1]["nonce"]) > lost.nonce


def test_a_lane_lost_before_the_clock_was_set_back_is_not_lost_for_as_long(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada")
    clock = fleet.world.clock
    key = lanes.active_keys([fleet["ada"].account])[fleet["ada"].account.pk]

    def claim(purpose: Purpose) -> dict[uuid.UUID, lanes.Grant]:
        with transaction.atomic(durable=True):
            return lanes.claim([key.pk], purpose=purpose, cost=0, clock=clock)

    lost = claim(Purpose.EXIT)[key.pk]
    fleet.world.move(-3600)
    assert claim(Purpose.EXIT) == {}, "its request may be on the wire"
    fleet.world.move(8)
    assert claim(Purpose.REFRESH) == {}, "its request may still be on the wire"
    fleet.world.move(5)
    private.fence([key.pk], clock=clock)
    assert claim(Purpose.EXIT)[key.pk].nonce > int(fleet.log(fleet["ada"])[-1]["nonce"]) > lost.nonce


def kraken_tells(monkeypatch: pytest.MonkeyPatch, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """The row of Solana, which only odd accounts hold here, otherwise than the paper exchange would."""
    parsed = parse.balances
    monkeypatch.setattr(parse, "balances", lambda found: parsed(change(found) if "SOL" in found else found))


def test_who_owes_something_is_held_and_still_sells_after_a_crash(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    kraken_tells(monkeypatch, lambda found: {**found, "SOL": {"balance": "-3"}})
    fleet = gather(make_world)
    fleet.followers["ada"] = ada = fleet.world.join("ada@nija.example", usd="1000", besides={"SOL": "3"})
    ada.account.refresh_from_db()
    assert ada.account.held_reason == "Kraken tells of less than nothing of SOL: the account owes it, as on margin"
    # An operator looks, and lets it go on.
    Account.objects.filter(pk=ada.account.pk).update(held_at=None)
    fleet.buy()
    fleet.live(3)
    assert fleet.held(ada) > 0
    Lane.objects.filter(credential__user=ada.account.user).update(needs_fence=True)
    fleet.sell()
    fleet.live(4)
    assert fleet.held(ada) == 0
    fleet.world.move(30)
    fleet.world.refresh()
    ada.account.refresh_from_db()
    assert ada.account.held_at is not None
    assert Event.objects.filter(kind=EventKind.HELD, account=ada.account).count() == 2


def test_an_asset_with_an_impossible_name_keeps_nobodys_balance_from_being_written(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    kraken_tells(monkeypatch, lambda found: {"ZUSD": found["ZUSD"], "A" * 40: found["SOL"]})
    fleet = gather(make_world, "ben")
    odd = fleet.world.join("ada@nija.example", usd="1000", besides={"SOL": "5"})
    fleet.world.move(30)
    assert balances.refresh_due(clock=fleet.world.clock) == 3
    held = {row.asset: row.total for row in odd.account.balances.all()}
    assert held == {"ZUSD": 1000}
    assert fleet["ben"].account.balances.get().total == 1000


def test_an_answer_that_makes_no_sense_fences_a_lane_all_the_same(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world)
    fleet.followers["ada"] = ada = fleet.world.join("ada@nija.example", usd="1000")
    fleet.buy()
    fleet.live(3)
    Lane.objects.filter(credential__user=ada.account.user).update(needs_fence=True)
    with patch.object(parse, "balances", side_effect=Unparsable("Kraken's answer: no balances.")):
        fleet.sell()
        fleet.live(4)
    assert fleet.held(ada) == 0


def test_an_old_owner_neither_renews_nor_frees_a_lane_that_has_passed_on(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada")
    clock = fleet.world.clock
    key = lanes.active_keys([fleet["ada"].account])[fleet["ada"].account.pk]

    def claim() -> lanes.Grant:
        with transaction.atomic(durable=True):
            return lanes.claim([key.pk], purpose=Purpose.UNKNOWN, cost=0, clock=clock)[key.pk]

    old = claim()
    fleet.world.move(13)
    new = claim()
    assert (new.epoch, new.fenced) == (old.epoch + 1, False)
    assert new.nonce > old.nonce
    assert lanes.renew(old, cost=0, clock=clock) is None
    lanes.release([old], {key.pk: "an answer"}, clock=clock)
    lane = Lane.objects.get(pk=old.lane_id)
    assert (lane.owner, lane.needs_fence) == (new.owner, True)
    lanes.release([new], {key.pk: "an answer"}, clock=clock)
    lane.refresh_from_db()
    assert (lane.leased_until, lane.needs_fence) == (None, False)
