"""Selling everything copied, and taking it over: seen from the exchange, with the books as they must be (I7, I10)."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from django.core.management import CommandError, call_command

from copytrade.models import CopyOrder
from copytrade.services import books, closing, exits, fan_out, release
from copytrade.services.closing import ClosingRefused
from copytrade.services.release import ReleaseRefused
from tests.functional.scenario import BEAM, Fleet, gather
from tests.support.world import World
from trading.domain.instrument import Side
from trading.models import Adjustment, Event, EventKind, Order, OrderKind, Position
from trading.services import halts, intake

pytestmark = pytest.mark.django_db(transaction=True)
OPERATOR = "operator@nija.example"


def holding(make_world: Callable[..., World], *names: str) -> Fleet:
    fleet = gather(make_world, *names)
    fleet.buy()
    fleet.live(3)
    return fleet


def hand_over(fleet: Fleet, name: str) -> release.ReleaseReport:
    return release.release_all(fleet[name].account, actor=f"{name}@nija.example", clock=fleet.world.clock)


def findings(fleet: Fleet) -> list[str]:
    fleet.world.move(40)
    fleet.world.refresh()
    report = books.check(clock=fleet.world.clock, sleep=fleet.world.move)
    return [f"{found.invariant} {found.row} {found.sentence}" for found in report.findings]


def test_what_was_handed_over_is_the_owners_and_is_never_sold(make_world: Callable[..., World]) -> None:
    fleet = holding(make_world, "ada", "ben")
    held = fleet.held(fleet["ada"])
    report = hand_over(fleet, "ada")
    assert report.refused == ()
    assert report.released == (f"{held} BEAM",)
    assert fleet.world.managed(fleet["ada"], BEAM) == 0
    fleet.sell()
    fleet.live(5)
    assert fleet.held(fleet["ada"]) == held > 0
    assert fleet.at_exchange(fleet["ada"], "sell") == []
    assert fleet.held(fleet["ben"]) == fleet.held(fleet.master) == 0
    copy = CopyOrder.objects.get(account=fleet["ada"].account, kind="exit")
    assert (copy.status, copy.reason) == ("skipped", "nothing_to_sell")
    assert findings(fleet) == []


def test_after_handing_over_the_key_can_go_and_nothing_is_owed(make_world: Callable[..., World]) -> None:
    fleet = holding(make_world, "ada")
    assert intake.disconnect_refusal(fleet["ada"].account.user)
    hand_over(fleet, "ada")
    adjustment = Adjustment.objects.get()
    assert (adjustment.kind, adjustment.managed_after) == ("released", 0)
    event = Event.objects.get(kind=EventKind.RELEASED)
    assert (event.actor, event.account) == ("ada@nija.example", fleet["ada"].account)
    assert intake.disconnect(fleet["ada"].account.user, clock=fleet.world.clock) == ""


def test_a_new_entry_after_handing_over_is_managed_alone(make_world: Callable[..., World]) -> None:
    fleet = holding(make_world, "ada")
    own = fleet.held(fleet["ada"])
    hand_over(fleet, "ada")
    fleet.world.move(31)
    fleet.buy()
    fleet.live(3)
    assert fleet.world.managed(fleet["ada"], BEAM) == fleet.held(fleet["ada"]) - own > 0
    fleet.sell(fraction="1/2")
    fleet.live(4)
    fleet.sell()
    fleet.live(4)
    assert fleet.held(fleet["ada"]) == own
    assert findings(fleet) == []


def test_nothing_is_handed_over_while_its_sale_is_under_way(make_world: Callable[..., World]) -> None:
    fleet = holding(make_world, "ada")
    clock = fleet.world.clock
    fleet.spoil("drop_after", name="ada")
    fleet.sell()
    fleet.world.send(OrderKind.EXIT)
    fan_out.claim_signals(clock=clock)
    exits.plan_due(clock=clock)
    fleet.world.send(OrderKind.EXIT)
    assert [order.state for order in fleet.orders(fleet["ada"], OrderKind.EXIT)] == ["unknown"]
    report = hand_over(fleet, "ada")
    assert report.released == ()
    assert report.refused == (
        "BEAM-USD: what became of an order is not known yet. NIJA or an operator finds out; try again later.",
    )
    assert not Adjustment.objects.exists()
    fleet.live(20)
    assert fleet.held(fleet["ada"]) == 0
    assert findings(fleet) == []


def test_a_planned_sale_keeps_its_position(make_world: Callable[..., World]) -> None:
    fleet = holding(make_world, "ada")
    exits.close_all(fleet["ada"].account, actor="ada", clock=fleet.world.clock)
    assert exits.plan_due(clock=fleet.world.clock) == 1
    assert hand_over(fleet, "ada").released == ()
    fleet.live(3)
    assert fleet.held(fleet["ada"]) == 0


def test_what_was_owed_when_it_was_handed_over_is_not_sold_later(make_world: Callable[..., World]) -> None:
    """The sale failed, the owner takes over instead: the obligation goes with the position."""
    fleet = holding(make_world, "ada")
    fleet.spoil("error:EOrder:Insufficient funds", name="ada")
    fleet.sell()
    fleet.live(2)
    assert [order.state for order in fleet.orders(fleet["ada"], OrderKind.EXIT)] == ["rejected"]
    held = fleet.held(fleet["ada"])
    assert hand_over(fleet, "ada").refused == ()
    fleet.live(60)
    assert fleet.held(fleet["ada"]) == held
    assert findings(fleet) == []


def test_where_nothing_may_be_sold_nothing_is_planned_and_it_can_be_handed_over(
    make_world: Callable[..., World],
) -> None:
    fleet = holding(make_world, "ada", "ben")
    fleet.world.settings.ORDERS_ALLOWED = False
    for name in ("ada", "ben"):
        exits.close_all(fleet[name].account, actor=name, clock=fleet.world.clock)
    fleet.live(3)
    assert not Order.objects.filter(kind=OrderKind.EXIT).exists()
    hand_over(fleet, "ada")
    assert fleet.world.managed(fleet["ada"], BEAM) == 0
    fleet.world.settings.ORDERS_ALLOWED = True
    fleet.live(4)
    assert fleet.held(fleet["ben"]) == 0
    assert fleet.held(fleet["ada"]) > 0


def test_the_master_hands_nothing_over(make_world: Callable[..., World]) -> None:
    fleet = holding(make_world)
    with pytest.raises(ReleaseRefused, match="sold, not handed over"):
        release.release_all(fleet.master.account, actor="x", clock=fleet.world.clock)


def test_one_account_is_closed_and_the_others_and_own_coins_stay(make_world: Callable[..., World]) -> None:
    fleet = holding(make_world, "ada", "ben")
    managed = fleet.held(fleet["ada"])
    fleet.by_hand("ada", Side.BUY, quantity="5000")
    report = closing.close_account(fleet["ada"].account, actor=OPERATOR, clock=fleet.world.clock)
    assert (report.positions, report.refused) == (1, ())
    fleet.live(4)
    assert fleet.held(fleet["ada"]) == Decimal(5000)
    assert [Decimal(order["vol"]) for order in fleet.at_exchange(fleet["ada"], "sell")] == [managed]
    assert fleet.held(fleet["ben"]) > 0
    assert fleet.held(fleet.master) > 0
    assert findings(fleet) == []


def test_everybody_is_closed_once_entries_are_stopped_and_each_sells_once(make_world: Callable[..., World]) -> None:
    fleet = holding(make_world, "ada", "ben")
    with pytest.raises(ClosingRefused, match="Stop entries first"):
        closing.close_everybody(actor=OPERATOR, clock=fleet.world.clock)
    halts.stop_platform(actor=OPERATOR, reason="drill", clock=fleet.world.clock)
    report = closing.close_everybody(actor=OPERATOR, clock=fleet.world.clock)
    assert (report.positions, report.accounts) == (3, 3)
    fleet.live(6)
    for trader in (fleet.master, fleet["ada"], fleet["ben"]):
        assert fleet.held(trader) == 0
        assert len(fleet.at_exchange(trader, "sell")) == 1
    assert not Position.objects.filter(is_open=True).exists()
    fleet.assert_books_agree()
    assert findings(fleet) == []


def test_closing_the_master_takes_followers_with_it(make_world: Callable[..., World]) -> None:
    fleet = holding(make_world, "ada")
    closing.close_account(fleet.master.account, actor=OPERATOR, clock=fleet.world.clock)
    fleet.live(5)
    assert fleet.held(fleet.master) == fleet.held(fleet["ada"]) == 0
    assert Order.objects.get(account=fleet.master.account, kind="exit").reason == closing.REASON


def test_the_command_sells_only_when_it_was_said_twice(make_world: Callable[..., World]) -> None:
    fleet = holding(make_world, "ada", "ben")
    for wrong in ([], ["nobody@nija.example", "--yes"], ["ada@nija.example", "--all", "--yes"], ["ada@nija.example"]):
        with pytest.raises(CommandError):
            call_command("close_positions", *wrong)
    with pytest.raises(CommandError, match="Stop entries first"):
        call_command("close_positions", "--all", "--yes")
    assert exits.plan_due(clock=fleet.world.clock) == 0
    call_command("close_positions", "ada@nija.example", "--yes")
    fleet.live(4)
    assert fleet.held(fleet["ada"]) == 0 < fleet.held(fleet["ben"])
