"""What `make bench-pages` fills its database with adds up, and every page it asks for is there."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.db import connection

from copytrade.selectors import books as copied
from tests.benchmarks import page_list, page_rows, page_timing
from tests.benchmarks.page_rows import Size
from trading.selectors import books as traded

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="it is filled with PostgreSQL's own functions"),
]
SIZE = Size(followers=30, rows=1_000)
#: Only a sample of the followers got each of the older signals; of nothing else there may be too little.
SAMPLED = "every signal has one outcome for every follower of its time"


def test_the_books_that_pages_are_measured_on_are_right() -> None:
    page_rows.fill(SIZE)
    now = datetime.now(UTC)
    checks = [*traded.checks(now=now), *copied.checks(now=now)]
    told = [finding.sentence for check in checks if check.what != SAMPLED for finding in check.findings]
    assert told == []
    assert sum(check.looked_at for check in checks) > 5_000


def test_every_page_answers_whoever_asks_with_as_many_statements() -> None:
    page_rows.fill(SIZE)
    long, short = (page_list.pages(page_list.scene(number, newest=number == 1)) for number in (1, SIZE.followers))
    assert len(long) == len(short) > 60
    counted = {
        page.name: (page_timing.statements(page), page_timing.statements(other))
        for page, other in zip(long, short, strict=True)
    }
    assert {name: counts for name, counts in counted.items() if counts[0] != counts[1]} == {}
