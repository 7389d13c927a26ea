"""Each thing that keeps a follower out of an entry has its own reason, and says what would change it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from copytrade.domain.admission import Situation, refusal
from copytrade.domain.reasons import SkipReason

FINE = Situation(
    symbol="BEAM-USD",
    halted="",
    orders_allowed=True,
    clock_problem="",
    stopped=False,
    state="active",
    close_only_reason="",
    until_resumed=False,
    held="",
    key_problem="",
    has_key=True,
    tradable=True,
    permits_symbol=True,
    master_already_out=False,
    open_positions=0,
    max_open_positions=8,
    already_open=False,
)


def test_nothing_stands_in_the_way_of_an_active_follower() -> None:
    assert refusal(FINE) is None


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        ({"halted": "Entries are stopped for everybody: drill"}, SkipReason.HALTED, "for everybody: drill."),
        ({"orders_allowed": False}, SkipReason.ORDERS_NOT_ALLOWED, "may not place orders"),
        ({"stopped": True}, SkipReason.STOPPED_BY_USER, "Resume to copy the next entry."),
        ({"state": "off"}, SkipReason.COPYING_OFF, "switched off"),
        ({"state": "close_only"}, SkipReason.CLOSE_ONLY, "exits only"),
        ({"close_only_reason": "Today's loss of $5.00 reached your limit"}, SkipReason.DAILY_LOSS, "$5.00"),
        ({"close_only_reason": "A drawdown", "until_resumed": True}, SkipReason.DRAWDOWN, "Resume copying"),
        ({"held": "Two and two made five"}, SkipReason.ACCOUNT_HELD, "Two and two made five"),
        ({"has_key": False}, SkipReason.NO_KEY, "Connect one"),
        ({"key_problem": "The key may no longer trade."}, SkipReason.KEY_PROBLEM, "no longer trade"),
        ({"tradable": False}, SkipReason.NOT_TRADABLE, "BEAM-USD"),
        ({"permits_symbol": False}, SkipReason.SYMBOL_NOT_ALLOWED, "BEAM-USD"),
        ({"master_already_out": True}, SkipReason.MASTER_ALREADY_OUT, "had sold again"),
        ({"clock_problem": "Kraken's clock has not been measured yet."}, SkipReason.CLOCK_UNKNOWN, "clock"),
        ({"open_positions": 8}, SkipReason.MAX_POSITIONS, "8 positions open and allow 8"),
    ],
)
def test_each_obstacle_has_its_reason(change: dict[str, Any], reason: SkipReason, words: str) -> None:
    refused = refusal(replace(FINE, **change))
    assert refused is not None
    assert refused.reason is reason
    assert words in refused.sentence


def test_more_of_a_pair_already_held_opens_no_further_position() -> None:
    assert refusal(replace(FINE, open_positions=8, already_open=True)) is None


def test_the_stop_of_everybody_is_named_before_anything_of_the_follower() -> None:
    refused = refusal(replace(FINE, halted="Entries are stopped", state="off", has_key=False))
    assert refused is not None
    assert refused.reason is SkipReason.HALTED
