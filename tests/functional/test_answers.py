"""What becomes of answers to orders as they arrive: outcome, lane and bell, for each without waiting for the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from copytrade.services import entries, fan_out
from tests.functional.scenario import Fleet, gather
from tests.support.world import World
from trading import doorbell
from trading.models import Lane, Order, OrderKind
from trading.services import booking, sending

pytestmark = pytest.mark.django_db(transaction=True)

LATE_S = 3.0


def copies_of_a_purchase(fleet: Fleet) -> list[int]:
    """The master has bought; what is to be sent for his followers."""
    fleet.buy()
    fleet.world.send(OrderKind.ENTRY)
    fan_out.claim_signals(clock=fleet.world.clock)
    return [copy.pk for copy in map(fleet.copy, fleet.followers.values())]


def seen(fleet: Fleet) -> dict[str, tuple[str, bool]]:
    """By follower: the state of his entry, and whether his key's lane is free."""
    leased = set(Lane.objects.filter(leased_until__isnull=False).values_list("credential__user__email", flat=True))
    rows = Order.objects.filter(origin="copy").values_list("account__user__email", "state")
    return {email.split("@")[0]: (state, email not in leased) for email, state in rows}


def test_a_late_answer_holds_up_neither_the_lanes_nor_the_bookings_of_the_others(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = gather(make_world, "ada", "ben", "cid")
    copies = copies_of_a_purchase(fleet)
    fleet.spoil("delay_after", name="ada", delay_s=LATE_S)
    rung: list[list[int]] = []
    at_each_bell: list[dict[str, tuple[str, bool]]] = []

    def heard(task: str, args: tuple[Any, ...]) -> None:
        if task == booking.BOOK_TASK:
            rung.append(args[0])
            booking.book_answered(args[0], clock=fleet.world.clock)
            at_each_bell.append(seen(fleet))

    monkeypatch.setattr(doorbell, "_send", heard)
    entries.execute(copies, clock=fleet.world.clock)

    under_way, free = ("sending", False), ("filled", True)
    assert {"ada": under_way, "ben": free, "cid": free} in at_each_bell
    assert at_each_bell[-1] == {"ada": free, "ben": free, "cid": free}
    told = [order_id for ids in rung for order_id in ids]
    assert sorted(told) == sorted(Order.objects.filter(origin="copy").values_list("pk", flat=True)), "each once"
    fleet.assert_books_agree()


def test_who_sends_asks_for_no_booking_and_a_bell_that_nobody_hears_changes_nothing(
    make_world: Callable[..., World],
) -> None:
    fleet = gather(make_world, "ada")
    fleet.buy()
    sending.send_ready(OrderKind.ENTRY, clock=fleet.world.clock)
    (order,) = fleet.orders(fleet.master, OrderKind.ENTRY)
    assert (order.state, fleet.asked(fleet.master, "QueryOrders")) == ("acked", 0)
    assert booking.book_due(clock=fleet.world.clock) == 1
    order.refresh_from_db()
    assert order.state == "filled"


def test_a_bell_asks_for_no_order_that_somebody_asked_for_already(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada")
    fleet.spoil("http_502_before", endpoint="QueryTrades")
    fleet.buy()
    fleet.world.send(OrderKind.ENTRY)
    (order,) = fleet.orders(fleet.master, OrderKind.ENTRY)
    assert (order.state, fleet.asked(fleet.master, "QueryOrders")) == ("acked", 1)
    assert booking.book_answered([order.pk], clock=fleet.world.clock) == 0
    assert fleet.asked(fleet.master, "QueryOrders") == 1
    fleet.live(3)
    order.refresh_from_db()
    assert order.state == "filled"


def test_whoevers_bell_is_heard_the_masters_order_is_booked_first(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada")
    fleet.world.pin("ETHUSD", bid="3000", ask="3000.01")
    entries.execute(copies_of_a_purchase(fleet), clock=fleet.world.clock)
    fleet.buy(symbol="ETH-USD")
    sending.send_ready(OrderKind.ENTRY, clock=fleet.world.clock)
    (copied,) = fleet.orders(fleet["ada"], OrderKind.ENTRY)
    assert booking.book_answered([copied.pk], clock=fleet.world.clock) == 2
    his = fleet.orders(fleet.master, OrderKind.ENTRY)[-1].executions.get()
    assert his.pk < copied.executions.get().pk
