"""A balance that moved by our own executions says nothing; any other movement says: read the orders."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from tests.trading.services import master_books
from tests.trading.services.master_books import NOW
from trading.domain.instrument import Side
from trading.domain.order_state import OrderState
from trading.models import Account, Execution, Instrument, Order, OrderKind, OrderOrigin
from trading.services import unexplained

pytestmark = pytest.mark.django_db

D = Decimal
THEN = NOW + timedelta(seconds=5)
BEFORE = {"ZUSD": D("60.534"), "BEAM": D(100)}


@pytest.fixture
def account() -> Account:
    account = master_books.master()
    master_books.hold(account, master_books.instrument(), "100")
    return account


def executed(
    account: Account, side: Side, quantity: str, notional: str, *, fee: str = "0.01", seconds: int = 2
) -> None:
    order = Order.objects.create(
        account=account,
        instrument=Instrument.objects.get(),
        kind=OrderKind.ENTRY if side is Side.BUY else OrderKind.EXIT,
        origin=OrderOrigin.MANUAL,
        side=side,
        quantity=D(quantity),
        state=OrderState.FILLED,
        created_at=NOW,
    )
    Execution.objects.create(
        account=account,
        instrument=order.instrument,
        order=order,
        trade_id=f"T{order.pk}",
        side=side,
        quantity=D(quantity),
        price=D(notional) / D(quantity),
        notional=D(notional),
        fee=D(fee),
        executed_at=NOW + timedelta(seconds=seconds),
        booked_at=THEN,
    )


def is_noted(account: Account, **totals: str) -> bool:
    after = BEFORE | {asset: D(total) for asset, total in totals.items()}
    unexplained.note(account, after, before=BEFORE, as_of=THEN)
    return unexplained.changed_at() == THEN


def test_nothing_moved(account: Account) -> None:
    assert not is_noted(account)


def test_our_own_purchase_and_sale_explain_what_they_paid_and_brought(account: Account) -> None:
    executed(account, Side.BUY, "10", "5")
    executed(account, Side.SELL, "4", "2.5")
    assert not is_noted(account, ZUSD="58.0139", BEAM="106")


def test_a_purchase_that_is_not_ours_shows_in_cash(account: Account) -> None:
    assert is_noted(account, ZUSD="59.534", BEAM="110")


def test_an_execution_before_the_earlier_balance_explains_nothing(account: Account) -> None:
    executed(account, Side.BUY, "10", "5", seconds=-1)
    assert is_noted(account, ZUSD="55.524", BEAM="110")


def test_managed_coins_that_left_without_cash_are_noted_and_coins_that_came_are_not(account: Account) -> None:
    assert not is_noted(account, BEAM="150")
    assert is_noted(account, BEAM="99")


def test_cash_and_coins_that_earn_under_another_name_have_not_left(account: Account) -> None:
    assert not is_noted(account, **{"ZUSD": "0", "USD.F": "60.534", "BEAM": "0", "BEAM.F": "100"})


def test_a_first_balance_explains_nothing(account: Account) -> None:
    account.balances_as_of = None
    assert is_noted(account)


def test_the_history_is_read_when_a_reading_began_long_enough_after_the_change(account: Account) -> None:
    lag = timedelta(seconds=10)
    assert not unexplained.history_is_read(account.pk, lag=lag)
    assert is_noted(account, ZUSD="1")
    for after, known in ((5, False), (9, False), (10, True)):
        Account.objects.update(trades_read_at=THEN + timedelta(seconds=after))
        assert unexplained.history_is_read(account.pk, lag=lag) is known
