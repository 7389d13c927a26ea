"""`check_books` on a fleet that traded over HTTP: clean as it is, and every planted corruption found where it belongs.

The fleet trades once for the whole module, committed as in production; each test plants inside a transaction that is undone.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.db.models import F, Model
from django.test import override_settings

from copytrade.models import CopyOrder, FanOut
from copytrade.services import books
from nija.management.commands.check_books import lines
from tests.functional.corruptions import BENS_OWN, CORRUPTIONS, ETH, Traded
from tests.functional.scenario import BEAM, Fleet, gather
from tests.support.waiting import WaitingClient
from tests.support.world import Trader, World
from trading.domain.instrument import Side
from trading.domain.money import Quantity
from trading.kraken.endpoints import AddOrder, OrderType, PrivateClient
from trading.kraken.signing import Credentials
from trading.models import (
    Event,
    EventKind,
    Execution,
    Inspection,
    InspectionKind,
    Order,
    OrderKind,
    Signal,
)
from trading.paper.server import PaperSettings, run_in_thread
from trading.services import inspections, market, private, venue_reading

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def traded(
    django_db_setup: None, django_db_blocker: Any, _redis_client: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Traded]:
    with django_db_blocker.unblock(), override_settings(), ExitStack() as running:
        state = tmp_path_factory.mktemp("books") / "paper.sqlite3"
        fleet = gather(lambda **options: _world(running, state, **options), "ann", "ben", "cat")
        try:
            _trade(fleet)
            # Outside a transaction, so that the check makes its own, as it does in the execution process.
            clean = books.check(clock=fleet.world.clock, sleep=fleet.world.move)
            yield Traded(fleet, clean)
        finally:
            call_command("flush", verbosity=0, interactive=False)


def _world(running: ExitStack, state: Path, **options: Any) -> World:
    exchange = running.enter_context(run_in_thread(PaperSettings(state=state, **options)))
    return World(url=exchange.url, settings=django_settings)  # type: ignore[arg-type]


def _trade(fleet: Fleet) -> None:
    """A round trip of ETH, then BEAM bought and half of it sold; Cat takes no entries, Ben trades for himself as well."""
    world = fleet.world
    world.pin("ETHUSD", bid="2000.00", ask="2000.10")
    cat = fleet["cat"].account.user.risk
    cat.state = "close_only"
    cat.save()
    for symbol, fractions in ((ETH, ("1",)), (BEAM, ("1/2",))):
        fleet.buy(symbol=symbol)
        world.settle()
        for fraction in fractions:
            world.move(5)
            fleet.sell(symbol=symbol, fraction=fraction)
            world.settle()
    for _ in range(2):
        _bens_own_purchase(fleet)
    fleet.live(2)
    world.move(90)
    market.measure_venue_clock(clock=world.clock, sleep=world.move)


def _bens_own_purchase(fleet: Fleet) -> None:
    """By a program of his own, whose client order ids look like ours."""
    created = fleet.world.paper("POST", f"/accounts/{fleet['ben'].paper_id}/keys", label="his own")
    credentials = Credentials.from_text(created["api_key"], created["api_secret"])
    client = WaitingClient(PrivateClient(private.transport(), credentials))
    quantity = Quantity(Decimal("5000"))
    order = AddOrder("BEAMUSD", Side.BUY, OrderType.MARKET, quantity, cl_ord_id=str(BENS_OWN))
    client.add_order(order, nonce=1)


def test_books_of_an_honest_fleet_are_in_order(traded: Traded) -> None:
    assert [finding.sentence for finding in traded.clean.findings] == []
    assert traded.clean.not_compared == ()
    assert traded.clean.count == 0


def test_every_invariant_that_can_be_a_query_is_looked_at(traded: Traded) -> None:
    looked = {check.invariant: check.looked_at for check in traded.clean.checks}
    every = {"I1", "I2", "I3", "I4", "I6", "I7", "I8", "I9", "I10", "I11", "I12", "I13", "I15", "signals"}
    assert set(looked) == every
    executions = next(check for check in traded.clean.checks if check.unit == "executions")
    # Each of three accounts bought and sold twice; Ben's own two purchases are none of ours.
    assert executions.looked_at == Execution.objects.count() == 12
    coins = next(check for check in traded.clean.checks if check.invariant == "I10")
    assert coins.looked_at == 3


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_planted_corruption_is_found_under_its_invariant_and_nothing_else_is(traded: Traded, name: str) -> None:
    invariant, row, expected, plant = CORRUPTIONS[name]
    plant(traded)
    report = traded.check()
    told = [(finding.invariant, finding.row, finding.sentence) for finding in report.findings]
    assert any(found == invariant and where.startswith(row) for found, where, _ in told), told
    assert {found for found, _, _ in told} <= expected, told
    assert report.not_compared == ()
    assert report.count >= 1


def test_a_sale_booked_by_a_clock_that_was_set_back_since_it_was_planned_is_in_order(traded: Traded) -> None:
    """Its booking is then earlier than the master's exit that it answers."""
    Execution.objects.filter(side="sell", account__role="follower").update(
        booked_at=F("booked_at") - timedelta(seconds=5)
    )
    assert [finding.sentence for finding in traded.check().findings] == []


def test_a_stop_that_ended_by_a_clock_that_was_set_back_meanwhile_covers_no_later_entry(traded: Traded) -> None:
    last = Order.objects.filter(kind="entry", sent_at__isnull=False).latest("sent_at").sent_at
    assert last is not None
    for kind, seconds in (
        (EventKind.STOPPED, -60),
        (EventKind.RESUMED, -61),
        (EventKind.STOPPED, 40),
        (EventKind.RESUMED, 50),
    ):
        Event.objects.create(at=last + timedelta(seconds=seconds), kind=kind, message="Entries")
    assert [finding.sentence for finding in traded.check().findings] == []


@pytest.mark.parametrize(
    ("model", "another"),
    [
        (Execution, {}),
        (Signal, {}),
        (FanOut, {}),
        (CopyOrder, {}),
        (Order, {"kind": "entry", "venue_order_id": ""}),
        (Order, {"kind": "exit", "venue_order_id": ""}),
        (Order, {"kind": "exit", "exit_number": None}),
    ],
)
def test_the_database_refuses_a_second_row(traded: Traded, model: type[Model], another: dict[str, Any]) -> None:
    """Whatever our code does: a trade booked, a signal written, taken, copied or bought for again, an exit numbered again."""
    rows = model._default_manager.filter(**{name: value for name, value in another.items() if name == "kind"})
    row = rows.order_by("pk").last()
    assert row is not None
    row.pk, row._state.adding = None, True
    for name, value in another.items():
        setattr(row, name, value)
    if isinstance(row, Order):
        row.client_order_id = uuid.uuid4()
    with pytest.raises(IntegrityError), transaction.atomic():
        row.save()


@contextmanager
def _taken_away(world: World, trader: Trader, asset: str, amount: str) -> Iterator[None]:
    world.paper("POST", f"/accounts/{trader.paper_id}/deposit", asset=asset, amount=f"-{amount}")
    try:
        yield
    finally:
        world.paper("POST", f"/accounts/{trader.paper_id}/deposit", asset=asset, amount=amount)


def test_fewer_coins_at_kraken_than_managed_are_found(traded: Traded) -> None:
    with _taken_away(traded.fleet.world, traded.fleet["ann"], "BEAM", "1"):
        report = traded.check()
    assert [(f.invariant, f.account) for f in report.findings] == [("I10", traded.fleet["ann"].account.pk)]
    assert "are managed, Kraken holds" in report.findings[0].sentence


def test_coins_of_the_owners_are_nobodys_business(traded: Traded) -> None:
    """Ben holds 10,000 BEAM beside what is managed; taking them away concerns no book."""
    with _taken_away(traded.fleet.world, traded.fleet["ben"], "BEAM", "10000"):
        assert traded.check().count == 0


def test_key_that_kraken_refuses_is_told_as_not_compared(traded: Traded) -> None:
    world, ann = traded.fleet.world, traded.fleet["ann"]
    world.paper("POST", "/keys/update", api_key=ann.api_key, revoked=True)
    try:
        report = traded.check()
    finally:
        world.paper("POST", "/keys/update", api_key=ann.api_key, revoked=False)
    assert report.findings == []
    assert [missed.account for missed in report.not_compared] == [ann.account.pk]
    assert report.count == 1


@pytest.mark.parametrize("seconds", [0, -10_000])
def test_finding_that_the_second_look_did_not_reach_stays(
    traded: Traded, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    """Its budget bore the newest page only: from now on, or far enough back."""
    execution = Execution.objects.order_by("pk").first()
    assert execution is not None
    Execution.objects.filter(pk=execution.pk).update(fee=execution.fee + 1)
    read, looks = venue_reading.read, list[int]()

    def shorter(*told: Any, **more: Any) -> list[Any]:
        seen = read(*told, **more)
        looks.append(len(seen))
        if len(looks) > 1:
            for one in seen:
                one.closed, one.trades = {}, {}
                one.since = one.started_at + timedelta(seconds=seconds)
        return seen

    monkeypatch.setattr(venue_reading, "read", shorter)
    found = {finding.row for finding in traded.check().findings if finding.invariant == "I11"}
    assert len(looks) == 2
    assert (f"execution {execution.pk}" in found) is (seconds == 0)


def test_finding_that_is_gone_at_the_second_look_does_not_count(traded: Traded) -> None:
    copy = traded.copy("cat", OrderKind.ENTRY)
    CopyOrder.objects.filter(pk=copy.pk).update(reason="bad_luck")

    def meanwhile(seconds: float) -> None:
        traded.fleet.world.move(seconds)
        CopyOrder.objects.filter(pk=copy.pk).update(reason=copy.reason)

    assert books.check(clock=traded.fleet.world.clock, sleep=meanwhile).count == 0


def test_report_is_kept_with_the_question_and_told_line_by_line(traded: Traded) -> None:
    CopyOrder.objects.filter(pk=traded.copy("cat", OrderKind.ENTRY).pk).update(reason="bad_luck")
    asked = inspections.ask(InspectionKind.BOOKS, asked_by="a test", clock=traded.fleet.world.clock)
    report = traded.check()
    inspections.finish(asked, findings_count=report.count, report=report.as_json(), clock=traded.fleet.world.clock)
    kept = Inspection.objects.get(pk=asked.pk)
    told = lines(kept.report)
    assert kept.findings_count == 1
    assert "Wrong: 1. Accounts not compared with Kraken: 0." in told
    assert any(line.startswith("I7 ") and "ok (" in line for line in told)
    assert sum("bad_luck" in line for line in told) == 1


def test_command_says_when_nobody_answers(traded: Traded) -> None:
    with pytest.raises(CommandError, match="Is NIJA running"):
        call_command("check_books", timeout=0.1, stdout=StringIO())


def test_a_check_asked_for_while_another_is_under_way_is_the_same_one(traded: Traded) -> None:
    clock = traded.fleet.world.clock
    first = inspections.ask(InspectionKind.BOOKS, asked_by="one", clock=clock)
    assert inspections.ask(InspectionKind.BOOKS, asked_by="two", clock=clock).pk == first.pk
    traded.fleet.world.move(61)
    later = inspections.ask(InspectionKind.BOOKS, asked_by="three", clock=clock)
    assert later.pk != first.pk
    inspections.finish(later, findings_count=0, report={}, clock=clock)
    assert inspections.ask(InspectionKind.BOOKS, asked_by="four", clock=clock).pk not in {first.pk, later.pk}
