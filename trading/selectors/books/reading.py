"""Reading whole tables once each, in one order, in bounded memory and as of one moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import groupby
from typing import Any

from django.db import connection

#: Rows fetched at a time.
CHUNK = 2_000
#: What is younger is still under way and left out: a copy, its exit and the booking of both are done by then.
QUIET = timedelta(seconds=30)
#: Two processes on different machines, and Kraken, may disagree about the time by so much: a clock is set five seconds back.
SKEW = timedelta(seconds=6)


@contextmanager
def one_moment() -> Iterator[None]:
    """Every query inside sees the database as of one moment, and nobody waits for it: nothing is locked.

    SQLite: a deferred transaction, which reads a snapshot of the write-ahead log (Django's own `atomic` would keep every
    writer out). Inside somebody's transaction that one's view is used.
    """
    if connection.in_atomic_block:
        yield
        return
    begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" if connection.vendor == "postgresql" else "BEGIN DEFERRED"
    with connection.cursor() as cursor:
        cursor.execute(begin)
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ROLLBACK")


def together(
    *streams: tuple[Iterable[Any], Callable[[Any], Any]],
) -> Iterator[tuple[Any, list[list[Any]]]]:
    """For every key in rising order the rows that each stream has for it. Streams are sorted by their keys."""
    groups = [groupby(rows, key) for rows, key in streams]
    heads = [_next_group(group) for group in groups]
    while any(head is not None for head in heads):
        key = min(head[0] for head in heads if head is not None)
        found: list[list[Any]] = []
        for number, head in enumerate(heads):
            if head is not None and head[0] == key:
                found.append(head[1])
                heads[number] = _next_group(groups[number])
            else:
                found.append([])
        yield key, found


def _next_group(groups: Iterator[tuple[Any, Iterator[Any]]]) -> tuple[Any, list[Any]] | None:
    following = next(groups, None)
    return None if following is None else (following[0], list(following[1]))
