"""Kept candles as bars for a chart, merged until they are few enough to draw."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from django.conf import settings
from django.db.models import QuerySet

from trading.models import Candle, Instrument

#: More bars than this are merged into longer ones.
BARS_MAX = 720
#: How many candles make one bar.
FACTORS = (1, 2, 5, 10, 15, 30, 60, 120, 240, 720, 1440)

#: Start in unix seconds, open, high, low, close.
Row = tuple[int, Decimal, Decimal, Decimal, Decimal]


@dataclass(frozen=True, slots=True)
class Window:
    """What a chart shows: from one instant to another, or on and on; a bar lasts `bar_min` minutes."""

    since: datetime
    until: datetime | None
    bar_min: int


def window(*, since: datetime, until: datetime | None, now: datetime) -> Window:
    minutes = settings.MASTER_CANDLE_MINUTES
    candles = ((until or now) - since).total_seconds() / 60 / minutes
    factor = next((each for each in FACTORS if candles / each <= BARS_MAX), FACTORS[-1])
    return Window(since, until, minutes * factor)


def is_bar_length(minutes: int) -> bool:
    return minutes in {settings.MASTER_CANDLE_MINUTES * factor for factor in FACTORS}


def bars(instrument: Instrument, wanted: Window) -> list[Row]:
    """Closed candles of the window, oldest first; the newest bar may still grow when candles are merged."""
    rows = _candles(instrument, wanted).order_by("starts_at").values_list("starts_at", "open", "high", "low", "close")
    found = ((int(at.timestamp()), opened, high, low, close) for at, opened, high, low, close in rows.iterator())
    return list(merged(found, length_s=wanted.bar_min * 60))


def has_bars(instrument: Instrument, wanted: Window) -> bool:
    return _candles(instrument, wanted).exists()


def _candles(instrument: Instrument, wanted: Window) -> QuerySet[Candle]:
    length_s = wanted.bar_min * 60
    # A bar that begins before the window is shown whole.
    begins = datetime.fromtimestamp(int(wanted.since.timestamp()) // length_s * length_s, UTC)
    found = Candle.objects.filter(
        instrument=instrument, interval_min=settings.MASTER_CANDLE_MINUTES, starts_at__gte=begins
    )
    return found if wanted.until is None else found.filter(starts_at__lte=wanted.until)


def merged(rows: Iterable[Row], *, length_s: int) -> Iterator[Row]:
    """Candles, oldest first, as bars of `length_s` seconds, which begin at whole multiples of it."""
    bar: Row | None = None
    for at, opened, high, low, close in rows:
        start = at // length_s * length_s
        if bar is not None and bar[0] == start:
            bar = (start, bar[1], max(bar[2], high), min(bar[3], low), close)
            continue
        if bar is not None:
            yield bar
        bar = (start, opened, high, low, close)
    if bar is not None:
        yield bar
