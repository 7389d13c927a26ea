"""A round trip: from the first fill of an account that held nothing to holding nothing again. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from trading.domain.money import Quantity


def length(*, managed: Quantity, changes: Iterable[Quantity]) -> int:
    """How many of `changes` (of the managed quantity, newest first) make the latest round trip.

    It is the one under way when something is managed now, the last finished one otherwise. Counted backwards, so that
    however long the history before it is, none of it is read.
    """
    count = 0
    for change in changes:
        if count and not managed:
            break
        managed -= change
        count += 1
    return count
