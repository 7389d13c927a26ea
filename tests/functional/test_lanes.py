"""One key's road to Kraken: rate budgets, lockouts, precedence, keys that do not open, many workers at once."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Sequence

import pytest
from django.db import connection, connections, transaction

from accounts.models import Credential
from copytrade.models import CopyOrder, FanOut
from copytrade.services import entries, exits, fan_out
from tests.functional.scenario import Fleet, gather
from tests.nonces.caller import WrongClock
from tests.support.world import Trader, World
from trading import doorbell
from trading.models import Account, Event, Lane, Order, OrderKind, Signal
from trading.services import balances, booking, halts, lanes, private, reconciliation, sending, signals
from trading.services.lanes import Purpose

pytestmark = pytest.mark.django_db(transaction=True)


def key_of(trader: Trader) -> Credential:
    return lanes.active_keys([trader.account])[trader.account.pk]


def granted(fleet: Fleet, trader: Trader, purpose: Purpose, *, cost: int = 1) -> bool:
    """Whether the lane can be had for this now; it is given back as after an answer."""
    key = key_of(trader).pk
    with transaction.atomic(durable=True):
        grants = lanes.claim([key], purpose=purpose, cost=cost, clock=fleet.world.clock)
    lanes.release(list(grants.values()), {key: "an answer"}, clock=fleet.world.clock)
    return bool(grants)


def together(*works: Callable[[], object]) -> None:
    """Each in a thread of its own, as workers are; an error of any is an error of the test."""
    errors: list[BaseException] = []

    def run(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def waiting_copies() -> list[int]:
    return list(CopyOrder.objects.filter(kind="entry", status="pending").values_list("pk", flat=True))


def accepted(fleet: Fleet, side: str) -> Sequence[int]:
    return [len(fleet.at_exchange(trader, side)) for trader in fleet.followers.values()]


def test_background_reads_leave_points_for_what_is_urgent(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada")
    fleet.world.move(60)
    reads = sum(granted(fleet, fleet["ada"], Purpose.REFRESH) for _ in range(20))
    assert reads == 7
    assert granted(fleet, fleet["ada"], Purpose.BOOKING)
    assert sum(granted(fleet, fleet["ada"], Purpose.UNKNOWN) for _ in range(20)) == 7
    assert not granted(fleet, fleet["ada"], Purpose.BOOKING)
    assert granted(fleet, fleet["ada"], Purpose.EXIT, cost=0), "orders cost no point"
    fleet.world.move(60)
    assert granted(fleet, fleet["ada"], Purpose.REFRESH)


def test_a_fill_is_booked_however_little_budget_other_calls_leave(make_world: Callable[..., World]) -> None:
    """Asking for the order and for its executions takes two calls; the first alone would be paid for in vain for ever."""
    fleet = gather(make_world, "ada", rate_tier="starter")
    fleet.buy()
    # Other calls took all that bookings may use; from here on a point comes back every three seconds.
    Lane.objects.update(rate_points=11, rate_at=fleet.world.clock.now())
    fleet.live(12)
    assert [order.state for order in fleet.orders(fleet.master, OrderKind.ENTRY)] == ["filled"]
    fleet.assert_books_agree()


def test_a_key_that_called_too_often_reads_nothing_for_a_while_and_still_sells(
    make_world: Callable[..., World],
) -> None:
    fleet = gather(make_world, "ada")
    fleet.buy()
    fleet.live(3)
    fleet.spoil("error:EAPI:Rate limit exceeded", name="ada", endpoint="BalanceEx")
    balances.refresh([fleet["ada"].account], clock=fleet.world.clock, purpose=Purpose.REFRESH)
    assert not granted(fleet, fleet["ada"], Purpose.UNKNOWN)
    fleet.sell()
    fleet.live(3)
    assert fleet.held(fleet["ada"]) == 0
    fleet.world.move(60)
    assert granted(fleet, fleet["ada"], Purpose.REFRESH)


def test_a_locked_out_key_is_left_alone_until_the_lockout_is_over(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada", "ben")
    fleet.buy()
    fleet.live(3)
    fleet.spoil("error:EGeneral:Temporary lockout", name="ada")
    fleet.sell()
    fleet.live(3)
    seen = len(fleet.log(fleet["ada"]))
    fleet.live(12)
    fleet.world.move(800)
    fleet.live(2)
    assert len(fleet.log(fleet["ada"])) == seen
    assert fleet.held(fleet["ben"]) == 0
    fleet.world.move(100)
    fleet.live(4)
    assert fleet.held(fleet["ada"]) == 0


def test_a_key_that_does_not_open_holds_nobody_else_up(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada", "ben")
    Credential.objects.filter(pk=key_of(fleet["ada"]).pk).update(sealed=b"not what was sealed")
    private._clients.clear()
    fleet.buy()
    fleet.live(3)
    assert [o.state for o in fleet.orders(fleet["ada"], OrderKind.ENTRY)] == ["rejected"]
    assert "does not open" in fleet.orders(fleet["ada"], OrderKind.ENTRY)[0].refusal
    assert [o.state for o in fleet.orders(fleet["ben"], OrderKind.ENTRY)] == ["filled"]
    assert not Lane.objects.exclude(leased_until=None).exists()


@pytest.mark.skipif(connection.vendor != "postgresql", reason="all processes of a SQLite file are on one machine")
@pytest.mark.parametrize(("holder_s", "other_s"), [(-3605, 0), (0, -3605), (3605, 0), (0, 3605)])
def test_a_lane_in_use_is_in_use_for_processes_whose_clocks_disagree(
    make_world: Callable[..., World], holder_s: float, other_s: float
) -> None:
    key = key_of(gather(make_world, "ada")["ada"]).pk

    def claim(off_s: float) -> dict[uuid.UUID, lanes.Grant]:
        with transaction.atomic(durable=True):
            return lanes.claim([key], purpose=Purpose.UNKNOWN, cost=0, clock=WrongClock(off_s))

    held = claim(holder_s)[key]
    before = Lane.objects.get(credential=key)
    assert claim(other_s) == {}
    assert Lane.objects.get(credential=key).leased_until == before.leased_until
    lanes.release([held], {key: "an answer"}, clock=WrongClock(holder_s))
    assert claim(other_s)[key].nonce > held.nonce


def test_who_waited_too_long_writes_nothing_though_the_clock_was_set_back_meanwhile(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet, look = gather(make_world), sending._Stops.look

    def wait(stops: sending._Stops) -> None:
        look(stops)
        seconds = lanes.LEASE.total_seconds()
        fleet.world.clock.move(seconds)
        fleet.world.clock.be_set(-seconds)

    fleet.buy()
    with monkeypatch.context() as patched:
        patched.setattr(sending._Stops, "look", wait)
        sending.send_ready(OrderKind.ENTRY, clock=fleet.world.clock)
    assert fleet.asked(fleet.master) == 0
    (order,) = fleet.orders(fleet.master, OrderKind.ENTRY)
    assert (order.state, order.refusal) == ("not_placed", sending.TURN_TOO_LATE)


def test_an_exit_goes_before_an_entry_on_the_same_key(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada")
    fleet.world.pin("ETHUSD", bid="3000", ask="3000.01")
    fleet.buy()
    fleet.live(3)
    fleet.sell()
    fleet.world.send(OrderKind.EXIT)
    fleet.buy(symbol="ETH-USD")
    fleet.world.send(OrderKind.ENTRY)
    fan_out.claim_signals(clock=fleet.world.clock)
    exits.plan_due(clock=fleet.world.clock)
    assert fleet.world.copy(waiting_copies()) == 0, "a sale waits on this key"
    assert fleet.world.send(OrderKind.EXIT) == 1
    assert fleet.world.copy(waiting_copies()) == 1
    fleet.world.move(1)
    fleet.live(2)
    pairs = [(o.kind, o.state) for o in Order.objects.filter(account=fleet["ada"].account).order_by("sent_at", "pk")]
    assert pairs == [("entry", "filled"), ("exit", "filled"), ("entry", "filled")]


def test_workers_that_claim_the_same_copies_send_each_once(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada", "ben", "cid")
    fleet.buy()
    fleet.world.send(OrderKind.ENTRY)
    together(*[lambda: fan_out.claim_signals(clock=fleet.world.clock)] * 3)
    assert (FanOut.objects.count(), CopyOrder.objects.count()) == (1, 3)
    copies = waiting_copies()
    together(*[lambda: entries.execute(copies, clock=fleet.world.clock)] * 4)
    fleet.live(3)
    assert accepted(fleet, "buy") == [1, 1, 1]
    assert [fleet.asked(trader) for trader in fleet.followers.values()] == [1, 1, 1]
    fleet.assert_books_agree()


def test_workers_that_plan_sell_and_book_at_once_sell_and_book_once(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada", "ben", "cid")
    clock = fleet.world.clock
    fleet.buy()
    fleet.live(3)
    fleet.sell()

    def everything() -> None:
        for _ in range(3):
            fleet.world.send(OrderKind.EXIT)
            signals.emit_due(clock=clock)
            fan_out.claim_signals(clock=clock)
            exits.plan_due(clock=clock)
            booking.book(list(Order.objects.values_list("pk", flat=True)), clock=clock)
            reconciliation.resolve_due(clock=clock)

    together(everything, everything, everything)
    fleet.live(4)
    assert accepted(fleet, "sell") == [1, 1, 1]
    assert Signal.objects.count() == 2
    assert [fleet.held(trader) for trader in fleet.followers.values()] == [0, 0, 0]
    assert not Event.objects.filter(kind__in=("alert", "held")).exists()
    fleet.assert_books_agree()


def test_a_stop_that_races_claims_lets_none_pass_once_it_has_committed(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, *"abcdef")
    fleet.buy()
    fleet.world.send(OrderKind.ENTRY)
    fan_out.claim_signals(clock=fleet.world.clock)
    copies = waiting_copies()
    sent_by_then: list[int] = []

    def stop() -> None:
        halts.stop_platform(actor="operator", reason="race", clock=fleet.world.clock)
        sent_by_then.append(Order.objects.filter(kind="entry", origin="copy").count())

    halves = copies[:3], copies[3:]
    together(*[lambda part=part: entries.execute(part, clock=fleet.world.clock) for part in halves], stop)
    assert Order.objects.filter(kind="entry", origin="copy").count() == sent_by_then[0]
    fleet.live(3)
    unsent = Account.objects.filter(copies__reason="halted").distinct().count()
    assert unsent == 6 - sent_by_then[0]
    assert sum(accepted(fleet, "buy")) <= sent_by_then[0]
    fleet.assert_books_agree()


def test_no_more_entries_are_claimed_than_there_are_free_senders_and_the_rest_is_rung_for(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = gather(make_world, "ada", "ben", "cid")
    fleet.buy()
    fleet.world.send(OrderKind.ENTRY)
    fan_out.claim_signals(clock=fleet.world.clock)
    waiting = list(CopyOrder.objects.order_by("pk").values_list("pk", flat=True))
    rung: list[list[int]] = []
    with private.seats(private.SENDERS - 1) as others:
        assert others == private.SENDERS - 1
        monkeypatch.setattr(doorbell, "_send", lambda _task, args: rung.append(*args) if args else None)
        assert entries.execute(waiting, clock=fleet.world.clock) == 1
        assert waiting[1:] in rung
        with private.seats(5) as left:
            assert left == 1
    assert entries.execute(waiting, clock=fleet.world.clock) == 2
    assert [fleet.asked(trader) for trader in fleet.followers.values()] == [1, 1, 1]
