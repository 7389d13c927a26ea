"""What became of an order when its answer was strange, late or missing: once at the exchange, or provably never."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.functional.scenario import Fleet, gather
from tests.support.paper import free_port
from tests.support.world import World
from trading.domain.instrument import Side
from trading.kraken import transport
from trading.kraken.connections import LoopTransport
from trading.kraken.values import OrdersPage
from trading.models import Lane, Order, OrderKind, Signal
from trading.services import lookups, market, private, reconciliation

pytestmark = pytest.mark.django_db(transaction=True)

ACCEPTED = {
    "dropped": "drop_after",
    "gateway": "http_520_after",
    "page": "html_after",
    "unavailable": "error_after:EService:Unavailable",
    "internal": "error_after:EGeneral:Internal error",
}
NEVER_ACCEPTED = {
    "dropped": "drop_before",
    "gateway": "http_502_before",
    "page": "html",
    "busy": "error:EService:Busy",
    "nonce": "error:EAPI:Invalid nonce",
}
REFUSED = {
    "poor": "error:EOrder:Insufficient funds",
    "pair_rate": "error:EOrder:Rate limit exceeded",
    "key_rate": "error:EAPI:Rate limit exceeded",
    "forbidden": "error:EGeneral:Permission denied",
}
SETTLED_S = 18


def states(fleet: Fleet, kind: OrderKind) -> dict[str, list[str]]:
    return {name: [o.state for o in fleet.orders(trader, kind)] for name, trader in fleet.followers.items()}


@contextmanager
def unreachable(world: World) -> Iterator[None]:
    """Nothing listens where the exchange was."""
    url = world.settings.KRAKEN_API_URL
    world.settings.KRAKEN_API_URL = f"http://127.0.0.1:{free_port()}"
    private._clients.clear()
    try:
        yield
    finally:
        world.settings.KRAKEN_API_URL = url
        private._clients.clear()


def test_orders_whose_answer_was_lost_are_found_and_exist_once(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, *ACCEPTED)
    for kind in (OrderKind.ENTRY, OrderKind.EXIT):
        for name, fault in ACCEPTED.items():
            fleet.spoil(fault, name=name)
        fleet.buy() if kind == OrderKind.ENTRY else fleet.sell()
        fleet.live(5)
        assert states(fleet, kind) == {name: ["filled"] for name in ACCEPTED}
        fleet.assert_books_agree()
    for trader in fleet.followers.values():
        assert len(fleet.at_exchange(trader, "buy")) == len(fleet.at_exchange(trader, "sell")) == 1
        assert fleet.asked(trader) == 2
        assert fleet.held(trader) == 0


def test_orders_that_were_never_accepted_are_proven_absent(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, *NEVER_ACCEPTED, "fine")
    for name, fault in NEVER_ACCEPTED.items():
        fleet.spoil(fault, name=name)
    fleet.buy()
    fleet.live(3)
    assert {state for name in NEVER_ACCEPTED for state in states(fleet, OrderKind.ENTRY)[name]} == {"unknown"}
    fleet.live(SETTLED_S)
    assert states(fleet, OrderKind.ENTRY) == {name: ["not_placed"] for name in NEVER_ACCEPTED} | {"fine": ["filled"]}
    for name in NEVER_ACCEPTED:
        assert fleet.at_exchange(fleet[name], "buy") == []
        assert fleet.asked(fleet[name]) == 1, "an entry is never chased"
        copied = fleet.copy(fleet[name])
        assert copied.order is not None
        assert copied.order.refusal.startswith("The entry never reached Kraken: ")


def test_an_exit_that_was_never_accepted_is_planned_again_and_sold_once(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, *NEVER_ACCEPTED)
    fleet.buy()
    fleet.live(3)
    for name, fault in NEVER_ACCEPTED.items():
        fleet.spoil(fault, name=name)
    fleet.sell()
    fleet.live(SETTLED_S + 6)
    assert states(fleet, OrderKind.EXIT) == {name: ["not_placed", "filled"] for name in NEVER_ACCEPTED}
    for trader in fleet.followers.values():
        assert len(fleet.at_exchange(trader, "sell")) == 1
        assert fleet.held(trader) == 0
        copied = fleet.copy(trader, sequence=2)
        assert copied.order is not None
        assert copied.order.state == "filled"
    fleet.assert_books_agree()


def test_a_refusal_ends_an_entry_with_krakens_words_and_an_exit_is_tried_again(
    make_world: Callable[..., World],
) -> None:
    fleet = gather(make_world, *REFUSED)
    fleet.buy()
    fleet.live(3)
    for name, fault in REFUSED.items():
        fleet.spoil(fault, name=name)
    fleet.sell()
    fleet.live(2)
    assert states(fleet, OrderKind.EXIT) == {name: ["rejected"] for name in REFUSED}
    fleet.live(4)
    fleet.world.move(30)  # the key that called too often reads nothing in the meantime
    fleet.live(2)
    assert states(fleet, OrderKind.EXIT) == {name: ["rejected", "filled"] for name in REFUSED}
    for name, fault in REFUSED.items():
        fleet.spoil(fault, name=name)
    fleet.world.move(60)
    fleet.buy()
    fleet.live(6)
    for name, fault in REFUSED.items():
        bought, refused = fleet.orders(fleet[name], OrderKind.ENTRY)
        assert (bought.state, refused.state) == ("filled", "rejected")
        assert fault.removeprefix("error:") in refused.refusal
        assert len(fleet.at_exchange(fleet[name], "buy")) == len(fleet.at_exchange(fleet[name], "sell")) == 1
    fleet.assert_books_agree()


def test_an_order_that_met_no_listener_was_certainly_not_written(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada")
    fleet.buy()
    fleet.live(3)
    fleet.sell()
    fleet.live(1)
    with unreachable(fleet.world):
        fleet.live(1)
        assert states(fleet, OrderKind.EXIT) == {"ada": ["not_placed"]}
    fleet.live(6)
    assert states(fleet, OrderKind.EXIT) == {"ada": ["not_placed", "filled"]}
    assert len(fleet.at_exchange(fleet["ada"], "sell")) == 1


def test_a_late_request_finds_its_nonce_used_by_the_look_that_followed(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = gather(make_world, "ada")
    fleet.spoil("delay", name="ada", delay_s=2)
    fleet.buy()
    fleet.world.round()
    monkeypatch.setattr(transport, "REQUEST_TIMEOUT_MAX_S", 0.5)
    fleet.live(2)
    monkeypatch.undo()
    threading.Event().wait(1.6)
    fleet.live(SETTLED_S)
    assert states(fleet, OrderKind.ENTRY) == {"ada": ["not_placed"]}
    assert fleet.at_exchange(fleet["ada"], "buy") == []
    late = [row for row in fleet.world.paper("GET", "/log")["log"] if row["endpoint"] == "AddOrder"][-1]
    assert late["result"] == "EAPI:Invalid nonce"


@pytest.mark.parametrize(
    "late", [("ClosedOrders",), ("OpenOrders", "ClosedOrders", "QueryOrders", "TradesHistory", "BalanceEx")]
)
def test_an_accepted_order_that_reads_show_only_after_five_seconds_is_still_found(
    make_world: Callable[..., World], late: tuple[str, ...]
) -> None:
    fleet = gather(make_world, "ada")
    for endpoint in late:
        fleet.spoil("lag", name="ada", endpoint=endpoint, delay_s=5)
    for kind in (OrderKind.ENTRY, OrderKind.EXIT):
        fleet.spoil("drop_after", name="ada")
        fleet.buy() if kind == OrderKind.ENTRY else fleet.sell()
        fleet.live(4)
        assert states(fleet, kind) == {"ada": ["unknown"]}
        fleet.live(6)
        assert states(fleet, kind) == {"ada": ["filled"]}
        fleet.world.move(60)
    fleet.assert_books_agree()
    assert fleet.asked(fleet["ada"]) == 2


def test_nothing_is_proved_by_an_answer_that_leaves_out_what_was_asked_for(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = gather(make_world, "ada")
    fleet.spoil("drop_before", name="ada")
    fleet.buy()
    fleet.live(2)
    fleet.by_hand("ada", Side.BUY, quantity="1200")
    whole = LoopTransport.post

    async def without_orders(self: LoopTransport, path: str, *more: Any, **named: Any) -> transport.Answer:
        answer = await whole(self, path, *more, **named)
        return transport.Answer(200, b'{"error":[],"result":{}}') if path.endswith("QueryOrders") else answer

    monkeypatch.setattr(LoopTransport, "post", without_orders)
    fleet.live(SETTLED_S + 6)
    assert fleet.asked(fleet["ada"], "TradesHistory") > 0
    assert states(fleet, OrderKind.ENTRY) == {"ada": ["unknown"]}
    monkeypatch.undo()
    # The looks that proved nothing were paid for.
    fleet.live(20)
    assert states(fleet, OrderKind.ENTRY) == {"ada": ["not_placed"]}


def test_a_key_with_hardly_any_budget_left_still_learns_that_its_order_never_arrived(
    make_world: Callable[..., World],
) -> None:
    """Two reads of the lists at every look must not for ever spend what the look through the trades needs."""
    fleet = gather(make_world, "ada", rate_tier="starter")
    fleet.spoil("error:EService:Busy", name="ada")
    fleet.buy()
    for _ in range(SETTLED_S + 12):
        fleet.live(1)
        # As if other calls of the key always left it five points of its fifteen, what that look may cost.
        Lane.objects.filter(credential__user=fleet["ada"].account.user).update(
            rate_points=9.9, rate_at=fleet.world.clock.now()
        )
    (order,) = fleet.orders(fleet["ada"], OrderKind.ENTRY)
    assert order.state == "not_placed"
    assert fleet.asked(fleet["ada"], "TradesHistory") == 1
    assert fleet.at_exchange(fleet["ada"], "buy") == []


def test_a_long_history_is_searched_page_by_page_on_a_key_with_hardly_any_budget_left(
    make_world: Callable[..., World],
) -> None:
    """A search that begins anew whenever the budget ends would never come to the end, and spend everybody's points."""
    fleet = gather(make_world, "ada", usd="100000", rate_tier="starter")
    fleet.spoil("error:EService:Busy", name="ada")
    fleet.buy()
    fleet.live(1)
    # One order of her own, matched in more pieces than a page of the history holds.
    fleet.world.paper("POST", "/limits", pair="BEAMUSD", match_max="1000")
    fleet.by_hand("ada", Side.BUY, quantity="60000")
    for _ in range(SETTLED_S + 24):
        fleet.live(1)
        Lane.objects.filter(credential__user=fleet["ada"].account.user).update(
            rate_points=9.9, rate_at=fleet.world.clock.now()
        )
    (order,) = fleet.orders(fleet["ada"], OrderKind.ENTRY)
    assert order.state == "not_placed"
    assert fleet.asked(fleet["ada"], "TradesHistory") == 2
    assert len(fleet.at_exchange(fleet["ada"], "buy")) == 1


def lose(fleet: Fleet, *faults: str) -> None:
    """So many entries of ada, one after the other, none of whose answers arrives as it should."""
    for fault in faults:
        fleet.spoil(fault, name="ada")
        fleet.buy(notional="20")
        fleet.live(2)


def test_what_several_lost_orders_of_a_key_cost_is_shared(make_world: Callable[..., World]) -> None:
    """By itself each would take two reads at every look, and together they would hold up whatever else the key must tell."""
    fleet = gather(make_world, "ada", rate_tier="starter")
    fleet.world.move(60)
    lose(fleet, "drop_before", "error:EService:Busy", "drop_before", "drop_before")
    # Held back until all are to be looked for, as when other calls have used the key's points up.
    Lane.objects.filter(credential__user=fleet["ada"].account.user).update(
        rate_points=15, rate_at=fleet.world.clock.now()
    )
    fleet.live(SETTLED_S + 24)
    assert states(fleet, OrderKind.ENTRY) == {"ada": ["not_placed"] * 4}
    assert fleet.asked(fleet["ada"], "ClosedOrders") <= 8
    assert fleet.asked(fleet["ada"], "TradesHistory") <= 3
    assert fleet.at_exchange(fleet["ada"], "buy") == []


def test_lost_orders_among_more_than_a_page_of_others_are_told_apart(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada", usd="100000")
    lose(fleet, "drop_before", "http_520_after", "error:EService:Busy")
    for _ in range(52):
        fleet.by_hand("ada", Side.BUY, quantity="400")
    fleet.live(2 * SETTLED_S + 40)
    assert states(fleet, OrderKind.ENTRY) == {"ada": ["not_placed", "filled", "not_placed"]}
    (found,) = Order.objects.filter(account=fleet["ada"].account, state="filled")
    placed = {order["txid"]: order["cl_ord_id"] for order in fleet.at_exchange(fleet["ada"], "buy")}
    assert placed[found.venue_order_id] == str(found.client_order_id)
    assert len(placed) == 53


def test_two_searches_at_once_pass_over_no_page(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both read the first page and both turn it; the lost order is on the second."""
    fleet = gather(make_world, "ada", usd="100000")

    async def nothing(*_: Any, **__: Any) -> OrdersPage:
        return OrdersPage(orders=(), count=0)

    for name in ("read_open", "read_closed"):
        monkeypatch.setattr(lookups, name, nothing)
    with monkeypatch.context() as without:
        without.setattr(reconciliation, "_search", lambda *_, **__: ([], [], ()))
        lose(fleet, "drop_after")
        for _ in range(60):
            fleet.by_hand("ada", Side.BUY, quantity="400")
        fleet.live(SETTLED_S + 12)
    (order,) = Order.objects.filter(account=fleet["ada"].account)
    assert (order.state, order.absent_at is not None) == ("unknown", True)
    fleet.world.move(60)
    both = [[Order.objects.select_related("account", "instrument").get(pk=order.pk)] for _ in range(2)]
    for one in both:
        reconciliation.resolve(one, clock=fleet.world.clock)
    fleet.live(20)
    assert states(fleet, OrderKind.ENTRY) == {"ada": ["filled"]}


@pytest.mark.parametrize(("sent_s", "searched_s"), [(180, 180), (-180, -180), (180, 0), (0, 180), (-180, 0)])
def test_a_sale_is_found_whatever_our_clock_says(
    make_world: Callable[..., World], sent_s: float, searched_s: float
) -> None:
    """Searched from the wrong moment on, an order that Kraken has is proved absent, and its coins are sold again."""
    fleet = gather(make_world, "ada")
    fleet.buy()
    fleet.live(3)
    fleet.world.set_our_clock(ahead_s=sent_s)
    market.measure_venue_clock(clock=fleet.world.clock, sleep=fleet.world.move)
    fleet.spoil("drop_after", name="ada")
    # No list shows it for as long as reads may lag, so that the first look finds nothing.
    fleet.spoil("lag", name="ada", endpoint="ClosedOrders", delay_s=5)
    fleet.sell()
    while states(fleet, OrderKind.EXIT) != {"ada": ["unknown"]}:
        fleet.live(1)
    fleet.world.set_our_clock(ahead_s=searched_s)
    fleet.live(SETTLED_S + 24)
    assert states(fleet, OrderKind.EXIT) == {"ada": ["filled"]}
    assert len(fleet.at_exchange(fleet["ada"], "sell")) == 1
    fleet.assert_books_agree()


def test_the_masters_lost_answer_delays_his_signal_and_duplicates_nothing(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada")
    fleet.spoil("drop_after")
    fleet.buy()
    fleet.live(4)
    assert Signal.objects.count() == 1
    assert fleet.held(fleet["ada"]) == fleet.held(fleet.master) > 0
    assert len(fleet.at_exchange(fleet.master, "buy")) == 1
    fleet.assert_books_agree()


def test_no_order_row_is_sent_twice_whatever_was_asked(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada")
    fleet.buy()
    fleet.live(3)
    sent = Order.objects.exclude(nonce=None).count()
    rows = [row for row in fleet.world.paper("GET", "/log")["log"] if row["endpoint"] == "AddOrder"]
    assert len(rows) == len({row["cl_ord_id"] for row in rows}) == sent
