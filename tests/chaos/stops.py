"""Stops at random instants of a trade: what had left is counted and resolved, nothing leaves afterwards, exits flow."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.db import connection
from django.db.models import Max, Min, QuerySet

from copytrade.models import FanOut
from tests.chaos import acts, ledger
from tests.chaos.acts import Failed
from tests.chaos.instants import Instants, Marks, Since
from tests.chaos.stage import Stage
from trading.domain import order_state
from trading.domain.order_state import OrderState
from trading.models import Account, Order, OrderKind, OrderOrigin, Role
from trading.services import halts
from trading.services.clock import SYSTEM
from trading.services.master_orders import MasterOrderRefused

FOLLOWERS = 12
#: What a stop counted as sent is final within this.
RESOLVED_MAX_S = 30.0
#: So long the exchange holds back an order at most, which makes the time in which orders are on their way longer.
LATENCY_MAX_S = 0.5
#: Every so many rounds an answer is lost, or an order with its answer; the latter takes its proof some twenty seconds.
ANSWER_LOST_EVERY, ORDER_LOST_EVERY = 6, 17
#: Fewer stops are timed by one trade.
MEASURED_FROM = 10
LOOK_S = 0.005
HAPPENS_MAX_S = 10.0


class Where(StrEnum):
    """How far the entry had come when the stop held its row."""

    UNSENT = "before the master's order was sent"
    SENT = "before the fan-out"
    FANNED_OUT = "fanned out, no copy claimed"
    CLAIMED = "copies claimed, not all written"
    WRITTEN = "copies sent, not all final"
    OVER = "all copies final"


@dataclass
class Stop:
    where: Where | None = None
    counted: int = 0
    resolved_s: float | None = None
    flat_s: float | None = None
    problems: list[str] = field(default_factory=list)
    #: It did not come right again, so that nothing later can be judged.
    hopeless: bool = False


@dataclass
class Report:
    wanted: int
    stops: list[Stop] = field(default_factory=list)
    took_s: float = 0.0

    @property
    def wrong(self) -> int:
        return sum(bool(stop.problems) for stop in self.stops)

    @property
    def good(self) -> bool:
        return not self.wrong and len(self.stops) == self.wanted

    @property
    def told(self) -> list[str]:
        """Every problem, in a line."""
        return [f"stop {n}: {problem}" for n, stop in enumerate(self.stops, start=1) for problem in stop.problems]

    def table(self) -> str:
        head = f"{'the stop struck':<36}{'stops':>6}{'counted':>9}{'resolved s':>12}{'flat s':>8}{'wrong':>7}"
        return "\n".join([head, *map(self._row, Where)])

    def summary(self) -> str:
        resolved = [stop.resolved_s for stop in self.stops if stop.resolved_s is not None]
        flat = [stop.flat_s for stop in self.stops if stop.flat_s is not None]
        return (
            f"stops: {len(self.stops)} stops at random instants, {sum(stop.counted for stop in self.stops)} entries already sent and "
            f"counted, the last of them final {max(resolved, default=0.0):.1f} s after its stop, exits flowed under {len(flat)} stops, "
            f"slowest {max(flat, default=0.0):.1f} s, {self.wrong} stops with a problem, {self.took_s:.0f} s"
        )

    def _row(self, where: Where) -> str:
        mine = [stop for stop in self.stops if stop.where is where]
        resolved = _slowest([stop.resolved_s for stop in mine])
        flat, counted = _slowest([stop.flat_s for stop in mine]), sum(stop.counted for stop in mine)
        wrong = sum(bool(stop.problems) for stop in mine)
        bar = "#" * len(mine)
        return f"{where:<36}{len(mine):>6}{counted:>9}{resolved:>12}{flat:>8}{wrong:>7}  {bar}".rstrip()


def _slowest(times: Sequence[float | None]) -> str:
    known = [seconds for seconds in times if seconds is not None]
    return f"{max(known):.1f}" if known else "-"


def run(stage: Stage, *, count: int, seed: int, followers: int = FOLLOWERS, say: Callable[[str], None]) -> Report:
    stage.stack.wait_ready()
    stage.gather(followers)
    report, began, instants = Report(count), time.monotonic(), Instants(random.Random(seed))
    # Where time goes is measured before the first instant is drawn.
    for _ in range(1 if count < MEASURED_FROM else 2):
        instants.note(_undisturbed(stage))
    for number in range(1, count + 1):
        report.stops.append(Round(stage, instants, number=number).run())
        last = report.stops[-1]
        told = " | ".join([str(last.where), f"counted {last.counted}", *last.problems])
        say(f"stop {number}/{count} after {time.monotonic() - began:.0f} s: {told}")
        if last.hopeless:
            break
    report.took_s = time.monotonic() - began
    return report


class Round:
    """The master buys, everybody is stopped at an instant, the master sells while the stop stands."""

    def __init__(self, stage: Stage, instants: Instants, *, number: int) -> None:
        self._stage, self._instants, self._number = stage, instants, number
        self._rng = instants.rng
        self._ledger = ledger.Ledger(stage)
        self._stop = Stop()

    def run(self) -> Stop:
        try:
            self._strike()
            self._stop.problems += self._ledger.contradictions()
        except Exception as error:
            # A mistake of the test's own must not cost the stops before it.
            self._stop.problems.append(str(error) if isinstance(error, Failed) else f"{type(error).__name__}: {error}")
            self._recover()
        return self._stop

    def _strike(self) -> None:
        self._spoil()
        since, delay_s = self._instants.draw()
        order = acts.buy()
        _await(since, order)
        time.sleep(delay_s)
        with _witness(order) as sight:
            report = halts.stop_platform(actor="crash test", reason="Crash test", clock=SYSTEM)
        committed_at = time.time()
        self._stop.counted = report.already_sent
        entries = _entries(order)
        acts.until(lambda: not entries.filter(state__in=order_state.LIVE).exists(), "entries that had left stay open")
        acts.converge(self._ledger.unsettled)
        self._stage.heal()
        self._exit()
        asked = self._entries_asked(order)
        self._stop.where = _where(sight, asked, order)
        self._stop.problems += sight.contradicted(report) + self._after(sight, asked, committed_at=committed_at)
        self._stop.problems += self._misjudged(entries)
        halts.resume_platform(actor="crash test", clock=SYSTEM)
        self._instants.note(_marks(order))

    def _spoil(self) -> None:
        """Orders are held back for different times; now and then one, or its answer, is lost."""
        lost = {}
        if self._number % ANSWER_LOST_EVERY == 0:
            lost[self._rng.choice(self._stage.followers).email] = "drop_after"
        elif self._number % ORDER_LOST_EVERY == 0:
            lost[self._rng.choice(self._stage.followers).email] = "drop_before"
        for person in self._stage.followers:
            if person.email in lost or self._rng.random() < 0.5:
                kind = lost.get(person.email, "delay")
                self._stage.spoil(person, kind, delay_s=self._rng.uniform(0, LATENCY_MAX_S))

    def _entries_asked(self, order: Order) -> list[Any]:
        """The requests since the master's order that the exchange received, but for those of exits."""
        exits = _names(Order.objects.filter(kind=OrderKind.EXIT, pk__gt=order.pk))
        asked = self._stage.orders_asked(since=order.created_at.timestamp())
        return [row for row in asked if row["cl_ord_id"] not in exits]

    def _after(self, sight: Sight, asked: Sequence[Any], *, committed_at: float) -> list[str]:
        """What was sent against the stop, and what of that which it counted came to rest too late."""
        found = []
        for row in asked:
            if row["cl_ord_id"] not in sight.sent:
                found.append(f"the exchange received entry {row['cl_ord_id']}, which was not in SENDING at the stop")
            if row["received_at"] > committed_at and row["cl_ord_id"] not in sight.outstanding:
                found.append(f"the exchange received entry {row['cl_ord_id']} after the stop, which it did not count")
        sent = {str(entry.client_order_id): entry for entry in _entries(sight.order).filter(sent_at__isnull=False)}
        if extra := sent.keys() - sight.sent:
            found.append(f"{len(extra)} entries entered SENDING after the stop")
        counted = [sent[name] for name in sight.outstanding if name in sent]
        times = [entry.closed_at.timestamp() - committed_at for entry in counted if entry.closed_at is not None]
        if times:
            self._stop.resolved_s = max(0.0, *times)
        if len(times) < len(counted) or max(times, default=0.0) > RESOLVED_MAX_S:
            found.append(f"an entry that had left was not final {RESOLVED_MAX_S:.0f} s after the stop")
        return found

    def _misjudged(self, entries: QuerySet[Order]) -> list[str]:
        accounts = {person.email: self._stage.account(person) for person in self._stage.people}
        sent = entries.filter(sent_at__isnull=False).select_related("account__user")
        return [problem for entry in sent for problem in ledger.misjudged(entry, accounts[entry.account.user.email])]

    def _exit(self) -> None:
        """Everybody is sold out while the stop stands, and the master may not buy."""
        try:
            acts.plan_entry()
            self._stop.problems.append("an entry was taken though everybody is stopped")
        except MasterOrderRefused:
            pass
        if ledger.managed(self._stage.master):
            began = time.monotonic()
            acts.sell("1")
            acts.converge(self._ledger.unsettled)
            self._stop.flat_s = time.monotonic() - began
        held = [person.email for person in self._stage.people if ledger.managed(person)]
        if held or halts.control().stopped_at is None:
            self._stop.problems.append(
                f"under the stop these were not sold out: {', '.join(held) or 'the stop is gone'}"
            )

    def _recover(self) -> None:
        """So that one failure does not make every later round fail."""
        self._stage.heal()
        halts.resume_platform(actor="crash test", clock=SYSTEM)
        try:
            acts.converge(self._ledger.unsettled)
            if ledger.managed(self._stage.master):
                acts.sell("1")
                acts.converge(self._ledger.unsettled)
        except Failed as failure:
            self._stop.problems.append(f"and not healed: {failure}")
            self._stop.hopeless = True


@dataclass
class Sight:
    """What stood in the database while the stop held its row, client order ids: nothing can enter SENDING meanwhile."""

    order: Order
    at: float = 0.0
    sent: frozenset[str] = frozenset()
    outstanding: frozenset[str] = frozenset()
    still_outstanding: frozenset[str] = frozenset()
    fanned_out: bool = False
    locked: bool = False

    def contradicted(self, report: halts.StopReport) -> list[str]:
        """Orders may become final while the stop counts, so what it counted lies between the looks before and after."""
        if not self.locked:
            return ["the stop counted outside its transaction, when it excluded nothing"]
        most, least = len(self.outstanding), len(self.still_outstanding)
        right = least <= report.already_sent <= most
        return (
            [] if right else [f"{report.already_sent} entries counted, {least} to {most} had left and were not final"]
        )


@contextmanager
def _witness(order: Order) -> Iterator[Sight]:
    """Looks from within the stop's own transaction, just before and just after it counts."""
    sight, count = Sight(order), halts._report

    def seen(accounts: QuerySet[Account]) -> halts.StopReport:
        entries = _entries(order)
        sight.at, sight.locked = time.time(), connection.in_atomic_block
        sight.sent = _names(entries.filter(sent_at__isnull=False))
        sight.fanned_out = FanOut.objects.filter(signal__order=order).exists()
        sight.outstanding = _names(entries.filter(state__in=order_state.OUTSTANDING))
        report = count(accounts)
        sight.still_outstanding = _names(entries.filter(state__in=order_state.OUTSTANDING))
        return report

    halts._report = seen
    try:
        yield sight
    finally:
        halts._report = count


def _await(since: Since, order: Order) -> None:
    """Returns when it is seen in the database, or will not come about any more."""
    seen: dict[Since, Callable[[], bool]] = {
        Since.ORDERED: lambda: True,
        Since.FANNED_OUT: FanOut.objects.filter(signal__order=order).exists,
        Since.CLAIMED: _copies(order).filter(sent_at__isnull=False).exists,
    }
    end = time.monotonic() + HAPPENS_MAX_S
    while not seen[since]() and time.monotonic() < end:
        time.sleep(LOOK_S)


def _copies(order: Order) -> QuerySet[Order]:
    return _entries(order).filter(account__role=Role.FOLLOWER)


def _entries(order: Order) -> QuerySet[Order]:
    """The master's entry and its copies, and any other entry made since."""
    return Order.objects.filter(kind=OrderKind.ENTRY, pk__gte=order.pk).exclude(origin=OrderOrigin.OUTSIDE)


def _names(orders: QuerySet[Order]) -> frozenset[str]:
    return frozenset(map(str, orders.values_list("client_order_id", flat=True)))


def _where(sight: Sight, asked: Sequence[Any], order: Order) -> Where:
    if str(order.client_order_id) not in sight.sent:
        return Where.UNSENT
    copies = sight.sent - {str(order.client_order_id)}
    if not copies:
        return Where.FANNED_OUT if sight.fanned_out else Where.SENT
    received = {row["cl_ord_id"] for row in asked if row["received_at"] <= sight.at}
    under_way = copies & sight.outstanding
    if under_way - received:
        return Where.CLAIMED
    return Where.WRITTEN if under_way else Where.OVER


def _undisturbed(stage: Stage) -> Marks | None:
    book = ledger.Ledger(stage)
    order = acts.buy()
    acts.converge(book.unsettled)
    acts.sell("1")
    acts.converge(book.unsettled)
    return _marks(order)


def _marks(order: Order) -> Marks | None:
    """None when it did not come to copies that were answered and final."""
    order.refresh_from_db()
    fan_out = FanOut.objects.filter(signal__order=order).first()
    copies = _copies(order).filter(state=OrderState.FILLED, unknown_at__isnull=True)
    times = copies.aggregate(claimed=Min("sent_at"), answered=Max("answered_at"), closed=Max("closed_at"))
    if order.sent_at is None or fan_out is None or None in times.values():
        return None

    def since(instant: datetime) -> float:
        return (instant - order.created_at).total_seconds()

    return Marks(since(order.sent_at), since(fan_out.claimed_at), **{name: since(at) for name, at in times.items()})
