"""What is kept of recorded equity: everything of a day, then of each hour its last point and its highest profit."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from accounts.models import RiskSettings, User
from nija.celery import BEAT
from tests.support.world import StepClock
from tests.trading.services.master_books import NOW
from trading.domain.money import Money
from trading.models import Account, EquityPeak, EquityPoint, Event, EventKind
from trading.selectors import equity_curve
from trading.services import equity, loss_limits
from trading.services.loss_limits import DRAWDOWN_LIMIT, Known

pytestmark = pytest.mark.django_db

D = Decimal
HALF_MINUTE = timedelta(seconds=30)
HOUR = timedelta(hours=1)


@pytest.fixture
def clock() -> StepClock:
    return StepClock(NOW)


def joined(clock: StepClock, name: str = "ada") -> Account:
    user = User.objects.create_user(f"{name}@nija.example")
    return Account.objects.create(user=user, role="follower", venue="v", iban=name, created_at=clock.now())


def recorded(
    account: Account, profits: Sequence[Decimal], *, clock: StepClock, paid_at: int | None = None
) -> list[EquityPoint]:
    """One point each half minute, the last one now; $25 come at the one of that number."""
    begin = clock.now() - HALF_MINUTE * (len(profits) - 1)
    points = []
    for number, gained in enumerate(profits):
        cash = D(75) if paid_at is not None and number >= paid_at else D(50)
        at = begin + HALF_MINUTE * number
        points.append(EquityPoint(account=account, at=at, equity=cash + 50 + gained, cash=cash, profit=gained))
    return EquityPoint.objects.bulk_create(points)


def walk(seed: int, steps: int) -> list[Decimal]:
    chance, gained, profits = random.Random(seed), D(0), []
    for _ in range(steps):
        gained += D(chance.randint(-300, 300)) / 100
        profits.append(gained)
    return profits


def kept(account: Account) -> set[int]:
    return set(EquityPoint.objects.filter(account=account).values_list("pk", flat=True))


def test_of_an_hour_that_is_a_day_old_the_last_and_the_highest_stay_and_everything_newer(clock: StepClock) -> None:
    ada, ben = joined(clock), joined(clock, "ben")
    of_ada = recorded(ada, walk(1, 28 * 120), clock=clock)
    of_ben = recorded(ben, [D(5)] * 28 * 120, clock=clock)
    border = equity._hour(clock.now() - timedelta(days=1))
    expected: dict[int, set[int]] = {}
    for points in (of_ada, of_ben):
        old = [point for point in points if point.at < border]
        whole = {point.pk for point in points if point.at >= border}
        for hour in {equity._hour(point.at) for point in old}:
            its = [point for point in old if equity._hour(point.at) == hour]
            whole |= {its[-1].pk, max(its, key=lambda point: (point.profit, point.at)).pk}
        expected[points[0].account_id] = whole

    gone = equity.thin(clock=clock)

    assert (kept(ada), kept(ben)) == (expected[ada.pk], expected[ben.pk])
    assert gone == 2 * 28 * 120 - len(expected[ada.pk]) - len(expected[ben.pk]) > 600
    assert len({point.pk for point in of_ben if point.at < border} & kept(ben)) <= 5, (
        "one an hour where nothing changes"
    )


def test_thinning_goes_on_where_it_was_and_takes_nothing_twice(clock: StepClock) -> None:
    ada = joined(clock)
    recorded(ada, walk(2, 30 * 120), clock=clock)
    assert equity.thin(clock=clock) > 0
    assert equity.thin(clock=clock) == 0
    before = kept(ada)
    clock.move(3 * 3600)
    recorded(ada, walk(3, 10), clock=clock)
    assert equity.thin(clock=clock) > 300
    assert len(before - kept(ada)) > 300
    assert equity.thin(clock=clock) == 0


def test_no_hour_is_begun_when_the_time_is_over_and_the_next_goes_on(
    clock: StepClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded(joined(clock), walk(4, 30 * 120), clock=clock)
    real, hours = equity._thin_hour, []

    def slow(begin: datetime, account_ids: Sequence[int]) -> int:
        hours.append(begin)
        clock.move(6)
        return real(begin, account_ids)

    monkeypatch.setattr(equity, "_thin_hour", slow)
    for done in (2, 4, 6):
        assert equity.thin(clock=clock) > 0
        assert len(hours) == len(set(hours)) == done
    assert hours == sorted(hours)


def test_two_that_thin_at_once_share_the_hours(clock: StepClock, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded(joined(clock), walk(6, 30 * 120), clock=clock)
    real, hours = equity._thin_hour, []

    def another_comes_between(begin: datetime, account_ids: Sequence[int]) -> int:
        hours.append(begin)
        if len(hours) == 2:
            equity.thin(clock=clock)
        return real(begin, account_ids)

    monkeypatch.setattr(equity, "_thin_hour", another_comes_between)
    equity.thin(clock=clock)
    assert len(hours) == len(set(hours)) == 6
    assert equity.thin(clock=clock) == 0


@pytest.mark.parametrize("seed", range(6))
def test_a_drawdown_limit_set_later_finds_the_peak_it_would_have_found_before(clock: StepClock, seed: int) -> None:
    ada = joined(clock)
    points = recorded(ada, walk(seed, 27 * 120), clock=clock)
    if seed % 2:
        # Counted anew from the middle of an hour that is thinned.
        tripped = points[77].at + timedelta(seconds=7)
        Event.objects.create(
            at=tripped,
            kind=EventKind.STOPPED,
            account=ada,
            actor=DRAWDOWN_LIMIT,
            message="A drawdown reached your limit",
        )
    RiskSettings.objects.filter(user=ada.user).update(max_drawdown=D("0.9"))
    account = Account.objects.select_related("user__risk").get()

    def peak() -> tuple[Decimal | None, Decimal | None]:
        EquityPeak.objects.all().delete()
        loss_limits.check([Known(account, Money(points[-1].profit), Money(points[-1].equity))], now=clock.now())
        found = EquityPeak.objects.get()
        return found.profit, found.equity

    before = peak()
    assert before[0] is not None
    assert equity.thin(clock=clock) > 100
    assert peak() == before


def test_the_highest_since_the_limit_tripped_stays_though_the_hour_had_a_higher_one(clock: StepClock) -> None:
    ada = joined(clock)
    clock.be_set((equity._hour(clock.now()) - clock.now()).total_seconds() + 1800)
    # The first full hour: its highest before the trip, the highest since then not its last, and lower ever after.
    profits = [D(1)] * 3 + [D(90)] + [D(0)] * 56 + [D(70)] + [D(1)] * (27 * 120 - 1)
    points = recorded(ada, profits, clock=clock)
    tripped = points[30].at + timedelta(seconds=7)
    assert equity._hour(points[3].at) == equity._hour(tripped) == equity._hour(points[61].at)
    Event.objects.create(at=tripped, kind=EventKind.STOPPED, account=ada, actor=DRAWDOWN_LIMIT, message="A drawdown")
    RiskSettings.objects.filter(user=ada.user).update(max_drawdown=D("0.9"))
    assert equity.thin(clock=clock) > 100
    account = Account.objects.select_related("user__risk").get()
    loss_limits.check([Known(account, Money(D(1)), Money(D(101)))], now=clock.now())
    assert EquityPeak.objects.get().profit == 70


def test_a_curve_of_days_is_even_in_time_where_most_points_are_of_the_last_day(clock: StepClock) -> None:
    ada = joined(clock)
    points = recorded(ada, walk(5, 4 * 24 * 120), clock=clock, paid_at=24 * 120)
    paid_at = points[24 * 120].at
    equity.thin(clock=clock)
    curve = equity_curve.read(ada.pk, since=None)
    assert curve.points[-1].at == points[-1].at
    by_day = [sum(1 for point in curve.points if (points[-1].at - point.at).days == day) for day in range(4)]
    assert all(20 <= count <= 35 for count in by_day), by_day
    (moved,) = curve.movements
    assert moved.moved == 25
    assert paid_at <= moved.at <= paid_at + 2 * HOUR


def test_beat_has_it_done() -> None:
    assert BEAT["thin_equity"]["task"] == "trading.tasks.thin_equity"
