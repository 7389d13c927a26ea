from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connection
from pytest_django.fixtures import Settings

from tests.trading.services import master_books
from tests.trading.services.master_books import NOW, FakePublic, MovedClock, pair, ticker
from trading.kraken.errors import CommandRejected, Unavailable
from trading.models import Instrument, MarketPrice, Venue
from trading.paper.server import run_in_thread
from trading.paper.settings import PaperSettings
from trading.services import market
from trading.services.clock import SYSTEM

pytestmark = pytest.mark.django_db

PAIRS = {
    "XXBTZUSD": pair("XXBTZUSD", "XBTUSD", "XXBT"),
    "BEAMUSD": pair("BEAMUSD", "BEAMUSD", "BEAM"),
    "XXBTZEUR": pair("XXBTZEUR", "XBTEUR", "XXBT", quote="ZEUR"),
}


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def public(clock: MovedClock) -> FakePublic:
    return FakePublic(
        pairs=dict(PAIRS),
        tickers={"XXBTZUSD": ticker("60000", "60010"), "BEAMUSD": ticker("0.002917", "0.002918")},
        clock=clock,
    )


def _venue() -> Venue:
    return Venue.objects.get(pk=django_settings.VENUE)


def test_pairs_quoted_in_dollars_become_instruments_under_the_names_people_use(
    clock: MovedClock, public: FakePublic
) -> None:
    assert market.refresh_instruments(clock=clock, client=public) == 2
    assert sorted(Instrument.objects.values_list("symbol", flat=True)) == ["BEAM-USD", "BTC-USD"]
    assert Instrument.objects.get(symbol="BTC-USD").lot_size == Decimal("0.00000001")


def test_a_pair_that_is_no_longer_listed_becomes_untradable_and_comes_back(
    clock: MovedClock, public: FakePublic
) -> None:
    market.refresh_instruments(clock=clock, client=public)
    beam = public.pairs.pop("BEAMUSD")
    clock.advance(300)
    market.refresh_instruments(clock=clock, client=public)
    assert not Instrument.objects.get(symbol="BEAM-USD").tradable
    assert Instrument.objects.get(symbol="BTC-USD").tradable
    public.pairs["BEAMUSD"] = beam
    clock.advance(300)
    market.refresh_instruments(clock=clock, client=public)
    assert Instrument.objects.get(symbol="BEAM-USD").tradable


def test_a_refresh_that_another_one_overtakes_leaves_every_listed_pair_tradable(
    clock: MovedClock, public: FakePublic
) -> None:
    """At the first start several processes read the pairs at once, and the one that asked first may write last."""
    earlier, later = MovedClock(), clock
    later.advance(1)
    overtaken: list[str] = []

    def overtake(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith('UPDATE "trading_instrument"') and not overtaken:
            overtaken.append(sql)
            market.refresh_instruments(clock=earlier, client=public)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(overtake):
        market.refresh_instruments(clock=later, client=public)
    assert overtaken
    assert Instrument.objects.filter(tradable=True).count() == 2


def test_an_answer_without_any_dollar_pair_changes_nothing(clock: MovedClock, public: FakePublic) -> None:
    market.refresh_instruments(clock=clock, client=public)
    public.pairs.clear()
    clock.advance(300)
    assert market.refresh_instruments(clock=clock, client=public) == 0
    assert Instrument.objects.filter(tradable=True).count() == 2


def test_prices_are_stored_with_one_call_and_the_first_refresh_reads_the_pairs_too(
    clock: MovedClock, public: FakePublic, settings: Settings
) -> None:
    settings.MASTER_PAIRS = ["BTC-USD", "BEAM-USD"]
    assert market.refresh_prices(clock=clock, client=public) == 2
    clock.advance(2)
    public.tickers["BEAMUSD"] = ticker("0.003", "0.0031")
    assert market.refresh_prices(clock=clock, client=public) == 2
    beam = MarketPrice.objects.get(instrument__symbol="BEAM-USD")
    assert (beam.bid, beam.ask, beam.as_of) == (Decimal("0.003"), Decimal("0.0031"), NOW + timedelta(seconds=2))
    assert [call for call in public.asked if call.startswith("ticker")] == ["ticker BEAMUSD,XXBTZUSD"] * 2


def test_a_pair_with_an_open_position_is_priced_though_the_strategy_does_not_trade_it(
    clock: MovedClock, public: FakePublic, settings: Settings
) -> None:
    settings.MASTER_PAIRS = ["BTC-USD"]
    market.refresh_prices(clock=clock, client=public)
    assert not MarketPrice.objects.filter(instrument__symbol="BEAM-USD").exists()
    master_books.hold(master_books.master(), Instrument.objects.get(symbol="BEAM-USD"), "1000")
    market.refresh_prices(clock=clock, client=public)
    assert MarketPrice.objects.filter(instrument__symbol="BEAM-USD").exists()


def test_a_price_of_zero_or_crossed_is_not_stored(clock: MovedClock, public: FakePublic, settings: Settings) -> None:
    settings.MASTER_PAIRS = ["BTC-USD", "BEAM-USD"]
    public.tickers = {"XXBTZUSD": ticker("0", "0"), "BEAMUSD": ticker("0.003", "0.002")}
    assert market.refresh_prices(clock=clock, client=public) == 0


def test_the_venue_says_since_when_it_does_not_answer_until_it_does(clock: MovedClock, public: FakePublic) -> None:
    market.refresh_prices(clock=clock, client=public)
    public.failure = Unavailable("Kraken could not be reached.")
    clock.advance(2)
    assert market.refresh_prices(clock=clock, client=public) == 0
    clock.advance(2)
    market.refresh_prices(clock=clock, client=public)
    assert _venue().failing_since == NOW + timedelta(seconds=2)
    assert _venue().error == "Kraken could not be reached."
    public.failure = None
    clock.advance(2)
    market.refresh_prices(clock=clock, client=public)
    assert (_venue().failing_since, _venue().error, _venue().answered_at) == (None, "", clock.now())


def test_one_pair_that_kraken_has_dropped_does_not_hide_the_prices_of_the_others(
    clock: MovedClock, public: FakePublic, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MASTER_PAIRS = ["BTC-USD"]
    market.refresh_instruments(clock=clock, client=public)
    gone = Instrument.objects.get(symbol="BEAM-USD")
    Instrument.objects.filter(pk=gone.pk).update(tradable=False)
    master_books.hold(master_books.master(), gone, "1000")
    answer = public.ticker

    def refusing(names: list[str]) -> object:
        if "BEAMUSD" in names:
            raise CommandRejected("Kraken does not know this pair.", codes=["EQuery:Unknown asset pair"])
        return answer(names)

    monkeypatch.setattr(public, "ticker", refusing)
    assert market.refresh_prices(clock=clock, client=public) == 1


def test_a_pair_that_was_just_delisted_hides_no_others_price(
    clock: MovedClock, public: FakePublic, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    """All are known as tradable until the list is read again, which is every five minutes."""
    names = [f"C{number}USD" for number in range(9)]
    public.pairs = {name: pair(name, name, name[:2]) for name in names}
    public.tickers = {name: ticker("1", "1.01") for name in names}
    market.refresh_instruments(clock=clock, client=public)
    settings.MASTER_PAIRS = [f"C{number}-USD" for number in range(9)]
    answer, asked = public.ticker, []

    def refusing(wanted: list[str]) -> object:
        asked.append(wanted)
        if "C4USD" in wanted:
            raise CommandRejected("Kraken does not know this pair.", codes=["EQuery:Unknown asset pair"])
        return answer(wanted)

    monkeypatch.setattr(public, "ticker", refusing)
    assert market.refresh_prices(clock=clock, client=public) == 8
    assert not MarketPrice.objects.filter(instrument__symbol="C4-USD").exists()
    assert _venue().failing_since is None
    assert len(asked) <= 9
    # Until the list is read again it is known as untradable, and those are asked for apart.
    asked.clear()
    assert not Instrument.objects.get(symbol="C4-USD").tradable
    master_books.hold(master_books.master(), Instrument.objects.get(symbol="C4-USD"), "1000")
    assert market.refresh_prices(clock=clock, client=public) == 8
    assert [len(names) for names in asked] == [8, 1]


def test_prices_that_were_told_are_kept_as_of_their_own_answer_when_a_later_request_fails(
    clock: MovedClock, public: FakePublic, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    names = [f"C{number}USD" for number in range(4)]
    public.pairs = {name: pair(name, name, name[:2]) for name in names}
    public.tickers = {name: ticker("1", "1.01") for name in names}
    market.refresh_instruments(clock=clock, client=public)
    settings.MASTER_PAIRS = [f"C{number}-USD" for number in range(4)]
    answer = public.ticker

    def refusing(wanted: list[str]) -> object:
        if wanted == ["C2USD", "C3USD"]:
            clock.advance(8)
            raise Unavailable("Kraken could not be reached.")
        if "C3USD" in wanted:
            raise CommandRejected("Kraken does not know this pair.", codes=["EQuery:Unknown asset pair"])
        return answer(wanted)

    monkeypatch.setattr(public, "ticker", refusing)
    assert market.refresh_prices(clock=clock, client=public) == 2
    assert _venue().failing_since == clock.now() == NOW + timedelta(seconds=8)
    assert {price.as_of for price in MarketPrice.objects.all()} == {NOW}


def test_another_refusal_is_no_reason_to_ask_for_each(clock: MovedClock, public: FakePublic) -> None:
    market.refresh_instruments(clock=clock, client=public)
    public.failure = CommandRejected("Kraken refused.", codes=["EGeneral:Invalid arguments"])
    assert market.refresh_prices(clock=clock, client=public) == 0
    assert _venue().failing_since == clock.now()


def test_a_stored_price_is_used_for_a_second_and_then_asked_for_again(clock: MovedClock, public: FakePublic) -> None:
    row = master_books.instrument()
    master_books.price(row)
    clock.advance(1)
    assert market.fresh_price(row, clock=clock, client=public).as_of == NOW
    clock.advance(1)
    assert market.fresh_price(row, clock=clock, client=public).as_of == clock.now()


def test_an_order_gets_no_price_from_an_exchange_that_is_silent(clock: MovedClock, public: FakePublic) -> None:
    public.failure = Unavailable("Kraken could not be reached.")
    with pytest.raises(market.PriceUnknown, match="does not tell the price of BEAM-USD"):
        market.fresh_price(master_books.instrument(), clock=clock, client=public)


def test_the_first_clock_measurement_takes_several_samples_within_a_second_and_a_half(
    clock: MovedClock, public: FakePublic
) -> None:
    public.offset_ms = 120
    paused: list[float] = []

    def sleep(seconds: float) -> None:
        paused.append(seconds)
        clock.advance(seconds)

    assert market.clock_problem(now=clock.now()) is not None
    assert market.measure_venue_clock(clock=clock, client=public, sleep=sleep)
    assert sum(paused) <= 1.5
    venue = _venue()
    assert venue.offset_ms is not None
    assert venue.offset_error_ms is not None
    assert abs(venue.offset_ms - 120) <= venue.offset_error_ms < 250
    assert market.clock_problem(now=clock.now()) is None
    assert market.kraken_now(clock) == clock.now() + timedelta(milliseconds=venue.offset_ms)


def test_later_measurements_take_one_sample_and_a_stepped_clock_starts_again(
    clock: MovedClock, public: FakePublic
) -> None:
    market.measure_venue_clock(clock=clock, client=public, sleep=clock.advance)
    first = public.asked.count("time")
    clock.advance(10)
    market.measure_venue_clock(clock=clock, client=public, sleep=clock.advance)
    assert public.asked.count("time") == first + 1
    public.offset_ms = 3000
    clock.advance(10)
    market.measure_venue_clock(clock=clock, client=public, sleep=clock.advance)
    assert public.asked.count("time") == 2 * first + 1
    assert "behind Kraken's" in (market.clock_problem(now=clock.now()) or "")


def test_an_old_measurement_stops_entries(clock: MovedClock, public: FakePublic) -> None:
    market.measure_venue_clock(clock=clock, client=public, sleep=clock.advance)
    clock.advance(61)
    assert "last measured 61 s ago" in (market.clock_problem(now=clock.now()) or "")


def test_the_paper_exchange_is_read_over_http(tmp_path: Path, settings: Settings) -> None:
    with run_in_thread(PaperSettings(state=tmp_path / "paper.sqlite3")) as exchange:
        settings.KRAKEN_API_URL = exchange.url
        exchange.post("/paper/market/pin", pair="BEAMUSD", bid="0.002917", ask="0.002918")
        assert market.refresh_prices(clock=SYSTEM) == len(settings.MASTER_PAIRS)
        assert market.measure_venue_clock(clock=SYSTEM)
    assert MarketPrice.objects.get(instrument__symbol="BEAM-USD").ask == Decimal("0.002918")
    assert market.clock_problem(now=SYSTEM.now()) is None
    assert _venue().status == "online"
