"""Whether a follower takes part in an entry, and with how much: from rows that the claim has locked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings

from accounts.models import Credential
from copytrade.domain.admission import Situation
from copytrade.domain.reasons import SkipReason
from copytrade.domain.sizing import FollowerFunds, Limits, MasterEntry, Sized, Skipped, size_entry
from copytrade.models import CopyOrder
from trading.domain import order_state
from trading.domain.money import Money, Price, Ratio
from trading.domain.risk import BalanceSource
from trading.models import Account, Signal, SignalKind
from trading.selectors.equity import Worth
from trading.services.lanes import Locked

#: What we assume of an account whose own fees Kraken has not told yet: the entry tier's taker fee.
TAKER_FEE_UNTOLD = Ratio(Decimal("0.008"))
#: A daily loss limit closes entries no longer than this; what is closed for longer waits for its owner.
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Common:
    """What is the same for all copies of one claim."""

    halted: str
    clock_problem: str
    master_out: frozenset[int]
    now: datetime


@dataclass(frozen=True, slots=True)
class Follower:
    """One account with its row, its settings and its lane locked; without a key there is no lane."""

    account: Account
    lane: Locked | None
    worth: Worth
    taken: Money
    open_instruments: frozenset[int]

    @property
    def key(self) -> Credential | None:
        return None if self.lane is None else self.lane.lane.credential

    def is_ready(self, *, at: datetime) -> bool:
        """Whether nothing need be read at Kraken before an order; `at` is of the shared clock."""
        return self.worth.source is BalanceSource.LIVE and not (self.lane and self.lane.needs_fence(now=at))


def cost_so_far(copy: CopyOrder) -> Money:
    """At the signal price: what has filled of a final order, all of one that may still fill."""
    order = copy.order
    if order is not None and order.state in order_state.FINAL:
        return Money(order.filled * copy.signal.price)
    return Money(copy.notional or Decimal(0))


def size(copy: CopyOrder, follower: Follower) -> Sized | Skipped:
    worth, signal = follower.worth, copy.signal
    if worth.equity is None or worth.free_cash is None:
        return Skipped(SkipReason.BALANCE_UNKNOWN, _unknown_balance(follower.account))
    risk = follower.account.user.risk
    assert signal.master_equity is not None, "an entry signal carries the master's equity"
    return size_entry(
        MasterEntry(Money(signal.notional), Money(signal.master_equity), Price(signal.price)),
        FollowerFunds(equity=worth.equity, free_cash=worth.free_cash, already_taken=follower.taken),
        Limits(
            multiplier=Ratio(risk.multiplier),
            max_risk=Ratio(risk.max_risk),
            max_slippage=Ratio(risk.max_slippage),
            taker_fee=TAKER_FEE_UNTOLD if follower.account.taker_fee is None else Ratio(follower.account.taker_fee),
        ),
        instrument=signal.instrument.rules,
    )


def situation(copy: CopyOrder, follower: Follower, common: Common) -> Situation:
    account, instrument = follower.account, copy.signal.instrument
    risk = account.user.risk
    closed_until = risk.close_only_until
    close_only = closed_until is not None and closed_until > common.now
    return Situation(
        symbol=instrument.symbol,
        halted=common.halted,
        orders_allowed=settings.ORDERS_ALLOWED,
        clock_problem=common.clock_problem,
        stopped=risk.stopped_at is not None,
        state=risk.state,
        close_only_reason=(risk.close_only_reason or "A loss limit was reached") if close_only else "",
        until_resumed=closed_until is not None and closed_until > common.now + DAY,
        held=account.held_reason if account.held_at is not None else "",
        has_key=follower.key is not None,
        key_problem=follower.key.entries_blocked_reason if follower.key is not None else "",
        tradable=instrument.tradable,
        permits_symbol=risk.permits(instrument.symbol),
        master_already_out=copy.signal_id in common.master_out,
        open_positions=len(follower.open_instruments),
        max_open_positions=risk.max_open_positions,
        already_open=instrument.pk in follower.open_instruments,
    )


def masters_gone(copies: Sequence[CopyOrder]) -> frozenset[int]:
    """Signals after which the master has sold the whole again: copying the entry would only cost fees."""
    gone = set()
    followed = {copy.signal_id: copy.signal for copy in copies if copy.exit_follows}  # type: ignore[attr-defined]
    for signal in followed.values():
        later = Signal.objects.filter(
            account_id=signal.account_id,
            instrument_id=signal.instrument_id,
            sequence__gt=signal.sequence,
            kind=SignalKind.EXIT,
        )
        if any(exit_signal.closed_fraction == 1 for exit_signal in later):
            gone.add(signal.pk)
    return frozenset(gone)


def _unknown_balance(account: Account) -> str:
    if account.balances_failing_since is not None:
        return f"Your balance has been unknown since {account.balances_failing_since:%H:%M} UTC: Kraken did not answer."
    return "Your balance was not known when this copy was due."
