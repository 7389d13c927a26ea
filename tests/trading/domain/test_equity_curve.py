"""Payments are told from profit, and drawdown from payments, whatever prices and bookings do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from trading.domain.equity_curve import Point, drawdowns, movements, spaced

START = datetime(2026, 7, 1, tzinfo=UTC)
D = Decimal
cents = st.integers(-3000, 3000).map(lambda n: D(n).scaleb(-2))
#: Profits along the way, and the money moved before one of the points: far above and far below what counts.
profits = st.lists(cents, min_size=4, max_size=30)
large = st.integers(200, 5000).map(lambda n: D(n).scaleb(-2)) | st.integers(-5000, -200).map(lambda n: D(n).scaleb(-2))


def curve(gained: list[Decimal], *, paid: dict[int, Decimal] | None = None, start: str = "100") -> list[Point]:
    """Half a minute apart; `paid` moves money just before the n-th point."""
    points, base = [], D(start)
    for n, profit in enumerate(gained):
        base += (paid or {}).get(n, D(0))
        # Something is held all the time, so cash is not equity. It moves by less than a cent, and payments are whole cents.
        cash = base - 20 - D(n % 3).scaleb(-3)
        points.append(Point(START + timedelta(seconds=30 * n), base + profit, cash, profit))
    return points


def uneven(gained: list[Decimal]) -> list[Decimal]:
    """Less than a cent more at every point, so that no payment of whole cents leaves equity exactly as it was."""
    return [profit + D(n).scaleb(-4) for n, profit in enumerate(gained)]


@settings(max_examples=60)
@given(profits)
def test_profit_and_loss_are_never_taken_for_a_payment(gained: list[Decimal]) -> None:
    assert movements(curve(gained, start="1000")) == []


@settings(max_examples=60)
@given(profits, large, st.data())
def test_a_payment_that_lasts_two_points_is_found_where_it_was_made_with_its_amount(
    gained: list[Decimal], amount: Decimal, data: st.DataObject
) -> None:
    at = data.draw(st.integers(1, len(gained) - 2))
    points = curve(uneven(gained), paid={at: amount}, start="150")
    (found,) = movements(points)
    assert (found.at, found.amount) == (points[at].at, amount)


@settings(max_examples=60)
@given(profits, large, st.data())
def test_a_fill_booked_late_is_no_payment_and_its_end_none_either(
    gained: list[Decimal], amount: Decimal, data: st.DataObject
) -> None:
    at = data.draw(st.integers(1, len(gained) - 1))
    points = curve(gained, paid={at: amount, at + 1: -amount}, start="150")
    assert movements(points) == []


@settings(max_examples=60)
@given(profits, large, large)
def test_what_was_found_adds_up_to_what_was_paid(gained: list[Decimal], first: Decimal, second: Decimal) -> None:
    # 7 is added where the two would cancel each other.
    second += D(7) if abs(first + second) < 2 else D(0)
    points = curve(uneven([*gained, *gained]), paid={1: first, 2: second}, start="400")
    assert sum(each.amount for each in movements(points)) == first + second


def test_the_newest_point_alone_proves_no_payment_yet() -> None:
    points = curve([D(0)] * 3, paid={2: D(50)})
    assert movements(points) == []
    (found,) = movements(curve([D(0)] * 4, paid={2: D(50)}))
    assert found.at == points[2].at


def test_an_allocation_that_caps_equity_makes_no_payments_out_of_profit() -> None:
    """Equity stands still at the allocation while profit comes and goes with every sale."""
    points = [Point(START + timedelta(seconds=n), D(50), D(40 + n), D(5 * (n // 3))) for n in range(9)]
    assert movements(points) == []


def test_changing_the_allocation_is_no_payment() -> None:
    points = [Point(START + timedelta(seconds=n), D(50 if n < 4 else 80), D(70), D(1)) for n in range(8)]
    assert movements(points) == []


def test_too_few_points_tell_nothing() -> None:
    for count in range(3):
        assert movements(curve([D(0)] * count, paid={1: D(50)})) == []


@settings(max_examples=60)
@given(profits)
def test_drawdown_is_nothing_at_every_new_peak_and_never_negative(gained: list[Decimal]) -> None:
    points = curve(gained, start="1000")
    found = drawdowns(points)
    assert all(each >= 0 for each in found)
    for n, point in enumerate(points):
        if point.profit >= max(p.profit for p in points[: n + 1]):
            assert found[n] == 0


@settings(max_examples=60)
@given(profits, large)
def test_payments_after_the_peak_do_not_change_the_drawdown(gained: list[Decimal], amount: Decimal) -> None:
    peak_first = sorted(gained, reverse=True)
    paid = curve(peak_first, paid={1: amount}, start="1000")
    assert drawdowns(paid)[1:] == drawdowns(curve(peak_first, start="1000"))[1:] or peak_first[0] == peak_first[1]


def test_drawdown_is_a_part_of_the_equity_at_the_peak() -> None:
    assert drawdowns(curve([D(0), D(20), D(8), D(14), D(30)])) == [0, 0, D("0.1"), D("0.05"), 0]


def test_an_account_without_equity_has_no_drawdown() -> None:
    assert drawdowns([Point(START, D(0), D(0), D(0)), Point(START, D(0), D(0), D(-1))]) == [0, 0]


@settings(max_examples=100)
@given(st.lists(st.integers(0, 5000), min_size=1, max_size=200), st.integers(1, 40))
def test_points_shown_are_spread_over_time_and_end_with_the_newest(seconds: list[int], most: int) -> None:
    instants = [START + timedelta(seconds=second) for second in sorted(seconds)]
    shown = spaced(instants, most)
    assert shown == sorted(set(shown))
    assert shown[-1] == len(instants) - 1
    if len(instants) <= most:
        assert len(shown) == len(instants)
        return
    assert len(shown) <= most
    span = (instants[-1] - instants[0]) / most
    # No span that has a point is passed over.
    for at in instants:
        assert any(at <= instants[index] <= at + span + timedelta(microseconds=most) for index in shown)


def test_of_no_points_none_are_shown() -> None:
    assert spaced([], 10) == []
