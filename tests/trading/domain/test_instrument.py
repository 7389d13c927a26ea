from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.domain.instrument import Instrument, Side
from trading.domain.money import Money, Price, Quantity

BEAM = Instrument(
    symbol="BEAM-USD",
    pair_id="BEAMUSD",
    altname="BEAMUSD",
    base_asset="BEAM",
    quote_asset="ZUSD",
    tick_size=Decimal("0.000001"),
    lot_size=Decimal("0.00000001"),
    quantity_min=Quantity(Decimal(100)),
    notional_min=Money(Decimal("0.5")),
)

STEPS = st.sampled_from([Decimal(text) for text in ("0.00000001", "0.0001", "0.05", "0.1", "0.25", "1", "5")])
POSITIVE = st.decimals(min_value=0, max_value=10**9, places=12)
INSTRUMENTS = st.builds(lambda tick, lot: replace(BEAM, tick_size=tick, lot_size=lot), STEPS, STEPS)


def _is_multiple(value: Decimal, step: Decimal) -> bool:
    return Fraction(value) % Fraction(step) == 0


@given(INSTRUMENTS, POSITIVE)
def test_a_quantity_is_rounded_down_by_less_than_one_lot(instrument: Instrument, value: Decimal) -> None:
    rounded = instrument.round_quantity(Quantity(value)).value
    assert _is_multiple(rounded, instrument.lot_size)
    assert 0 <= value - rounded < instrument.lot_size


@given(INSTRUMENTS, POSITIVE)
def test_a_buy_limit_is_rounded_down_to_the_tick(instrument: Instrument, value: Decimal) -> None:
    rounded = instrument.limit_price(Price(value), Side.BUY).value
    assert _is_multiple(rounded, instrument.tick_size)
    assert 0 <= value - rounded < instrument.tick_size


@given(INSTRUMENTS, POSITIVE)
def test_a_sell_limit_is_rounded_up_to_the_tick(instrument: Instrument, value: Decimal) -> None:
    rounded = instrument.limit_price(Price(value), Side.SELL).value
    assert _is_multiple(rounded, instrument.tick_size)
    assert 0 <= rounded - value < instrument.tick_size


@given(INSTRUMENTS, POSITIVE)
def test_rounding_twice_changes_nothing_more(instrument: Instrument, value: Decimal) -> None:
    quantity = instrument.round_quantity(Quantity(value))
    assert instrument.round_quantity(quantity) == quantity
    for side in Side:
        price = instrument.limit_price(Price(value), side)
        assert instrument.limit_price(price, side) == price


@given(INSTRUMENTS, st.lists(POSITIVE, min_size=2, max_size=5))
def test_parts_rounded_down_never_exceed_the_whole(instrument: Instrument, parts: list[Decimal]) -> None:
    rounded = sum((instrument.round_quantity(Quantity(part)).value for part in parts), Decimal(0))
    assert rounded <= instrument.round_quantity(Quantity(sum(parts, Decimal(0)))).value


@given(INSTRUMENTS, st.fractions(min_value=0, max_value=10**9, max_denominator=10**12))
def test_an_exact_fraction_is_rounded_down_by_less_than_one_lot(instrument: Instrument, exact: Fraction) -> None:
    rounded = instrument.floor_fraction(exact).value
    assert _is_multiple(rounded, instrument.lot_size)
    assert 0 <= exact - Fraction(rounded) < Fraction(instrument.lot_size)


@given(INSTRUMENTS, POSITIVE)
def test_a_fraction_and_a_decimal_are_rounded_alike(instrument: Instrument, value: Decimal) -> None:
    assert instrument.floor_fraction(Fraction(value)) == instrument.round_quantity(Quantity(value))


@given(st.fractions(max_value=0))
def test_a_fraction_below_zero_is_nothing_to_trade(exact: Fraction) -> None:
    assert BEAM.floor_fraction(exact) == Quantity.zero()


def test_a_third_and_a_third_and_a_third_never_sell_more_than_there_is() -> None:
    held = Fraction(Decimal("2898.51"))
    third = BEAM.floor_fraction(held / 3)
    assert (third + third + third) <= Quantity(Decimal("2898.51"))


@pytest.mark.parametrize(
    ("quantity", "price", "sellable"),
    [
        ("100", "0.005", True),
        ("99.99999999", "1", False),
        ("100", "0.004999", False),
        ("2898.51", "0.002918", True),
    ],
    ids=["both minima met exactly", "below the quantity", "below the notional", "golden"],
)
def test_an_order_is_sellable_when_both_minima_are_met(quantity: str, price: str, sellable: bool) -> None:
    assert BEAM.sellable(Quantity(Decimal(quantity)), Price(Decimal(price))) is sellable
