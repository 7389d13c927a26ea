"""What is kept for charts: new closed candles only, of what somebody may look at, and not for ever."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from pytest_django.fixtures import Settings

from tests.trading.services import master_books
from tests.trading.services.master_books import NOW, FakePublic, MovedClock
from trading.kraken.errors import Unavailable
from trading.kraken.values import Candle as Told
from trading.models import Candle, Position
from trading.services import candles, kept_candles

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def pairs(settings: Settings) -> None:
    settings.MASTER_PAIRS = ["BEAM-USD"]
    settings.MASTER_CANDLE_MINUTES = 1
    settings.VENUE_IS_LOCAL = False


def told(count: int, *, until: datetime) -> Sequence[Told]:
    """`count` closed candles that end at `until`, and the forming one after them."""
    first = int(until.timestamp()) - count * 60
    prices = ("0.002917", "0.002999", "0.0029", "0.00293")
    rows = [(first + 60 * n, *map(Decimal, prices)) for n in range(count + 1)]
    return [Told(at, o, h, low, c, o, Decimal("1234.56789012"), 3) for at, o, h, low, c in rows]


def test_the_first_run_keeps_every_closed_candle_with_every_digit_and_not_the_forming_one() -> None:
    beam = master_books.instrument()
    assert kept_candles.keep(clock=MovedClock(), client=FakePublic(candles={"BEAMUSD": told(720, until=NOW)})) == 720
    newest = beam.candles.order_by("-starts_at")[0]
    assert newest.starts_at == NOW - MINUTE
    assert (newest.open, newest.high, newest.low, newest.close) == tuple(
        map(Decimal, ("0.002917", "0.002999", "0.0029", "0.00293"))
    )
    assert newest.volume == Decimal("1234.56789012")


def test_the_next_run_adds_only_what_has_closed_since() -> None:
    master_books.instrument()
    clock, public = MovedClock(), FakePublic(candles={"BEAMUSD": told(10, until=NOW)})
    kept_candles.keep(clock=clock, client=public)
    clock.advance(180)
    public.candles["BEAMUSD"] = told(720, until=NOW + 3 * MINUTE)
    assert kept_candles.keep(clock=clock, client=public) == 3
    assert Candle.objects.count() == 13


def test_kraken_is_not_asked_before_a_further_candle_can_have_closed() -> None:
    master_books.instrument()
    clock, public = MovedClock(), FakePublic(candles={"BEAMUSD": told(10, until=NOW)})
    kept_candles.keep(clock=clock, client=public)
    clock.advance(59)
    kept_candles.keep(clock=clock, client=public)
    assert public.asked == ["ohlc BEAMUSD 1"]
    clock.advance(1)
    kept_candles.keep(clock=clock, client=public)
    assert len(public.asked) == 2


def test_what_is_held_or_was_sold_within_a_day_is_kept_besides_the_masters_pairs() -> None:
    master = master_books.master()
    master_books.instrument()
    held = master_books.hold(master, master_books.instrument("DOGE-USD"), "5")
    sold = master_books.hold(master, master_books.instrument("ETH-USD"), "5")
    left = master_books.hold(master, master_books.instrument("XRP-USD"), "5")
    master_books.instrument("SOL-USD")
    Position.objects.filter(pk=held.pk).update(updated_at=NOW - timedelta(days=9))
    Position.objects.filter(pk=sold.pk).update(is_open=False, updated_at=NOW - timedelta(hours=23))
    Position.objects.filter(pk=left.pk).update(is_open=False, updated_at=NOW - timedelta(hours=25))
    public = FakePublic(candles={f"{base}USD": told(2, until=NOW) for base in ("BEAM", "DOGE", "ETH", "XRP", "SOL")})
    kept_candles.keep(clock=MovedClock(), client=public)
    assert set(Candle.objects.values_list("instrument__symbol", flat=True)) == {"BEAM-USD", "DOGE-USD", "ETH-USD"}


def test_one_pair_that_cannot_be_read_costs_no_other_its_candles(settings: Settings) -> None:
    settings.MASTER_PAIRS = ["BEAM-USD", "DOGE-USD"]
    master_books.instrument()
    master_books.instrument("DOGE-USD")
    public = FakePublic(candles={"BEAMUSD": Unavailable("down"), "DOGEUSD": told(2, until=NOW)})
    assert kept_candles.keep(clock=MovedClock(), client=public) == 2


def test_pairs_furthest_behind_come_first_and_a_run_is_bounded(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_candles, "PAIRS_MAX", 2)
    symbols = ["ETH-USD", "SOL-USD", "XRP-USD"]
    settings.MASTER_PAIRS = symbols
    rows = [master_books.instrument(symbol) for symbol in symbols]
    for row, behind in zip(rows[:2], (2, 3), strict=True):
        _kept(row.pk, NOW - behind * MINUTE)
    public = FakePublic(candles={f"{s[:3]}USD": told(3, until=NOW) for s in symbols})
    kept_candles.keep(clock=MovedClock(), client=public)
    assert sorted(public.asked) == ["ohlc SOLUSD 1", "ohlc XRPUSD 1"]


def test_candles_older_than_a_month_go_also_those_of_pairs_nobody_trades_any_more() -> None:
    beam, gone = master_books.instrument(), master_books.instrument("DOGE-USD")
    for row in (beam, gone):
        _kept(row.pk, NOW - timedelta(days=31))
        _kept(row.pk, NOW - timedelta(days=29))
    kept_candles.keep(clock=MovedClock(), client=FakePublic(candles={"BEAMUSD": told(2, until=NOW)}))
    assert gone.candles.count() == 1
    assert beam.candles.count() == 3


def test_a_month_is_the_markets_own_on_an_exchange_that_replays_the_past(settings: Settings) -> None:
    settings.VENUE_IS_LOCAL = True
    beam = master_books.instrument()
    past = datetime(2023, 5, 1, tzinfo=UTC)
    kept_candles.keep(clock=MovedClock(), client=FakePublic(candles={"BEAMUSD": told(5, until=past)}))
    assert beam.candles.count() == 5


class _Watched(FakePublic):
    """Sees how many requests for candles wait for a thread."""

    def ohlc(self, pair: str, interval_min: int = 1, *, since: int | None = None) -> Sequence[Told]:
        # Long enough for whoever asks to have asked for everything he is going to.
        time.sleep(0.02)
        self.asked.append(str(candles._readers()._work_queue.qsize()))
        return told(2, until=NOW)


def test_candles_for_charts_leave_the_strategys_no_queue_to_wait_in(settings: Settings) -> None:
    settings.MASTER_PAIRS = [f"{base}-USD" for base in ("ADA", "BCH", "DOT", "ETC", "ETH", "LTC", "SOL", "TRX", "XRP")]
    for symbol in settings.MASTER_PAIRS:
        master_books.instrument(symbol)
    public = _Watched()
    assert kept_candles.keep(clock=MovedClock(), client=public) == 18
    assert {int(waiting) for waiting in public.asked} == {0}


def _kept(instrument_id: int, at: datetime) -> None:
    one = Decimal(1)
    Candle.objects.create(
        instrument_id=instrument_id, interval_min=1, starts_at=at, open=one, high=one, low=one, close=one, volume=one
    )
