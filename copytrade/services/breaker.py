"""The global breaker: looks once a second at the copied entries of the last minute and stops all entries when it must.

Exits never read it. What NIJA itself did not write in time is no failure of the exchange and is not counted. An operator
resumes; what failed before that is not counted again.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Count, Q

from copytrade.domain import breaker
from copytrade.domain.breaker import FannedOut, Limits
from copytrade.models import FanOut
from trading.domain.order_state import OrderState
from trading.models import Control, Order, OrderKind, OrderOrigin, Signal, SignalKind
from trading.services import alerts, halts, sending
from trading.services.alerts import Alarm
from trading.services.clock import Clock

ACTOR = "breaker"
SUBJECT = "breaker"
WINDOW = timedelta(seconds=60)
#: Copies of a signal are made no longer than this after it.
SIGNAL_LIFE = timedelta(seconds=15)
SIGNALS_MAX = 200
FAILED = (OrderState.REJECTED, OrderState.NOT_PLACED, OrderState.UNKNOWN, OrderState.MANUAL)


def watch(*, clock: Clock) -> str:
    """Stop all entries if they went wrong; why, or empty."""
    now = clock.now()
    control = Control.objects.filter(pk=Control.SINGLETON).first()
    if control is not None and control.stopped_at is not None:
        return ""
    since = now - WINDOW
    if control is not None and control.changed_at is not None:
        since = max(since, control.changed_at)
    reason = _decide(since)
    if reason and halts.stop_platform_once(actor=ACTOR, reason=reason, clock=clock):
        # One of an earlier stop may stand still, and must not hide this one.
        alerts.end([SUBJECT], now=now)
        alerts.tell(alarm(), now=now)
        return reason
    return ""


def alarm() -> dict[str, Alarm]:
    """What is to be told while it was the breaker that stopped entries, and nobody has resumed since."""
    stopped = Control.objects.filter(pk=Control.SINGLETON, stopped_at__isnull=False, changed_by=ACTOR).first()
    if stopped is None:
        return {}
    message = f"The breaker stopped entries for everybody: {stopped.reason} Exits go on; an operator resumes."
    return {SUBJECT: Alarm(message)}


def _decide(since: datetime) -> str:
    recent = Signal.objects.filter(account__venue=settings.VENUE, kind=SignalKind.ENTRY).order_by("-pk")[:SIGNALS_MAX]
    signals = [pk for pk, at in recent.values_list("pk", "created_at") if at > since - SIGNAL_LIFE]
    if not signals:
        return ""
    copied = Order.objects.filter(signal_id__in=signals, kind=OrderKind.ENTRY, origin=OrderOrigin.COPY)
    counts = dict(copied.values_list("signal_id").annotate(orders=Count("pk")).order_by())
    followers = dict(FanOut.objects.filter(signal_id__in=counts).values_list("signal_id", "followers"))
    outcomes = copied.filter(created_at__gt=since).exclude(state=OrderState.SENDING)
    # Nothing left for the exchange, by our own slowness or after a stop: a stop of everybody would cure neither.
    outcomes = outcomes.exclude(state=OrderState.NOT_PLACED, refusal__in=sending.UNWRITTEN_BY_US)
    told = outcomes.aggregate(ended=Count("pk"), failed=Count("pk", filter=Q(state__in=FAILED)))
    return breaker.trip(
        [FannedOut(signal, followers.get(signal, 0), orders) for signal, orders in counts.items()],
        ended=told["ended"],
        failed=told["failed"],
        limits=Limits(settings.BREAKER_FAILURE_PERCENT, settings.BREAKER_ENTRIES_MIN),
    )
