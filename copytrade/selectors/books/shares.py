"""I8 and I9: what followers sold against what the master sold, walked again from executions and signals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from django.conf import settings
from django.db.models import Q

from copytrade.domain import obligations
from copytrade.domain.obligations import Standing, Step
from copytrade.models import CloseInstruction
from trading.domain import order_state
from trading.domain.instrument import Instrument as Rules
from trading.domain.instrument import Side
from trading.domain.money import Money, Price, Quantity, plain
from trading.models import (
    Adjustment,
    AssetBalance,
    Event,
    EventKind,
    Execution,
    Instrument,
    MarketPrice,
    Order,
    OrderKind,
    Position,
    Role,
    Signal,
    SignalKind,
    Venue,
)
from trading.selectors.books import CHUNK, QUIET, Check, together

#: A sale that failed is tried again with growing pauses, and told after several.
RETRIED_FOR = timedelta(minutes=2)
#: The price at which a rest was found too small to keep is not the one at which the whole was sold.
MOVED = Decimal("0.9")

_PLACE = ["account_id", "instrument_id"]
_POSITION = ["pk", *_PLACE, "managed", "is_open", "opened_at", "round_trip", "updated_at"]
_EXECUTION = ["pk", *_PLACE, "side", "quantity", "price", "booked_at", "round_trip"]
_EXECUTION += ["order__created_at", "order__signal__sequence"]
_ADJUSTMENT = ["pk", *_PLACE, "managed_before", "managed_after", "after_sequence", "round_trip", "created_at"]
_CLOSE = ["pk", *_PLACE, "after_sequence", "created_at"]


@dataclass(slots=True)
class _Master:
    """What all followers share, by instrument: signals that were fanned out, prices, rules, and where the master is flat."""

    signals: Mapping[int, Sequence[Signal]]
    bids: Mapping[int, Decimal]
    rules: Mapping[int, Rules]
    flat: frozenset[int]


@dataclass(slots=True)
class _Place:
    """The rows of one follower and instrument."""

    position: Any
    executions: Sequence[Any]
    adjustments: Sequence[Any]
    closes: Sequence[Any]
    live: Sequence[Any]


@dataclass(slots=True)
class _Trip:
    """A round trip: from the first purchase to nothing left. `left` is what it adds up to."""

    left: Decimal = Decimal(0)
    last: Any = None
    #: A sale was planned on what was known then, which a clock that was set back must not make later than its booking.
    ended_at: datetime | None = None
    bought: dict[int, Quantity] = field(default_factory=dict)
    adjustments: list[Any] = field(default_factory=list)

    @property
    def first_sequence(self) -> int:
        return min(self.bought, default=0)

    @property
    def was_sold(self) -> bool:
        """By our own last sale, and not by its owner's hand."""
        ours = all(row.managed_after for row in self.adjustments)
        return ours and self.left == 0 and self.last is not None and self.last.side == Side.SELL


def checks(*, now: datetime) -> list[Check]:
    flat = Check("I8", "where the master is flat, followers are flat or hold dust", "open positions")
    share = Check("I9", "followers sold the master's share, no less and no more", "positions")
    if Venue.objects.filter(pk=settings.VENUE, failing_since__isnull=False).exists():
        flat.note = share.note = "left out: Kraken does not answer"
        return [flat, share]
    master = _master()
    for place in _places():
        position = place.position
        instrument = position.instrument_id
        share.looked_at += 1
        trips = _trips(place)
        for sentence in _closed_trips(trips, place, master):
            share.tell(sentence, account=position.account_id, row=f"position {position.pk}")
        if not position.is_open:
            continue
        check = flat if instrument in master.flat else share
        flat.looked_at += instrument in master.flat
        if place.live or not _is_quiet(place, master, now=now):
            continue
        for sentence in _open(place, trips[position.round_trip], master, now=now):
            check.tell(sentence, account=position.account_id, row=f"position {position.pk}")
    return [flat, share]


def _master() -> _Master:
    signals: dict[int, list[Signal]] = defaultdict(list)
    told = Signal.objects.filter(fan_out__isnull=False, account__venue=settings.VENUE).order_by("sequence")
    for signal in told.iterator(CHUNK):
        signals[signal.instrument_id].append(signal)
    owned = Position.objects.filter(account__role=Role.MASTER, account__venue=settings.VENUE, is_open=False)
    rules = {row.pk: row.rules for row in Instrument.objects.filter(positions__isnull=False).distinct()}
    return _Master(
        signals=signals,
        bids=dict(MarketPrice.objects.filter(instrument_id__in=rules).values_list("instrument_id", "bid")),
        rules=rules,
        flat=frozenset(owned.values_list("instrument_id", flat=True)),
    )


def _places() -> Iterator[_Place]:
    mine = {"account__role": Role.FOLLOWER, "account__venue": settings.VENUE}
    live = Order.objects.filter(**mine, state__in=order_state.LIVE)
    tables: list[tuple[Any, list[str]]] = [
        (Position.objects.filter(**mine), _POSITION),
        (Execution.objects.filter(**mine), _EXECUTION),
        (Adjustment.objects.filter(**mine), _ADJUSTMENT),
        (CloseInstruction.objects.filter(**mine), _CLOSE),
        (live, ["pk", *_PLACE]),
    ]
    streams = [
        (rows.order_by(*_PLACE, "pk").values_list(*fields, named=True).iterator(CHUNK), _key) for rows, fields in tables
    ]
    for _, (positions, *rows) in together(*streams):
        if positions:
            yield _Place(positions[0], *rows)


def _key(row: Any) -> tuple[int, int]:
    return row.account_id, row.instrument_id


def _is_quiet(place: _Place, master: _Master, *, now: datetime) -> bool:
    instants: list[datetime] = [place.position.updated_at]
    instants += [signal.created_at for signal in master.signals.get(place.position.instrument_id, ())[-1:]]
    instants += [close.created_at for close in place.closes]
    return max(instants) <= now - QUIET


def _open(place: _Place, trip: _Trip, master: _Master, *, now: datetime) -> Iterator[str]:
    position = place.position
    rules, bid = master.rules[position.instrument_id], master.bids.get(position.instrument_id)
    steps = _steps(master.signals.get(position.instrument_id, ()), trip, place.closes)
    result = obligations.obligation(
        managed=Quantity(position.managed),
        steps=steps,
        in_exits=Quantity.zero(),
        available=None,
        instrument=rules,
        price=None if bid is None else Price(bid),
    )
    kept = obligations.target(steps)
    if Fraction(position.managed) < kept - Fraction(rules.lot_size):
        share = plain(rules.floor_fraction(kept).value)
        yield f"{plain(position.managed)} are left, the master's share would have kept {share}"
    if result.standing is Standing.OWED and not _is_excused(position, result.owed, rules, bid, now=now):
        yield f"{result.owed} of {plain(position.managed)} managed are owed, and no sale is under way"


def _steps(signals: Sequence[Signal], trip: _Trip, closes: Sequence[Any]) -> list[Step]:
    """What happened to the share in this round trip: signals from its first purchase on, and what its owner did."""
    steps = []
    for signal in signals:
        if signal.sequence < trip.first_sequence:
            continue
        if signal.kind == SignalKind.EXIT:
            if signal.managed_before:
                steps.append(obligations.exit_(sequence=signal.sequence, closed_fraction=signal.closed_fraction))
        elif signal.sequence in trip.bought:
            steps.append(obligations.entry(sequence=signal.sequence, bought=trip.bought[signal.sequence]))
    for row in trip.adjustments:
        before, after = Quantity(row.managed_before), Quantity(row.managed_after)
        steps.append(
            obligations.adjustment(after_sequence=row.after_sequence, number=row.pk, before=before, after=after)
        )
    for row in closes:
        if row.after_sequence >= trip.first_sequence:
            steps.append(obligations.close_all(after_sequence=row.after_sequence, number=row.pk))
    return steps


def _is_excused(position: Any, owed: Quantity, rules: Rules, bid: Decimal | None, *, now: datetime) -> bool:
    """Something keeps it from being sold, and people know: asked only of the few that owe."""
    place = {"account_id": position.account_id, "instrument_id": position.instrument_id}
    tried = Order.objects.filter(**place, kind=OrderKind.EXIT, closed_at__gt=now - RETRIED_FOR, filled=Decimal(0))
    if tried.exists():
        return True
    told = Event.objects.filter(
        Q(order__instrument_id=position.instrument_id),
        account_id=position.account_id,
        kind__in=(EventKind.ALERT, EventKind.HELD),
        resolved_at__isnull=True,
        at__gte=position.opened_at or now,
    )
    if told.exists():
        return True
    # Coins that the owner's own orders hold cannot be sold.
    held = AssetBalance.objects.filter(account_id=position.account_id, asset=rules.base_asset).first()
    if held is None or bid is None:
        return False
    free = rules.round_quantity(min(owed, Quantity(max(Decimal(0), held.total - held.hold))))
    return held.hold > 0 and not rules.sellable(free, Price(bid))


def _closed_trips(trips: Mapping[int, _Trip], place: _Place, master: _Master) -> Iterator[str]:
    """Of what was sold whole: the share that the master had kept by then was too little to sell by itself."""
    instrument = place.position.instrument_id
    rules = master.rules[instrument]
    for number, trip in trips.items():
        ended = number < place.position.round_trip or not place.position.is_open
        if ended and trip.left:
            yield f"round trip {number} ended and leaves {plain(trip.left)}"
        if not trip.was_sold or trip.ended_at is None:
            continue
        until = trip.ended_at
        known = [s for s in master.signals.get(instrument, ()) if s.created_at <= until]
        steps = _steps(known, trip, [close for close in place.closes if close.created_at <= until])
        kept = rules.floor_fraction(obligations.target(steps))
        worth = Money(kept.value * trip.last.price * MOVED)
        if kept and kept >= rules.quantity_min and worth >= rules.notional_min:
            yield f"everything was sold by execution {trip.last.pk}, the master's share would have kept {kept}"


def _trips(place: _Place) -> dict[int, _Trip]:
    """By their numbers, which booking gave under the position's lock: instants are no order, a clock may be set back."""
    trips: dict[int, _Trip] = defaultdict(_Trip)
    for row in place.executions:
        trip = trips[row.round_trip]
        trip.last, trip.ended_at = row, max(row.booked_at, row.order__created_at)
        trip.left += row.quantity if row.side == Side.BUY else -row.quantity
        if row.side == Side.BUY:
            sequence = row.order__signal__sequence or 0
            trip.bought[sequence] = trip.bought.get(sequence, Quantity.zero()) + Quantity(row.quantity)
    for row in place.adjustments:
        trip = trips[row.round_trip]
        trip.adjustments.append(row)
        trip.left += row.managed_after - row.managed_before
    return trips
