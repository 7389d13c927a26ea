"""The loss limits of followers, looked at whenever equity is recorded, in as many statements for all as for one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import transaction
from django.db.models import Max, QuerySet

from accounts.models import RiskSettings
from trading import doorbell
from trading.domain.money import Money
from trading.models import Account, EquityPeak, EquityPoint, Event, EventKind
from trading.selectors import profit
from trading.services import bulk

#: A tripped drawdown stays until the user resumes; this far future instant says so.
UNTIL_RESUMED = timedelta(days=365 * 100)
#: Who stopped the account, in its log.
DAILY_LOSS_LIMIT, DRAWDOWN_LIMIT = "daily loss limit", "drawdown limit"


@dataclass(frozen=True, slots=True)
class Known:
    """An account with its profit since the start and its equity, as they are now."""

    account: Account
    profit: Money
    equity: Money


def check(known: Sequence[Known], *, now: datetime) -> None:
    """Max daily loss closes entries until the next UTC day, max drawdown until the user resumes. Exits never read this."""
    EquityPeak.objects.filter(account__user__risk__max_drawdown__isnull=True).delete()
    limited = [one for one in known if _has_limits(one.account.user.risk, now=now)]
    if not limited:
        return
    daily = [one.account.pk for one in limited if one.account.user.risk.max_daily_loss is not None]
    starts = profit.at_starts_of_day(daily, now=now) if daily else {}
    open_still = [one for one in limited if not _check_daily_loss(one, starts.get(one.account.pk), now=now)]
    watched = [one for one in open_still if one.account.user.risk.max_drawdown is not None]
    peaks = _peaks([one.account.pk for one in watched]) if watched else {}
    for one in watched:
        _check_drawdown(one, peaks[one.account.pk], now=now)


def keep_peaks(points: Iterable[EquityPoint]) -> None:
    """Call when these were recorded: those that are as high as any before become the peaks of their accounts."""
    by_account = {point.account_id: point for point in points}
    with transaction.atomic():
        # Locked, so that of two recordings at once neither overwrites a higher one.
        higher = []
        for peak in EquityPeak.objects.select_for_update().order_by("pk"):
            point = by_account.get(peak.account_id)
            if point is None or (peak.profit is not None and point.profit < peak.profit):
                continue
            # Who holds nothing gains nothing, and stays at the same point all the time.
            if (peak.profit, peak.equity) != (point.profit, point.equity):
                peak.profit, peak.equity = point.profit, point.equity
                higher.append(peak)
        bulk.update_each(higher, ("profit", "equity"))


def tripped_on_drawdown(account_ids: Collection[int], *, since: datetime, until: datetime) -> frozenset[int]:
    """Whose drawdown is counted anew from an instant in this time (`until` left out)."""
    found = _tripped(account_ids).filter(at__gte=since, at__lt=until)
    return frozenset(found.order_by().values_list("account", flat=True))


def _has_limits(risk: RiskSettings, *, now: datetime) -> bool:
    if risk.close_only_until is not None and risk.close_only_until > now:
        return False
    return risk.max_daily_loss is not None or risk.max_drawdown is not None


def _check_daily_loss(one: Known, at_start: Decimal | None, *, now: datetime) -> bool:
    """Whether it tripped; `at_start` None: there is no such limit."""
    limit = one.account.user.risk.max_daily_loss
    if at_start is None or limit is None:
        return False
    lost = at_start - one.profit.value
    if lost < limit:
        return False
    tomorrow = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    reason = f"Today's loss of ${lost:.2f} reached your limit"
    _close_only(one.account, until=tomorrow, reason=reason, actor=DAILY_LOSS_LIMIT, now=now)
    return True


def _check_drawdown(one: Known, peak: EquityPeak, *, now: datetime) -> None:
    fallen, base = _drawdown(one, peak)
    limit = one.account.user.risk.max_drawdown
    if limit is not None and fallen > 0 and base > 0 and fallen / base >= limit:
        percent = (fallen / base * Decimal(100)).quantize(Decimal("0.1"))
        reason = f"A drawdown of {percent} % reached your limit"
        _close_only(one.account, until=now + UNTIL_RESUMED, reason=reason, actor=DRAWDOWN_LIMIT, now=now)


def _drawdown(one: Known, peak: EquityPeak) -> tuple[Decimal, Decimal]:
    """(how far profit has fallen from its peak, the equity at that peak): what is paid in or out later changes neither.

    Counted anew from the last time the limit tripped, so that resuming means something.
    """
    if peak.profit is None or peak.equity is None or (peak.profit < 0 and peak.since is None):
        return -one.profit.value, one.equity.value - one.profit.value
    return peak.profit - one.profit.value, peak.equity


def _peaks(account_ids: Collection[int]) -> Mapping[int, EquityPeak]:
    """The peaks of these accounts; one that is missing, or counts from before the limit last tripped, is found among all points."""
    since = dict(_tripped(account_ids).order_by().values_list("account").annotate(Max("at")))
    with transaction.atomic():
        locked = EquityPeak.objects.select_for_update().filter(account__in=account_ids).order_by("pk")
        peaks = {peak.account_id: peak for peak in locked}
        outdated = [peak for peak in peaks.values() if peak.since != since.get(peak.account_id)]
        missing = [EquityPeak(account_id=account_id) for account_id in account_ids if account_id not in peaks]
        anew = [*outdated, *missing]
        if anew:
            _find(anew, since)
            bulk.update_each(outdated, ("since", "profit", "equity"))
            # Somebody else may have been quicker, and then knows as much or more.
            EquityPeak.objects.bulk_create(missing, ignore_conflicts=True)
    return peaks | {peak.account_id: peak for peak in missing}


def _tripped(account_ids: Collection[int]) -> QuerySet[Event]:
    return Event.objects.filter(account__in=account_ids, kind=EventKind.STOPPED, actor=DRAWDOWN_LIMIT)


def _find(peaks: Collection[EquityPeak], since: Mapping[int, datetime]) -> None:
    by_account = {peak.account_id: peak for peak in peaks}
    for peak in peaks:
        peak.since, peak.profit, peak.equity = since.get(peak.account_id), None, None
    points = EquityPoint.objects.filter(account__in=by_account)
    begin = [peak.since for peak in peaks if peak.since is not None]
    if len(begin) == len(by_account):
        points = points.filter(at__gte=min(begin))
    for account_id, at, gained, value in (
        points.order_by("at").values_list("account", "at", "profit", "equity").iterator()
    ):
        peak = by_account[account_id]
        if (peak.since is None or at >= peak.since) and (peak.profit is None or gained >= peak.profit):
            peak.profit, peak.equity = gained, value


def _close_only(account: Account, *, until: datetime, reason: str, actor: str, now: datetime) -> None:
    RiskSettings.objects.filter(user_id=account.user_id).update(close_only_until=until, close_only_reason=reason)
    Event.objects.create(
        at=now, kind=EventKind.STOPPED, account=account, actor=actor, message=f"{reason}: entries closed"[:500]
    )
    doorbell.changed([account.user_id])
