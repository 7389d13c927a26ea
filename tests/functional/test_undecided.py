"""Orders nobody can prove: given to a person, whose word is held against Kraken before anything changes."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from accounts.models import Credential
from copytrade.models import CopyOrder
from copytrade.services import books, closing, exits, fan_out, watch
from tests.functional.scenario import Fleet, gather
from tests.support.world import World
from trading.domain.order_state import OrderEvent
from trading.models import Event, EventKind, Inspection, Order, OrderKind
from trading.services import alerts, halts, market, orders, undecided
from trading.services.undecided import Verdict

pytestmark = [pytest.mark.django_db(transaction=True)]
OPERATOR = "operator@nija.example"
LOT = Decimal("0.00000001")


def lost(fleet: Fleet, kind: OrderKind) -> Order:
    """Ada's copy of what the master just asked for is sent, its answer lost, and it is made a person's case at once."""
    clock = fleet.world.clock
    fleet.world.send(kind)
    fan_out.claim_signals(clock=clock)
    if kind == OrderKind.ENTRY:
        fleet.world.copy(list(CopyOrder.objects.filter(status="pending").values_list("pk", flat=True)))
    else:
        exits.plan_due(clock=clock)
        fleet.world.send(kind)
    order = fleet.orders(fleet["ada"], kind)[-1]
    assert order.state == "unknown"
    orders.move_one(order.pk, OrderEvent.GIVEN_UP)
    order.refresh_from_db()
    fleet.world.paper("DELETE", "/faults")
    return order


def lost_entry(make_world: Callable[..., World], *, accepted: bool) -> tuple[Fleet, Order]:
    fleet = gather(make_world, "ada")
    fleet.spoil("drop_after" if accepted else "drop_before", name="ada")
    fleet.buy()
    return fleet, lost(fleet, OrderKind.ENTRY)


def lost_sale(make_world: Callable[..., World]) -> tuple[Fleet, Order]:
    """Ada's, which never reached the exchange."""
    fleet = gather(make_world, "ada")
    fleet.buy()
    fleet.live(3)
    fleet.spoil("drop_before", name="ada")
    fleet.sell()
    return fleet, lost(fleet, OrderKind.EXIT)


def decide(fleet: Fleet, order: Order, verdict: Verdict, *, txid: str = "") -> Inspection:
    asked = undecided.ask(order, verdict, txid=txid, actor=OPERATOR, clock=fleet.world.clock)
    answered = undecided.decide(asked.pk, clock=fleet.world.clock, sleep=fleet.world.move)
    assert answered is not None
    assert undecided.decide(asked.pk, clock=fleet.world.clock, sleep=fleet.world.move) is None
    order.refresh_from_db()
    return answered


def venue_id(fleet: Fleet, side: str = "buy", *, of: Order | None = None) -> str:
    placed = fleet.at_exchange(fleet["ada"], side)
    (found,) = [row for row in placed if of is None or row["cl_ord_id"] == str(of.client_order_id)]
    return str(found["txid"])


def test_an_order_that_exists_is_taken_over_and_its_fills_are_booked(make_world: Callable[..., World]) -> None:
    fleet, order = lost_entry(make_world, accepted=True)
    answer = decide(fleet, order, Verdict.EXISTS, txid=venue_id(fleet))
    assert answer.report["done"]
    fleet.live(3)
    order.refresh_from_db()
    assert (order.state, order.venue_order_id) == ("filled", venue_id(fleet))
    decided = Event.objects.get(kind=EventKind.DECIDED)
    assert (decided.actor, decided.order) == (OPERATOR, order)
    fleet.assert_books_agree()
    fleet.sell()
    fleet.live(4)
    assert fleet.held(fleet["ada"]) == 0


def test_what_fills_after_the_rest_was_sold_is_shared_by_its_own_fills_alone(make_world: Callable[..., World]) -> None:
    """The second entry was sold whole, since a fifth of it was too little; of the first, found later, a fifth stays."""
    fleet, order = lost_entry(make_world, accepted=True)
    fleet.live(3)
    fleet.buy(notional="9")
    fleet.live(4)
    small = fleet.orders(fleet["ada"], OrderKind.ENTRY)[-1].filled
    first = fleet.held(fleet["ada"]) - small
    fleet.sell(fraction="4/5")
    fleet.live(4)
    assert small
    assert fleet.held(fleet["ada"]) == first, "four fifths of the small one and its rest"
    decide(fleet, order, Verdict.EXISTS, txid=venue_id(fleet, of=order))
    fleet.live(6)
    assert abs(fleet.held(fleet["ada"]) - first / 5) <= 2 * LOT, "the master sold whole lots, too"
    fleet.assert_books_agree(fleet["ada"])
    assert not books.check(clock=fleet.world.clock, sleep=fleet.world.move).findings


@pytest.mark.parametrize("everybody", [False, True])
def test_who_sells_everything_sells_what_was_still_in_doubt(make_world: Callable[..., World], everybody: bool) -> None:
    fleet, order = lost_entry(make_world, accepted=True)
    if everybody:
        # The master's own sale would bring it about as well.
        fleet.spoil("error:EOrder:Insufficient funds", times=None)
        halts.stop_platform(actor=OPERATOR, reason="Test", clock=fleet.world.clock)
        assert closing.close_everybody(actor=OPERATOR, clock=fleet.world.clock).accounts == 2
    else:
        assert exits.close_all(fleet["ada"].account, actor="ada", clock=fleet.world.clock) == 1
    fleet.live(3)
    decide(fleet, order, Verdict.EXISTS, txid=venue_id(fleet))
    fleet.live(6)
    assert fleet.held(fleet["ada"]) == 0
    assert [sale.reason for sale in fleet.orders(fleet["ada"], OrderKind.EXIT)] == ["You asked to sell everything"]
    fleet.assert_books_agree(fleet["ada"])


def test_who_says_that_it_does_not_exist_is_corrected_by_kraken(make_world: Callable[..., World]) -> None:
    fleet, order = lost_entry(make_world, accepted=True)
    answer = decide(fleet, order, Verdict.ABSENT)
    assert "exists at Kraken" in answer.report["sentence"]
    fleet.live(3)
    order.refresh_from_db()
    assert order.state == "filled"
    fleet.assert_books_agree()


def test_an_order_that_does_not_exist_is_not_placed_and_counts_no_more(make_world: Callable[..., World]) -> None:
    fleet, order = lost_entry(make_world, accepted=False)
    answer = decide(fleet, order, Verdict.ABSENT)
    assert (answer.report["done"], answer.findings_count) == (True, 0)
    assert order.state == "not_placed"
    assert order.closed_at is not None
    assert fleet.at_exchange(fleet["ada"], "buy") == []
    fleet.assert_books_agree()


def test_a_sale_that_does_not_exist_is_planned_again_and_sells_once(make_world: Callable[..., World]) -> None:
    fleet, order = lost_sale(make_world)
    fleet.live(5)
    assert len(fleet.orders(fleet["ada"], OrderKind.EXIT)) == 1, "one live exit at a time, a person's case is one"
    decide(fleet, order, Verdict.ABSENT)
    fleet.live(6)
    assert fleet.held(fleet["ada"]) == 0
    assert len(fleet.at_exchange(fleet["ada"], "sell")) == 1
    fleet.assert_books_agree()


@pytest.mark.parametrize("whose", ["nobodys", "another of ada's"])
def test_an_order_id_that_is_not_this_orders_changes_nothing(make_world: Callable[..., World], whose: str) -> None:
    fleet = gather(make_world, "ada")
    fleet.buy()
    fleet.live(3)
    txid = venue_id(fleet) if whose != "nobodys" else "OAAAAA-BBBBB-CCCCCC"
    fleet.spoil("drop_before", name="ada")
    fleet.sell()
    order = lost(fleet, OrderKind.EXIT)
    answer = decide(fleet, order, Verdict.EXISTS, txid=txid)
    assert not answer.report["done"]
    assert "Nothing was changed" in answer.report["sentence"]
    assert order.state == "manual"
    assert not Event.objects.filter(kind=EventKind.DECIDED).exists()


def test_while_kraken_does_not_answer_nothing_is_decided(make_world: Callable[..., World]) -> None:
    fleet, order = lost_entry(make_world, accepted=False)
    for endpoint in ("OpenOrders", "QueryOrders"):
        fleet.spoil("error:EService:Unavailable", name="ada", endpoint=endpoint, times=1)
    for verdict in (Verdict.ABSENT, Verdict.EXISTS):
        answer = decide(fleet, order, verdict, txid="OAAAAA-BBBBB-CCCCCC")
        assert "Kraken did not say" in answer.report["sentence"]
        assert order.state == "manual"
        fleet.world.move(10)


def test_without_a_key_the_persons_word_is_taken_for_absence_only(make_world: Callable[..., World]) -> None:
    fleet, order = lost_entry(make_world, accepted=False)
    Credential.objects.filter(user=fleet["ada"].account.user).update(status="disconnected")
    assert not undecided.has_key(order)
    assert not decide(fleet, order, Verdict.EXISTS, txid="OAAAAA-BBBBB-CCCCCC").report["done"]
    answer = decide(fleet, order, Verdict.ABSENT)
    assert "no key to ask with" in answer.report["sentence"]
    assert order.state == "not_placed"


def test_a_key_that_sees_only_some_dates_proves_no_absence_to_a_person_either(make_world: Callable[..., World]) -> None:
    fleet, order = lost_sale(make_world)
    key = Credential.objects.filter(user=fleet["ada"].account.user)
    key.update(sees_all=False)
    answer = decide(fleet, order, Verdict.ABSENT)
    assert not answer.report["done"]
    assert "sees only orders of certain dates" in answer.report["sentence"]
    fleet.live(6)
    assert (order.state, fleet.at_exchange(fleet["ada"], "sell")) == ("manual", [])
    key.update(sees_all=True)
    assert decide(fleet, order, Verdict.ABSENT).report["done"]
    fleet.live(6)
    assert len(fleet.at_exchange(fleet["ada"], "sell")) == 1


def test_a_key_that_sees_only_some_dates_still_finds_what_it_sees(make_world: Callable[..., World]) -> None:
    fleet, order = lost_entry(make_world, accepted=True)
    Credential.objects.filter(user=fleet["ada"].account.user).update(sees_all=False)
    assert "exists at Kraken" in decide(fleet, order, Verdict.ABSENT).report["sentence"]


def test_an_order_settled_meanwhile_is_left_alone(make_world: Callable[..., World]) -> None:
    fleet, order = lost_entry(make_world, accepted=False)
    decide(fleet, order, Verdict.ABSENT)
    assert "nothing to decide" in decide(fleet, order, Verdict.ABSENT).report["sentence"]


def test_what_cannot_be_proved_in_a_quarter_of_an_hour_becomes_a_persons_case(
    make_world: Callable[..., World],
) -> None:
    """The lists answer and lack it, the trades are never told: neither proof nor doubt will come by itself."""
    fleet = gather(make_world, "ada")
    fleet.spoil("drop_before", name="ada")
    fleet.spoil("error:EGeneral:Permission denied", name="ada", endpoint="TradesHistory", times=None)
    fleet.buy()
    fleet.live(20)
    order = fleet.orders(fleet["ada"], OrderKind.ENTRY)[0]
    assert (order.state, order.absent_at is not None) == ("unknown", True)
    assert undecided.give_up(clock=fleet.world.clock) == 0
    fleet.world.move(15 * 60)
    market.measure_venue_clock(clock=fleet.world.clock, sleep=fleet.world.move)
    assert undecided.give_up(clock=fleet.world.clock) == 1
    order.refresh_from_db()
    assert order.state == "manual"
    watch.look(clock=fleet.world.clock)
    assert alerts.unresolved().get(subject=f"manual:{order.pk}").order == order
    fleet.world.paper("DELETE", "/faults")
    decide(fleet, order, Verdict.ABSENT)
    watch.look(clock=fleet.world.clock)
    assert not alerts.unresolved().filter(subject__startswith="manual:").exists()


def test_while_the_lists_do_not_answer_an_order_stays_unknown(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada")
    fleet.spoil("drop_after", name="ada")
    fleet.spoil("error:EService:Unavailable", name="ada", endpoint="OpenOrders", times=None)
    fleet.buy()
    fleet.live(3)
    fleet.world.move(15 * 60)
    assert undecided.give_up(clock=fleet.world.clock) == 0
