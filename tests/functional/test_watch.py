"""What operators are told of, on a fleet: overdue exits, drifted keys, held accounts, contradictions; and that it passes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from accounts.models import Credential
from copytrade.selectors import obligations
from copytrade.services import books, watch
from tests.functional.scenario import Fleet, gather
from tests.support.world import World
from trading.models import Event, Inspection, OrderKind, Position
from trading.services import alerts, inspections

pytestmark = [pytest.mark.django_db(transaction=True)]


def told() -> set[str]:
    return set(alerts.unresolved().values_list("subject", flat=True))


def look(fleet: Fleet) -> set[str]:
    watch.look(clock=fleet.world.clock)
    return told()


def holding(make_world: Callable[..., World], *names: str) -> Fleet:
    fleet = gather(make_world, *names)
    fleet.buy()
    fleet.live(3)
    return fleet


def test_an_exit_owed_for_half_a_minute_is_told_once_with_its_reason_and_passes(
    make_world: Callable[..., World],
) -> None:
    fleet = holding(make_world, "ada", "ben")
    fleet.spoil("error:EOrder:Insufficient funds", name="ada", times=None)
    fleet.sell()
    fleet.live(25)
    assert look(fleet) == set()
    (owed,) = obligations.owed()
    assert owed.position.account == fleet["ada"].account
    assert "Insufficient funds" in owed.why or "not enough" in owed.why.lower()
    fleet.live(8)
    subject = f"exit:{fleet['ada'].account.pk}:{owed.position.instrument_id}"
    for _ in range(3):
        assert subject in look(fleet)
    assert Event.objects.filter(subject=subject).count() == 1
    fleet.world.paper("DELETE", "/faults")
    fleet.live(45)
    assert fleet.held(fleet["ada"]) == 0
    assert obligations.owed() == []
    assert look(fleet) == set()


def test_an_obligation_is_as_old_as_the_exit_that_was_not_carried_out(make_world: Callable[..., World]) -> None:
    fleet = holding(make_world, "ada")
    fleet.sell(fraction="1/4")
    fleet.live(4)
    assert obligations.owed() == []
    fleet.spoil("error:EOrder:Insufficient funds", name="ada", times=None)
    began = fleet.world.clock.now()
    fleet.sell(fraction="1/4")
    fleet.live(10)
    fleet.sell(fraction="1/4")
    fleet.live(10)
    (owed,) = obligations.owed()
    assert 0 <= (owed.since - began).total_seconds() <= 2
    position = Position.objects.get(account=fleet["ada"].account)
    assert owed.quantity.value < position.managed


def test_a_key_that_lost_its_rights_and_a_held_account_are_told_until_mended(
    make_world: Callable[..., World],
) -> None:
    fleet = holding(make_world, "ada")
    account = fleet["ada"].account
    mine = Credential.objects.filter(user=account.user)
    mine.update(entries_blocked_reason="It may withdraw.")
    alerts.hold(account, "unexplained", now=fleet.world.clock.now())
    assert look(fleet) == {f"key:{account.pk}", f"held:{account.pk}"}
    assert Event.objects.filter(kind="held").count() == 1
    mine.update(entries_blocked_reason="")
    alerts.lift(account, actor="operator@nija.example", note="seen", clock=fleet.world.clock)
    assert look(fleet) == set()


def test_a_hold_lifted_by_hand_in_the_database_ends_its_alert(make_world: Callable[..., World]) -> None:
    fleet = holding(make_world, "ada")
    account = fleet["ada"].account
    alerts.hold(account, "unexplained", now=fleet.world.clock.now())
    type(account).objects.filter(pk=account.pk).update(held_at=None, held_reason="")
    assert look(fleet) == set()


def test_an_alert_about_an_order_passes_when_the_order_is_settled(make_world: Callable[..., World]) -> None:
    fleet = holding(make_world, "ada")
    (order,) = fleet.orders(fleet["ada"], OrderKind.ENTRY)
    type(order).objects.filter(pk=order.pk).update(state="unknown", closed_at=None)
    alerts.raise_once(order, "unknown", "unknown for a minute", now=fleet.world.clock.now())
    assert look(fleet) == {f"order:{order.pk}:unknown"}
    fleet.world.move(1)
    type(order).objects.filter(pk=order.pk).update(state="filled", closed_at=fleet.world.clock.now())
    assert look(fleet) == set()


def check(fleet: Fleet) -> Inspection:
    asked = books.ask(asked_by="a test", clock=fleet.world.clock)
    assert asked is not None
    answered = books.inspect(asked.pk, clock=fleet.world.clock, sleep=fleet.world.move)
    assert answered is not None
    return answered


def test_a_contradiction_in_the_books_is_one_alert_until_a_check_is_clean(make_world: Callable[..., World]) -> None:
    fleet = holding(make_world, "ada")
    fleet.world.move(60)
    mine = Position.objects.filter(account=fleet["ada"].account)
    (right,) = mine.values_list("managed", flat=True)
    mine.update(managed=right - 1)
    for _ in range(2):
        assert check(fleet).findings_count > 0
        rows = [subject for subject in told() if subject.startswith("books:I7:")]
        assert len(rows) == 1
    assert Event.objects.filter(subject=rows[0]).count() == 1
    mine.update(managed=right)
    assert check(fleet).findings_count == 0
    assert told() == set()


def test_what_an_account_was_told_of_stands_while_it_cannot_be_compared(make_world: Callable[..., World]) -> None:
    fleet = holding(make_world, "ada")
    fleet.world.move(60)
    ada = fleet["ada"]
    alerts.tell({"books:I10:1:x": alerts.Alarm("coins are missing", ada.account.pk)}, now=fleet.world.clock.now())
    fleet.world.paper("POST", "/keys/update", api_key=ada.api_key, revoked=True)
    assert check(fleet).findings_count == 1, "one account was not compared"
    assert "books:I10:1:x" in told()
    fleet.world.paper("POST", "/keys/update", api_key=ada.api_key, revoked=False)
    fleet.world.move(60)
    check(fleet)
    assert told() == set()


def test_the_check_repeats_every_ten_minutes_one_at_a_time(make_world: Callable[..., World]) -> None:
    fleet = holding(make_world)
    clock = fleet.world.clock
    first = books.ask_due(clock=clock)
    assert first is not None
    assert books.ask_due(clock=clock) is None
    assert books.ask(asked_by="a person", clock=clock) is None, "one is under way"
    inspections.finish(first, findings_count=0, report={}, clock=clock)
    clock.move(6 * 60)
    second = books.ask(asked_by="a person", clock=clock)
    assert second is not None
    inspections.finish(second, findings_count=0, report={}, clock=clock)
    clock.move(4 * 60 + 1)
    assert books.ask_due(clock=clock) is None, "a person's ended less than five minutes ago"
    clock.move(60)
    third = books.ask_due(clock=clock)
    assert third is not None
    clock.move(11 * 60)
    assert books.ask_due(clock=clock) is not None, "the third was lost with its worker"
    clock.move(8 * 24 * 3600)
    books.ask_due(clock=clock)
    assert Inspection.objects.count() == 1, "older than a week is forgotten"
