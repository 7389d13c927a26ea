"""Races that one connection cannot show: two of them on PostgreSQL, each stopped where the other one must be seen or waited for.

What counts is what the exchange saw.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from decimal import Decimal
from functools import partial

import pytest
from django.db import connection

from accounts.services import credentials
from copytrade.models import CopyOrder, CopyStatus, FanOut
from copytrade.services import entries, exits, fan_out
from tests.functional.scenario import BEAM, Fleet, gather
from tests.support.races import Actor
from tests.support.world import Trader, World
from trading import doorbell
from trading.domain.instrument import Side
from trading.domain.order_state import OrderState
from trading.models import Event, Execution, Order, OrderKind, OrderOrigin, Signal
from trading.services import alerts, asking, balances, booking, halts, lanes, manual_orders, outside, sending
from trading.services.lanes import Purpose

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        connection.vendor != "postgresql", reason="SQLite lets one writer in at a time; these races are PostgreSQL's"
    ),
]

NAMES = ("ada", "ben", "cid")


@pytest.fixture
def fleet(make_world: Callable[..., World]) -> Fleet:
    return gather(make_world, *NAMES)


def followers(fleet: Fleet) -> list[Trader]:
    return list(fleet.followers.values())


def pending_copies(fleet: Fleet, *, symbol: str = BEAM) -> list[int]:
    """The master has bought, his signal is fanned out, nothing is claimed yet."""
    fleet.buy(symbol=symbol)
    fleet.world.send(OrderKind.ENTRY)
    assert fan_out.claim_signals(clock=fleet.world.clock) == 1
    return pending()


def pending() -> list[int]:
    return list(CopyOrder.objects.filter(status=CopyStatus.PENDING).order_by("pk").values_list("pk", flat=True))


def entries_asked(fleet: Fleet) -> dict[str, int]:
    """AddOrder requests per follower, accepted or not."""
    return {name: fleet.asked(trader) for name, trader in fleet.followers.items()}


def states(traders: list[Trader]) -> set[str]:
    return set(Order.objects.filter(account__in=[t.account for t in traders]).values_list("state", flat=True))


# Claim and stop.


def test_a_stop_waits_for_a_claim_under_way_and_what_was_not_yet_written_is_not_written(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, copies = fleet.world.clock, pending_copies(fleet)
    claim = Actor(partial(entries.execute, copies, clock=clock))
    claimed = claim.hold(monkeypatch, lanes, "take", when="after")
    committed = claim.hold(monkeypatch, sending, "transmit", when="before")
    claim.start()
    claimed.until_reached()

    stop = Actor(partial(halts.stop_platform, actor="test", reason="Race", clock=clock)).start()
    stop.until_it_waits()
    claimed.let_go()
    committed.until_reached()
    report = stop.until_it_ends()
    committed.let_go()
    claim.until_it_ends()

    assert report.already_sent == len(NAMES)
    assert entries_asked(fleet) == dict.fromkeys(NAMES, 0)
    assert states(followers(fleet)) == {OrderState.NOT_PLACED}
    fleet.live(3)
    assert entries_asked(fleet) == dict.fromkeys(NAMES, 0)


def test_a_claim_that_meets_an_uncommitted_stop_waits_for_it_and_claims_nothing(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, copies = fleet.world.clock, pending_copies(fleet)
    stop = Actor(partial(halts.stop_platform, actor="test", reason="Race", clock=clock))
    written = stop.hold(monkeypatch, doorbell, "changed", when="before")
    stop.start()
    written.until_reached()

    claim = Actor(partial(entries.execute, copies, clock=clock)).start()
    claim.until_it_waits()
    written.let_go()
    assert stop.until_it_ends().already_sent == 0

    assert claim.until_it_ends() == 0
    assert entries_asked(fleet) == dict.fromkeys(NAMES, 0)
    assert set(CopyOrder.objects.values_list("status", flat=True)) == {CopyStatus.SKIPPED}


def test_who_sells_everything_waits_for_a_claim_under_way_and_has_what_it_buys_sold(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, copies, ada = fleet.world.clock, pending_copies(fleet), fleet["ada"]
    claim = Actor(partial(entries.execute, copies, clock=clock))
    claimed = claim.hold(monkeypatch, lanes, "take", when="after")
    claim.start()
    claimed.until_reached()

    close = Actor(partial(exits.close_all, ada.account, actor="ada", clock=clock)).start()
    close.until_it_waits()
    claimed.let_go()
    claim.until_it_ends()
    assert close.until_it_ends() == 1

    fleet.live(4)
    assert entries_asked(fleet) == {"ada": 2, "ben": 1, "cid": 1}
    assert fleet.held(ada) == 0
    assert fleet.held(fleet["ben"]) > 0


def test_an_entry_that_is_booked_while_its_owner_sells_everything_is_sold(fleet: Fleet) -> None:
    """It is an order when the close looks at positions, and a position when it looks at orders."""
    clock, ada = fleet.world.clock, fleet["ada"]
    order = acknowledged(fleet, ada)
    close = Actor(partial(exits.close_all, ada.account, actor="ada", clock=clock))
    looked = close.hold_statement('FROM "trading_order"')
    close.start()
    looked.until_reached()
    booking.book([order.pk], clock=clock)
    looked.let_go()
    close.until_it_ends()
    fleet.live(4)
    assert fleet.held(ada) == 0


def test_the_stop_of_one_account_waits_for_its_claim_and_leaves_the_others_alone(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, copies, ada = fleet.world.clock, pending_copies(fleet), fleet["ada"]
    claim = Actor(partial(entries.execute, copies, clock=clock))
    claimed = claim.hold(monkeypatch, lanes, "take", when="after")
    committed = claim.hold(monkeypatch, sending, "transmit", when="before")
    claim.start()
    claimed.until_reached()

    stop = Actor(partial(halts.stop_account, ada.account, actor="test", reason="Race", clock=clock)).start()
    stop.until_it_waits()
    claimed.let_go()
    committed.until_reached()
    assert stop.until_it_ends().already_sent == 1
    committed.let_go()
    claim.until_it_ends()

    assert entries_asked(fleet) == {"ada": 0, "ben": 1, "cid": 1}
    assert states([ada]) == {OrderState.NOT_PLACED}


def test_a_stop_counts_an_entry_that_is_filled_and_booked_before_the_answer_is_made(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, order = fleet.world.clock, acknowledged(fleet, fleet["ada"])
    stop = Actor(partial(halts.stop_platform, actor="test", reason="Race", clock=clock))
    written = stop.hold(monkeypatch, doorbell, "changed", when="before")
    stop.start()
    written.until_reached()

    booking.book([order.pk], clock=clock)
    order.refresh_from_db()
    assert order.state == OrderState.FILLED
    written.let_go()

    assert stop.until_it_ends().already_sent == 1


def test_the_stop_of_one_account_counts_an_entry_whose_answer_comes_before_its_own(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, copies, ada = fleet.world.clock, pending_copies(fleet), fleet["ada"]
    fleet.spoil("error:EOrder:Insufficient funds", name="ada")
    claim = Actor(partial(entries.execute, copies, clock=clock))
    on_its_way = claim.hold(monkeypatch, sending, "_keep", when="before")
    claim.start()
    on_its_way.until_reached()

    stop = Actor(partial(halts.stop_account, ada.account, actor="test", reason="Race", clock=clock))
    written = stop.hold(monkeypatch, doorbell, "changed", when="before")
    stop.start()
    written.until_reached()
    on_its_way.let_go()
    claim.until_it_ends()
    assert (states([ada]), entries_asked(fleet)["ada"]) == ({OrderState.REJECTED}, 1)
    written.let_go()

    assert stop.until_it_ends().already_sent == 1


def test_a_claim_passes_over_an_account_whose_stop_is_not_committed_and_then_refuses_it(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, copies, ada = fleet.world.clock, pending_copies(fleet), fleet["ada"]
    stop = Actor(partial(halts.stop_account, ada.account, actor="test", reason="Race", clock=clock))
    written = stop.hold(monkeypatch, doorbell, "changed", when="before")
    stop.start()
    written.until_reached()

    assert fleet.world.copy(copies) == 2
    written.let_go()
    stop.until_it_ends()
    assert fleet.world.copy(copies) == 0

    assert entries_asked(fleet) == {"ada": 0, "ben": 1, "cid": 1}
    assert fleet.copy(ada).status == CopyStatus.SKIPPED


def test_no_key_is_disconnected_while_its_entry_is_claimed(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The claim holds the key's row: what it has read of it cannot be old."""
    clock, copies = fleet.world.clock, pending_copies(fleet)
    claim = Actor(partial(entries.execute, copies, clock=clock))
    claimed = claim.hold(monkeypatch, lanes, "take", when="after")
    claim.start()
    claimed.until_reached()

    forget = Actor(partial(credentials.disconnect, fleet["ada"].account.user)).start()
    forget.until_it_waits()
    claimed.let_go()
    claim.until_it_ends()
    assert forget.until_it_ends()


def test_the_masters_claim_waits_for_the_stop_of_his_account_and_sends_nothing(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, order = fleet.world.clock, fleet.buy()
    stop = Actor(partial(halts.stop_account, fleet.master.account, actor="test", reason="Race", clock=clock))
    written = stop.hold(monkeypatch, doorbell, "changed", when="before")
    stop.start()
    written.until_reached()

    claim = Actor(partial(sending.send_ready, OrderKind.ENTRY, clock=clock)).start()
    claim.until_it_waits()
    written.let_go()
    stop.until_it_ends()

    assert claim.until_it_ends() == 0
    order.refresh_from_db()
    assert order.state == OrderState.SKIPPED
    assert fleet.asked(fleet.master) == 0


# Claim and claim.


def test_two_claims_of_the_same_copies_send_each_of_them_once(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, copies = fleet.world.clock, pending_copies(fleet)
    first = Actor(partial(entries.execute, copies, clock=clock))
    claimed = first.hold(monkeypatch, lanes, "take", when="after")
    first.start()
    claimed.until_reached()

    second = Actor(partial(entries.execute, copies, clock=clock)).start()
    assert second.until_it_ends() == 0
    claimed.let_go()
    assert first.until_it_ends() == len(NAMES)
    fleet.world.book()

    assert entries_asked(fleet) == dict.fromkeys(NAMES, 1)
    assert all(len(fleet.at_exchange(trader, "buy")) == 1 for trader in followers(fleet))
    fleet.assert_books_agree()


def test_claims_of_two_signals_at_once_open_no_more_positions_than_the_follower_allows(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = gather(make_world, "ada", max_open_positions=1)
    fleet.world.pin("ETHUSD", bid="3000", ask="3000.01")
    first_copies = pending_copies(fleet)
    second_copies = [pk for pk in pending_copies(fleet, symbol="ETH-USD") if pk not in first_copies]
    first = Actor(partial(entries.execute, first_copies, clock=fleet.world.clock))
    claimed = first.hold(monkeypatch, lanes, "take", when="after")
    first.start()
    claimed.until_reached()

    second = Actor(partial(entries.execute, second_copies, clock=fleet.world.clock)).start()
    assert second.until_it_ends() == 0
    claimed.let_go()
    assert first.until_it_ends() == 1
    assert fleet.world.copy(second_copies) == 0

    assert entries_asked(fleet) == {"ada": 1}
    refused = CopyOrder.objects.get(pk__in=second_copies)
    assert refused.status == CopyStatus.SKIPPED
    assert fleet.held(fleet["ada"], "XETH") == 0


def test_a_lane_that_is_being_claimed_for_an_order_is_given_to_no_read(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, copies = fleet.world.clock, pending_copies(fleet)
    before = {name: len(fleet.log(trader)) for name, trader in fleet.followers.items()}
    claim = Actor(partial(entries.execute, copies, clock=clock))
    claimed = claim.hold(monkeypatch, lanes, "take", when="after")
    claim.start()
    claimed.until_reached()

    accounts = [trader.account for trader in followers(fleet)]
    read = Actor(partial(balances.refresh, accounts, clock=clock, purpose=Purpose.REFRESH)).start()
    read.until_it_ends()
    assert {name: len(fleet.log(trader)) for name, trader in fleet.followers.items()} == before
    claimed.let_go()
    claim.until_it_ends()
    fleet.world.book()

    assert entries_asked(fleet) == dict.fromkeys(NAMES, 1)
    fleet.assert_books_agree()


def test_two_workers_that_take_the_same_signal_make_its_copies_once(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = fleet.world.clock
    fleet.buy()
    fleet.world.send(OrderKind.ENTRY)
    first = Actor(partial(fan_out.claim_signals, clock=clock))
    inside = first.hold(monkeypatch, fan_out, "_write_entries", when="before")
    first.start()
    inside.until_reached()

    second = Actor(partial(fan_out.claim_signals, clock=clock)).start()
    second.until_it_waits()
    inside.let_go()

    assert (first.until_it_ends(), second.until_it_ends()) == (1, 0)
    assert FanOut.objects.count() == 1
    fleet.world.settle()
    assert entries_asked(fleet) == dict.fromkeys(NAMES, 1)


# Booking.


def acknowledged(fleet: Fleet, trader: Trader, *, times: int = 1) -> Order:
    """The master has bought, this follower's copy is at the exchange and not booked."""
    fleet.spoil("error:EService:Busy", name=trader.account.user.email.split("@")[0], endpoint="QueryOrders")
    fleet.world.copy(pending_copies(fleet))
    order = Order.objects.get(account=trader.account, state=OrderState.ACKED)
    assert not order.executions.exists()
    return order


def test_two_that_read_the_same_fill_book_it_once(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    ada = fleet["ada"]
    order = acknowledged(fleet, ada)
    slow = Actor(partial(booking.book, [order.pk], clock=fleet.world.clock))
    read = slow.hold(monkeypatch, booking, "book_reports", when="before")
    slow.start()
    read.until_reached()

    Actor(partial(booking.book, [order.pk], clock=fleet.world.clock)).start().until_it_ends()
    bought = fleet.world.managed(ada, BEAM)
    read.let_go()
    slow.until_it_ends()

    assert fleet.world.managed(ada, BEAM) == bought == fleet.held(ada)
    fleet.assert_books_agree(ada)


def test_a_booking_waits_for_the_other_one_of_its_position_and_finds_it_done(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = fleet.buy()
    fleet.spoil("error:EService:Busy", endpoint="QueryOrders")
    fleet.world.send(OrderKind.ENTRY)
    first = Actor(partial(booking.book, [order.pk], clock=fleet.world.clock))
    folded = first.hold(monkeypatch, booking, "_fold", when="after")
    first.start()
    folded.until_reached()

    second = Actor(partial(booking.book, [order.pk], clock=fleet.world.clock)).start()
    second.until_it_waits()
    folded.let_go()
    first.until_it_ends()
    second.until_it_ends()

    assert Signal.objects.count() == 1
    assert Execution.objects.filter(order=order).count() == len(fleet.at_exchange(fleet.master, "buy")[0]["trades"])
    fleet.assert_books_agree(fleet.master)


def test_an_alert_about_many_orders_waits_for_none_that_is_being_booked(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = acknowledged(fleet, fleet["ada"])
    booked = Actor(partial(booking.book, [order.pk], clock=fleet.world.clock))
    moved = booked.hold(monkeypatch, booking, "_tell", when="before")
    booked.start()
    moved.until_reached()

    told = [(row, "open", "slow") for row in Order.objects.order_by("pk")]
    Actor(partial(alerts.raise_each, told, now=fleet.world.clock.now())).start().until_it_ends()
    moved.let_go()
    booked.until_it_ends()

    assert Event.objects.filter(kind="alert", message="slow").count() == len(told) > 1
    order.refresh_from_db()
    assert order.state == OrderState.FILLED


def test_bookings_of_the_same_accounts_in_two_instruments_both_end(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each locks positions of its own, and then the rows of the same accounts."""
    clock = fleet.world.clock
    fleet.world.pin("ETHUSD", bid="3000", ask="3000.01")
    pending_copies(fleet)
    entries.execute(pending_copies(fleet, symbol="ETH-USD"), clock=clock)
    entries.execute(pending(), clock=clock)
    copied = Order.objects.filter(origin=OrderOrigin.COPY, state=OrderState.ACKED).select_related("account")
    reports = {
        symbol: asking.ask({o.account_id: [o] for o in copied.filter(instrument__symbol=symbol)}, clock=clock)
        for symbol in (BEAM, "ETH-USD")
    }
    assert [len(mine) for mine in reports.values()] == [len(NAMES)] * 2
    first = Actor(partial(booking.book_reports, reports[BEAM], now=clock.now()))
    written = first.hold(monkeypatch, booking, "_move", when="before")
    first.start()
    written.until_reached()

    second = Actor(partial(booking.book_reports, list(reversed(reports["ETH-USD"])), now=clock.now())).start()
    second.until_it_waits()
    written.let_go()
    first.until_it_ends()
    second.until_it_ends()

    assert states(followers(fleet)) == {OrderState.FILLED}
    fleet.assert_books_agree()


# Booking and planning exits.


def late_fill(fleet: Fleet, trader: Trader) -> Order:
    """The follower holds one copy, a second one is at the exchange and not booked, and the master has sold all."""
    clock = fleet.world.clock
    fleet.buy()
    fleet.world.settle()
    order = acknowledged(fleet, trader)
    fleet.sell()
    fleet.world.send(OrderKind.EXIT)
    assert fan_out.claim_signals(clock=clock) == 1
    return order


def test_a_late_fill_waits_while_an_exit_is_planned_and_is_sold_by_the_next_one(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = fleet["ada"]
    order = late_fill(fleet, ada)
    before = fleet.world.managed(ada, BEAM)
    plan = Actor(partial(exits.plan_due, clock=fleet.world.clock))
    planned = plan.hold(monkeypatch, exits, "_link", when="before")
    plan.start()
    planned.until_reached()

    book = Actor(partial(booking.book, [order.pk], clock=fleet.world.clock)).start()
    book.until_it_waits()
    planned.let_go()
    plan.until_it_ends()
    book.until_it_ends()

    first = Order.objects.get(account=ada.account, kind=OrderKind.EXIT)
    assert first.quantity == before < fleet.world.managed(ada, BEAM)
    fleet.world.settle()
    assert len(fleet.at_exchange(ada, "sell")) == 2
    assert all(fleet.held(trader) == 0 for trader in followers(fleet))
    fleet.assert_books_agree()


def test_an_exit_is_not_planned_while_a_fill_is_being_booked_and_then_sells_it_too(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = fleet["ada"]
    order = late_fill(fleet, ada)
    book = Actor(partial(booking.book, [order.pk], clock=fleet.world.clock))
    folded = book.hold(monkeypatch, booking, "_fold", when="after")
    book.start()
    folded.until_reached()

    exits.plan_due(clock=fleet.world.clock)
    assert not Order.objects.filter(account=ada.account, kind=OrderKind.EXIT).exists()
    folded.let_go()
    book.until_it_ends()

    held = fleet.held(ada)
    fleet.world.settle()
    (sold,) = fleet.at_exchange(ada, "sell")
    assert Decimal(sold["vol_exec"]) == held
    assert fleet.held(ada) == 0


def test_two_that_plan_exits_at_once_plan_one_for_each_position(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.buy()
    fleet.world.settle()
    fleet.sell()
    fleet.world.send(OrderKind.EXIT)
    fan_out.claim_signals(clock=fleet.world.clock)
    first = Actor(partial(exits.plan_due, clock=fleet.world.clock))
    planned = first.hold(monkeypatch, exits, "_link", when="before")
    first.start()
    planned.until_reached()

    assert Actor(partial(exits.plan_due, clock=fleet.world.clock)).start().until_it_ends() == 0
    planned.let_go()
    assert first.until_it_ends() == len(NAMES)

    fleet.world.settle()
    assert all(len(fleet.at_exchange(trader, "sell")) == 1 for trader in followers(fleet))
    assert all(fleet.held(trader) == 0 for trader in followers(fleet))


# The master's trades outside NIJA.


@pytest.mark.parametrize("side", list(Side))
def test_two_calls_with_the_same_id_order_once_for_the_master(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, side: Side
) -> None:
    fleet.buy()
    fleet.live(3)
    amounts = {"notional": "9"} if side is Side.BUY else {"fraction": "1"}
    asked = {"symbol": BEAM, "side": side, "amounts": amounts, "reason": "Race", "clock": fleet.world.clock}
    call = partial(manual_orders.plan_once, uuid.uuid4(), **asked)
    before = fleet.asked(fleet.master)
    one, other = Actor(call), Actor(call)
    looked = one.hold(monkeypatch, manual_orders, "ordered_before", when="after")
    one.start()
    looked.until_reached()
    theirs, is_new = other.start().until_it_ends()
    looked.let_go()
    mine, is_mine = one.until_it_ends()

    assert mine.pk == theirs.pk
    assert (is_new, is_mine) == (True, False)
    fleet.live(3)
    assert fleet.asked(fleet.master) == before + 1


def test_two_that_find_the_same_order_outside_nija_book_and_signal_it_once(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = fleet.world.clock
    outside.look(clock=clock)
    fleet.world.move(5)
    fleet.by_hand("master", Side.BUY, quantity="5000")
    slow = Actor(partial(outside.look, clock=clock))
    read = slow.hold(monkeypatch, outside, "_book", when="before")
    slow.start()
    read.until_reached()

    # Its turn is over by now; somebody else looks, and finds and books the same.
    fleet.world.move(5)
    assert Actor(partial(outside.look, clock=clock)).start().until_it_ends() == 1
    read.let_go()
    slow.until_it_ends()

    assert Order.objects.filter(origin=OrderOrigin.OUTSIDE).count() == Signal.objects.count() == 1
    fleet.assert_books_agree(fleet.master)
    fleet.world.settle()
    assert all(len(fleet.at_exchange(trader, "buy")) <= 1 for trader in followers(fleet))
