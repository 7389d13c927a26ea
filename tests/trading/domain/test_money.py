from __future__ import annotations

import operator
from collections.abc import Callable
from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.domain.money import ABSURD, AmountError, Money, Price, Quantity, Ratio, parse_decimal, plain

KINDS = [Quantity, Money, Price, Ratio]
Kind = type[Quantity] | type[Money] | type[Price] | type[Ratio]

# Exchange amounts: up to 12 digits before and 12 after the point, so that products stay exact within 50 digits.
AMOUNTS = st.decimals(min_value=-(10**12), max_value=10**12, places=12)
POSITIVE = st.decimals(min_value=Decimal("0.00000001"), max_value=10**6, places=8)
RATIOS = st.decimals(min_value=0, max_value=10, places=8)
MIXING = [operator.add, operator.sub, operator.lt, operator.le, operator.gt, operator.ge]


@pytest.mark.parametrize(("left", "right"), list(permutations(KINDS, 2)))
@pytest.mark.parametrize("operation", MIXING)
def test_two_kinds_of_amount_refuse_to_mix(operation: Callable[[Any, Any], Any], left: Kind, right: Kind) -> None:
    with pytest.raises(TypeError, match="does not mix"):
        operation(left(Decimal(1)), right(Decimal(1)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("operation", MIXING)
def test_an_amount_does_not_mix_with_a_bare_number(operation: Callable[[Any, Any], Any], kind: Kind) -> None:
    with pytest.raises(TypeError, match="does not mix"):
        operation(kind(Decimal(1)), Decimal(1))


@pytest.mark.parametrize(("left", "right"), list(permutations(KINDS, 2)))
def test_amounts_of_different_kinds_are_never_equal(left: Kind, right: Kind) -> None:
    assert left(Decimal(1)) != right(Decimal(1))


@pytest.mark.parametrize("kind", [Quantity, Money, Price])
@pytest.mark.parametrize("factor", [Quantity(Decimal(2)), Money(Decimal(2)), Price(Decimal(2)), Decimal(2), 2])
def test_an_amount_is_scaled_by_a_ratio_only(kind: type[Quantity], factor: Any) -> None:
    with pytest.raises(TypeError):
        kind(Decimal(1)) * factor


def test_money_is_not_divided_by_a_bare_number() -> None:
    with pytest.raises(TypeError, match="not divided by Decimal"):
        Money(Decimal(1)) / Decimal(2)  # type: ignore[operator]


def test_a_quantity_is_valued_at_a_price_only() -> None:
    with pytest.raises(TypeError, match="valued at a Price"):
        Quantity(Decimal(1)).at(Money(Decimal(1)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value", [0.1, True, "", "abc", "NaN", "-Infinity", "1e15", ABSURD, -ABSURD, None, [], "1,5", "1_0", "８", "٨"]
)
def test_what_is_no_usable_amount_is_refused(value: Any) -> None:
    with pytest.raises(AmountError):
        parse_decimal(value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_float_is_refused_because_it_is_already_rounded(kind: Kind) -> None:
    with pytest.raises(AmountError):
        kind(0.1)  # type: ignore[arg-type]


@given(AMOUNTS, AMOUNTS)
def test_what_was_added_can_be_taken_away_exactly(a: Decimal, b: Decimal) -> None:
    assert Money(a) + Money(b) - Money(b) == Money(a)


@given(AMOUNTS, AMOUNTS, AMOUNTS)
def test_the_order_of_a_sum_does_not_matter(a: Decimal, b: Decimal, c: Decimal) -> None:
    assert (Quantity(a) + Quantity(b)) + Quantity(c) == Quantity(c) + (Quantity(b) + Quantity(a))


@given(AMOUNTS)
def test_zero_adds_nothing_and_is_false(a: Decimal) -> None:
    assert Money(a) + Money.zero() == Money(a)
    assert bool(Money(a)) is (a != 0)
    assert Money(a) + -Money(a) == Money.zero()


@given(AMOUNTS, AMOUNTS)
def test_amounts_of_one_kind_are_ordered_as_their_numbers(a: Decimal, b: Decimal) -> None:
    assert (Price(a) < Price(b)) is (a < b)
    assert (Price(a) >= Price(b)) is (a >= b)


@given(POSITIVE, POSITIVE)
def test_a_notional_divided_by_its_price_is_the_quantity(quantity: Decimal, price: Decimal) -> None:
    notional = Quantity(quantity).at(Price(price))
    assert notional.value == quantity * price
    assert notional / Price(price) == Quantity(quantity)
    assert notional / Quantity(quantity) == Price(price)


@given(POSITIVE, RATIOS)
def test_a_part_of_a_whole_is_that_ratio_of_it(whole: Decimal, ratio: Decimal) -> None:
    assert (Quantity(whole) * Ratio(ratio)).per(Quantity(whole)) == Ratio(ratio)
    assert (Money(whole) * Ratio(ratio)) / Money(whole) == Ratio(ratio)
    assert (Price(whole) * Ratio(ratio)).per(Price(whole)) == Ratio(ratio)


@given(RATIOS)
def test_a_ratio_and_its_percentage_say_the_same(ratio: Decimal) -> None:
    assert Ratio.from_percent(Ratio(ratio).percent) == Ratio(ratio)
    assert Ratio(ratio).bps == Ratio(ratio).percent * 100


def test_ten_per_cent_is_a_tenth() -> None:
    assert Ratio.from_percent("10") == Ratio(Decimal("0.1"))
    assert Ratio(Decimal("0.005")).bps == 50


@given(AMOUNTS)
def test_the_plain_text_of_an_amount_reads_back_as_the_same_number(a: Decimal) -> None:
    text = plain(a)
    assert Decimal(text) == a
    assert "E" not in text
    assert not (("." in text) and text.endswith(("0", ".")))


@pytest.mark.parametrize(
    ("value", "text"), [("0E-8", "0"), ("1E+3", "1000"), ("100", "100"), ("0.10", "0.1"), ("1E-8", "0.00000001")]
)
def test_the_plain_text_has_neither_exponent_nor_idle_zeros(value: str, text: str) -> None:
    assert str(Quantity(Decimal(value))) == text


def test_an_amount_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Money(Decimal(1)).value = Decimal(2)  # type: ignore[misc]


def test_the_golden_capped_notionals_follow_from_ratios() -> None:
    cap = Ratio.from_percent("10")
    ask = Price(Decimal("0.002918"))
    a = Money(Decimal("84.5785")) * cap / ask
    b = Money(Decimal("65.8698")) * cap / ask
    assert round(a.value, 2) == Decimal("2898.51")
    assert round(b.value, 2) == Decimal("2257.36")


def test_the_mistake_of_the_predecessor_cannot_be_written() -> None:
    units = Quantity(Decimal("3404.8349"))
    scaled = units * (Money(Decimal("84.58")) / Money(Decimal("60.534")))
    assert type(scaled) is Quantity
    with pytest.raises(TypeError, match="does not mix"):
        min(scaled, Money(Decimal("8.46")))


@pytest.mark.parametrize("text", ["1e-999999999", "-1e-999999999", "0e-999999999"])
def test_an_amount_too_fine_to_be_written_out_is_refused(text: str) -> None:
    with pytest.raises(AmountError, match="more decimal places"):
        parse_decimal(text)
