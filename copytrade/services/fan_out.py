"""Fan-out: one signal becomes one copy order per follower, in one transaction that also is the claim of the signal."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, transaction

from copytrade.domain.reasons import SkipReason
from copytrade.models import CopyOrder, CopyStatus, FanOut
from trading import doorbell
from trading.domain import order_state
from trading.models import Account, Order, OrderKind, Position, Role, Signal, SignalKind
from trading.services.clock import Clock

SIGNALS_MAX = 100
#: An entry may be copied this long after the master's fill.
TIME_TO_LIVE = timedelta(seconds=10)
#: Copies in one message and one transaction.
BATCH = 50
EXECUTE_TASK = "copytrade.tasks.execute_entries"
PLAN_TASK = "copytrade.tasks.plan_exits"

logger = logging.getLogger(__name__)


def claim_signals(*, clock: Clock) -> int:
    """Fan out every signal nobody has taken yet, oldest first; how many."""
    waiting = Signal.objects.filter(fan_out__isnull=True, account__venue=settings.VENUE, account__role=Role.MASTER)
    taken = 0
    for signal in list(waiting.select_related("instrument").order_by("pk")[:SIGNALS_MAX]):
        try:
            with transaction.atomic(durable=True):
                _fan_out(signal, now=clock.now())
            taken += 1
        except IntegrityError:
            # Another worker took it between our look and our insert.
            if not FanOut.objects.filter(signal=signal).exists():
                raise
    return taken


def _fan_out(signal: Signal, *, now: datetime) -> None:
    followers = list(Account.objects.filter(venue=settings.VENUE, role=Role.FOLLOWER).order_by("pk"))
    FanOut.objects.create(signal=signal, claimed_at=now, followers=len(followers))
    make = _entry if signal.kind == SignalKind.ENTRY else _exit_maker(signal)
    copies = CopyOrder.objects.bulk_create([make(signal, account, now) for account in followers])
    if signal.kind == SignalKind.ENTRY:
        pending = [copy.pk for copy in copies if copy.status == CopyStatus.PENDING]
        for start in range(0, len(pending), BATCH):
            doorbell.ring(EXECUTE_TASK, pending[start : start + BATCH])
    else:
        doorbell.ring(PLAN_TASK)
    doorbell.changed([account.user_id for account in followers])


def _entry(signal: Signal, account: Account, now: datetime) -> CopyOrder:
    copy = CopyOrder(signal=signal, account=account, kind=SignalKind.ENTRY, created_at=now)
    copy.expires_at = signal.executed_at + TIME_TO_LIVE
    if settings.COPY_TRADING_MODE == "INDEPENDENT":
        sentence = "Followers trade on their own on this installation; entries are not copied."
        return _skipped(copy, SkipReason.INDEPENDENT_MODE, sentence, now=now)
    return copy


def _exit_maker(signal: Signal) -> Callable[[Signal, Account, datetime], CopyOrder]:
    # A copy waits, then its order is under way, then it is a position: asked in this order, none slips through.
    # An entry under way may still fill after the master's exit; its copy of the exit must not be closed yet.
    holding = set(
        CopyOrder.objects.filter(
            signal__instrument_id=signal.instrument_id, kind=SignalKind.ENTRY, status=CopyStatus.PENDING
        ).values_list("account_id", flat=True)
    )
    holding |= set(
        Order.objects.filter(
            instrument_id=signal.instrument_id, kind=OrderKind.ENTRY, state__in=order_state.OUTSTANDING
        ).values_list("account_id", flat=True)
    )
    holding |= set(
        Position.objects.filter(instrument_id=signal.instrument_id, is_open=True).values_list("account_id", flat=True)
    )

    def make(signal: Signal, account: Account, now: datetime) -> CopyOrder:
        copy = CopyOrder(signal=signal, account=account, kind=SignalKind.EXIT, created_at=now)
        if account.pk in holding:
            return copy
        sentence = f"You held no {signal.instrument.symbol} bought by copying, so there was nothing to sell."
        return _skipped(copy, SkipReason.NOTHING_TO_SELL, sentence, now=now)

    return make


def _skipped(copy: CopyOrder, reason: SkipReason, sentence: str, *, now: datetime) -> CopyOrder:
    copy.status, copy.reason, copy.sentence, copy.decided_at = CopyStatus.SKIPPED, reason.value, sentence, now
    return copy
