"""Equity over time."""

from __future__ import annotations

from django.conf import settings
from django.db import transaction

from trading.models import Account, EquityPoint
from trading.selectors import equity as worth
from trading.selectors import profit
from trading.services import bulk, loss_limits
from trading.services.clock import Clock
from trading.services.loss_limits import Known

#: Of each account and its settings, of which there is much more.
_READ = (
    *("user_id", "balances_as_of", "last_fill_at", "taker_fee"),
    *(f"user__risk__{name}" for name in ("allocation", "max_daily_loss", "max_drawdown", "close_only_until")),
)


def record(*, clock: Clock) -> int:
    """One point for every account whose equity is known, and a look at its loss limits; how many points."""
    now = clock.now()
    # In the order in which others lock accounts, as whose points are written locks them a little too.
    every = Account.objects.filter(venue=settings.VENUE).order_by("pk")
    accounts = list(every.select_related("user__risk").only(*_READ))
    worths = worth.worth_of(accounts, now=now)
    profits = profit.totals([account.pk for account in accounts])
    points = []
    known: list[Known] = []
    for account in accounts:
        its, gained = worths[account.pk], profits.get(account.pk)
        if its.equity is None or its.cash is None or gained is None:
            continue
        points.append(
            EquityPoint(account=account, at=now, equity=its.equity.value, cash=its.cash.value, profit=gained.value)
        )
        known.append(Known(account, gained, its.equity))
    loss_limits.check(known, now=now)
    with transaction.atomic():
        bulk.insert_each(points)
        loss_limits.keep_peaks(points)
    return len(points)
