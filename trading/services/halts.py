"""The emergency stop. Entries read it in the transaction that claims them; exits never read it."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings
from django.db import connection, transaction
from django.db.models import QuerySet

from accounts.models import RiskSettings
from trading import doorbell
from trading.domain import order_state
from trading.models import Account, Control, Event, EventKind, Order, OrderKind, OrderOrigin, Position, Role
from trading.services.clock import Clock

CANCEL_TASK = "trading.tasks.cancel_entries"


@dataclass(frozen=True, slots=True)
class StopReport:
    """What a stop met. `already_sent` entries had left, or could still leave, when it excluded every claim; each is resolved,
    and what it bought is sold with the master's exit."""

    followers: int
    already_sent: int
    open_positions: int


def control() -> Control:
    return Control.objects.get_or_create(pk=Control.SINGLETON)[0]


def entries_stopped_shared() -> str:
    """Why no entry may be claimed, empty when they may. Call inside the claim's transaction.

    PostgreSQL holds the control row FOR SHARE until the claim commits, so a stop waits for it or is seen by it; on SQLite
    the claim's IMMEDIATE transaction excludes the stop anyway.
    """
    row = _read_shared()
    if row is None:
        # Nothing could be held otherwise, and a first stop at this moment would go unseen.
        control()
        row = _read_shared()
    if row is not None and row[0] is not None:
        return f"Entries are stopped for everybody: {row[1] or 'no reason given'}"
    return "Entries are blocked by ENTRY_BLOCKING" if settings.ENTRY_BLOCKING else ""


def _read_shared() -> tuple[object, str] | None:
    suffix = " FOR SHARE" if connection.vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT stopped_at, reason FROM trading_control WHERE id = 1{suffix}")  # noqa: S608
        row: tuple[object, str] | None = cursor.fetchone()
    return row


def stop_platform(*, actor: str, reason: str, clock: Clock) -> StopReport:
    """No entry of any account enters SENDING after this has committed."""
    report = _stop_platform(actor=actor, reason=reason, unless_stopped=False, clock=clock)
    assert report is not None, "a stop over a stop commits all the same"
    return report


def stop_platform_once(*, actor: str, reason: str, clock: Clock) -> bool:
    """The same by the engine itself; False when entries were stopped already, whose reason and author then stay."""
    return _stop_platform(actor=actor, reason=reason, unless_stopped=True, clock=clock) is not None


def _stop_platform(*, actor: str, reason: str, unless_stopped: bool, clock: Clock) -> StopReport | None:
    now = clock.now()
    with transaction.atomic(durable=True):
        control()
        row = Control.objects.select_for_update().get(pk=Control.SINGLETON)
        if unless_stopped and row.stopped_at is not None:
            return None
        report = _report(Account.objects.filter(venue=settings.VENUE))
        if row.stopped_at is None:
            row.stopped_at = now
        row.reason, row.changed_by, row.changed_at = reason[:200], actor, now
        row.save()
        Event.objects.create(at=now, kind=EventKind.STOPPED, actor=actor, message=f"Entries stopped: {reason}"[:500])
        doorbell.ring(CANCEL_TASK)
        doorbell.changed([])
    return report


def resume_platform(*, actor: str, clock: Clock) -> None:
    now = clock.now()
    with transaction.atomic(durable=True):
        control()
        Control.objects.filter(pk=Control.SINGLETON).update(
            stopped_at=None, reason="", changed_by=actor, changed_at=now
        )
        Event.objects.create(at=now, kind=EventKind.RESUMED, actor=actor, message="Entries resumed")
        doorbell.changed([])


def stop_account(account: Account, *, actor: str, reason: str, clock: Clock) -> StopReport:
    """No entry of this account enters SENDING after this has committed: claims hold the account's row."""
    now = clock.now()
    with transaction.atomic(durable=True):
        Account.objects.select_for_update().get(pk=account.pk)
        report = _report(Account.objects.filter(pk=account.pk))
        RiskSettings.objects.filter(user_id=account.user_id, stopped_at__isnull=True).update(
            stopped_at=now, stop_reason=reason
        )
        Event.objects.create(
            at=now, kind=EventKind.STOPPED, account=account, actor=actor, message=f"Copying stopped: {reason}"[:500]
        )
        doorbell.ring(CANCEL_TASK)
        doorbell.changed([account.user_id])
    return report


def resume_account(account: Account, *, actor: str, clock: Clock) -> None:
    """Lifts the owner's stop and a loss limit that tripped; the platform's stop stays."""
    now = clock.now()
    with transaction.atomic(durable=True):
        Account.objects.select_for_update().get(pk=account.pk)
        RiskSettings.objects.filter(user_id=account.user_id).update(
            stopped_at=None, stop_reason="", close_only_until=None, close_only_reason=""
        )
        Event.objects.create(at=now, kind=EventKind.RESUMED, account=account, actor=actor, message="Copying resumed")
        doorbell.changed([account.user_id])


def _report(accounts: QuerySet[Account]) -> StopReport:
    """Call in the stop's transaction, once it holds the row that claims hold: every claim before it is committed and seen, none
    can follow, and no order that is on its way can become final uncounted."""
    return StopReport(
        followers=accounts.filter(role=Role.FOLLOWER).count(),
        already_sent=Order.objects.filter(account__in=accounts, kind=OrderKind.ENTRY, state__in=order_state.OUTSTANDING)
        .exclude(origin=OrderOrigin.OUTSIDE)
        .count(),
        open_positions=Position.objects.filter(account__in=accounts, is_open=True).count(),
    )
