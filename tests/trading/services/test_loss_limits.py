"""Loss limits: as many statements for everybody as for a few, and a kept peak that is what all recorded points say."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import RiskSettings, User
from tests.copytrade import books
from tests.support.world import StepClock
from tests.trading.services.master_books import NOW
from trading.domain.money import Money
from trading.models import Account, AssetBalance, EquityPeak, EquityPoint, Event
from trading.selectors import profit
from trading.services import equity, loss_limits
from trading.services.loss_limits import Known

pytestmark = pytest.mark.django_db(transaction=True)

D = Decimal
STEP = timedelta(seconds=30)
#: Accounts with settings, what they hold, positions; peaks of those without a limit, profits when the day began, when limits
#: tripped, peaks; points written; peaks again, and those written that are higher.
RECORD_MAX = 10
WRITTEN = ("SELECT", "UPDATE", "INSERT", "DELETE")


def joined(count: int, **limits: Decimal) -> list[Account]:
    accounts = []
    for number in range(count):
        user = User.objects.create_user(f"f{number}@nija.example")
        RiskSettings.objects.filter(user=user).update(**limits)
        accounts.append(
            Account.objects.create(user=user, role="follower", venue="v", iban=str(number), created_at=NOW - STEP)
        )
    return list(Account.objects.select_related("user__risk").filter(pk__in=[account.pk for account in accounts]))


def record(account: Account, gained: Decimal, *, at: datetime) -> None:
    """As `equity.record` does it, without what the figures come from."""
    value = D(100) + gained
    account.user.risk.refresh_from_db()
    loss_limits.check([Known(account, Money(gained), Money(value))], now=at)
    point = EquityPoint.objects.create(account=account, at=at, equity=value, cash=value, profit=gained)
    loss_limits.keep_peaks([point])


def highest(points: Sequence[EquityPoint]) -> tuple[Decimal, Decimal]:
    top = max(points, key=lambda point: (point.profit, point.at))
    return top.profit, top.equity


@pytest.mark.parametrize("seed", range(5))
def test_the_peak_is_always_that_of_all_points_since_the_limit_last_tripped(seed: int) -> None:
    chance = random.Random(seed)
    (account,) = joined(1, max_drawdown=D("0.05"))
    at, gained = NOW, D(0)
    for _ in range(60):
        gained += D(chance.randint(-300, 300)) / 100
        record(account, gained, at=at)
        tripped = Event.objects.filter(account=account, kind="stopped").order_by("at").last()
        if tripped is not None and tripped.at == at:
            RiskSettings.objects.filter(user=account.user).update(close_only_until=None, close_only_reason="")
        elif chance.random() < 0.1:
            # Without a limit nothing is kept, and later all is found again.
            RiskSettings.objects.filter(user=account.user).update(max_drawdown=None)
            at += STEP
            record(account, gained + 1, at=at)
            assert not EquityPeak.objects.exists()
            RiskSettings.objects.filter(user=account.user).update(max_drawdown=D("0.05"))
        else:
            points = EquityPoint.objects.filter(account=account)
            counted = points if tripped is None else points.filter(at__gte=tripped.at)
            peak = EquityPeak.objects.get()
            assert (peak.profit, peak.equity) == highest(list(counted))
            assert peak.since == (None if tripped is None else tripped.at)
        at += STEP
    assert Event.objects.filter(account=account, kind="stopped").exists(), "too gentle a market"


def test_a_fall_from_a_peak_of_long_ago_trips_without_reading_all_points_again() -> None:
    (account,) = joined(1, max_drawdown=D("0.10"))
    record(account, D(50), at=NOW)
    record(account, D(40), at=NOW + STEP)
    with CaptureQueriesContext(connection) as queries:
        record(account, D(34), at=NOW + 2 * STEP)
    assert not any('FROM "trading_equitypoint"' in query["sql"] for query in queries.captured_queries)
    risk = RiskSettings.objects.get(user=account.user)
    assert risk.close_only_reason == "A drawdown of 10.7 % reached your limit"


@pytest.mark.parametrize("count", [2, 30])
def test_a_recording_takes_as_many_statements_for_many_as_for_few(count: int) -> None:
    for number in range(count):
        owner = books.user(f"f{number}@nija.example")
        books.account(owner, now=NOW)
        RiskSettings.objects.filter(user=owner).update(max_daily_loss=D(5), max_drawdown=D("0.1"))
    clock = StepClock(NOW)
    assert equity.record(clock=clock) == count
    clock.move(30)
    AssetBalance.objects.update(total=D(51))
    with CaptureQueriesContext(connection) as queries:
        assert equity.record(clock=clock) == count
    told = [query["sql"] for query in queries.captured_queries]
    assert len([sql for sql in told if sql.lstrip("(").startswith(WRITTEN)]) == RECORD_MAX
    assert EquityPeak.objects.count() == count
    assert set(EquityPeak.objects.values_list("equity", flat=True)) == {D(51)}
    with CaptureQueriesContext(connection) as queries:
        assert equity.record(clock=clock) == count
    assert not any(query["sql"].startswith("UPDATE") for query in queries.captured_queries), "nothing is new"


def test_points_are_recorded_with_their_peaks_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    owner = books.user("ada@nija.example")
    books.account(owner, now=NOW)
    RiskSettings.objects.filter(user=owner).update(max_drawdown=D("0.1"))
    monkeypatch.setattr(loss_limits.bulk, "update_each", killed)
    for _ in range(2):
        with pytest.raises(SystemExit):
            equity.record(clock=StepClock(NOW))
    assert not EquityPoint.objects.exists()


def killed(*_args: object, **_more: object) -> None:
    raise SystemExit


def test_profit_when_the_day_began_is_of_the_last_point_before_it_or_nothing_for_one_who_joined_today() -> None:
    midnight = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
    old, silent, new = joined(3)
    Account.objects.filter(pk__in=[old.pk, silent.pk]).update(created_at=midnight - timedelta(days=3))
    Account.objects.filter(pk=new.pk).update(created_at=midnight + STEP)
    for account, at, gained in (
        (old, midnight - 2 * STEP, 1),
        (old, midnight - STEP, 2),
        (old, midnight, 3),
        (silent, midnight + STEP, 4),
        (silent, midnight + 2 * STEP, 5),
        (new, midnight + 2 * STEP, 6),
    ):
        EquityPoint.objects.create(account=account, at=at, equity=D(1), cash=D(1), profit=D(gained))
    starts = profit.at_starts_of_day([old.pk, silent.pk, new.pk], now=midnight + timedelta(hours=5))
    assert starts == {old.pk: 2, silent.pk: 4, new.pk: 0}


def test_what_was_lost_while_nothing_was_recorded_is_no_loss_of_the_day_it_is_found_on() -> None:
    """The key was dead for four days."""
    midnight = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
    (account,) = joined(1)
    Account.objects.update(created_at=midnight - timedelta(days=9))
    for at, gained in ((midnight - timedelta(days=4), 40), (midnight + 3 * STEP, 5), (midnight + 4 * STEP, 6)):
        EquityPoint.objects.create(account=account, at=at, equity=D(1), cash=D(1), profit=D(gained))
    assert profit.at_starts_of_day([account.pk], now=midnight + timedelta(hours=5)) == {account.pk: 5}
    EquityPoint.objects.filter(at__gt=midnight).delete()
    assert profit.at_starts_of_day([account.pk], now=midnight + timedelta(hours=5)) == {}, (
        "nothing is known of today yet"
    )


def test_the_first_look_after_a_silence_over_midnight_trips_no_limit_and_the_next_ones_count_from_it() -> None:
    midnight = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
    (account,) = joined(1, max_daily_loss=D(30))
    Account.objects.update(created_at=midnight - timedelta(days=9))
    record(account, D(40), at=midnight - timedelta(hours=4))
    record(account, D(5), at=midnight + timedelta(hours=9))
    record(account, D("-24.99"), at=midnight + timedelta(hours=9) + STEP)
    assert not Event.objects.exists()
    record(account, D(-25), at=midnight + timedelta(hours=9) + 2 * STEP)
    assert RiskSettings.objects.get().close_only_reason == "Today's loss of $30.00 reached your limit"
