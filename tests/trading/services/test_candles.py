"""Candles that a process keeps: always what a whole answer would be, and few of them asked for."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import pytest

from tests.trading.services import master_books
from tests.trading.services.master_books import FakePublic
from trading.kraken.errors import Unavailable
from trading.kraken.values import Candle
from trading.models import Instrument
from trading.services import candles
from trading.strategy.candles import Candles

pytestmark = pytest.mark.django_db

KRAKEN_ROWS = 720


class CountingPublic(FakePublic):
    """A market of random candles; answers at most 720 rows, as Kraken does, and counts them."""

    def __init__(self, *, closed: int) -> None:
        super().__init__()
        self.closed = closed
        self.rows_told = 0
        chance = np.random.default_rng(11)
        self.market = [_candle(number, int(chance.integers(1, 10**6))) for number in range(5000)]

    def ohlc(self, pair: str, interval_min: int = 1, *, since: int | None = None) -> Sequence[Candle]:
        self._ask(f"ohlc {pair} since {since}")
        forming = _candle(self.closed, 77)
        rows = [*self.market[max(0, self.closed - KRAKEN_ROWS + 1) : self.closed], forming]
        told = [row for row in rows if since is None or row.time > since]
        self.rows_told += len(told)
        return told


def _candle(number: int, digits: int) -> Candle:
    low, high = Decimal(digits), Decimal(digits + 9)
    return Candle(number * 60, low, high, low, high, low, Decimal(digits) / 8, 3)


def _read(public: FakePublic) -> candles.Read:
    beam = Instrument.objects.filter(symbol="BEAM-USD").first() or master_books.instrument()
    return candles.read([beam], minutes=1, client=public)[beam.pk]


def _same(found: Candles | None, told: Sequence[Candle]) -> bool:
    assert found is not None
    return [(int(found.time[n]), found.open[n], found.volume[n]) for n in range(len(found))] == [
        (row.time, float(row.open), float(row.volume)) for row in told
    ]


def test_short_answers_add_up_to_what_a_whole_one_would_be() -> None:
    public = CountingPublic(closed=700)
    for _ in range(60):
        assert _same(_read(public).candles, public.market[max(0, public.closed - 719) : public.closed])
        public.closed += 1
    assert public.rows_told < 701 + 59 * 5
    assert sum(call.endswith("None") for call in public.asked) == 1


def test_a_candle_that_changed_after_it_was_told_is_taken_as_it_is_now() -> None:
    public = CountingPublic(closed=300)
    _read(public)
    public.market[299] = _candle(299, 123_456)
    public.closed += 1
    assert _same(_read(public).candles, public.market[:301])
    assert len(public.asked) == 2


def test_everything_is_read_anew_when_a_known_candle_is_not_the_same_any_more() -> None:
    public = CountingPublic(closed=300)
    _read(public)
    public.market[5] = _candle(5, 123_456)
    public.market[298] = _candle(298, 654_321)
    assert _same(_read(public).candles, public.market[:300])
    assert public.asked[-1].endswith("None")


def test_everything_is_read_anew_after_a_pause_longer_than_kraken_remembers() -> None:
    public = CountingPublic(closed=300)
    _read(public)
    public.closed = 2000
    assert _same(_read(public).candles, public.market[1281:2000])


def test_a_market_set_back_in_time_is_read_anew() -> None:
    public = CountingPublic(closed=900)
    _read(public)
    public.closed = 600
    assert _same(_read(public).candles, public.market[:600])


def test_what_is_kept_is_replaced_by_a_whole_answer_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candles, "SHORT_READS_MAX", 3)
    public = CountingPublic(closed=300)
    for _ in range(9):
        _read(public)
    assert [call.endswith("None") for call in public.asked] == [True, False, False, False] * 2 + [True]


def test_a_failure_between_two_reads_loses_nothing() -> None:
    public = CountingPublic(closed=300)
    _read(public)
    public.failure = Unavailable("down")
    assert "could not be read: down" in _read(public).problem
    public.failure = None
    public.closed = 303
    assert _same(_read(public).candles, public.market[:303])


def test_what_one_exchange_told_is_never_taken_for_anothers() -> None:
    _read(CountingPublic(closed=300))
    other = CountingPublic(closed=40)
    assert _same(_read(other).candles, other.market[:40])
