"""Equity over time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from trading.models import Account, EquityPoint, Schedule
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

#: A point every half minute would be a gigabyte a year for ten accounts.
WHOLE_FOR = timedelta(days=1)
HOUR = timedelta(hours=1)
#: The row's instant: what is older was thinned.
THINNED = "equity thinned"
#: With ten thousand accounts an hour takes half a minute, and a message is delivered again after one.
BUDGET_S = 10.0
ACCOUNTS_AT_ONCE = 500
ROWS_AT_ONCE = 10_000


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


def thin(*, clock: Clock) -> int:
    """Of what was recorded more than a day ago, two points an hour stay: the last, and the highest profit, from which a drawdown
    is measured. How many went.

    No hour is begun after `BUDGET_S`: whoever plans and looks at prices has the same processes.
    """
    ends_s = clock.uptime() + BUDGET_S
    until = _hour(clock.now() - WHOLE_FOR)
    oldest = EquityPoint.objects.order_by("pk").values_list("at", flat=True).first()
    row, _ = Schedule.objects.get_or_create(name=THINNED, defaults={"due_at": _hour(oldest) if oldest else until})
    accounts = list(Account.objects.order_by("pk").values_list("pk", flat=True))
    begin, gone = row.due_at, 0
    while begin < until and clock.uptime() < ends_s:
        # Whoever moves the row forward has the hour; what dies with it stays whole, which harms nobody.
        if not Schedule.objects.filter(name=THINNED, due_at=begin).update(due_at=begin + HOUR):
            break
        for start in range(0, len(accounts), ACCOUNTS_AT_ONCE):
            gone += _thin_hour(begin, accounts[start : start + ACCOUNTS_AT_ONCE])
        begin += HOUR
    return gone


def _thin_hour(begin: datetime, account_ids: Sequence[int]) -> int:
    recorded = EquityPoint.objects.filter(account__in=account_ids, at__gte=begin, at__lt=begin + HOUR)
    rows = list(recorded.order_by("account", "at", "pk").values_list("pk", "account", "profit"))
    last = {account_id: pk for pk, account_id, _ in rows}.values()
    # The last of equals, as the peak that is remembered is.
    highest = {account_id: pk for pk, account_id, _ in sorted(rows, key=lambda row: row[2])}.values()
    # The highest since the limit tripped may be any of them.
    spared = loss_limits.tripped_on_drawdown(account_ids, since=begin, until=begin + HOUR)
    wanted = {*last, *highest}
    surplus = [pk for pk, account_id, _ in rows if pk not in wanted and account_id not in spared]
    for start in range(0, len(surplus), ROWS_AT_ONCE):
        EquityPoint.objects.filter(pk__in=surplus[start : start + ROWS_AT_ONCE]).delete()
    return len(surplus)


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)
