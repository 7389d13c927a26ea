"""One order of the master and all its copies: placed, waited for, and told from both sides."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from django.db import connection
from django.db.models import Q

from copytrade.models import CopyOrder, CopyStatus, FanOut
from tests.benchmarks import null_books
from tests.benchmarks.processes import Usage
from tests.benchmarks.stage import Stage
from trading.domain import order_state
from trading.domain.money import Money
from trading.domain.order_state import OrderState
from trading.models import (
    Adjustment,
    Event,
    EventKind,
    Order,
    OrderOrigin,
    Position,
    Role,
    Signal,
    SignalKind,
)
from trading.services import master_orders
from trading.services.clock import SYSTEM
from trading.services.master_orders import MasterOrderRefused

#: Of the master's cash at the beginning; small enough for four purchases.
MASTER_NOTIONAL = Money(Decimal(50_000))
POLL_S = 0.1
#: How Kraken, too, answers the cancelling of what has filled.
TOO_LATE = "refused: EOrder:Unknown order"
#: Alerts that say no more than how long it takes.
LATE = Q(subject__startswith="order:", subject__endswith=":open") | Q(subject__regex="^(exit|queue):")
#: The tasks of a batch end a little after its last booking.
TASKS_END_AFTER_S = 1.0
#: `committed` as SENDING, `written` and `answered` at the exchange, `acknowledged` here, `booked` once that was committed.
INSTANTS = ("committed", "written", "answered", "acknowledged", "booked")


class Unfinished(Exception):
    """The master's own order came to nothing or did not end; the text is a sentence."""


@dataclass
class Trip:
    """What became of one signal. Instants are seconds after the master's fill was booked, one for each copy."""

    name: str
    signal: Signal
    filled_at: float
    followers: int = 0
    fanned_out_s: float = 0.0
    seconds: dict[str, list[float]] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    missed: int = 0
    finished: bool = False
    began_at: float = 0.0
    ended_at: float = 0.0
    before: dict[str, Usage] = field(default_factory=dict)
    after: dict[str, Usage] = field(default_factory=dict)

    def first(self, instant: str) -> float:
        return min(self.seconds.get(instant) or [float("nan")])

    def last(self, instant: str) -> float:
        """Infinite while a copy has not come there, so that no target is met by waiting for less."""
        known = self.seconds.get(instant, [])
        return max(known) if known and len(known) == self.followers else float("inf")

    def quantile(self, instant: str, share: float) -> float:
        """The value that so large a share does not exceed."""
        known = sorted(self.seconds.get(instant, []))
        return known[max(0, -(-int(share * len(known) * 1000) // 1000) - 1)] if known else float("nan")


def place(symbol: str, side: str, *, fraction: Fraction = Fraction(1)) -> Order:
    """An order of the master by hand; `fraction` of what is held is sold. Raises Unfinished."""
    instrument = master_orders.find_instrument(symbol)
    asked: dict[str, Any] = {"origin": OrderOrigin.MANUAL, "reason": "Benchmark", "clock": SYSTEM}
    try:
        if side == "buy":
            return master_orders.plan_entry(instrument=instrument, amount=MASTER_NOTIONAL, **asked)
        return master_orders.plan_exit(instrument=instrument, fraction=fraction, **asked)
    except MasterOrderRefused as refusal:
        raise Unfinished(f"the master cannot {side} {symbol}: {refusal.sentence}") from None


def run(stage: Stage, name: str, symbol: str, side: str, *, wait_s: float, fraction: Fraction = Fraction(1)) -> Trip:
    """The master trades; returns when every copy is booked, or after `wait_s` seconds."""
    before, began_at = stage.usages(with_memory=False), time.time()
    order = place(symbol, side, fraction=fraction)
    trip = signalled(order, name, wait_s=wait_s)
    trip.before, trip.began_at = before, began_at
    finish(stage, trip, wait_s=wait_s)
    trip.after = stage.usages()
    return trip


def signalled(order: Order, name: str, *, wait_s: float) -> Trip:
    """The trip of `order` once it is filled and told. Raises Unfinished."""
    end = time.monotonic() + wait_s
    while time.monotonic() < end:
        signal = Signal.objects.filter(order=order).first()
        if signal is not None:
            return Trip(name, signal, _committed_at([order.pk])[order.pk])
        time.sleep(POLL_S / 5)
    order.refresh_from_db()
    raise Unfinished(f"{name}: the master's order is {order.state} after {wait_s:.0f} s. {order.refusal}")


def finish(stage: Stage, trip: Trip, *, wait_s: float) -> None:
    """Waits until every copy has come to its end and reads the instants."""
    end = time.monotonic() + wait_s
    pause_s = POLL_S * max(1.0, stage.size / 1000)
    while time.monotonic() < end and not trip.finished:
        # Each look reads all copies: a large trip is not slowed down by being watched.
        time.sleep(pause_s)
        trip.finished = FanOut.objects.filter(signal=trip.signal).exists() and not _open(trip.signal)
    time.sleep(TASKS_END_AFTER_S)
    trip.ended_at = time.time()
    _read(stage, trip)


def _open(signal: Signal) -> bool:
    copies = CopyOrder.objects.filter(signal=signal)
    if copies.filter(status=CopyStatus.PENDING).exists():
        return True
    return copies.filter(status=CopyStatus.ORDERED).exclude(order__state__in=order_state.FINAL).exists()


def _read(stage: Stage, trip: Trip) -> None:
    fan_out = FanOut.objects.filter(signal=trip.signal).first()
    trip.followers = stage.size
    trip.fanned_out_s = fan_out.claimed_at.timestamp() - trip.filled_at if fan_out else float("nan")
    stamps = {stamp.client_order_id: stamp for stamp in stage.exchange.stamps()}
    seconds: dict[str, list[float]] = {name: [] for name in INSTANTS}
    trip.outcomes.clear()
    fields = ("status", "order_id", "order__state", "order__client_order_id", "order__sent_at", "order__answered_at")
    rows = list(CopyOrder.objects.filter(signal=trip.signal).values_list(*fields))
    booked_at = _committed_at([order_id for _, order_id, *_ in rows if order_id is not None])
    for status, order_id, state, client_order_id, sent_at, answered_at in rows:
        trip.outcomes[state or status] += 1
        stamp = stamps.get(str(client_order_id))
        instants = {
            "committed": sent_at.timestamp() if sent_at else None,
            "written": stamp.received_at if stamp else None,
            "answered": stamp.answered_at or None if stamp else None,
            "acknowledged": answered_at.timestamp() if answered_at else None,
            "booked": booked_at.get(order_id),
        }
        for name, at in instants.items():
            if at is not None:
                seconds[name].append(at - trip.filled_at)
    trip.seconds = seconds
    trip.missed = trip.outcomes[CopyStatus.MISSED.value]


def _committed_at(order_ids: Sequence[int]) -> dict[int, float]:
    """When the first execution of each of these orders was committed, unix seconds; absent without one."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT order_id, extract(epoch FROM min(pg_xact_commit_timestamp(xmin))) FROM trading_execution "
            "WHERE order_id = ANY(%s) GROUP BY order_id",
            [list(order_ids)],
        )
        return {order_id: float(at) for order_id, at in cursor.fetchall()}


def wrong(stage: Stage, trips: list[Trip]) -> list[str]:
    """What must not be: refused requests, orders twice, copies without a fill, books that differ from the exchange's."""
    found = refused(stage.exchange.ask("stats")["counts"])
    for trip in trips:
        others = {state: count for state, count in trip.outcomes.items() if state != OrderState.FILLED.value}
        if others:
            found.append(f"{trip.name}: of {trip.followers} copies {dict(others)}")
        if not trip.finished:
            found.append(f"{trip.name}: not finished in the time given")
    found += orders(stage)
    if all(trip.finished for trip in trips):
        found += holdings(stage)
    refusals = Order.objects.exclude(refusal="").values_list("state", "refusal")
    found += [f"{count} orders {state}: {why}" for (state, why), count in Counter(refusals).most_common(3)]
    adjusted = Adjustment.objects.count()
    if adjusted:
        found.append(f"{adjusted} positions were taken for reduced by hand")
    return found + alerts(besides=LATE)


def refused(counts: Mapping[str, int]) -> list[str]:
    """What the exchange counted that should not have come to it."""
    return [f"exchange: {count} {what}" for what, count in sorted(counts.items()) if " " in what and what != TOO_LATE]


def alerts(since: float = 0.0, *, besides: Q | None = None) -> list[str]:
    """Raised after that instant, unix seconds."""
    raised = Event.objects.filter(kind=EventKind.ALERT, at__gte=datetime.fromtimestamp(since, UTC))
    messages = Counter(raised.exclude(besides or Q(pk__in=())).values_list("message", flat=True))
    return [f"alert: {message} ({count} times)" for message, count in messages.most_common(3)]


def told_late() -> int:
    """Sales that were not booked and queues that did not answer after 30 s, of which an operator was told: slow, not wrong."""
    return Event.objects.filter(LATE, kind=EventKind.ALERT).count()


def orders(stage: Stage) -> list[str]:
    """Each order at the exchange has one row, and each row that was acknowledged one order."""
    there = Counter(stamp.client_order_id for stamp in stage.exchange.stamps())
    acknowledged = Order.objects.exclude(venue_order_id="").values_list("client_order_id", flat=True)
    here = {str(client_order_id) for client_order_id in acknowledged}
    twice = sum(count > 1 for count in there.values())
    unknown, absent = len(there.keys() - here), len(here - there.keys())
    found = [f"{twice} client order ids twice at the exchange"] if twice else []
    if unknown or absent:
        found.append(f"{unknown} orders only at the exchange, {absent} acknowledged only here")
    return found


def holdings(stage: Stage) -> list[str]:
    """What is managed is what the exchange holds, and nothing is managed that the master sold."""
    there = stage.exchange.ask("holdings")
    differ = []
    for position in Position.objects.select_related("account", "instrument"):
        base = null_books.PAIRS[position.instrument.altname][0]
        held = Decimal(there.get(str(null_books.index_of(position.account.iban)), {}).get(base, "0"))
        if held != position.managed:
            differ.append(f"account {position.account_id} manages {position.managed} {base}, the exchange holds {held}")
    sold = Position.objects.filter(account__role=Role.FOLLOWER, is_open=True)
    masters = set(
        Position.objects.filter(account__role=Role.MASTER, is_open=True).values_list("instrument_id", flat=True)
    )
    left = sold.exclude(instrument_id__in=masters).count()
    if left:
        differ.append(f"{left} followers still hold what the master sold")
    return differ[:5] + ([f"and {len(differ) - 5} more"] if len(differ) > 5 else [])


def is_entry(trip: Trip) -> bool:
    return trip.signal.kind == SignalKind.ENTRY
