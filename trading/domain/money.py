"""Amounts that refuse to mix.

A `Quantity` is an amount of the base asset, `Money` an amount of the quote asset, a `Price` is quote per base and a
`Ratio` is a pure number (0.1 is ten per cent). Each is a frozen `Decimal`; adding a quantity to money, or passing one where
the other is meant, is a `TypeError` and a type error. All arithmetic runs in one 50-digit context, so no sum or product of
exchange amounts is rounded by accident; rounding happens in `trading.domain.instrument` only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Context, Decimal, DivisionByZero, InvalidOperation, Overflow
from functools import cache
from typing import Self, overload

CONTEXT = Context(prec=50, traps=[InvalidOperation, DivisionByZero, Overflow])

#: Larger amounts are refused at the edges: no Kraken balance, order or price comes near it.
ABSURD = Decimal(10) ** 15
#: The last decimal place of an amount; no quotient of ours has more, and writing out 1e-999999999 would fill the memory.
PLACES_MAX = 200


class AmountError(ValueError):
    """The text or number is not a usable amount (not a number, not finite, or absurdly large)."""


def parse_decimal(value: str | int | Decimal) -> Decimal:
    """`value` as a finite Decimal below `ABSURD`; floats are refused because they are already rounded.

    Raises AmountError with a sentence for the reader.
    """
    if isinstance(value, (bool, float)):
        raise AmountError(f"{value!r} is not a decimal amount; write it as text")
    if isinstance(value, str) and not (value.isascii() and "_" not in value):
        # Decimal() takes digits of every script, and 1_0 for ten.
        raise AmountError(f"{value[:40]!r} is not a number written in plain digits")
    try:
        number = Decimal(value)
    except (InvalidOperation, TypeError, ValueError):
        raise AmountError(f"{value!r} is not a number") from None
    if not number.is_finite():
        raise AmountError(f"{value!r} is not a finite number")
    if number.copy_abs() >= ABSURD:
        raise AmountError(f"{value!r} is larger than any amount this system handles")
    exponent = number.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -PLACES_MAX:
        raise AmountError(f"{str(value)[:40]!r} has more decimal places than any amount this system handles")
    return number


@dataclass(frozen=True, slots=True, order=False)
class _Amount:
    value: Decimal

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", parse_decimal(self.value))

    @classmethod
    @cache
    def zero(cls) -> Self:
        return cls(Decimal(0))

    def _same(self, other: object) -> Decimal:
        if type(other) is not type(self):
            raise TypeError(f"{type(self).__name__} does not mix with {type(other).__name__}")
        return other.value

    def __add__(self, other: Self) -> Self:
        return type(self)(CONTEXT.add(self.value, self._same(other)))

    def __sub__(self, other: Self) -> Self:
        return type(self)(CONTEXT.subtract(self.value, self._same(other)))

    def __neg__(self) -> Self:
        return type(self)(CONTEXT.minus(self.value))

    def __lt__(self, other: Self) -> bool:
        return self.value < self._same(other)

    def __le__(self, other: Self) -> bool:
        return self.value <= self._same(other)

    def __gt__(self, other: Self) -> bool:
        return self.value > self._same(other)

    def __ge__(self, other: Self) -> bool:
        return self.value >= self._same(other)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __str__(self) -> str:
        return plain(self.value)


def plain(value: Decimal) -> str:
    """`value` without exponent and without trailing zeros: what Kraken and people read."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


@dataclass(frozen=True, slots=True, order=False)
class Ratio(_Amount):
    """A pure number: 0.1 is ten per cent, 0.005 is fifty basis points."""

    @classmethod
    def from_percent(cls, percent: str | Decimal) -> Ratio:
        return cls(CONTEXT.divide(parse_decimal(percent), Decimal(100)))

    def __mul__(self, other: Ratio) -> Ratio:
        return Ratio(CONTEXT.multiply(self.value, self._same(other)))

    @property
    def percent(self) -> Decimal:
        return CONTEXT.multiply(self.value, Decimal(100))

    @property
    def bps(self) -> Decimal:
        return CONTEXT.multiply(self.value, Decimal(10_000))


@dataclass(frozen=True, slots=True, order=False)
class Quantity(_Amount):
    """An amount of the base asset."""

    def __mul__(self, ratio: Ratio) -> Quantity:
        return Quantity(CONTEXT.multiply(self.value, _ratio(ratio)))

    def at(self, price: Price) -> Money:
        """The notional of this quantity at `price`."""
        if type(price) is not Price:
            raise TypeError(f"a quantity is valued at a Price, not {type(price).__name__}")
        return Money(CONTEXT.multiply(self.value, price.value))

    def per(self, whole: Quantity) -> Ratio:
        return Ratio(CONTEXT.divide(self.value, self._same(whole)))


@dataclass(frozen=True, slots=True, order=False)
class Money(_Amount):
    """An amount of the quote asset (US dollars for every instrument NIJA trades)."""

    def __mul__(self, ratio: Ratio) -> Money:
        return Money(CONTEXT.multiply(self.value, _ratio(ratio)))

    @overload
    def __truediv__(self, other: Money) -> Ratio: ...
    @overload
    def __truediv__(self, other: Price) -> Quantity: ...
    @overload
    def __truediv__(self, other: Quantity) -> Price: ...
    @overload
    def __truediv__(self, other: Ratio) -> Money: ...
    def __truediv__(self, other: Money | Price | Quantity | Ratio) -> Ratio | Quantity | Price | Money:
        kinds: dict[type, Callable[[Decimal], Ratio | Quantity | Price | Money]]
        kinds = {Money: Ratio, Price: Quantity, Quantity: Price, Ratio: Money}
        kind = kinds.get(type(other))
        if kind is None:
            raise TypeError(f"Money is not divided by {type(other).__name__}")
        return kind(CONTEXT.divide(self.value, other.value))


@dataclass(frozen=True, slots=True, order=False)
class Price(_Amount):
    """Quote per base."""

    def __mul__(self, ratio: Ratio) -> Price:
        return Price(CONTEXT.multiply(self.value, _ratio(ratio)))

    def per(self, reference: Price) -> Ratio:
        return Ratio(CONTEXT.divide(self.value, self._same(reference)))


def _ratio(ratio: Ratio) -> Decimal:
    if type(ratio) is not Ratio:
        raise TypeError(f"amounts are scaled by a Ratio, not {type(ratio).__name__}")
    return ratio.value
