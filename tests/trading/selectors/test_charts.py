"""Candles merged into bars: nothing of the market is lost but detail, and no more bars than can be drawn."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from tests.trading.services import master_books
from tests.trading.services.master_books import NOW
from trading.models import Candle, Instrument
from trading.selectors import charts
from trading.selectors.charts import Row, Window

D = Decimal
prices = st.integers(1, 10**6).map(lambda n: D(n).scaleb(-6))


@st.composite
def tapes(draw: st.DrawFn) -> list[Row]:
    """Minutes in order, some of them absent."""
    minutes = sorted(draw(st.sets(st.integers(0, 200), min_size=1, max_size=60)))
    rows = []
    for minute in minutes:
        four = sorted(draw(st.lists(prices, min_size=4, max_size=4)))
        rows.append((minute * 60, four[1], four[3], four[0], four[2]))
    return rows


@settings(max_examples=50)
@given(tapes(), st.sampled_from([60, 120, 300, 3600]))
def test_a_bar_opens_and_closes_as_its_candles_do_and_spans_them_all(rows: list[Row], length_s: int) -> None:
    bars = list(charts.merged(rows, length_s=length_s))
    assert [bar[0] for bar in bars] == sorted({row[0] // length_s * length_s for row in rows})
    for start, opened, high, low, close in bars:
        inside = [row for row in rows if start <= row[0] < start + length_s]
        assert opened == inside[0][1]
        assert close == inside[-1][4]
        assert high == max(row[2] for row in inside)
        assert low == min(row[3] for row in inside)


@settings(max_examples=50)
@given(st.integers(1, 30 * 24 * 60))
def test_no_window_has_more_bars_than_can_be_drawn(minutes: int) -> None:
    found = charts.window(since=NOW - timedelta(minutes=minutes), until=None, now=NOW)
    assert minutes / found.bar_min <= charts.BARS_MAX
    assert charts.is_bar_length(found.bar_min)


@pytest.mark.django_db
def test_bars_are_of_one_instrument_one_interval_and_one_window(settings: Settings) -> None:
    settings.MASTER_CANDLE_MINUTES = 1
    beam, doge = master_books.instrument(), master_books.instrument("DOGE-USD")
    for row in (beam, doge):
        for minute in range(10):
            _candle(row, minute)
    _candle(beam, 3, interval_min=5)
    window = Window(NOW + timedelta(minutes=3), NOW + timedelta(minutes=6), 1)
    start = int(NOW.timestamp())
    assert [bar[0] - start for bar in charts.bars(beam, window)] == [180, 240, 300, 360]
    wide = charts.bars(beam, Window(NOW + timedelta(minutes=3), None, 2))
    assert [bar[0] - start for bar in wide] == [120, 240, 360, 480]
    assert not charts.has_bars(beam, Window(NOW + timedelta(minutes=10), None, 1))


def _candle(row: Instrument, minute: int, *, interval_min: int = 1) -> None:
    one = D(1)
    Candle.objects.create(
        instrument=row, interval_min=interval_min, starts_at=NOW + timedelta(minutes=minute), open=one, high=one,
        low=one, close=one, volume=one,
    )  # fmt: skip
