from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.domain.instrument import Instrument
from trading.domain.master_sizing import Funds, PartTooSmall, SizedEntry, TooSmall, size_entry, size_exit
from trading.domain.money import Money, Price, Quantity, Ratio

D = Decimal
BEAM = Instrument(
    symbol="BEAM-USD",
    pair_id="BEAMUSD",
    altname="BEAMUSD",
    base_asset="BEAM",
    quote_asset="ZUSD",
    tick_size=D("0.000001"),
    lot_size=D("0.0001"),
    quantity_min=Quantity(D(400)),
    notional_min=Money(D("0.5")),
)
ASK = Price(D("0.002918"))


def _entry(amount: Money | Quantity, *, cash: str = "60.534", equity: str = "60.534") -> SizedEntry | TooSmall:
    return size_entry(
        BEAM,
        amount=amount,
        ask=ASK,
        max_slippage=Ratio(D("0.005")),
        fee=Ratio(D("0.008")),
        funds=Funds(equity=Money(D(equity)), free_cash=Money(D(cash))),
    )


def test_the_golden_quantity_is_bought_as_it_was_asked_for() -> None:
    sized = _entry(Quantity(D("3404.8349")))
    assert sized == SizedEntry(Quantity(D("3404.8349")), Price(D("0.002932")), Money(D("60.534")))
    assert str(Quantity(D("3404.8349")).at(ASK))[:6] == "9.9353"


def test_a_notional_becomes_a_quantity_at_the_ask_rounded_down_to_the_lot() -> None:
    sized = _entry(Money(D("9.94")))
    assert isinstance(sized, SizedEntry)
    assert sized.quantity == Quantity(D("3406.4427"))


def test_less_than_twice_the_minimum_is_refused_with_the_money_it_takes() -> None:
    refused = _entry(Quantity(D("799.9999")))
    assert isinstance(refused, TooSmall)
    assert refused.code == "below_minimum"
    assert "799.9999 BEAM is less" in refused.sentence
    assert "at least $2.33 are needed" in refused.sentence


def test_an_order_dearer_than_the_free_cash_is_refused() -> None:
    refused = _entry(Money(D("60.534")))
    assert isinstance(refused, TooSmall)
    assert refused.code == "no_free_cash"
    assert "$60.53 are free" in refused.sentence


@given(cash=st.decimals("0", "5000", places=4), notional=st.decimals("0.01", "5000", places=2))
def test_what_an_entry_can_cost_never_exceeds_the_free_cash(cash: Decimal, notional: Decimal) -> None:
    sized = _entry(Money(notional), cash=str(cash))
    if isinstance(sized, SizedEntry):
        worst = sized.quantity.at(sized.limit_price) * Ratio(D("1.008"))
        assert worst <= Money(cash)


@pytest.mark.parametrize(
    ("fraction", "sold"),
    [
        (Fraction(1), "3404.8349"),
        (Fraction(1, 2), "1702.4174"),
        (Fraction(1, 3), "1134.9449"),
        # 340.4835 would be left, and Kraken sells no less than 400.
        (Fraction(9, 10), "3404.8349"),
    ],
)
def test_a_share_is_sold_to_the_lot_and_all_of_it_when_the_rest_would_be_unsellable(
    fraction: Fraction, sold: str
) -> None:
    assert size_exit(BEAM, managed=Quantity(D("3404.8349")), fraction=fraction, bid=ASK) == Quantity(D(sold))


def test_a_share_below_the_minimum_is_refused() -> None:
    found = size_exit(BEAM, managed=Quantity(D("3404.8349")), fraction=Fraction(1, 10), bid=ASK)
    assert isinstance(found, PartTooSmall)
    assert found.code == "part_too_small"


def test_a_whole_position_below_the_minimum_is_dust() -> None:
    found = size_exit(BEAM, managed=Quantity(D(399)), fraction=Fraction(1), bid=ASK)
    assert isinstance(found, PartTooSmall)
    assert found.code == "dust"


def test_an_exit_does_not_wait_for_a_price() -> None:
    assert size_exit(BEAM, managed=Quantity(D(1000)), fraction=Fraction(1), bid=None) == Quantity(D(1000))


@given(managed=st.decimals("0", "100000", places=4), fraction=st.fractions(Fraction(1, 1000), 1))
def test_a_sale_never_exceeds_what_is_managed_and_leaves_nothing_unsellable(
    managed: Decimal, fraction: Fraction
) -> None:
    sold = size_exit(BEAM, managed=Quantity(managed), fraction=fraction, bid=ASK)
    if isinstance(sold, Quantity):
        left = Quantity(managed) - sold
        assert left >= Quantity.zero()
        assert not left or BEAM.sellable(left, ASK)


def test_a_sale_of_nothing_and_a_sale_of_dust_are_told_apart() -> None:
    nothing = size_exit(BEAM, managed=Quantity(D(0)), fraction=Fraction(1), bid=ASK)
    dust = size_exit(BEAM, managed=Quantity(D("3.5")), fraction=Fraction(1), bid=ASK)
    assert isinstance(nothing, PartTooSmall)
    assert nothing.sentence == "nothing is held, so there is nothing to sell."
    assert isinstance(dust, PartTooSmall)
    assert dust.sentence == "the 3.5 BEAM held is less than Kraken sells."
