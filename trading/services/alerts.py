"""Telling people: alerts on the operator's page, in the log and by mail, and holding an account we cannot explain.

An alert is raised once per subject while its cause stands. It passes by itself when the cause is gone, or a person resolves
it; then it stays quiet until the cause has gone and come back.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Case, F, QuerySet, Value, When
from django.db.models.functions import Coalesce

from trading import doorbell
from trading.models import Account, Event, EventKind, Order
from trading.services.clock import Clock

MAIL_TASK = "trading.tasks.mail_alerts"
KINDS = (EventKind.ALERT, EventKind.HELD)
MESSAGE_MAX = 500
PASSED = "Passed by itself"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Alarm:
    """What is wrong, in a sentence for the operator; it holds no secret."""

    message: str
    account_id: int | None = None
    order_id: int | None = None
    kind: EventKind = EventKind.ALERT


def standing(prefix: str = "") -> QuerySet[Event]:
    """Alerts whose cause is not gone, whether or not a person has seen to them."""
    return Event.objects.filter(ended_at__isnull=True, subject__startswith=prefix).exclude(subject="")


def unresolved() -> QuerySet[Event]:
    """Alerts that wait for a person or for their cause to go."""
    return Event.objects.filter(kind__in=KINDS, resolved_at__isnull=True)


def hold(account: Account, reason: str, *, now: datetime, order: Order | None = None) -> None:
    """No further entries for this account until a person has looked; its exits go on. Told once per reason."""
    changed = Account.objects.filter(pk=account.pk, held_at__isnull=True).update(held_at=now, held_reason=reason[:300])
    if changed:
        order_id = None if order is None else order.pk
        # One that was lifted by hand, without us, is another hold than this.
        end([f"held:{account.pk}"], now=now)
        tell({f"held:{account.pk}": Alarm(reason, account.pk, order_id, EventKind.HELD)}, now=now)
        doorbell.changed([account.user_id])


def raise_once(order: Order, cause: str, message: str, *, now: datetime) -> None:
    """An alert about one order, once for each `cause` (a word): what it was told for first must not hide what comes later."""
    raise_each([(order, cause, message)], now=now)


def raise_each(told: Collection[tuple[Order, str, str]], *, now: datetime) -> None:
    """`raise_once` for each of these orders, causes and messages, in the same statements."""
    if not told:
        return
    with transaction.atomic():
        # In one order and past what somebody has, since a booking writes several in an order of its own.
        untold = Order.objects.filter(pk__in=[order.pk for order, _, _ in told], alerted_at__isnull=True).order_by("pk")
        free = untold.select_for_update(skip_locked=True, no_key=True).values_list("pk", flat=True)
        Order.objects.filter(pk__in=list(free)).update(alerted_at=now)
    alarms = {f"order:{order.pk}:{cause}": Alarm(message, order.account_id, order.pk) for order, cause, message in told}
    tell(alarms, now=now)


def tell(alarms: Mapping[str, Alarm], *, now: datetime) -> None:
    """Raise each of these that does not stand yet, by subject. May be called inside a transaction."""
    if not alarms:
        return
    known = set(Event.objects.filter(subject__in=alarms, ended_at__isnull=True).values_list("subject", flat=True))
    fresh = {subject: alarm for subject, alarm in alarms.items() if subject not in known}
    for subject, alarm in fresh.items():
        logger.error("alert %s: %s", subject, alarm.message)
    # Two that notice the same at the same moment are one alert.
    Event.objects.bulk_create([_event(s, alarm, now=now) for s, alarm in fresh.items()], ignore_conflicts=True)
    if fresh:
        doorbell.ring(MAIL_TASK)
        doorbell.changed([])


def keep_to(prefix: str, alarms: Mapping[str, Alarm], *, now: datetime, besides: Collection[str] = ()) -> None:
    """Of all subjects that begin with `prefix` exactly these stand now: raise what is new, end what is gone.

    `besides`: subjects that could not be looked at, and stay as they are.
    """
    assert all(subject.startswith(prefix) for subject in alarms), "each of these subjects begins with the prefix"
    gone = [
        subject
        for subject in standing(prefix).values_list("subject", flat=True)
        if subject not in alarms and subject not in besides
    ]
    end(gone, now=now)
    tell(alarms, now=now)


def end(subjects: Collection[str], *, now: datetime, why: str = PASSED) -> None:
    """The cause of these is gone; who resolved one earlier stays named."""
    if not subjects:
        return
    nobody_did = When(resolved_at__isnull=True, then=Value(why[:MESSAGE_MAX]))
    ended = Event.objects.filter(subject__in=subjects, ended_at__isnull=True).update(
        ended_at=now, resolution=Case(nobody_did, default=F("resolution")), resolved_at=Coalesce("resolved_at", now)
    )
    if ended:
        doorbell.changed([])


def pass_by(event_id: int, *, now: datetime) -> None:
    """The cause of an alert without a subject is gone."""
    Event.objects.filter(pk=event_id, resolved_at__isnull=True).update(resolved_at=now, ended_at=now, resolution=PASSED)


def resolve(event_id: int, *, actor: str, note: str, clock: Clock) -> bool:
    """A person has seen to an alert; False when it was resolved already. Nothing else changes by it."""
    now = clock.now()
    with transaction.atomic(durable=True):
        mine = Event.objects.filter(pk=event_id, kind__in=KINDS, resolved_at__isnull=True)
        if mine.update(resolved_at=now, resolved_by=actor, resolution=note[:MESSAGE_MAX]) != 1:
            return False
        told = Event.objects.get(pk=event_id)
        message = f"Resolved: {note or 'without a note'} (was: {told.message})"[:MESSAGE_MAX]
        kind, account_id, order_id = EventKind.RESOLVED, told.account_id, told.order_id
        Event.objects.create(at=now, kind=kind, account_id=account_id, order_id=order_id, actor=actor, message=message)
        doorbell.changed([])
    return True


def lift(account: Account, *, actor: str, note: str, clock: Clock) -> bool:
    """A person has looked: this account may open positions again. False when it was not held."""
    now = clock.now()
    with transaction.atomic(durable=True):
        held = Account.objects.select_for_update().get(pk=account.pk)
        if held.held_at is None:
            return False
        Account.objects.filter(pk=account.pk).update(held_at=None, held_reason="")
        end([f"held:{account.pk}"], now=now, why=note or "The hold was lifted")
        Event.objects.filter(subject=f"held:{account.pk}", ended_at=now).update(resolved_by=actor)
        message = f"Hold lifted: {note or 'without a note'} (was: {held.held_reason})"[:MESSAGE_MAX]
        Event.objects.create(at=now, kind=EventKind.LIFTED, account=account, actor=actor, message=message)
        doorbell.changed([account.user_id])
    return True


def _event(subject: str, alarm: Alarm, *, now: datetime) -> Event:
    return Event(
        at=now,
        kind=alarm.kind,
        subject=subject,
        account_id=alarm.account_id,
        order_id=alarm.order_id,
        message=alarm.message[:MESSAGE_MAX],
    )
