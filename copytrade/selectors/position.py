"""One account's position in one instrument: what is held, how it came about, where the master leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from django.db.models import QuerySet

from copytrade.models import CopyOrder, CopyStatus, SkipReason
from trading.domain import order_state
from trading.domain.money import CONTEXT
from trading.domain.order_state import OrderState
from trading.domain.risk import FRESH_FOR
from trading.models import (
    Account,
    Execution,
    Instrument,
    Levels,
    MarketPrice,
    Order,
    OrderKind,
    Position,
    Role,
    SignalKind,
)
from trading.selectors import charts, round_trips
from trading.selectors.charts import Window
from trading.selectors.round_trips import RoundTrip

FILLS_MAX = 100
OPENED = "opened"
RANGES: Mapping[str, timedelta] = {"1d": timedelta(days=1), "7d": timedelta(days=7)}
DEFAULT_RANGE = "1d"
NEVER_HELD_BACK = "No limit and no stop holds it back."
_WAITING = frozenset({SkipReason.WAITING_MIN, SkipReason.DUST})
#: Of the market before a position was opened and after it was closed, this much is shown.
AROUND = timedelta(minutes=30)
#: Candles are kept no longer than this.
SPAN_MAX = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Level:
    """One of the master's levels. `hit` lies behind; `share` is the part of what was bought that is
    sold there, `distance` how far it is from the bid (ratios)."""

    key: str
    label: str
    short: str
    price: Decimal
    hit: bool = False
    share: Decimal | None = None
    distance: Decimal | None = None


@dataclass(frozen=True, slots=True)
class FillRow:
    """One execution and where its story is told: the copy of a follower, the signal of the master's."""

    fill: Execution
    copy_id: int | None

    @property
    def buys(self) -> bool:
        return self.fill.side == "buy"


@dataclass(frozen=True, slots=True)
class PositionView:
    """US dollars; None is unknown. `trip` is the latest round trip, finished or not, and `fills` those in the window."""

    account: Account
    instrument: Instrument
    position: Position | None
    trip: RoundTrip | None
    price: MarketPrice | None
    price_source: str
    levels: Sequence[Level]
    by_hand: bool
    fills: Sequence[FillRow]
    fills_left_out: bool
    owed: str
    window: Window
    range: str

    @property
    def base(self) -> str:
        return self.instrument.symbol.partition("-")[0]

    @property
    def held(self) -> Position | None:
        return self.position if self.position is not None and self.position.is_open else None

    @property
    def is_master(self) -> bool:
        return self.account.role == Role.MASTER

    @property
    def value(self) -> Decimal | None:
        if self.held is None or self.price is None:
            return None
        return CONTEXT.multiply(self.held.managed, self.price.bid)

    @property
    def gain(self) -> Decimal | None:
        """Of what is held, at the bid and after the fees paid so far."""
        return None if self.value is None or self.held is None else CONTEXT.subtract(self.value, self.held.cost)

    @property
    def loss(self) -> Decimal | None:
        return None if self.gain is None else -self.gain

    @property
    def average_cost(self) -> Decimal | None:
        """Per unit held, fees included."""
        held = self.held
        return CONTEXT.divide(held.cost, held.managed) if held is not None and held.managed else None

    @property
    def realised(self) -> Decimal | None:
        """What the latest round trip has brought so far by sales, after fees."""
        return None if self.trip is None or self.trip.state is None else self.trip.state.realised.value

    @property
    def sold_part(self) -> bool:
        return self.held is not None and self.trip is not None and any(f.side == "sell" for f in self.trip.fills)


def read(account: Account, instrument: Instrument, *, wanted_range: str, now: datetime) -> PositionView:
    """Everything the page of a position shows, in a constant number of queries."""
    position = Position.objects.filter(account=account, instrument=instrument).first()
    trip = round_trips.latest(position) if position is not None else None
    price = MarketPrice.objects.filter(instrument=instrument).first()
    shown = wanted_range if wanted_range in RANGES or (wanted_range == OPENED and trip) else _usual(trip)
    window = _window(shown, trip, now=now)
    held = position is not None and position.is_open
    master = _masters(account, instrument)
    levels = levels_of(master[1], price) if held and master is not None and master[1] is not None else []
    fills = list(fills_of(account, instrument, window)[: FILLS_MAX + 1])
    return PositionView(
        account=account,
        instrument=instrument,
        position=position,
        trip=trip,
        price=price,
        price_source="live" if price is not None and now - price.as_of <= FRESH_FOR else "cached",
        levels=levels,
        by_hand=held and master is not None and master[1] is None,
        fills=_with_copies(account, fills[:FILLS_MAX]),
        fills_left_out=len(fills) > FILLS_MAX,
        owed=_owed(position) if held and position is not None and account.role == Role.FOLLOWER else "",
        window=window,
        range=shown,
    )


def instrument(symbol: str, *, venue: str) -> Instrument | None:
    if "\x00" in symbol:
        # PostgreSQL takes no NUL in a text.
        return None
    return Instrument.objects.filter(venue=venue, symbol=symbol).first()


def _usual(trip: RoundTrip | None) -> str:
    return OPENED if trip is not None else DEFAULT_RANGE


def _window(shown: str, trip: RoundTrip | None, *, now: datetime) -> Window:
    if shown == OPENED and trip is not None:
        closed = trip.closed_at
        until = closed + AROUND if closed is not None and closed + AROUND < now else None
        since = max(trip.opened_at - AROUND, (until or now) - SPAN_MAX)
        return charts.window(since=since, until=until, now=now)
    return charts.window(since=now - RANGES[shown], until=None, now=now)


def _masters(account: Account, instrument: Instrument) -> tuple[Position, Levels | None] | None:
    """The master's open position in the instrument and its levels, None for one opened by hand."""
    position = (
        Position.objects.filter(
            instrument=instrument, account__role=Role.MASTER, account__venue=account.venue, is_open=True
        )
        .select_related("levels")
        .first()
    )
    return None if position is None else (position, getattr(position, "levels", None))


def levels_of(levels: Levels, price: MarketPrice | None) -> list[Level]:
    """Every level of one position, highest first."""
    plan: Mapping[str, Any] = levels.plan
    found = []
    if plan.get("stop"):
        found.append(Level("stop", "Stop", "Stop", Decimal(plan["stop"])))
    if plan.get("trailing"):
        found.append(Level("trailing", "Trailing stop", "Trail", Decimal(plan["trailing"])))
    for number, target in enumerate(plan.get("targets", ()), start=1):
        level, hit = Decimal(target["level"]), bool(target.get("hit"))
        found.append(Level("target", f"Target {number}", f"T{number}", level, hit, _share(target.get("fraction"))))
    ordered = sorted(found, key=lambda level: level.price, reverse=True)
    return [_at_a_distance(level, price) for level in ordered]


def _at_a_distance(level: Level, price: MarketPrice | None) -> Level:
    if price is None or not price.bid:
        return level
    distance = CONTEXT.divide(CONTEXT.subtract(level.price, price.bid), price.bid)
    return replace(level, distance=distance)


def _share(fraction: str | None) -> Decimal | None:
    if fraction is None:
        return None
    exact = Fraction(fraction)
    return CONTEXT.divide(Decimal(exact.numerator), Decimal(exact.denominator))


def fills_of(account: Account, instrument: Instrument, window: Window) -> QuerySet[Execution]:
    """Newest first."""
    found = Execution.objects.filter(account=account, instrument=instrument, executed_at__gte=window.since)
    if window.until is not None:
        found = found.filter(executed_at__lte=window.until)
    return found.select_related("order", "instrument").order_by("-executed_at", "-pk")


def _with_copies(account: Account, fills: Sequence[Execution]) -> list[FillRow]:
    copies: dict[int, int] = {}
    found = CopyOrder.objects.filter(account=account, order_id__in={fill.order_id for fill in fills})
    for order_id, copy_id in found.order_by("-pk").values_list("order_id", "pk"):
        copies[order_id] = copy_id
    return [FillRow(fill, copies.get(fill.order_id)) for fill in fills]


def _owed(position: Position) -> str:
    """What is still to be sold because the master sold, or the owner asked to, as a sentence; empty when nothing is."""
    exits = Order.objects.filter(
        account_id=position.account_id, instrument_id=position.instrument_id, kind=OrderKind.EXIT
    )
    order = exits.filter(state__in=order_state.LIVE).order_by("-pk").first()
    if order is not None and order.state == OrderState.MANUAL:
        return "A sale needs a person to look at it: Kraken's records do not settle what became of it."
    if order is not None:
        return f"{order.reason or 'The master sold'}: the sale is on its way to Kraken. {NEVER_HELD_BACK}"
    copies = CopyOrder.objects.filter(
        account_id=position.account_id, signal__instrument_id=position.instrument_id, kind=SignalKind.EXIT
    )
    if position.opened_at is not None:
        copies = copies.filter(created_at__gte=position.opened_at)
    if copies.filter(status=CopyStatus.PENDING).exists():
        return f"The master sold: the sale is being planned. {NEVER_HELD_BACK}"
    newest = copies.order_by("-pk").first()
    waits = newest is not None and newest.status == CopyStatus.SKIPPED and newest.reason in _WAITING
    return newest.sentence if newest is not None and waits else ""
