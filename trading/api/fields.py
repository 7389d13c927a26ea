"""How amounts, instants and symbols are written and read over REST."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Context, Decimal
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from trading.domain.money import Money, Price, Quantity, Ratio, plain

#: Quotients such as an average price are told to this many significant digits; sums and products are exact.
QUOTIENT = Context(prec=18)
#: A price times a quantity of Kraken's has fewer digits; what has more contains a quotient.
EXACT_DIGITS_MAX = 30
SYMBOL_LENGTH_MAX = 24
YEARS = range(2000, 2200)


def amount_text(value: Decimal) -> str:
    """Without exponent, without trailing zeros, without a signed zero, without the endless digits of a quotient."""
    told = QUOTIENT.plus(value) if len(value.as_tuple().digits) > EXACT_DIGITS_MAX else value
    return plain(told) if told else "0"


def average(notional: Decimal, quantity: Decimal) -> Decimal | None:
    """Quote per base; None when nothing was traded."""
    return QUOTIENT.divide(notional, quantity) if quantity else None


@extend_schema_field({"type": "string", "format": "decimal", "example": "9.9353"})
class AmountField(serializers.Field[Any, Any, str, Any]):
    """A decimal as text; unknown is null and never "0"."""

    def __init__(self, *, source: str | None = None, help_text: str | None = None, allow_null: bool = False) -> None:
        super().__init__(read_only=True, source=source, help_text=help_text, allow_null=allow_null)

    def to_representation(self, value: Decimal | Money | Price | Quantity | Ratio) -> str:
        return amount_text(value if isinstance(value, Decimal) else value.value)


@extend_schema_field({"type": "string", "nullable": True})
class IdField(serializers.Field[Any, Any, str | None, Any]):
    """An id that the exchange gives: null until it is known."""

    def __init__(self, *, source: str | None = None, help_text: str | None = None) -> None:
        super().__init__(read_only=True, source=source, help_text=help_text)

    def to_representation(self, value: str) -> str | None:
        return value or None


class SymbolField(serializers.CharField):
    """Such as BEAM-USD, in any case."""

    def __init__(self, *, required: bool = True) -> None:
        super().__init__(max_length=SYMBOL_LENGTH_MAX, required=required, help_text="Such as BEAM-USD.")

    def to_internal_value(self, data: Any) -> str:
        return str(super().to_internal_value(data)).upper()


class InstantField(serializers.DateTimeField):
    """An instant of this century or the next, so that no time zone carries it out of what databases hold."""

    default_error_messages = {"range": "Write a year from 2000 to 2199."}

    def enforce_timezone(self, value: datetime) -> datetime:
        if value.year not in YEARS:
            self.fail("range")
        return super().enforce_timezone(value).astimezone(UTC)
