"""The emergency stop, seen from the exchange's side: no entry after it, every exit as ever."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from copytrade.services import entries, fan_out
from tests.functional.scenario import Fleet, gather
from tests.support.world import World
from trading.domain.instrument import Side
from trading.models import Control, OrderKind, Signal
from trading.services import cancelling, halts, sending
from trading.services.master_orders import MasterOrderRefused

pytestmark = pytest.mark.django_db(transaction=True)


def signalled(fleet: Fleet) -> list[int]:
    """The master has bought, the copies wait; their ids."""
    fleet.buy()
    fleet.world.send(OrderKind.ENTRY)
    fan_out.claim_signals(clock=fleet.world.clock)
    copies = Signal.objects.get(kind="entry").copies
    return list(copies.values_list("pk", flat=True))


def stop(fleet: Fleet) -> halts.StopReport:
    return halts.stop_platform(actor="operator@nija.example", reason="drill", clock=fleet.world.clock)


def test_after_the_stop_no_entry_is_claimed_and_the_copies_say_why(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada", "ben")
    copies = signalled(fleet)
    report = stop(fleet)
    assert (report.followers, report.already_sent, report.open_positions) == (2, 0, 1)
    assert fleet.world.copy(copies) == 0
    for name in ("ada", "ben"):
        assert fleet.asked(fleet[name]) == 0
        copied = fleet.copy(fleet[name])
        assert (copied.status, copied.reason) == ("skipped", "halted")
        assert "drill" in copied.sentence


def test_exits_flow_during_a_stop(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada")
    fleet.buy()
    fleet.live(3)
    stop(fleet)
    halts.stop_account(fleet["ada"].account, actor="ada", reason="enough", clock=fleet.world.clock)
    fleet.sell()
    fleet.live(4)
    assert fleet.held(fleet.master) == fleet.held(fleet["ada"]) == 0
    assert len(fleet.at_exchange(fleet["ada"], "sell")) == 1


def test_an_entry_claimed_before_the_stop_and_not_yet_written_is_not_written(
    make_world: Callable[..., World],
) -> None:
    fleet = gather(make_world, "ada")
    copies = signalled(fleet)
    claimed = entries._claim(copies, freshened=True, clock=fleet.world.clock).outgoing
    assert len(claimed) == 1
    assert stop(fleet).already_sent == 1
    sending.transmit(claimed, clock=fleet.world.clock)
    (order,) = fleet.orders(fleet["ada"], OrderKind.ENTRY)
    assert order.state == "not_placed"
    assert "stopped before it was written" in order.refusal
    assert fleet.asked(fleet["ada"]) == 0


def test_the_stop_of_one_account_reaches_its_unwritten_entry_and_nobody_elses(
    make_world: Callable[..., World],
) -> None:
    fleet = gather(make_world, "ada", "ben")
    claimed = entries._claim(signalled(fleet), freshened=True, clock=fleet.world.clock).outgoing
    halts.stop_account(fleet["ada"].account, actor="ada", reason="enough", clock=fleet.world.clock)
    sending.transmit(claimed, clock=fleet.world.clock)
    fleet.world.book()
    assert [o.state for o in fleet.orders(fleet["ada"], OrderKind.ENTRY)] == ["not_placed"]
    assert [o.state for o in fleet.orders(fleet["ben"], OrderKind.ENTRY)] == ["filled"]
    assert (fleet.asked(fleet["ada"]), fleet.asked(fleet["ben"])) == (0, 1)


def test_what_was_sent_before_the_stop_is_counted_booked_and_sold_with_the_master(
    make_world: Callable[..., World],
) -> None:
    fleet = gather(make_world, "ada")
    fleet.spoil("drop_after", name="ada")
    fleet.world.copy(signalled(fleet))
    assert [o.state for o in fleet.orders(fleet["ada"], OrderKind.ENTRY)] == ["unknown"]
    assert stop(fleet).already_sent == 1
    fleet.live(3)
    assert fleet.held(fleet["ada"]) > 0
    fleet.sell()
    fleet.live(4)
    assert fleet.held(fleet["ada"]) == 0
    fleet.assert_books_agree()


def test_a_stop_reaches_the_masters_waiting_entry(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world)
    order = fleet.buy()
    stop(fleet)
    assert fleet.world.send(OrderKind.ENTRY) == 0
    order.refresh_from_db()
    assert (order.state, "drill" in order.refusal) == ("skipped", True)
    assert fleet.asked(fleet.master) == 0
    with pytest.raises(MasterOrderRefused, match="Entries are stopped: drill"):
        fleet.buy()


def test_the_masters_own_stop_reaches_his_waiting_entry(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world)
    order = fleet.buy()
    halts.stop_account(fleet.master.account, actor="operator", reason="enough", clock=fleet.world.clock)
    assert fleet.world.send(OrderKind.ENTRY) == 0
    order.refresh_from_db()
    assert (order.state, order.refusal) == ("skipped", "The account is stopped")
    assert fleet.asked(fleet.master) == 0


def test_after_resuming_the_next_entry_is_copied_and_the_stopped_one_is_not(
    make_world: Callable[..., World],
) -> None:
    fleet = gather(make_world, "ada", "ben")
    halts.stop_account(fleet["ben"].account, actor="ben", reason="holiday", clock=fleet.world.clock)
    stop(fleet)
    halts.resume_platform(actor="operator", clock=fleet.world.clock)
    fleet.buy()
    fleet.live(3)
    assert fleet.held(fleet["ada"]) > 0
    assert fleet.copy(fleet["ben"]).reason == "stopped_by_user"
    halts.resume_account(fleet["ben"].account, actor="ben", clock=fleet.world.clock)
    fleet.buy()
    fleet.live(4)
    assert fleet.copy(fleet["ben"], sequence=2).status == "ordered"
    assert len(fleet.at_exchange(fleet["ben"], "buy")) == 1


def test_entry_blocking_in_the_environment_blocks_whatever_the_database_says(
    make_world: Callable[..., World],
) -> None:
    fleet = gather(make_world, "ada")
    copies = signalled(fleet)
    waiting = fleet.buy(notional="50")
    fleet.world.settings.ENTRY_BLOCKING = True
    assert not Control.objects.filter(stopped_at__isnull=False).exists()
    fleet.live(2)
    waiting.refresh_from_db()
    assert waiting.state == "skipped"
    assert fleet.world.copy(copies) == 0
    assert "ENTRY_BLOCKING" in fleet.copy(fleet["ada"]).sentence
    with pytest.raises(MasterOrderRefused, match="ENTRY_BLOCKING"):
        fleet.buy()
    fleet.sell()
    fleet.live(3)
    assert fleet.held(fleet.master) == 0


def test_in_independent_mode_no_entry_is_copied_but_exits_are(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada")
    fleet.buy()
    fleet.live(3)
    fleet.world.settings.COPY_TRADING_MODE = "INDEPENDENT"
    fleet.buy(notional="50")
    fleet.live(3)
    assert fleet.copy(fleet["ada"], sequence=2).reason == "independent_mode"
    fleet.sell()
    fleet.live(4)
    assert fleet.held(fleet.master) == fleet.held(fleet["ada"]) == 0


def test_where_orders_are_not_allowed_nothing_is_sent_and_balances_are_still_read(
    make_world: Callable[..., World],
) -> None:
    fleet = gather(make_world, "ada")
    fleet.buy()
    fleet.live(3)
    fleet.sell()
    fleet.world.settings.ORDERS_ALLOWED = False
    sent = fleet.asked(fleet["ada"]), fleet.asked(fleet.master)
    with pytest.raises(MasterOrderRefused, match="LIVE_TRADING"):
        fleet.buy()
    fleet.live(2)
    fleet.world.move(70)
    fleet.world.refresh()
    assert (fleet.asked(fleet["ada"]), fleet.asked(fleet.master)) == sent
    fleet.master.account.refresh_from_db()
    assert fleet.master.account.balances_as_of is not None
    assert fleet.world.clock.now() - fleet.master.account.balances_as_of < timedelta(seconds=5)
    fleet.world.settings.ORDERS_ALLOWED = True
    fleet.live(5)
    assert fleet.held(fleet["ada"]) == 0


def test_copies_are_refused_where_orders_are_not_allowed(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada")
    copies = signalled(fleet)
    fleet.world.settings.ORDERS_ALLOWED = False
    assert fleet.world.copy(copies) == 0
    assert fleet.copy(fleet["ada"]).reason == "orders_not_allowed"
    assert fleet.asked(fleet["ada"]) == 0


def test_cancelling_after_a_stop_leaves_the_users_own_orders_alone(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada")
    own = fleet.by_hand("ada", Side.BUY, quantity="1000", price="0.005")
    fleet.buy()
    fleet.live(3)
    stop(fleet)
    assert cancelling.cancel_stopped_entries(clock=fleet.world.clock) == 0
    fleet.sell()
    fleet.live(4)
    assert fleet.asked(fleet["ada"], "CancelOrder") == fleet.asked(fleet["ada"], "CancelAll") == 0
    (resting,) = [order for order in fleet.at_exchange(fleet["ada"], "buy") if order["status"] == "open"]
    assert resting["txid"] == own
