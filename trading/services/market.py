"""Public market data: instruments, prices, the exchange's clock and since when it does not answer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.db.models import Q

from trading import doorbell
from trading.domain import order_state, venue_clock
from trading.domain.instrument import Instrument as Rules
from trading.domain.money import Price
from trading.domain.venue_clock import Bounds, Sample
from trading.kraken.endpoints import PublicClient
from trading.kraken.errors import CommandRejected, KrakenError
from trading.kraken.symbols import build_instruments
from trading.kraken.transport import RequestsTransport
from trading.kraken.values import Ticker
from trading.models import Instrument, MarketPrice, Order, Position, Signal, Venue
from trading.services.clock import Clock

logger = logging.getLogger(__name__)

#: A price older than this is asked for again before an order is sized with it.
PRICE_FRESH_FOR = timedelta(seconds=1)
#: Followers may still have to be sized or sold in what the master traded so recently.
SIGNALS_MATTER_FOR = timedelta(minutes=15)
TICKER_PAIRS_MAX = 100
_UNKNOWN_PAIR = ("EQuery:Unknown asset pair", "EQuery:Invalid asset pair", "EQuery:Unknown asset")
INSTRUMENTS_BATCH = 500
#: Pauses before each further sample of a first measurement, uneven so that they meet different fractions of a second.
FIRST_PAUSES_S = (0.13, 0.29, 0.37, 0.21, 0.43)
_RULES = (
    "pair_id",
    "altname",
    "base_asset",
    "quote_asset",
    "tick_size",
    "lot_size",
    "quantity_min",
    "notional_min",
    "tradable",
)


class PriceUnknown(Exception):
    """No fresh price is to be had; the text is a sentence."""


def public_client() -> PublicClient:
    """The process's own client of this installation's exchange, over warm connections."""
    return _client(settings.KRAKEN_API_URL)


@lru_cache(maxsize=4)
def _client(url: str) -> PublicClient:
    return PublicClient(RequestsTransport(url))


def refresh_instruments(*, clock: Clock, client: PublicClient | None = None) -> int:
    """Store every USD pair as the exchange describes it now; how many. Pairs it no longer lists become untradable.

    When the exchange does not answer, that is noted and what is known stays.
    """
    ask = client or public_client()
    try:
        known = build_instruments(ask.assets(), ask.asset_pairs())
    except KrakenError as error:
        _note_failure(error, now=clock.now())
        return 0
    now = clock.now()
    _note_answer(now=now)
    if not known.instruments:
        logger.warning("the exchange listed no pair quoted in US dollars; the known ones stay")
        return 0
    Instrument.objects.bulk_create(
        [_instrument_row(rules, now=now) for rules in known.instruments],
        batch_size=INSTRUMENTS_BATCH,
        update_conflicts=True,
        unique_fields=["venue", "symbol"],
        update_fields=[*_RULES, "updated_at"],
    )
    # By name, not by age: a refresh that began earlier may have written these rows a moment ago.
    unlisted = Instrument.objects.filter(venue=settings.VENUE, tradable=True).exclude(
        symbol__in=[rules.symbol for rules in known.instruments]
    )
    unlisted.update(tradable=False, updated_at=now)
    return len(known.instruments)


def ensure_instruments(*, clock: Clock, client: PublicClient | None = None) -> None:
    """Read the pairs now if none is known yet, as at the very first start."""
    if not Instrument.objects.filter(venue=settings.VENUE).exists():
        refresh_instruments(clock=clock, client=client)


def refresh_prices(*, clock: Clock, client: PublicClient | None = None) -> int:
    """Store bid, ask and last price of the pairs that matter now; of how many. One call, whatever their number."""
    wanted = _instruments_that_matter(now=clock.now())
    if not wanted:
        ensure_instruments(clock=clock, client=client)
        wanted = _instruments_that_matter(now=clock.now())
    return _refresh(wanted, clock=clock, client=client)


def fresh_price(instrument: Instrument, *, clock: Clock, client: PublicClient | None = None) -> MarketPrice:
    """A price at most `PRICE_FRESH_FOR` old, asked for when the stored one is older. Raises PriceUnknown."""
    price = MarketPrice.objects.filter(instrument=instrument).first()
    if price is None or not is_fresh(price, now=clock.now()):
        _refresh([instrument], clock=clock, client=client)
        price = MarketPrice.objects.filter(instrument=instrument).first()
    if price is None or not is_fresh(price, now=clock.now()):
        raise PriceUnknown(f"Kraken does not tell the price of {instrument.symbol} at the moment.")
    return price


def is_fresh(price: MarketPrice, *, now: datetime) -> bool:
    return now - price.as_of <= PRICE_FRESH_FOR


def measure_venue_clock(
    *, clock: Clock, client: PublicClient | None = None, sleep: Callable[[float], None] = time.sleep
) -> bool:
    """Narrow down how far the exchange's clock is from ours, and read its status; whether it answered.

    The first measurement, and one that contradicts what was known, takes several samples over less than 1.5 s.
    """
    ask = client or public_client()
    venue = _venue()
    try:
        status = ask.system_status().status
        bounds = _measure(venue, ask, clock=clock, sleep=sleep)
    except KrakenError as error:
        _note_failure(error, now=clock.now())
        return False
    now = clock.now()
    _note_answer(now=now)
    fields: dict[str, Any] = {"status": status[:30]}
    if bounds is not None:
        fields |= {"offset_ms": bounds.offset_ms, "offset_error_ms": bounds.error_ms, "offset_at": now}
    Venue.objects.filter(pk=venue.pk).update(**fields)
    return True


def clock_problem(*, now: datetime) -> str | None:
    """Why entries cannot be sent on what we know of the exchange's clock; None when they can."""
    return clock_problem_of(Venue.objects.filter(pk=settings.VENUE).first(), now=now)


def clock_problem_of(venue: Venue | None, *, now: datetime) -> str | None:
    """`clock_problem` on a row already read."""
    return venue_clock.problem(
        offset_ms=venue.offset_ms if venue else None, measured_at=venue.offset_at if venue else None, now=now
    )


def kraken_now(clock: Clock) -> datetime:
    """The exchange's time by the last measurement, however old it is; ours when there was none.

    Exits use it as it is; entries ask `clock_problem` first.
    """
    offset_ms = Venue.objects.filter(pk=settings.VENUE).values_list("offset_ms", flat=True).first()
    return clock.now() + timedelta(milliseconds=offset_ms or 0)


def _instruments_that_matter(*, now: datetime) -> list[Instrument]:
    held = Position.objects.filter(is_open=True)
    recent = Signal.objects.filter(created_at__gte=now - SIGNALS_MATTER_FOR)
    alive = Order.objects.filter(state__in=order_state.LIVE)
    wanted = Q(symbol__in=settings.MASTER_PAIRS, tradable=True)
    for rows in (held, recent, alive):
        wanted |= Q(pk__in=rows.values("instrument_id"))
    return list(Instrument.objects.filter(wanted, venue=settings.VENUE).order_by("pk"))


def _refresh(instruments: Sequence[Instrument], *, clock: Clock, client: PublicClient | None) -> int:
    """What was told is stored, also when a later request failed, as of its own answer: the next may take seconds."""
    by_pair = {instrument.pair_id: instrument for instrument in instruments}
    found: dict[str, tuple[Ticker, datetime]] = {}
    # Apart, since one that Kraken does not know spoils its whole answer.
    listed = sorted(name for name, instrument in by_pair.items() if instrument.tradable)
    try:
        for group in (listed, sorted(by_pair.keys() - set(listed))):
            for names in _batches(group):
                _collect(names, client or public_client(), by_pair, found, clock=clock)
    except KrakenError as error:
        _note_failure(error, now=clock.now())
    else:
        if by_pair:
            _note_answer(now=clock.now())
    rows = [
        MarketPrice(
            instrument=by_pair[pair_id], bid=seen.bid.value, ask=seen.ask.value, last=seen.last.value, as_of=told_at
        )
        for pair_id, (seen, told_at) in found.items()
        if pair_id in by_pair and Price.zero() < seen.bid <= seen.ask
    ]
    MarketPrice.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["instrument"], update_fields=["bid", "ask", "last", "as_of"]
    )
    return len(rows)


def _collect(
    names: Sequence[str],
    client: PublicClient,
    by_pair: Mapping[str, Instrument],
    found: dict[str, tuple[Ticker, datetime]],
    *,
    clock: Clock,
) -> None:
    """Add to `found`. One unknown pair spoils Kraken's whole answer: then halves are asked for, so that a pair that was just
    delisted hides no other's price, and it is known as untradable until the list of pairs is read again."""
    try:
        told = client.ticker(names)
        found |= {pair_id: (ticker, clock.now()) for pair_id, ticker in told.items()}
    except CommandRejected as error:
        if not any(error.says(code) for code in _UNKNOWN_PAIR):
            raise
        if len(names) == 1:
            logger.warning("Kraken does not know the pair %s", names[0])
            Instrument.objects.filter(pk=by_pair[names[0]].pk, tradable=True).update(tradable=False)
            return
        half = len(names) // 2
        for part in (names[:half], names[half:]):
            _collect(part, client, by_pair, found, clock=clock)


def _batches(names: Sequence[str]) -> Iterable[Sequence[str]]:
    return (names[start : start + TICKER_PAIRS_MAX] for start in range(0, len(names), TICKER_PAIRS_MAX))


def _instrument_row(rules: Rules, *, now: datetime) -> Instrument:
    return Instrument(
        venue=settings.VENUE,
        symbol=rules.symbol,
        pair_id=rules.pair_id,
        altname=rules.altname,
        base_asset=rules.base_asset,
        quote_asset=rules.quote_asset,
        tick_size=rules.tick_size,
        lot_size=rules.lot_size,
        quantity_min=rules.quantity_min.value,
        notional_min=rules.notional_min.value,
        tradable=rules.tradable,
        updated_at=now,
    )


def _measure(venue: Venue, client: PublicClient, *, clock: Clock, sleep: Callable[[float], None]) -> Bounds | None:
    first = venue_clock.bounds_of(_sample(client, clock))
    if first is None:
        return None
    known = _known_bounds(venue, now=clock.now())
    narrowed = venue_clock.intersect([known, first]) if known is not None else None
    if narrowed is not None:
        return narrowed
    bounds = first
    for pause_s in FIRST_PAUSES_S:
        sleep(pause_s)
        sample = venue_clock.bounds_of(_sample(client, clock))
        if sample is not None:
            # A contradiction means that a clock was stepped just now: only the newest sample still counts.
            bounds = venue_clock.intersect([bounds, sample]) or sample
    return bounds


def _sample(client: PublicClient, clock: Clock) -> Sample:
    sent_at = clock.now()
    server = client.time()
    return Sample(sent_at=sent_at, received_at=clock.now(), server_s=int(server.timestamp()))


def _known_bounds(venue: Venue, *, now: datetime) -> Bounds | None:
    if venue.offset_ms is None or venue.offset_error_ms is None or venue.offset_at is None:
        return None
    age = now - venue.offset_at
    if not timedelta(0) <= age <= venue_clock.USABLE_FOR:
        return None
    return Bounds.around(venue.offset_ms, error_ms=venue.offset_error_ms, age=age)


def _venue() -> Venue:
    return Venue.objects.get_or_create(url=settings.VENUE)[0]


def _note_answer(*, now: datetime) -> None:
    known = Venue.objects.filter(pk=settings.VENUE)
    if known.filter(failing_since__isnull=True).update(answered_at=now):
        return
    _venue()
    if known.filter(failing_since__isnull=False).update(answered_at=now, failing_since=None, error=""):
        doorbell.changed(_NOBODY)
    else:
        known.update(answered_at=now)


def _note_failure(error: KrakenError, *, now: datetime) -> None:
    logger.warning("public market data: %s", error)
    _venue()
    known = Venue.objects.filter(pk=settings.VENUE)
    if known.filter(failing_since__isnull=True).update(failing_since=now, error=str(error)[:300]):
        doorbell.changed(_NOBODY)
    else:
        known.update(error=str(error)[:300])


#: A change that concerns the pages of operators, who always hear of it, and of no single user.
_NOBODY: Collection[int] = ()
