"""DESIGN section 9 as queries, as far as copies and followers go. Nothing is changed."""

from __future__ import annotations

from datetime import datetime

from copytrade.selectors.books import copies, shares
from trading.selectors.books import Check

__all__ = ["checks"]


def checks(*, now: datetime) -> list[Check]:
    """Call inside `trading.selectors.books.one_moment`."""
    return [*copies.checks(now=now), *shares.checks(now=now)]
