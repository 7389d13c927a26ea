"""How far a balance is trusted, and what copying may count as its own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.domain.money import Money, Price, Quantity
from trading.domain.risk import BalanceSource, Holding, balance_source, copy_equity

NOW = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("as_of", "last_fill", "source"),
    [
        (None, None, BalanceSource.UNKNOWN),
        (ago(0), None, BalanceSource.LIVE),
        (ago(30), None, BalanceSource.LIVE),
        (ago(30.001), None, BalanceSource.CACHED),
        (ago(300), None, BalanceSource.CACHED),
        (ago(300.001), None, BalanceSource.UNKNOWN),
        (ago(5), ago(4), BalanceSource.CACHED),
        (ago(5), ago(5), BalanceSource.CACHED),
        (ago(5), ago(6), BalanceSource.LIVE),
        (ago(400), ago(1), BalanceSource.UNKNOWN),
    ],
)
def test_a_balance_is_live_for_30_s_and_usable_for_300_s(
    as_of: datetime | None, last_fill: datetime | None, source: BalanceSource
) -> None:
    assert balance_source(as_of=as_of, last_fill_at=last_fill, now=NOW) is source


cents = st.integers(0, 10**7).map(lambda n: Decimal(n).scaleb(-2))
holdings = st.lists(st.tuples(cents, cents), max_size=4)


@given(cents, holdings, st.none() | cents)
def test_copy_equity_is_never_above_the_allocation_nor_above_what_is_there(
    cash: Decimal, held: list[tuple[Decimal, Decimal]], allocation: Decimal | None
) -> None:
    equity = copy_equity(
        cash=Money(cash),
        holdings=[Holding(Quantity(quantity), Price(price)) for quantity, price in held],
        allocation=None if allocation is None else Money(allocation),
    )
    there = cash + sum(quantity * price for quantity, price in held)
    assert equity.value == (there if allocation is None else min(allocation, there))
