"""The global breaker on a fleet: entries stop, the operator is told, exits flow, an operator resumes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from copytrade.models import FanOut
from copytrade.services import breaker, watch
from tests.functional.scenario import Fleet, gather
from tests.support.world import World
from trading.domain.order_state import OrderState
from trading.models import Control, Event, Order, OrderKind
from trading.services import alerts, halts, sending

pytestmark = [pytest.mark.django_db(transaction=True)]
NAMES = ("ada", "ben", "cat", "dan", "eve", "fay")


def failing(make_world: Callable[..., World], *, failures: int) -> Fleet:
    """Six followers, the first of whom hold BEAM, and then so many refusals of the rest."""
    fleet = gather(make_world, *NAMES)
    for name in NAMES[:failures]:
        fleet.spoil("error:EOrder:Insufficient funds", name=name)
    fleet.buy()
    fleet.live(2)
    return fleet


def test_it_stops_entries_once_tells_and_lets_exits_flow(make_world: Callable[..., World]) -> None:
    fleet = failing(make_world, failures=4)
    clock = fleet.world.clock
    assert "4 of the last 6 copied entries failed" in breaker.watch(clock=clock)
    assert breaker.watch(clock=clock) == ""
    control = Control.objects.get()
    assert control.stopped_at == clock.now()
    assert control.changed_by == "breaker"
    assert Event.objects.get(kind="stopped").actor == "breaker"
    assert alerts.unresolved().get().subject == "breaker"
    fleet.sell()
    fleet.live(4)
    assert fleet.held(fleet.master) == fleet.held(fleet["fay"]) == 0
    watch.look(clock=clock)
    assert alerts.unresolved().get().subject == "breaker"


def test_a_stop_whose_telling_was_lost_with_its_process_is_told_by_the_next_look(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = failing(make_world, failures=4)
    with monkeypatch.context() as killed:
        killed.setattr(alerts, "tell", _killed)
        with pytest.raises(SystemExit):
            breaker.watch(clock=fleet.world.clock)
    assert not alerts.unresolved().exists()
    watch.look(clock=fleet.world.clock)
    assert "4 of the last 6 copied entries failed" in alerts.unresolved().get().message


def test_a_second_stop_is_told_although_the_first_ones_alert_was_only_seen_to(make_world: Callable[..., World]) -> None:
    fleet = failing(make_world, failures=4)
    clock = fleet.world.clock
    assert breaker.watch(clock=clock)
    alerts.resolve(alerts.unresolved().get().pk, actor="operator@nija.example", note="seen", clock=clock)
    Control.objects.update(stopped_at=None, changed_at=None)
    assert breaker.watch(clock=clock)
    assert alerts.unresolved().get().subject == "breaker"


def _killed(*_told: object, **_more: object) -> None:
    raise SystemExit


def test_after_an_operator_resumed_the_same_failures_do_not_count_again(make_world: Callable[..., World]) -> None:
    fleet = failing(make_world, failures=6)
    clock = fleet.world.clock
    assert breaker.watch(clock=clock)
    fleet.world.move(1)
    halts.resume_platform(actor="operator@nija.example", clock=clock)
    watch.look(clock=clock)
    assert breaker.watch(clock=clock) == ""
    assert not alerts.unresolved().exists()


def test_it_leaves_a_fleet_alone_whose_failures_are_few(make_world: Callable[..., World]) -> None:
    fleet = failing(make_world, failures=3)
    assert breaker.watch(clock=fleet.world.clock) == ""
    assert [len(fleet.orders(fleet[name], OrderKind.ENTRY)) for name in NAMES] == [1] * 6


def test_more_copied_orders_than_followers_stop_entries(make_world: Callable[..., World]) -> None:
    fleet = failing(make_world, failures=0)
    FanOut.objects.update(followers=5)
    assert "6 copied entry orders for 5 followers" in breaker.watch(clock=fleet.world.clock)


def test_an_operators_stop_keeps_its_reason(make_world: Callable[..., World]) -> None:
    fleet = failing(make_world, failures=6)
    halts.stop_platform(actor="operator@nija.example", reason="drill", clock=fleet.world.clock)
    assert breaker.watch(clock=fleet.world.clock) == ""
    assert not halts.stop_platform_once(actor="breaker", reason="x", clock=fleet.world.clock)
    assert Control.objects.get().reason == "drill"


def test_what_we_did_not_write_in_time_ourselves_is_no_failure_of_the_exchange(
    make_world: Callable[..., World],
) -> None:
    fleet = failing(make_world, failures=0)
    Order.objects.filter(kind=OrderKind.ENTRY, account__role="follower").update(
        state=OrderState.NOT_PLACED, refusal=sending.TURN_TOO_LATE
    )
    assert breaker.watch(clock=fleet.world.clock) == ""
    Order.objects.filter(state=OrderState.NOT_PLACED).update(refusal="The connection was refused")
    assert "6 of the last 6 copied entries failed" in breaker.watch(clock=fleet.world.clock)
