"""`check_books` while the fleet trades: what is under way is no finding, and the check disturbs nobody."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from copytrade.services import books
from tests.functional.scenario import BEAM, Fleet, gather
from tests.support.world import World
from trading.domain.instrument import Side
from trading.models import Inspection, InspectionKind, Lane, Order, OrderOrigin
from trading.selectors.books import BooksReport
from trading.services import inspections


def check(fleet: Fleet) -> BooksReport:
    return books.check(clock=fleet.world.clock, sleep=fleet.world.move)


def test_nothing_that_is_under_way_is_a_finding(make_world: Callable[..., World]) -> None:
    """Half a minute has not passed since these fills, and the check says nothing of what they have not led to yet."""
    fleet = gather(make_world, "ann", "ben")
    fleet.spoil("drop_after", name="ann")
    fleet.buy()
    for _ in range(3):
        fleet.world.round()
        report = check(fleet)
        assert report.findings == [], [finding.sentence for finding in report.findings]
        assert report.not_compared == ()
    fleet.world.settle()
    fleet.sell()
    fleet.world.settle()
    assert check(fleet).count == 0
    assert fleet.world.managed(fleet["ann"], BEAM) == 0


def test_check_sends_no_order_and_repeated_message_does_nothing(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ann")
    fleet.buy()
    fleet.world.settle()
    orders = Order.objects.count()
    asked = inspections.ask(InspectionKind.BOOKS, asked_by="a test", clock=fleet.world.clock)
    answered = books.inspect(asked.pk, clock=fleet.world.clock, sleep=fleet.world.move)
    assert answered is not None
    assert books.inspect(asked.pk, clock=fleet.world.clock, sleep=fleet.world.move) is None
    kept = Inspection.objects.get(pk=asked.pk)
    assert kept.finished_at is not None
    assert kept.findings_count == 0
    assert Order.objects.count() == orders
    assert fleet.asked(fleet["ann"]) == 1
    assert fleet.world.at_exchange(fleet["ann"])["requests"]["max_in_flight"] == 1


def test_account_whose_budget_is_used_up_is_told_as_not_compared(make_world: Callable[..., World]) -> None:
    """Nothing more urgent is kept waiting by the check: what is reserved for orders stays."""
    fleet = gather(make_world, "ann")
    fleet.buy()
    fleet.world.settle()
    Lane.objects.update(rate_points=7.0, rate_at=fleet.world.clock.now())
    pauses: list[float] = []
    report = books.check(clock=fleet.world.clock, sleep=pauses.append, patience_s=30)
    assert {missed.account for missed in report.not_compared} == {fleet.master.account.pk, fleet["ann"].account.pk}
    assert "out of rate budget" in report.not_compared[0].sentence
    assert report.findings == []
    assert len(pauses) == 10
    assert check(fleet).count == 0


def test_sale_outside_nija_of_managed_and_own_coins_is_compared_in_proportion(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ann")
    world = fleet.world
    world.paper("POST", f"/accounts/{fleet.master.paper_id}/deposit", asset="BEAM", amount="500")
    fleet.buy()
    world.settle()
    fleet.live(12)
    managed = world.managed(fleet.master, BEAM)
    fleet.by_hand("master", Side.SELL, quantity=str(managed + Decimal("250")))
    fleet.live(30)
    assert world.managed(fleet.master, BEAM) == world.managed(fleet["ann"], BEAM) == 0
    sold = Order.objects.get(account=fleet.master.account, origin=OrderOrigin.OUTSIDE)
    assert sold.filled == managed
    world.move(60)
    report = check(fleet)
    assert [finding.sentence for finding in report.findings] == []
    assert report.count == 0
    sold.executions.update(price=Decimal(1))
    assert [finding.invariant for finding in check(fleet).findings] == ["I11"]
