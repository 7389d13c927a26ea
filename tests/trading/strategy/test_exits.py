from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trading.strategy.markets import START, plan
from trading.domain.money import Price
from trading.strategy.decisions import ExitDecision, ExitReason, OpenPosition
from trading.strategy.exits import evaluate, trailing_level


def price(text: str) -> Price:
    return Price(Decimal(text))


def position(**changes: Any) -> OpenPosition:
    return replace(OpenPosition.opened(plan(), entry_price=price("100"), opened_at=START), **changes)


def at(held: OpenPosition, text: str, *, after_s: int = 60) -> ExitDecision | None:
    return evaluate(held, price=price(text), market_time=START + after_s)


def test_between_stop_and_first_target_nothing_is_sold() -> None:
    assert at(position(), "96.01") is None
    assert at(position(), "105.99") is None


def test_levels_are_measured_from_the_price_that_was_paid() -> None:
    held = OpenPosition.opened(plan(), entry_price=price("200"), opened_at=START)
    assert held.stop == price("192")
    assert at(held, "106") is not None
    decision = at(held, "212")
    assert decision is not None
    assert decision.level == price("212")


def test_the_stop_sells_everything_at_its_level_and_below() -> None:
    for text in ("96", "90"):
        decision = at(position(), text)
        assert decision is not None
        assert (decision.reason, decision.fraction, decision.level) == (ExitReason.STOP, 1, price("96"))
        assert decision.sentence == f"stop: price {text} is at or below 96"


@pytest.mark.parametrize(
    ("hit", "left", "text", "reason", "fraction"),
    [
        (0, Fraction(1), "106", ExitReason.TARGET_1, Fraction(2, 5)),
        (1, Fraction(3, 5), "109", ExitReason.TARGET_2, Fraction(1, 2)),
        (2, Fraction(3, 10), "113", ExitReason.TARGET_3, Fraction(1)),
        (0, Fraction(1), "110", ExitReason.TARGET_2, Fraction(7, 10)),
        (0, Fraction(1), "150", ExitReason.TARGET_3, Fraction(1)),
        (1, Fraction(3, 5), "113", ExitReason.TARGET_3, Fraction(1)),
    ],
)
def test_each_target_sells_its_share_of_the_bought_quantity_as_a_fraction_of_what_is_left(
    hit: int, left: Fraction, text: str, reason: ExitReason, fraction: Fraction
) -> None:
    decision = at(position(targets_hit=hit, fraction_left=left), text)
    assert decision is not None
    assert (decision.reason, decision.fraction) == (reason, fraction)
    assert decision.targets_hit == int(reason.value[-1])


def test_a_target_is_sold_at_only_once() -> None:
    assert at(position(targets_hit=1, fraction_left=Fraction(3, 5)), "107") is None


def test_a_share_that_was_sold_by_hand_is_not_sold_again() -> None:
    assert at(position(fraction_left=Fraction(1, 2)), "106") is None
    later = at(position(fraction_left=Fraction(1, 2)), "109")
    assert later is not None
    assert later.fraction == Fraction(2, 5)


def test_the_trailing_stop_follows_the_highest_price_after_the_first_target() -> None:
    held = position(targets_hit=1, fraction_left=Fraction(3, 5), highest=price("108"))
    assert trailing_level(held, price=price("105")) == price("104")
    assert at(held, "104.01") is None
    decision = at(held, "104")
    assert decision is not None
    assert (decision.reason, decision.fraction, decision.level) == (ExitReason.TRAILING, 1, price("104"))


def test_the_trailing_stop_never_falls_below_the_stop_and_is_off_before_the_first_target() -> None:
    assert trailing_level(position(highest=price("105.9")), price=price("100")) is None
    wide = replace(position(targets_hit=1, highest=price("106")), stop=price("103"))
    assert trailing_level(wide, price=price("104")) == price("103")


def test_a_position_ends_after_its_maximum_holding_time() -> None:
    held = position(highest=price("105"))
    assert at(held, "101", after_s=86_399) is None
    decision = at(held, "101", after_s=86_400)
    assert decision is not None
    assert (decision.reason, decision.fraction, decision.level) == (ExitReason.TIME, 1, None)
    assert decision.sentence == "time: held 24 h 0 min, limit 24 h 0 min"


def test_a_position_that_went_nowhere_is_given_up() -> None:
    held = position(highest=price("102.9"))
    assert at(held, "101", after_s=43_199) is None
    decision = at(held, "101", after_s=43_200)
    assert decision is not None
    assert (decision.reason, decision.fraction) == (ExitReason.STAGNATION, 1)
    assert at(position(highest=price("103")), "101", after_s=43_200) is None
    assert at(held, "103", after_s=43_200) is None


def test_the_stop_comes_before_time_and_a_target_before_time() -> None:
    stopped, reached = at(position(), "95", after_s=90_000), at(position(), "106", after_s=90_000)
    assert stopped is not None
    assert stopped.reason is ExitReason.STOP
    assert reached is not None
    assert reached.reason is ExitReason.TARGET_1


def test_a_position_with_nothing_left_is_not_sold() -> None:
    assert at(position(fraction_left=Fraction(0)), "50") is None


@settings(max_examples=150, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.decimals("50", "200", places=2), st.integers(1, 20_000)),
        min_size=1,
        max_size=40,
    )
)
def test_along_any_path_no_more_is_sold_than_bought_and_every_sale_counts_once(
    steps: list[tuple[Decimal, int]],
) -> None:
    held, now = position(), START
    reasons: list[ExitReason] = []
    for value, seconds in steps:
        now += seconds
        decision = evaluate(held, price=Price(value), market_time=now)
        held = replace(held, highest=max(held.highest, Price(value)))
        if decision is None:
            continue
        assert 0 < decision.fraction <= 1
        assert decision.targets_hit >= held.targets_hit
        reasons.append(decision.reason)
        left = held.fraction_left * (1 - decision.fraction)
        held = replace(held, fraction_left=left, targets_hit=decision.targets_hit)
    assert 0 <= held.fraction_left <= 1
    assert len(reasons) == len(set(reasons))
