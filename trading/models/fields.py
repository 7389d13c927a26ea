"""Exact decimals on both databases."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

from trading.domain.money import plain


class ExactDecimalField(models.DecimalField):  # type: ignore[type-arg]
    """A decimal that keeps every digit: `numeric` on PostgreSQL, text on SQLite, whose own decimals are 15-digit floats.

    Therefore never compare, order or add up such a column in SQL; do it in Python, on Decimals.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("max_digits", 40)
        kwargs.setdefault("decimal_places", 18)
        super().__init__(*args, **kwargs)

    def get_internal_type(self) -> str:
        return "ExactDecimalField"

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        return "text" if connection.vendor == "sqlite" else f"numeric({self.max_digits}, {self.decimal_places})"

    def from_db_value(self, value: Any, *_: Any) -> Decimal | None:
        return None if value is None else Decimal(plain(Decimal(value)))

    def get_db_prep_value(self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False) -> Any:
        number = value if prepared else self.get_prep_value(value)
        if number is None or connection.vendor != "sqlite":
            return number
        return plain(number)

    def get_db_prep_save(self, value: Any, connection: BaseDatabaseWrapper) -> Any:
        if hasattr(value, "as_sql"):
            return value
        return self.get_db_prep_value(value, connection)
