"""What the master does in these tests, and waiting for what comes of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

from tests.chaos.stage import POLL_S, SYMBOL
from trading.domain.money import Money
from trading.models import Order, OrderOrigin
from trading.services import master_orders
from trading.services.clock import SYSTEM
from trading.services.master_orders import MasterOrderRefused

NOTIONAL = Money(Decimal(300))
REASON = "Crash test"
WAIT_MAX_S = 60.0
#: I15 of the design: with all faults healed the system has converged within this.
CONVERGE_MAX_S = 60.0
ACCEPTED_MAX_S = 40.0


class Failed(Exception):
    """What did not come about, in a sentence."""


def plan_entry(symbol: str = SYMBOL) -> Order:
    """Raises MasterOrderRefused."""
    return master_orders.plan_entry(
        instrument=master_orders.find_instrument(symbol),
        amount=NOTIONAL,
        origin=OrderOrigin.MANUAL,
        reason=REASON,
        clock=SYSTEM,
    )


def buy(symbol: str = SYMBOL) -> Order:
    return _accepted(lambda: plan_entry(symbol))


def sell(share: str, symbol: str = SYMBOL) -> Order:
    instrument = master_orders.find_instrument(symbol)
    return _accepted(
        lambda: master_orders.plan_exit(
            instrument=instrument,
            fraction=Fraction(share),
            origin=OrderOrigin.MANUAL,
            reason=REASON,
            clock=SYSTEM,
        )
    )


def _accepted(plan: Callable[[], Order]) -> Order:
    """The master's order, as soon as nothing of the last one is in its way. Raises Failed."""
    end = time.monotonic() + ACCEPTED_MAX_S
    while True:
        try:
            return plan()
        except MasterOrderRefused as refusal:
            if time.monotonic() > end:
                raise Failed(f"the master's order was refused: {refusal.sentence}") from None
            time.sleep(POLL_S)


def until(true: Callable[[], bool], otherwise: str, limit_s: float = WAIT_MAX_S) -> None:
    """Raises Failed."""
    end = time.monotonic() + limit_s
    while not true():
        if time.monotonic() > end:
            raise Failed(otherwise)
        time.sleep(POLL_S)


def converge(unsettled: Callable[[], list[str]]) -> None:
    """Waits until nothing is unsettled any more. Raises Failed with what still is after 60 s."""
    end = time.monotonic() + CONVERGE_MAX_S
    while reasons := unsettled():
        if time.monotonic() > end:
            raise Failed(f"after {CONVERGE_MAX_S:.0f} s: {'; '.join(reasons)}")
        time.sleep(POLL_S)
