"""How many statements a page takes and how long it is: requests through Django's own client, middleware and templates included."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.core.cache import cache
from django.db import connection

from tests.benchmarks.page_list import Page

REQUESTS = 30
#: A page that takes long is asked for less often, so that the run ends.
REQUESTS_MIN, PAGE_S_MAX = 5, 5.0


class Failed(Exception):
    """A page is not there; the text names it."""


@dataclass(frozen=True, slots=True)
class Timing:
    """`statements` of the page in every scene, the timed one last."""

    page: Page
    statements: Sequence[int]
    seconds: Sequence[float]

    @property
    def told(self) -> str:
        """One figure while it is the same everywhere."""
        return "/".join(str(count) for count in dict.fromkeys(self.statements))

    @property
    def is_constant(self) -> bool:
        return len(set(self.statements)) == 1

    def ms(self, share: float) -> float:
        ordered = sorted(self.seconds)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)] * 1000

    @property
    def is_met(self) -> bool:
        return self.page.limit_ms is None or self.ms(0.95) <= self.page.limit_ms


def statements(page: Page) -> int:
    """SQL statements of one request whose process has answered one before, and to which the cache is of no help."""
    ask(page)
    cache.clear()
    asked: list[str] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        asked.append(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        ask(page)
    return len(asked)


def timed(page: Page, *, others: Sequence[int]) -> Timing:
    """`others` are its statements in other scenes."""
    return Timing(page, [*others, statements(page)], seconds(page))


def seconds(page: Page) -> list[float]:
    # The throttle of the API counts requests of a minute; nobody is told to wait here.
    cache.clear()
    ask(page)
    taken: list[float] = []
    while len(taken) < REQUESTS and (len(taken) < REQUESTS_MIN or sum(taken) < PAGE_S_MAX):
        began = time.perf_counter()
        ask(page)
        taken.append(time.perf_counter() - began)
    return taken


def ask(page: Page) -> None:
    """Raises Failed."""
    answer = page.client.get(page.address, secure=True)
    if answer.status_code != 200:
        raise Failed(f"{page.name} ({page.address}) answered {answer.status_code}")
