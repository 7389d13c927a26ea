"""What the books say of the latest round trip: its fills, its times, what it brought."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from tests.trading.services import master_books
from tests.trading.services.master_books import NOW
from trading.models import Account, Adjustment, AdjustmentKind, Execution, Instrument, Order, Position
from trading.selectors import round_trips

pytestmark = [pytest.mark.django_db]

D = Decimal


@pytest.fixture
def position() -> Position:
    account, row = master_books.master(), master_books.instrument()
    return Position.objects.create(account=account, instrument=row, updated_at=NOW)


def trade(position: Position, side: str, quantity: str, price: str, *, minute: int) -> Execution:
    """Booked a second after it was executed, with a fee of 1 %; the position follows."""
    account, row = position.account, position.instrument
    at = NOW + timedelta(minutes=minute)
    notional = D(quantity) * D(price)
    position.round_trip += not position.managed
    made = Execution.objects.create(
        account=account, instrument=row, order=_order(account, row, side), trade_id=f"T{minute}", side=side,
        quantity=D(quantity), price=D(price), notional=notional, fee=notional / 100, executed_at=at,
        booked_at=at + timedelta(seconds=1), round_trip=position.round_trip,
    )  # fmt: skip
    position.managed += D(quantity) if side == "buy" else -D(quantity)
    position.is_open = bool(position.managed)
    position.save()
    return made


def _order(account: Account, row: Instrument, side: str) -> Order:
    kind = "entry" if side == "buy" else "exit"
    number = Order.objects.count() if kind == "exit" else None
    return Order.objects.create(
        account=account, instrument=row, kind=kind, origin="manual", side=side, quantity=1, state="filled",
        created_at=NOW, exit_number=number,
    )  # fmt: skip


def test_a_finished_trip_tells_its_own_profit_and_not_that_of_the_one_before(position: Position) -> None:
    trade(position, "buy", "100", "1", minute=0)
    trade(position, "sell", "100", "5", minute=1)
    trade(position, "buy", "100", "1", minute=2)
    trade(position, "sell", "40", "2", minute=3)
    trade(position, "sell", "60", "2", minute=4)
    trip = round_trips.latest(position)
    assert trip is not None
    assert trip.state is not None
    assert [fill.trade_id for fill in trip.fills] == ["T2", "T3", "T4"]
    assert trip.state.realised.value == D(200) - 2 - 101
    assert (trip.opened_at, trip.closed_at) == (NOW + timedelta(minutes=2), NOW + timedelta(minutes=4))


def test_a_trip_under_way_has_the_cost_of_what_is_held(position: Position) -> None:
    trade(position, "buy", "100", "1", minute=0)
    trade(position, "sell", "100", "1", minute=1)
    trade(position, "buy", "10", "2", minute=2)
    trade(position, "sell", "5", "4", minute=3)
    trip = round_trips.latest(position)
    assert trip is not None
    assert trip.state is not None
    assert trip.closed_at is None
    assert (trip.state.managed.value, trip.state.cost.value) == (D(5), D("10.1"))


@pytest.mark.parametrize(("value", "gained"), [(None, D(0)), (D(150), D(49))])
def test_what_left_by_the_owners_own_hand_ends_a_trip_with_what_it_had_gained_if_that_is_known(
    position: Position, value: Decimal | None, gained: Decimal
) -> None:
    trade(position, "buy", "100", "1", minute=0)
    Adjustment.objects.create(
        account=position.account, instrument=position.instrument, kind=AdjustmentKind.USER_REDUCED,
        managed_before=D(100), managed_after=D(0), value=value, after_sequence=1, round_trip=1,
        created_at=NOW + timedelta(minutes=5),
    )  # fmt: skip
    Position.objects.filter(pk=position.pk).update(managed=D(0), is_open=False)
    position.refresh_from_db()
    trip = round_trips.latest(position)
    assert trip is not None
    assert trip.state is not None
    assert trip.closed_at == NOW + timedelta(minutes=5)
    assert trip.state.realised.value == gained


def test_a_trip_too_long_to_be_read_whole_claims_no_profit(position: Position, monkeypatch: pytest.MonkeyPatch) -> None:
    for minute in range(4):
        trade(position, "buy", "10", "1", minute=minute)
    monkeypatch.setattr(round_trips, "STEPS_MAX", 3)
    trip = round_trips.latest(position)
    assert trip is not None
    assert len(trip.fills) == 3
    assert trip.state is None


def test_an_account_that_never_traded_has_no_trip(position: Position) -> None:
    assert round_trips.latest(position) is None
