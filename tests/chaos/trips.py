"""One round trip per crash: the master buys, sells half, sells the rest, something dies on the way, and all must come right."""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from accounts.models import RiskSettings
from tests.chaos import acts, ledger
from tests.chaos.acts import WAIT_MAX_S, Failed
from tests.chaos.points import BY_NAME, Phase, Point, Strike
from tests.chaos.stage import PAIR, Person, Stage, control
from tests.support.waiting import WaitingClient
from trading.domain.instrument import Side
from trading.domain.money import Quantity
from trading.domain.order_state import OrderState
from trading.kraken.endpoints import AddOrder, OrderType, PrivateClient
from trading.kraken.signing import Credentials
from trading.models import Order, OrderKind, OrderOrigin
from trading.services import halts, private
from trading.services.clock import SYSTEM
from trading.services.master_orders import MasterOrderRefused

OUTSIDE_QUANTITY = "30000"
ENTRIES_TRIED_MAX = 3
LOT = Decimal("1e-8")
BUSY = "error:EService:Busy"
_numbers = itertools.count(1)


@dataclass
class Outcome:
    """`converged_s`: from the strike, or from when the server was back, until nothing was open or different any more."""

    point: Point
    hit: bool = False
    converged_s: float | None = None
    problems: list[str] = field(default_factory=list)


class Trip:
    def __init__(self, stage: Stage, point: Point) -> None:
        self._stage, self._point = stage, point
        self._outcome = Outcome(point)
        self._struck_at: float | None = None
        self._ledger = ledger.Ledger(stage)

    def run(self) -> Outcome:
        try:
            self._stage.stack.wait_ready()
            self._travel()
            self._outcome.problems += self._ledger.contradictions()
        except Failed as failure:
            self._outcome.problems.append(str(failure))
            self._recover()
        except Exception as error:
            # A mistake of the test's own must not cost the outcomes of the crashes before it.
            self._outcome.problems.append(f"{type(error).__name__}: {error}")
            self._recover()
        return self._outcome

    def _travel(self) -> None:
        phase = self._point.phase
        newcomer = self._newcomer() if phase is Phase.JOIN else None
        if phase is Phase.OUTSIDE:
            self._strike_during(self._buy_outside)
        elif phase is Phase.STOP:
            self._stop()
        elif phase is Phase.BUY:
            self._strike_during(acts.buy)
        else:
            self._buy_for_all()
        if ledger.managed(self._stage.master):
            self._sell_half()
        if ledger.managed(self._stage.master):
            acts.sell("1")
            self._converge()
        if newcomer is not None:
            RiskSettings.objects.filter(user__email=newcomer.email).update(state="off")
            self._stage.followers.remove(newcomer)

    # What people do.

    def _buy_outside(self) -> None:
        """On Kraken's own page, with a key that NIJA does not know."""
        exchange, master = self._stage.exchange, self._stage.master
        key = control(exchange, "POST", f"/accounts/{master.paper_id}/keys", label="by hand")
        credentials = Credentials.from_text(key["api_key"], key["api_secret"])
        client = WaitingClient(PrivateClient(private.transport(), credentials))
        order = AddOrder(
            altname=PAIR,
            side=Side.BUY,
            ordertype=OrderType.MARKET,
            quantity=Quantity(Decimal(OUTSIDE_QUANTITY)),
            price=None,
            timeinforce=None,
            cl_ord_id=str(uuid.uuid4()),
            deadline=None,
        )
        client.add_order(order, nonce=1)

    def _newcomer(self) -> Person:
        self._arm()
        email = f"newcomer-{next(_numbers)}@nija.example"
        # Returns when the running system has taken the key, by whichever of its lives.
        person = self._stage.join(email)
        self._stage.followers.append(person)
        self._await_strike()
        self._converge()
        return person

    # The ways that a trip goes.

    def _buy_for_all(self) -> None:
        """A slow machine may let a copy of an entry miss its time; then there is nothing to sell, and it is bought again."""
        for _ in range(ENTRIES_TRIED_MAX):
            acts.buy()
            self._converge()
            if all(ledger.managed(person) for person in self._stage.followers):
                return
            if ledger.managed(self._stage.master):
                acts.sell("1")
                self._converge()
        raise Failed("no entry was copied to every follower, though nothing had happened yet")

    def _sell_half(self) -> None:
        before = {person.email: ledger.managed(person) for person in self._stage.people}
        whole = before[self._stage.master.email]

        def unshared() -> list[str]:
            left = ledger.managed(self._stage.master) / whole
            wanted = {person: before[person.email] * left for person in self._stage.followers}
            kept = {person: ledger.managed(person) for person in self._stage.followers}
            return [
                f"{person.email} kept {kept[person]} where the master's share leaves {wanted[person]}"
                for person in self._stage.followers
                if abs(wanted[person] - kept[person]) > LOT
            ]

        if self._point.phase is Phase.SELL:
            self._strike_during(lambda: acts.sell("1/2"), also=unshared)
        else:
            acts.sell("1/2")
            self._converge(also=unshared)

    def _stop(self) -> None:
        """Entries are at the exchange and not booked when everybody is stopped."""
        stage = self._stage
        for person in stage.followers:
            stage.spoil(person, BUSY, endpoint="QueryOrders", times=1000)
        acts.buy()
        copies = Order.objects.filter(kind=OrderKind.ENTRY, origin=OrderOrigin.COPY, state=OrderState.ACKED)
        acts.until(lambda: copies.count() == len(stage.followers), "the copied entries were not all acknowledged")
        self._arm()
        if self._point.process == "shell":
            stage.shell("stop_trading", "--reason", "Crash test").wait()
        else:
            halts.stop_platform(actor="crash test", reason="Crash test", clock=SYSTEM)
        self._await_strike()
        stopped_at = time.time()
        for person in stage.followers:
            acts.until(
                lambda key=person.api_key: self._asked(key, "CancelOrder", since=stopped_at - WAIT_MAX_S),  # type: ignore[misc]
                f"the entry of {person.email} was not cancelled",
            )
        try:
            acts.plan_entry()
            self._outcome.problems.append("an entry was taken though everybody is stopped")
        except MasterOrderRefused:
            pass
        stage.heal()
        self._converge()
        if any(self._asked(person.api_key, "AddOrder", since=stopped_at) for person in stage.people):
            self._outcome.problems.append("an entry was sent after the stop")
        halts.resume_platform(actor="crash test", clock=SYSTEM)

    def _asked(self, api_key: str, endpoint: str, *, since: float) -> bool:
        return any(
            row["api_key"] == api_key and row["endpoint"] == endpoint and row["received_at"] >= since
            for row in self._stage.log()
        )

    # Striking, and coming right again.

    def _strike_during(self, action: Callable[[], None], *, also: Callable[[], list[str]] = list) -> None:
        if self._point.spoiled:
            self._stage.spoil(self._stage.followers[0], self._point.spoiled)
        self._arm()
        action()
        self._await_strike()
        self._converge(also=also)

    def _arm(self) -> None:
        for point in self._armed():
            self._stage.arm(point)

    def _armed(self) -> list[Point]:
        return [*([BY_NAME[self._point.prelude]] if self._point.prelude else []), self._point]

    def _await_strike(self) -> None:
        for point in self._armed():
            acts.until(lambda point=point: self._stage.was_hit(point), f"{point.name} was not reached")  # type: ignore[misc]
        self._outcome.hit = True
        if self._point.strike is Strike.EMPTY_BROKER:
            self._stage.broker.empty()
        elif self._point.strike is Strike.RESTART_DATABASE:
            self._stage.restart_database()
        self._stage.let_go(self._point)
        killed = self._point.strike is Strike.KILL
        self._struck_at = self._stage.struck_at(self._point) if killed else time.time()

    def _converge(self, *, also: Callable[[], list[str]] = list) -> None:
        acts.converge(lambda: self._ledger.unsettled() or also())
        if self._struck_at is not None and self._outcome.converged_s is None:
            self._outcome.converged_s = time.time() - self._struck_at

    def _recover(self) -> None:
        """So that one failure does not make every later trip fail: nothing armed, nothing spoilt, the master sells."""
        self._stage.disarm()
        self._stage.heal()
        self._stage.let_go(self._point)
        halts.resume_platform(actor="crash test", clock=SYSTEM)
        try:
            self._converge()
            if ledger.managed(self._stage.master):
                acts.sell("1")
                self._converge()
        except Failed as failure:
            self._outcome.problems.append(f"and not healed: {failure}")
