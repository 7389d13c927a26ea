from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest

from tests.trading.strategy import oracle
from tests.trading.strategy.markets import FEES, SLIPPAGE, START, walk, with_gaps
from trading.domain.money import Price, Ratio
from trading.strategy import breakout, registry
from trading.strategy.breakout import Breakout, BreakoutParameters
from trading.strategy.candles import Candles
from trading.strategy.decisions import EntryDecision, ExitReason, OpenPosition, Veto
from trading.strategy.parameters import ParameterError


@cache
def decided(seed: int = 6) -> tuple[Candles, tuple[EntryDecision, ...]]:
    market = walk(seed)
    prepared = Breakout().prepare(market)
    return market, tuple(prepared.decide(i, fees=FEES, slippage=SLIPPAGE) for i in range(len(market)))


def entered() -> list[int]:
    return [i for i, decision in enumerate(decided()[1]) if decision.enter]


def vetoes_of(decision: EntryDecision) -> list[Veto]:
    return [note.veto for note in decision.vetoes]


def test_the_registry_holds_it_beside_apex_with_its_own_version_and_hash() -> None:
    strategy = registry.get("breakout")
    assert (strategy.name, strategy.version, strategy.warm_up) == ("breakout", breakout.VERSION, 100)
    assert strategy.parameters_hash == BreakoutParameters().digest()
    assert strategy.parameters_hash != registry.get("apex").parameters_hash
    assert Breakout(BreakoutParameters(channel=55)).parameters_hash != strategy.parameters_hash


def test_every_decision_agrees_with_channel_and_n_computed_apart() -> None:
    market, decisions = decided()
    close, high, low = market.close.tolist(), market.high.tolist(), market.low.tolist()
    channel, n = oracle.highest_before(high, 20), oracle.atr(high, low, close, 20)
    entries = 0
    for i in range(99, 600):
        above, now = channel[i], n[i]
        assert above is not None
        assert now is not None
        target = 6 * now / close[i]
        expected = {
            Veto.NO_BREAKOUT: close[i] <= above,
            Veto.TOO_VOLATILE: now > 0.03 * close[i],
            Veto.EDGE: target - 0.008 * (2 + target) - 0.001 < 0.002,
        }
        assert vetoes_of(decisions[i]) == [veto for veto, stands in expected.items() if stands], i
        strength = 100 * min(1.0, max(0.0, (close[i] - above) / now))
        assert float(decisions[i].score) == pytest.approx(strength, abs=0.051)
        entries += decisions[i].enter
    assert entries >= 10


def test_thinly_traded_pairs_are_vetoed_as_an_independent_count_says() -> None:
    thin = with_gaps(walk(6), keep_every=3)
    prepared = Breakout().prepare(thin)
    counts = oracle.traded(thin.time.tolist(), thin.volume.tolist(), period=20, interval_s=300)
    for i in range(99, len(thin)):
        notes = prepared.decide(i, fees=FEES, slippage=SLIPPAGE).vetoes
        assert (Veto.ILLIQUID in [note.veto for note in notes]) is (counts[i] < 10)
    assert notes[0].sentence == "illiquid: trades in 7 of the last 20 intervals, 10 needed"


@pytest.mark.parametrize("seed", range(8))
def test_changing_future_candles_never_changes_an_earlier_decision(seed: int) -> None:
    market, decisions = decided()
    chance = np.random.default_rng(seed)
    cut = int(chance.integers(100, 590))
    later = np.arange(len(market)) >= cut
    shock = np.where(later, np.exp(chance.standard_normal(len(market))), 1.0)
    changed = Candles(
        market.time + np.where(later, 7_200, 0),
        *(column * shock for column in (market.open, market.high, market.low, market.close)),
        volume=market.volume * shock**3,
        interval_s=market.interval_s,
    )
    prepared = Breakout().prepare(changed)
    for i in range(cut):
        assert prepared.decide(i, fees=FEES, slippage=SLIPPAGE) == decisions[i]


def test_the_last_candle_is_decided_as_the_same_index_of_the_whole_array() -> None:
    market, decisions = decided()
    for i in (0, 98, 99, entered()[0], 599):
        assert Breakout().evaluate_entry(market.upto(i + 1), fees=FEES, slippage=SLIPPAGE) == decisions[i]
    nothing = Breakout().evaluate_entry(market.upto(0), fees=FEES, slippage=SLIPPAGE)
    assert (nothing.candle_time, vetoes_of(nothing)) == (None, [Veto.WARM_UP])
    assert [note.sentence for note in decisions[98].vetoes] == ["warm-up: 99 closed candles, 100 needed"]


def test_every_entry_is_among_the_candidates() -> None:
    found = Breakout().prepare(decided()[0]).candidates(fees=FEES, slippage=SLIPPAGE).tolist()
    assert found == entered()


def test_the_veto_sentences_carry_the_numbers() -> None:
    decision = next(d for d in decided()[1] if Veto.NO_BREAKOUT in vetoes_of(d))
    assert decision.vetoes[0].sentence.startswith("no breakout: close ")
    assert decision.vetoes[0].sentence.endswith("the highest of the 20 candles before")
    dear = Breakout().evaluate_entry(
        decided()[0].upto(entered()[0] + 1), fees=Ratio(Decimal("0.05")), slippage=SLIPPAGE
    )
    assert vetoes_of(dear) == [Veto.EDGE]
    assert dear.vetoes[0].sentence.startswith("edge: target ")
    assert dear.vetoes[0].sentence.endswith(" left, wanted 0.2 %")


def test_the_levels_are_multiples_of_n_and_sell_half_at_the_target_and_the_rest_by_trail_or_time() -> None:
    market, decisions = decided()
    i = entered()[0]
    plan = decisions[i].plan
    assert plan is not None
    close = float(market.close[i])
    n = oracle.atr(market.high.tolist(), market.low.tolist(), market.close.tolist(), 20)[i]
    assert n is not None
    assert float(plan.stop.value) == pytest.approx(close - 2 * n)
    (target,) = plan.targets
    assert float(target.level(plan.reference).value) == pytest.approx(close + 6 * n)
    entry = plan.reference
    opened = OpenPosition.opened(plan, entry_price=entry, opened_at=START)

    def sold(position: OpenPosition, price: Price, at: int = START) -> tuple[ExitReason, Fraction] | None:
        decision = Breakout().evaluate_exit(position, price=price, market_time=at)
        return None if decision is None else (decision.reason, decision.fraction)

    level = target.level(entry)
    assert sold(opened, entry) is None
    assert sold(opened, plan.stop) == (ExitReason.STOP, Fraction(1))
    assert sold(opened, level) == (ExitReason.TARGET_1, Fraction(1, 2))
    half = replace(opened, targets_hit=1, fraction_left=Fraction(1, 2), highest=level)
    assert sold(half, level) is None
    assert sold(half, level - entry * plan.trail) == (ExitReason.TRAILING, Fraction(1))
    just_before = START + 288 * 300 - 1
    assert sold(opened, entry, just_before) is None
    assert sold(opened, entry, just_before + 1) == (ExitReason.TIME, Fraction(1))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"channel": 1}, "channel and n_period must be at least 2 candles"),
        ({"n_period": 1}, "channel and n_period must be at least 2 candles"),
        ({"channel": 20.0}, "channel is a positive whole number of candles, not 20.0"),
        ({"liquidity_period": 0}, "liquidity_period is a positive whole number"),
        ({"warm_up": 21}, "warm_up must be longer than the indicators need: 21 candles"),
        ({"warm_up": 501}, "no period is longer than 500 candles"),
        ({"traded_min": 21}, "traded_min cannot exceed liquidity_period"),
        ({"n_ratio_max": 1.0}, "n_ratio_max must be between 0 and 1"),
        ({"n_ratio_max": float("inf")}, "n_ratio_max is a finite number, not inf"),
        ({"strength_full_n": 0.0}, "strength_full_n must be positive"),
        ({"edge_min": Decimal(1)}, "edge_min must be from 0 to below 1"),
        ({"edge_min": 0.002}, "edge_min is a finite Decimal, not 0.002"),
        ({"stop_n": Decimal(0)}, "stop_n, target_n and trail_n must be positive"),
        ({"stop_n": Decimal(40)}, "the stop could be below zero"),
        ({"target_n": Decimal(-1)}, "stop_n, target_n and trail_n must be positive"),
        ({"trail_n": Decimal(0)}, "stop_n, target_n and trail_n must be positive"),
        ({"target_share": Fraction(0)}, "target_share must be a Fraction above 0 and at most 1"),
        ({"target_share": 0.5}, "target_share must be a Fraction above 0 and at most 1"),
        ({"max_holding": 0}, "max_holding is a positive whole number"),
    ],
)
def test_a_parameter_out_of_range_is_refused_by_name(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence):
        BreakoutParameters(**changes)
