"""Fan-out: one signal becomes one copy order per follower, in one transaction that also is the claim of the signal."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Case, F, Q, QuerySet, Value, When

from copytrade.domain.reasons import SkipReason
from copytrade.models import CloseInstruction, CopyOrder, CopyStatus, FanOut
from trading import doorbell
from trading.domain import order_state
from trading.models import Account, Order, OrderKind, Position, Role, Signal, SignalKind
from trading.services import bulk, private
from trading.services.clock import Clock

SIGNALS_MAX = 100
#: An entry may be copied this long after the master's fill.
TIME_TO_LIVE = timedelta(seconds=10)
#: Copies in one message and one transaction: as many as a process can write at once.
BATCH = private.SENDERS
#: Of the first message, so that the first orders need not wait until the last of so many is decided.
FIRST_BATCH = 32
_WAITING = {"status": CopyStatus.PENDING.value, "reason": "", "sentence": ""}
CLOSED_BEFORE = "Everything was asked to be sold before this was bought."
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
    followers = Account.objects.filter(venue=settings.VENUE, role=Role.FOLLOWER).order_by("pk")
    claim = FanOut.objects.create(signal=signal, claimed_at=now, followers=0)
    make = _write_entries if signal.kind == SignalKind.ENTRY else _write_exits
    written = make(signal, followers, now=now)
    FanOut.objects.filter(pk=claim.pk).update(followers=written)
    # Last, for whom it does not matter when.
    doorbell.changed(followers.values_list("user_id", flat=True))


def _write_entries(signal: Signal, followers: QuerySet[Account], *, now: datetime) -> int:
    """One copy for each follower; how many. Their bells are rung once all of them are committed."""
    values = _of(signal, now=now) | {"kind": SignalKind.ENTRY, "expires_at": signal.executed_at + TIME_TO_LIVE}
    if settings.COPY_TRADING_MODE == "INDEPENDENT":
        sentence = "Followers trade on their own on this installation; entries are not copied."
        skipped = {"status": CopyStatus.SKIPPED, "reason": SkipReason.INDEPENDENT_MODE.value, "decided_at": now}
        return len(bulk.insert_for_each(CopyOrder, followers, values | skipped | {"sentence": sentence}))
    # Who asked to sell everything after the master had bought does not buy any more.
    closed = CloseInstruction.objects.filter(instrument=signal.instrument_id, after_sequence__gte=signal.sequence)
    since_closed = Q(pk__in=closed.values("account"))
    refused = {"status": CopyStatus.SKIPPED, "reason": SkipReason.CLOSED_ALL.value, "sentence": CLOSED_BEFORE}
    values |= _unless(since_closed, refused, now=now)
    copies = bulk.insert_for_each(CopyOrder, followers, values)
    for portion in bulk.portions(copies, first=FIRST_BATCH, then=BATCH):
        doorbell.ring(EXECUTE_TASK, list(portion))
    return len(copies)


def _write_exits(signal: Signal, followers: QuerySet[Account], *, now: datetime) -> int:
    """One copy for each follower; how many. Who neither holds anything nor may still buy has nothing to sell."""
    here = {"instrument": signal.instrument_id}
    pending = CopyOrder.objects.filter(
        signal__instrument=signal.instrument_id, kind=SignalKind.ENTRY, status=CopyStatus.PENDING
    )
    # An entry under way may still fill after the master's exit; its copy of the exit must not be closed yet. A copy waits,
    # then its order is under way, then it is a position: one statement sees all three at one instant, so none slips through.
    # Each is read once and not for every follower.
    under_way = Order.objects.filter(**here, kind=OrderKind.ENTRY, state__in=order_state.OUTSTANDING)
    held = Position.objects.filter(**here, is_open=True)
    holding = Q()
    for rows in (held, under_way, pending):
        holding |= Q(pk__in=rows.values("account"))
    sentence = f"You held no {signal.instrument.symbol} bought by copying, so there was nothing to sell."
    skipped = {"status": CopyStatus.SKIPPED, "reason": SkipReason.NOTHING_TO_SELL.value, "sentence": sentence}
    values = _of(signal, now=now) | {"kind": SignalKind.EXIT} | _unless(~holding, skipped, now=now)
    doorbell.ring(PLAN_TASK)
    return len(bulk.insert_for_each(CopyOrder, followers, values))


def _unless(this: Q, skipped: Mapping[str, str], *, now: datetime) -> dict[str, Any]:
    """Values of copies that wait, unless `this` is true of their account: then they are settled as `skipped` says."""
    values: dict[str, Any] = {
        name: Case(When(this, then=Value(str(text))), default=Value(_WAITING[name])) for name, text in skipped.items()
    }
    return values | {"decided_at": Case(When(this, then=Value(now)), default=None)}


def _of(signal: Signal, *, now: datetime) -> dict[str, Any]:
    return {"signal": signal.pk, "account": F("pk"), "created_at": now}
