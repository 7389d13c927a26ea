"""Equity over time, and the loss limits that read it."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings

from accounts.models import RiskSettings
from trading import doorbell
from trading.domain.money import Money
from trading.models import Account, EquityPoint, Event, EventKind
from trading.selectors import equity as worth
from trading.selectors import profit
from trading.services.clock import Clock

#: A tripped drawdown stays until the user resumes; this far future instant says so.
UNTIL_RESUMED = timedelta(days=365 * 100)
#: Who stopped the account, in its log.
DRAWDOWN_LIMIT = "drawdown limit"


def record(*, clock: Clock) -> int:
    """One point for every account whose equity is known, and a look at its loss limits; how many points."""
    now = clock.now()
    accounts = list(Account.objects.filter(venue=settings.VENUE).select_related("user__risk"))
    worths = worth.worth_of(accounts, now=now)
    profits = profit.totals([account.pk for account in accounts])
    points = []
    for account in accounts:
        known, gained = worths[account.pk], profits.get(account.pk)
        if known.equity is None or known.cash is None or gained is None:
            continue
        points.append(
            EquityPoint(account=account, at=now, equity=known.equity.value, cash=known.cash.value, profit=gained.value)
        )
        _check_limits(account, gained, equity=known.equity, now=now)
    EquityPoint.objects.bulk_create(points)
    return len(points)


def _check_limits(account: Account, gained: Money, *, equity: Money, now: datetime) -> None:
    """Max daily loss closes entries until the next UTC day, max drawdown until the user resumes. Exits never read this."""
    risk = account.user.risk
    if risk.close_only_until is not None and risk.close_only_until > now:
        return
    if risk.max_daily_loss is not None:
        lost = profit.at_start_of_day(account, now=now) - gained.value
        if lost >= risk.max_daily_loss:
            tomorrow = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
            reason = f"Today's loss of ${lost:.2f} reached your limit"
            _close_only(account, until=tomorrow, reason=reason, actor="daily loss limit", now=now)
            return
    if risk.max_drawdown is not None:
        fallen, base = _drawdown(account, gained, equity=equity)
        if fallen > 0 and base > 0 and fallen / base >= risk.max_drawdown:
            percent = (fallen / base * Decimal(100)).quantize(Decimal("0.1"))
            reason = f"A drawdown of {percent} % reached your limit"
            _close_only(account, until=now + UNTIL_RESUMED, reason=reason, actor=DRAWDOWN_LIMIT, now=now)


def _drawdown(account: Account, gained: Money, *, equity: Money) -> tuple[Decimal, Decimal]:
    """(how far profit has fallen from its peak, the equity at that peak): what is paid in or out later changes neither.

    Counted anew from the last time the limit tripped, so that resuming means something.
    """
    tripped = Event.objects.filter(account=account, kind=EventKind.STOPPED, actor=DRAWDOWN_LIMIT).order_by("-at")
    top = profit.peak(account, since=tripped.values_list("at", flat=True).first())
    if top is None or (top.profit < 0 and not tripped.exists()):
        return -gained.value, equity.value - gained.value
    return top.profit - gained.value, top.equity


def _close_only(account: Account, *, until: datetime, reason: str, actor: str, now: datetime) -> None:
    RiskSettings.objects.filter(user_id=account.user_id).update(close_only_until=until, close_only_reason=reason)
    Event.objects.create(
        at=now, kind=EventKind.STOPPED, account=account, actor=actor, message=f"{reason}: entries closed"[:500]
    )
    doorbell.changed([account.user_id])
