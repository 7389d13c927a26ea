"""Closed candles kept for charts. Pages read these rows; the web process never asks Kraken."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db.models import Exists, OuterRef, Q, Subquery
from django.db.models.expressions import F

from trading.kraken.endpoints import PublicClient
from trading.models import Candle, Instrument, Position
from trading.services import candles, market
from trading.services.clock import Clock
from trading.strategy.candles import Candles
from trading.strategy.plan import decimal_from_float

logger = logging.getLogger(__name__)

#: Charts of what was bought or sold so recently go on.
TRADED_WITHIN = timedelta(days=1)
KEPT_FOR = timedelta(days=30)
#: Each pair is one request; those whose candles are oldest come first, so none is left out for ever.
PAIRS_MAX = 40
BATCH = 500


def keep(*, clock: Clock, client: PublicClient | None = None) -> int:
    """Store the closed candles that are new, of every pair somebody may look at; how many."""
    market.ensure_instruments(clock=clock, client=client)
    minutes = settings.MASTER_CANDLE_MINUTES
    known = _newest(now=clock.now(), minutes=minutes)
    due = [row for row, newest in known.items() if _is_due(newest, minutes=minutes, now=clock.now())]
    if not due:
        return 0
    stored = 0
    for row, answer in _read(due, minutes=minutes, client=client or market.public_client()):
        if answer.candles is None:
            logger.warning("%s", answer.problem)
            continue
        fresh = _fresh(row, answer.candles, after=known[row], minutes=minutes)
        Candle.objects.bulk_create(fresh, batch_size=BATCH, ignore_conflicts=True)
        stored += len(fresh)
        known[row] = fresh[-1].starts_at if fresh else known[row]
    _prune(before=_market_time(known.values(), now=clock.now()) - KEPT_FOR, minutes=minutes)
    return stored


def _read(
    due: Sequence[Instrument], *, minutes: int, client: PublicClient
) -> Iterator[tuple[Instrument, candles.Read]]:
    """Never more at once than there are threads: the strategy's own candles are read by the same ones."""
    for start in range(0, len(due), candles.THREADS_MAX):
        part = due[start : start + candles.THREADS_MAX]
        answers = candles.read(part, minutes=minutes, client=client)
        yield from ((row, answers[row.pk]) for row in part)


def _newest(*, now: datetime, minutes: int) -> dict[Instrument, datetime | None]:
    """The pairs whose candles are kept, with the start of the newest one stored; those furthest behind first."""
    held = Position.objects.filter(Q(is_open=True) | Q(updated_at__gte=now - TRADED_WITHIN))
    wanted = Q(symbol__in=settings.MASTER_PAIRS, tradable=True) | Q(pk__in=held.values("instrument_id"))
    newest = Candle.objects.filter(instrument=OuterRef("pk"), interval_min=minutes).order_by("-starts_at")
    rows = Instrument.objects.filter(wanted, venue=settings.VENUE).annotate(
        newest=Subquery(newest.values("starts_at")[:1])
    )
    found = rows.order_by(F("newest").asc(nulls_first=True), "pk")[:PAIRS_MAX]
    return {row: row.newest for row in found}


def _is_due(newest: datetime | None, *, minutes: int, now: datetime) -> bool:
    """Kraken's candles follow the clock; those of an exchange replayed here may close at any moment."""
    return newest is None or settings.VENUE_IS_LOCAL or newest + timedelta(minutes=2 * minutes) <= now


def _fresh(instrument: Instrument, told: Candles, *, after: datetime | None, minutes: int) -> list[Candle]:
    begins = 0 if after is None else int(after.timestamp()) + 1
    return [
        Candle(
            instrument=instrument,
            interval_min=minutes,
            starts_at=datetime.fromtimestamp(int(told.time[n]), UTC),
            open=decimal_from_float(told.open[n]),
            high=decimal_from_float(told.high[n]),
            low=decimal_from_float(told.low[n]),
            close=decimal_from_float(told.close[n]),
            volume=decimal_from_float(told.volume[n]),
        )
        for n in range(len(told))
        if told.time[n] >= begins
    ]


def _market_time(newest: Iterable[datetime | None], *, now: datetime) -> datetime:
    return max((at for at in newest if at is not None), default=now)


def _prune(*, before: datetime, minutes: int) -> None:
    """Looks before it writes: on SQLite a writer keeps all others waiting."""
    old = Candle.objects.filter(instrument=OuterRef("pk"), interval_min=minutes, starts_at__lt=before)
    ids = list(Instrument.objects.filter(Exists(old), venue=settings.VENUE).values_list("pk", flat=True))
    if ids:
        Candle.objects.filter(instrument_id__in=ids, starts_at__lt=before).delete()
