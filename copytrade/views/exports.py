"""Lists as CSV: every digit of what was booked, every row, one line each."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from decimal import Context
from typing import Any

from django.http import HttpResponse

from copytrade.selectors.copies import CopyRow

#: What makes a spreadsheet take a text for a formula. Addresses may begin so, and it would run when an operator opens the file.
FORMULA = ("=", "+", "-", "@", "\t", "\r")
#: An average price is a quotient without an end; so many of its digits count. All other figures are exact.
QUOTIENT = Context(prec=18)
#: More rows than this are asked for in parts, by time range or filter.
ROWS_MAX = 10_000


class _Line:
    """What csv.writer writes to: it hands the line back."""

    def write(self, text: str) -> str:
        return text


def as_csv(rows: Iterator[Mapping[str, Any]], *, columns: tuple[str, ...], name: str) -> HttpResponse:
    lines = csv.writer(_Line())
    body = [lines.writerow(columns), *(lines.writerow([_cell(row[column]) for column in columns]) for row in rows)]
    response = HttpResponse("".join(body), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    return response


def _cell(value: Any) -> Any:
    """Numbers as they are; a text never as a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


COPY_COLUMNS = (
    "id",
    "time",
    "symbol",
    "side",
    "outcome",
    "reason",
    "filled_quantity",
    "average_price",
    "notional",
    "fee",
    "order_id",
    "client_order_id",
)
SIGNAL_COLUMNS = ("follower", *COPY_COLUMNS, "slippage_bps", "lag_s")


def of_copy(row: CopyRow) -> dict[str, Any]:
    """US dollars and base quantity; what does not exist is empty."""
    order = row.order
    return {
        "id": row.copy.pk,
        "time": row.copy.created_at.isoformat(),
        "symbol": row.instrument.symbol,
        "side": row.side.value,
        "outcome": row.outcome,
        "reason": row.sentence,
        "filled_quantity": order.filled if order else "",
        "average_price": QUOTIENT.plus(row.price) if row.price is not None else "",
        "notional": order.filled_notional if order else "",
        "fee": order.fee if order else "",
        "order_id": order.venue_order_id if order else "",
        "client_order_id": order.client_order_id if order else "",
    }


def of_signal(row: CopyRow) -> dict[str, Any]:
    """The same for operators: whose copy, how far from the master's price and how long after it."""
    return {
        **of_copy(row),
        "reason": row.to_operators,
        "follower": row.copy.account.user.email,
        "slippage_bps": row.slippage_bps if row.slippage_bps is not None else "",
        "lag_s": row.lag.total_seconds() if row.lag is not None else "",
    }
