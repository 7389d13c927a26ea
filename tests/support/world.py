"""The engine's own services driven step by step against a paper exchange over real HTTP: what the workers do, in one thread.

One clock is injected into exchange and engine. `exchange` is asked what it holds; rows of ours prove nothing alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import requests
from django.conf import LazySettings
from django.db.models import Exists, OuterRef

from accounts.models import User
from copytrade.models import CopyOrder, CopyStatus
from copytrade.services import entries, exits, fan_out
from trading.domain import order_state
from trading.domain.order_state import OrderState
from trading.models import Account, Instrument, MarketPrice, Order, OrderKind, OrderOrigin, Position
from trading.services import (
    balances,
    booking,
    fees,
    intake,
    levels,
    manual_orders,
    market,
    master_orders,
    outside,
    reconciliation,
    sending,
    signals,
)

ROUNDS_MAX = 40
#: An outcome that nobody knows takes half a minute, an exit that fails again and again waits up to as long each time.
ROUNDS_WITH_FAULTS_MAX = 240
#: What is known of the exchange's clock is good for 60 s.
ROUNDS_PER_MEASUREMENT = 20
#: Warm connections to the control pages of every exchange that a test process starts.
_control = requests.Session()
_control.trust_env = False


class StepClock:
    """Stands still until moved; nonces rise by a nanosecond per call."""

    def __init__(self, start: datetime) -> None:
        self._now = start
        self._calls = 0
        self._up_s = 0.0

    def now(self) -> datetime:
        return self._now

    def ns(self) -> int:
        self._calls += 1
        return int(self._now.timestamp()) * 1_000_000_000 + self._calls

    def shared(self) -> datetime:
        return self._now

    def uptime(self) -> float:
        return self._up_s

    def move(self, seconds: float) -> None:
        self._up_s += seconds
        self.be_set(seconds)

    def be_set(self, seconds: float) -> None:
        """As when somebody sets it: no time passes."""
        self._now += timedelta(seconds=seconds)


@dataclass
class Trader:
    """One NIJA account and the exchange's own account behind it."""

    account: Account
    paper_id: str
    api_key: str


@dataclass
class World:
    url: str
    settings: LazySettings
    clock: StepClock = field(default_factory=lambda: StepClock(datetime.now(UTC)))
    #: Our clock, before the exchange's.
    ahead: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        self.settings.KRAKEN_API_URL = self.settings.VENUE = self.url
        self.settings.VENUE_IS_LOCAL = self.settings.ORDERS_ALLOWED = True
        self.move(0)
        market.refresh_instruments(clock=self.clock)
        market.measure_venue_clock(clock=self.clock, sleep=self.move)

    def paper(self, method: str, path: str, **body: Any) -> Any:
        answer = _control.request(method, f"{self.url}/paper{path}", json=body or None, timeout=20)
        answer.raise_for_status()
        return answer.json()

    def move(self, seconds: float) -> None:
        """Both clocks, ours and the exchange's."""
        self.clock.move(seconds)
        self.paper("POST", "/clock", mode="manual", now=(self.clock.now() - self.ahead).timestamp())

    def set_our_clock(self, *, ahead_s: float) -> None:
        """As when somebody sets it; the exchange's goes on."""
        ahead = timedelta(seconds=ahead_s)
        self.clock.be_set((ahead - self.ahead).total_seconds())
        self.ahead = ahead

    def close_candle(self, *, after_s: float) -> None:
        """The next candle of a replay closes, so long after now by both clocks."""
        self.clock.move(after_s)
        self.paper("POST", "/market/advance", candles=1, now=self.clock.now().timestamp())

    def join(
        self, email: str, *, usd: str, role: str = "follower", besides: Mapping[str, str] | None = None, **risk: Any
    ) -> Trader:
        """Sign up, connect the key through the real check, read balance and fees. `besides`: coins of its own."""
        created = self.paper("POST", "/accounts", label=email, balances={"ZUSD": usd, **(besides or {})})
        user = User.objects.create_user(email=email, password="a long enough password")
        for name, value in risk.items():
            setattr(user.risk, name, value)
        user.risk.save()
        credential = intake.submit(
            user, api_key=created["api_key"], api_secret=created["api_secret"], clock=self.clock, role=role
        )
        intake.check_pending(credential.pk, clock=self.clock)
        account = Account.objects.get(user=user)
        balances.refresh_due(clock=self.clock)
        fees.refresh_due(clock=self.clock)
        return Trader(account=account, paper_id=created["account"], api_key=created["api_key"])

    def at_exchange(self, trader: Trader) -> Any:
        """Balances, orders and trades as the exchange holds them."""
        return self.paper("GET", f"/accounts/{trader.paper_id}")

    def holding(self, trader: Trader, asset: str) -> Decimal:
        return Decimal(self.at_exchange(trader)["balances"].get(asset, "0"))

    def pin(self, pair: str, *, bid: str, ask: str) -> None:
        self.paper("POST", "/market/pin", pair=pair, bid=bid, ask=ask)
        self.prices()

    def prices(self) -> None:
        market.refresh_prices(clock=self.clock)

    def instrument(self, symbol: str) -> Instrument:
        return Instrument.objects.get(venue=self.url, symbol=symbol)

    def bid(self, symbol: str) -> Decimal:
        return MarketPrice.objects.get(instrument__symbol=symbol, instrument__venue=self.url).bid

    def master_buys(self, symbol: str, *, quantity: str | None = None, notional: str | None = None) -> Order:
        amount = manual_orders.entry_amount(quantity=quantity, notional=notional)
        self.refresh()
        return master_orders.plan_entry(
            instrument=self.instrument(symbol),
            amount=amount,
            origin=OrderOrigin.MANUAL,
            reason="By hand",
            clock=self.clock,
        )

    def master_sells(self, symbol: str, *, fraction: str = "1") -> Order:
        return master_orders.plan_exit(
            instrument=self.instrument(symbol),
            fraction=manual_orders.exit_fraction(fraction),
            origin=OrderOrigin.MANUAL,
            reason="By hand",
            clock=self.clock,
        )

    def refresh(self) -> None:
        self.prices()
        market.measure_venue_clock(clock=self.clock, sleep=self.move)
        balances.refresh_due(clock=self.clock)

    def round(self) -> int:
        """Everything the workers would do in one second; how much was done."""
        return sum(
            (
                signals.emit_due(clock=self.clock),
                fan_out.claim_signals(clock=self.clock),
                exits.plan_due(clock=self.clock),
                exits.look_again(clock=self.clock),
                sending.send_ready(OrderKind.EXIT, clock=self.clock),
                sending.send_ready(OrderKind.ENTRY, clock=self.clock),
                self._entries(),
                reconciliation.resolve_due(clock=self.clock),
                self.book(),
                outside.look(clock=self.clock),
            )
        )

    def send(self, kind: OrderKind) -> int:
        """Send what is READY, and book what Kraken took as its bells ask; how many were sent."""
        sent = sending.send_ready(kind, clock=self.clock)
        self.book_answered()
        return sent

    def copy(self, copy_ids: list[int]) -> int:
        """Execute these copies and book what Kraken took; how many were sent."""
        sent = entries.execute(copy_ids, clock=self.clock)
        self.book_answered()
        return sent

    def book_answered(self) -> int:
        """What the bells of sending ask for."""
        unasked = Order.objects.filter(state=OrderState.ACKED, booking_tried_at__isnull=True)
        return booking.book_answered(list(unasked.values_list("pk", flat=True)), clock=self.clock)

    def book(self) -> int:
        return self.book_answered() + booking.book_due(clock=self.clock)

    def settle(self, *, step_s: float = 1.0) -> None:
        """Rounds, a second apart, until two in a row find nothing to do."""
        quiet = 0
        for _ in range(ROUNDS_MAX):
            quiet = quiet + 1 if self.round() == 0 else 0
            if quiet == 2:
                return
            self.move(step_s)
        raise AssertionError("the engine did not come to rest")

    def settle_wholly(self) -> None:
        """As `settle`, also through what only time resolves: outcomes nobody knows, exits that wait to be planned again."""
        quiet = 0
        for number in range(1, ROUNDS_WITH_FAULTS_MAX):
            quiet = quiet + 1 if self.round() == 0 and not self.under_way() else 0
            if quiet == 2:
                return
            self.move(1)
            if number % ROUNDS_PER_MEASUREMENT == 0:
                market.measure_venue_clock(clock=self.clock, sleep=self.move)
        raise AssertionError(f"the engine did not come to rest: {self.under_way()}")

    def under_way(self) -> list[str]:
        """What has no outcome yet, row by row."""
        unsold = Position.objects.filter(
            account=OuterRef("account"), instrument=OuterRef("signal__instrument"), is_open=True
        )
        failed = (OrderState.REJECTED, OrderState.NOT_PLACED)
        orders = Order.objects.filter(state__in=order_state.LIVE - {OrderState.MANUAL})
        return [
            *(f"order {order.pk} is {order.state}" for order in orders.exclude(origin=OrderOrigin.OUTSIDE)),
            *(f"copy {copy.pk} waits" for copy in CopyOrder.objects.filter(status=CopyStatus.PENDING)),
            *(
                f"exit copy {copy.pk} is to be planned again"
                for copy in CopyOrder.objects.filter(Exists(unsold), kind="exit", order__state__in=failed)
            ),
        ]

    def watch_levels(self) -> int:
        return len(levels.watch(clock=self.clock))

    def managed(self, trader: Trader, symbol: str) -> Decimal:
        position = Position.objects.filter(account=trader.account, instrument__symbol=symbol).first()
        return position.managed if position is not None else Decimal(0)

    def _entries(self) -> int:
        waiting = CopyOrder.objects.filter(kind="entry", status=CopyStatus.PENDING).values_list("pk", flat=True)
        return entries.execute(list(waiting), clock=self.clock)
