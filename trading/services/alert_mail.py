"""Alerts by mail to the operators: each at most once, and as one digest when there are many. Never in a transaction."""

from __future__ import annotations

import logging
import smtplib
from collections.abc import Sequence
from datetime import timedelta

from django.core.mail import EmailMessage, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.db import transaction

from accounts.models import User
from trading.models import Event
from trading.services import alerts, turns
from trading.services.clock import Clock

#: More mails than this in a minute become one digest.
SINGLE_MAX = 5
WINDOW = timedelta(minutes=1)
#: What could not be mailed for so long is only on the page.
TRIED_FOR = timedelta(hours=1)
#: The row by which processes take turns; one that died with it has it no longer than this.
TURN = "alert mail"
TURN_MAX = timedelta(minutes=1)
BATCH_MAX = 500
LINES_MAX = 50
OPERATORS_MAX = 50
FOOT = "Open /operator/alerts/ on this installation. What to do at each alert is in docs/operations.md."

logger = logging.getLogger(__name__)


def send(*, clock: Clock) -> int:
    """Mail the alerts that nobody was told of; of how many.

    An alert is marked before its mail leaves, so that none is mailed twice; it is not marked while the mail server cannot
    be reached, and tried again for an hour.
    """
    now = clock.now()
    waiting = Event.objects.filter(kind__in=alerts.KINDS, mailed_at__isnull=True, at__gt=now - TRIED_FOR)
    if not waiting.exists():
        return 0
    operators = _operators()
    recent = Event.objects.filter(kind__in=alerts.KINDS, mailed_at__gt=now - WINDOW).count()
    if not operators or recent > SINGLE_MAX:
        return 0
    # A mail server that is slow holds up no more than one of those who plan and look at prices as well.
    if not turns.take(TURN, now=now, lasting=TURN_MAX):
        return 0
    try:
        return _mail(operators, room=SINGLE_MAX - recent, clock=clock)
    finally:
        turns.give_back(TURN, now=clock.now())


def _mail(operators: Sequence[str], *, room: int, clock: Clock) -> int:
    connection = get_connection()
    try:
        connection.open()
    except (OSError, smtplib.SMTPException) as error:
        logger.warning("operators could not be told by mail: %s", type(error).__name__)
        return 0
    try:
        return _send_all(connection, operators, room=room, clock=clock)
    finally:
        connection.close()


def _send_all(connection: BaseEmailBackend, operators: Sequence[str], *, room: int, clock: Clock) -> int:
    mine = _claim(clock=clock)
    texts = [_single(event) for event in mine] if len(mine) <= room else [_digest(mine)] if mine else []
    for subject, body in texts:
        try:
            EmailMessage(subject, f"{body}\n\n{FOOT}\n", None, list(operators), connection=connection).send()
        except (OSError, smtplib.SMTPException) as error:
            logger.error("the mail %r was not accepted: %s", subject, type(error).__name__)
    return len(mine)


def _claim(*, clock: Clock) -> list[Event]:
    now = clock.now()
    with transaction.atomic(durable=True):
        waiting = Event.objects.select_for_update(skip_locked=True, of=("self",)).filter(
            kind__in=alerts.KINDS, mailed_at__isnull=True, at__gt=now - TRIED_FOR
        )
        mine = list(waiting.select_related("account__user").order_by("pk")[:BATCH_MAX])
        Event.objects.filter(pk__in=[event.pk for event in mine]).update(mailed_at=now)
    return mine


def _operators() -> list[str]:
    staff = User.objects.filter(is_staff=True, is_active=True).order_by("pk")
    return list(staff.values_list("email", flat=True)[:OPERATORS_MAX])


def _single(event: Event) -> tuple[str, str]:
    subject = " ".join(f"NIJA: {event.get_kind_display().lower()}: {event.message}".split())
    return subject[:120], _line(event)


def _digest(events: Sequence[Event]) -> tuple[str, str]:
    lines = [_line(event) for event in events[:LINES_MAX]]
    if len(events) > LINES_MAX:
        lines.append(f"and {len(events) - LINES_MAX} more")
    return f"NIJA: {len(events)} alerts", "\n".join(lines)


def _line(event: Event) -> str:
    whose = f" (account {event.account.pk}, {event.account.user.email})" if event.account is not None else ""
    return f"{event.at:%Y-%m-%d %H:%M:%S} UTC: {event.message}{whose}"
