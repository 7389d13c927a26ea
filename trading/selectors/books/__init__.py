"""DESIGN section 9 as queries, as far as one account's orders and the master's signals go. Nothing is changed.

Every table is read once in one order, added up in Python on Decimals; memory does not grow with their length.
"""

from __future__ import annotations

from datetime import datetime

from trading.selectors.books import keys, orders, positions, sending, signals
from trading.selectors.books.reading import CHUNK, QUIET, SKEW, one_moment, together
from trading.selectors.books.report import BooksReport, Check, Finding, NotCompared

__all__ = [
    "CHUNK",
    "QUIET",
    "SKEW",
    "BooksReport",
    "Check",
    "Finding",
    "NotCompared",
    "checks",
    "one_moment",
    "together",
]


def checks(*, now: datetime) -> list[Check]:
    """Call inside `one_moment`."""
    return [
        *orders.checks(now=now),
        *sending.checks(),
        *positions.checks(),
        *signals.checks(now=now),
        *keys.checks(),
    ]
