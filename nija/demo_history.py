"""The demo's earlier history: the engine's own services run over the last hour and a half, on a clock that is moved.

Exchange and engine share that clock, which ends at the real one. Nothing else may trade meanwhile: `up --demo` runs this at
its first start, in a process that may open keys, before beat.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import requests

from accounts.models import User
from accounts.services import risk
from copytrade.models import CopyOrder, CopyStatus
from copytrade.services import entries, exits, fan_out
from nija import demo
from trading.domain import order_state
from trading.domain.instrument import Side
from trading.models import Execution, Order, OrderKind, Position, Role, Signal, SignalKind
from trading.services import (
    balances,
    booking,
    cycles,
    equity,
    fees,
    intake,
    levels,
    manual_orders,
    market,
    outside,
    reconciliation,
    sending,
    signals,
)
from trading.services.clock import SYSTEM, Clock
from trading.services.master_orders import MasterOrderRefused

logger = logging.getLogger(__name__)

#: The strategy is left to itself until shortly before the end; then the master sells by hand what is still open, so that
#: every pair is free for the strategy when the demo begins to live.
CLOSING = timedelta(minutes=5)
#: Looked at less often than when it is live: a position is watched, an idle market is waited through.
STEP_HOLDING_S = 45.0
STEP_IDLE_S = 120.0
CYCLE_EVERY = timedelta(seconds=100)
#: The exchange's clock is measured in samples that move ours; the end must not lie in the future.
MEASURING = timedelta(seconds=3)
TELL_EVERY = timedelta(minutes=20)
SETTLE_ROUNDS_MAX = 60
STEPS_MAX = 1_000
EXCHANGE_TIMEOUT_S = 20


class HistoryFailed(Exception):
    """The history ends early; the text is a sentence. What it has written stays, and is true."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """`wall_s` is what the history may take: it leaves out steps rather than take longer. `starts_after_s` is how long
    after it everything trades."""

    past: timedelta = timedelta(minutes=90)
    wall_s: float = 9.0
    starts_after_s: float = 4.0


class MovedClock:
    """Stands still until moved; nonces rise by at least a nanosecond a call and stay below the clock's next second."""

    def __init__(self, start: datetime) -> None:
        self._now = start
        self._ns = 0

    def now(self) -> datetime:
        return self._now

    def ns(self) -> int:
        self._ns = max(self._ns + 1, int(self._now.timestamp()) * 1_000_000_000)
        return self._ns

    def shared(self) -> datetime:
        return self._now

    def uptime(self) -> float:
        return self._now.timestamp()

    def move(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True)
class Deed:
    """What a person did so many minutes before the end; None is a moment at which the strategy must look."""

    minutes_ago: float
    do: Callable[[Engine], None] | None = None


def make(
    *,
    paper_url: str,
    passwords: Mapping[str, str],
    say: Callable[[str], None],
    extent: Extent | None = None,
    real: Clock = SYSTEM,
) -> None:
    """Onboard the demo's people in the past and let them trade until now. Raises Refused, RequestException."""
    extent = extent or Extent()
    end = real.now() + timedelta(seconds=extent.wall_s)
    engine = Engine(paper_url=paper_url, clock=MovedClock(end - extent.past))
    pace = Pace(end=end, wall_end_s=time.monotonic() + extent.wall_s)
    try:
        begin = end + timedelta(seconds=extent.starts_after_s)
        engine.tell_exchange("/market/begin", at=int(begin.timestamp()))
        engine.open(passwords)
        _live_through(engine, pace, past=extent.past, say=say)
        engine.finish(at=real.now() - MEASURING)
    finally:
        engine.tell_exchange("/clock", mode="real")


@dataclass
class Pace:
    """How far to move next: longer steps when the machine is slow, but never past a moment that matters."""

    end: datetime
    wall_end_s: float
    deeds: list[Deed] = field(default_factory=lambda: sorted(DEEDS, key=lambda deed: -deed.minutes_ago))
    _cost_s: float = 0.0

    def due(self, now: datetime) -> list[Deed]:
        """Each deed once."""
        due = [deed for deed in self.deeds if self._at(deed) <= now]
        self.deeds = self.deeds[len(due) :]
        return due

    def next_s(self, now: datetime, *, wanted_s: float, took_s: float) -> float:
        """Seconds to move, after a step that took `took_s` of wall time; 0 at the end."""
        left_s = (self.end - now).total_seconds()
        self._cost_s = took_s if not self._cost_s else (self._cost_s + took_s) / 2
        wall_left_s = max(0.001, self.wall_end_s - time.monotonic())
        step_s = max(wanted_s, left_s * self._cost_s / wall_left_s)
        if self.deeds:
            step_s = min(step_s, (self._at(self.deeds[0]) - now).total_seconds())
        return max(0.0, min(step_s, left_s))

    def _at(self, deed: Deed) -> datetime:
        return self.end - timedelta(minutes=deed.minutes_ago)


def _live_through(engine: Engine, pace: Pace, *, past: timedelta, say: Callable[[str], None]) -> None:
    """Step by step until shortly before the end. Raises HistoryFailed."""
    first = told = engine.clock.now()
    for _ in range(STEPS_MAX):
        began_s, now = time.monotonic(), engine.clock.now()
        if now - told >= TELL_EVERY:
            told = now
            say(f"making the demo's history: {(now - first) // _MINUTE} of {past // _MINUTE} minutes")
        for deed in pace.due(now):
            if deed.do is not None:
                deed.do(engine)
        engine.step(trading=pace.end - now > CLOSING)
        wanted_s = STEP_HOLDING_S if engine.holds() else STEP_IDLE_S
        step_s = pace.next_s(engine.clock.now(), wanted_s=wanted_s, took_s=time.monotonic() - began_s)
        if pace.end - engine.clock.now() <= timedelta(seconds=step_s + STEP_HOLDING_S):
            return
        engine.move(step_s)
    raise HistoryFailed("The demo's history did not reach the present.")


@dataclass
class Engine:
    """Every service of the running system in one thread, with a clock that exchange and engine share."""

    paper_url: str
    clock: MovedClock
    http: requests.Session = field(default_factory=requests.Session)
    cycle_at: datetime | None = None

    def __post_init__(self) -> None:
        # A proxy of the user's is for the outside world.
        self.http.trust_env = False

    def tell_exchange(self, path: str, **body: Any) -> None:
        answer = self.http.post(f"{self.paper_url}/paper{path}", json=body, timeout=EXCHANGE_TIMEOUT_S)
        answer.raise_for_status()

    def move(self, seconds: float) -> None:
        """Both clocks."""
        self.clock.move(seconds)
        self.tell_exchange("/clock", mode="manual", now=self.clock.now().timestamp())

    def open(self, passwords: Mapping[str, str]) -> None:
        """The exchange's own data, then the people with their keys, balances and fees."""
        self.move(0)
        market.refresh_instruments(clock=self.clock)
        market.measure_venue_clock(clock=self.clock, sleep=self.move)
        demo.onboard(passwords, paper_url=self.paper_url, clock=self.clock, pause=self._check_keys)
        balances.refresh_due(clock=self.clock)
        fees.refresh_due(clock=self.clock)
        self.settle()

    def step(self, *, trading: bool) -> None:
        """What the timetable would have run since the step before. Without `trading` the master leaves his positions."""
        market.measure_venue_clock(clock=self.clock, sleep=self.move)
        balances.refresh_due(clock=self.clock)
        now = self.clock.now()
        if trading and (self.cycle_at is None or now - self.cycle_at >= CYCLE_EVERY):
            self.cycle_at = now
            cycles.run_due_cycle(clock=self.clock)
        else:
            market.refresh_prices(clock=self.clock)
        levels.watch(clock=self.clock)
        if not trading:
            self.sell_all()
        self.settle()
        equity.record(clock=self.clock)

    def settle(self) -> None:
        """Seconds pass until every order is final and every signal copied. Raises HistoryFailed."""
        for _ in range(SETTLE_ROUNDS_MAX):
            if not _is_unsettled():
                return
            # Before anything is sent: what fills in the very instant of a reading may be in the balances already.
            self.move(1.0)
            self._round()
        raise HistoryFailed("The demo's history did not come to rest.")

    def buy(self, symbol: str, *, usd: str) -> None:
        self._by_hand(symbol, side=Side.BUY, amounts={"notional": usd})

    def sell(self, symbol: str) -> None:
        if Position.objects.filter(account__role=Role.MASTER, instrument__symbol=symbol, is_open=True).exists():
            self._by_hand(symbol, side=Side.SELL, amounts={"fraction": "1"})

    def holds(self) -> bool:
        return Position.objects.filter(account__role=Role.MASTER, is_open=True).exists()

    def sell_all(self) -> None:
        held = Position.objects.filter(account__role=Role.MASTER, is_open=True)
        for symbol in list(held.values_list("instrument__symbol", flat=True)):
            self.sell(symbol)

    def finish(self, *, at: datetime) -> None:
        """The last point of the curves, at the present. Raises HistoryFailed."""
        self.move(max(0.0, (at - self.clock.now()).total_seconds()))
        self.step(trading=False)
        # Otherwise his account would look unread since the history's beginning, and raise an alert.
        outside.look(clock=self.clock)
        if Position.objects.filter(is_open=True).exists():
            logger.warning("the demo's history ends with open positions")

    def _by_hand(self, symbol: str, *, side: Side, amounts: Mapping[str, str]) -> None:
        market.measure_venue_clock(clock=self.clock, sleep=self.move)
        market.refresh_prices(clock=self.clock)
        balances.refresh_due(clock=self.clock)
        try:
            manual_orders.plan_from_text(symbol=symbol, side=side, amounts=amounts, reason="By hand", clock=self.clock)
        except MasterOrderRefused as refusal:
            logger.warning("%s %s by hand: %s", side.value, symbol, refusal.sentence)

    def _check_keys(self, _seconds: float) -> None:
        intake.check_all_pending(clock=self.clock)

    def _round(self) -> None:
        """Everything the workers do in one second."""
        signals.emit_due(clock=self.clock)
        fan_out.claim_signals(clock=self.clock)
        exits.plan_due(clock=self.clock)
        sending.send_ready(OrderKind.EXIT, clock=self.clock)
        sending.send_ready(OrderKind.ENTRY, clock=self.clock)
        entries.execute(_pending_entries(), clock=self.clock)
        reconciliation.resolve_due(clock=self.clock)
        booking.book_due(clock=self.clock)


def _pending_entries() -> list[int]:
    waiting = CopyOrder.objects.filter(kind=SignalKind.ENTRY, status=CopyStatus.PENDING)
    return list(waiting.values_list("pk", flat=True))


def _is_unsettled() -> bool:
    return (
        Order.objects.filter(state__in=order_state.LIVE - {order_state.OrderState.MANUAL}).exists()
        or Execution.objects.filter(account__role=Role.MASTER, signal__isnull=True).exists()
        or Signal.objects.filter(fan_out__isnull=True).exists()
        or CopyOrder.objects.filter(status=CopyStatus.PENDING).exists()
    )


def _set(email: str, **changes: Any) -> Callable[[Engine], None]:
    def deed(_engine: Engine) -> None:
        risk.change(User.objects.get(email=email), changes)

    return deed


def _buy(symbol: str, usd: str) -> Callable[[Engine], None]:
    return lambda engine: engine.buy(symbol, usd=usd)


def _sell(symbol: str) -> Callable[[Engine], None]:
    return lambda engine: engine.sell(symbol)


_MINUTE = timedelta(minutes=1)
#: When the demo's market rises or bursts, whatever the second it began at, and what people did besides. Copies are reduced
#: by a cap, skipped for a denied symbol, and skipped because the account is too small for the pair.
DEEDS: Sequence[Deed] = (
    Deed(86.0, _buy("ETH-USD", "15")),
    Deed(78.0, _sell("ETH-USD")),
    Deed(76.0, _set("ben@nija.example", denied_symbols=["SOL-USD"])),
    Deed(75.0, _buy("SOL-USD", "12")),
    Deed(70.0, _sell("SOL-USD")),
    *(Deed(at) for at in (64.0, 62.0, 56.6, 55.6)),
    Deed(52.5, _set("ben@nija.example", denied_symbols=[])),
    *(Deed(at) for at in (48.4, 46.4, 44.4, 37.2, 36.5, 35.9)),
    Deed(30.0, _buy("BEAM-USD", "4")),
    Deed(26.0, _sell("BEAM-USD")),
    *(Deed(at) for at in (20.2, 18.2, 5.0)),
)
