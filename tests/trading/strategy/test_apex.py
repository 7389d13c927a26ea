from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trading.strategy import oracle
from tests.trading.strategy.markets import FEES, SLIPPAGE, START, plan, walk, with_gaps
from trading.domain.money import Price, Ratio
from trading.strategy import apex, entries
from trading.strategy.candles import Candles
from trading.strategy.decisions import EntryDecision, Part, Veto, figure
from trading.strategy.parameters import ApexParameters
from trading.strategy.plan import Target


@cache
def decided(seed: int = 6) -> tuple[Candles, tuple[EntryDecision, ...]]:
    market = walk(seed)
    prepared = apex.prepare(market)
    return market, tuple(prepared.decide(i, fees=FEES, slippage=SLIPPAGE) for i in range(len(market)))


def entry_index() -> int:
    return next(i for i, decision in enumerate(decided()[1]) if decision.enter)


def vetoes_of(decision: EntryDecision) -> list[Veto]:
    return [note.veto for note in decision.vetoes]


def test_a_lively_market_is_entered_from_time_to_time() -> None:
    entries = sum(decision.enter for decision in decided()[1])
    assert 5 <= entries <= 60


def test_no_candles_and_too_few_candles_are_a_warm_up_veto() -> None:
    nothing = apex.evaluate_entry(walk(1, length=0), fees=FEES, slippage=SLIPPAGE)
    assert (nothing.candle_time, nothing.enter, vetoes_of(nothing)) == (None, False, [Veto.WARM_UP])
    short = apex.evaluate_entry(walk(1, length=99), fees=FEES, slippage=SLIPPAGE)
    assert [note.sentence for note in short.vetoes] == ["warm-up: 99 closed candles, 100 needed"]
    enough = apex.evaluate_entry(walk(1, length=100), fees=FEES, slippage=SLIPPAGE)
    assert Veto.WARM_UP not in vetoes_of(enough)
    assert enough.plan is not None


def test_the_last_candle_is_decided_as_the_same_index_of_the_whole_array() -> None:
    market, decisions = decided()
    for i in (98, 99, 100, 250, entry_index(), 599):
        assert apex.evaluate_entry(market.upto(i + 1), fees=FEES, slippage=SLIPPAGE) == decisions[i]


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(100, 590), seed=st.integers(0, 1_000))
def test_changing_future_candles_never_changes_an_earlier_decision(cut: int, seed: int) -> None:
    market, decisions = decided()
    chance = np.random.default_rng(seed)
    shock = np.where(np.arange(len(market)) < cut, 1.0, np.exp(chance.standard_normal(len(market))))
    changed = Candles(
        market.time + np.where(np.arange(len(market)) < cut, 0, 7_200),
        *(column * shock for column in (market.open, market.high, market.low, market.close)),
        volume=market.volume * shock**3,
        interval_s=market.interval_s,
    )
    prepared = apex.prepare(changed)
    for i in range(max(0, cut - 40), cut):
        assert prepared.decide(i, fees=FEES, slippage=SLIPPAGE) == decisions[i]


def test_every_entry_is_among_the_candidates_and_nothing_else_but_the_margin() -> None:
    market, decisions = decided()
    found = apex.prepare(market).candidates(fees=FEES, slippage=SLIPPAGE).tolist()
    assert found == [i for i, decision in enumerate(decisions) if decision.enter]
    assert apex.prepare(market.upto(50)).candidates(fees=FEES, slippage=SLIPPAGE).tolist() == []


def test_an_index_outside_the_candles_is_refused() -> None:
    with pytest.raises(IndexError, match="candle 600 of 600"):
        apex.prepare(decided()[0]).decide(600, fees=FEES, slippage=SLIPPAGE)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), step=st.sampled_from([0.001, 0.006, 0.03]))
def test_scores_stay_between_0_and_100_and_are_the_sum_of_their_parts(seed: int, step: float) -> None:
    decision = apex.evaluate_entry(walk(seed, length=160, step=step), fees=FEES, slippage=SLIPPAGE)
    assert 0 <= decision.score <= 100
    assert [part.part for part in decision.parts] == list(Part)
    assert sum(part.maximum for part in decision.parts) == 100
    assert sum(part.points for part in decision.parts) == decision.score
    assert all(0 <= line.points <= line.maximum for part in decision.parts for line in part.lines)
    assert vetoes_of(decision) == sorted(vetoes_of(decision), key=list(Veto).index)
    assert decision.enter is (not decision.vetoes)


def first_with(veto: Veto, decide: Callable[[], tuple[EntryDecision, ...]]) -> EntryDecision:
    return next(decision for decision in decide() if veto in vetoes_of(decision))


def all_decisions(market: Candles, fees: Ratio = FEES, **parameters: Any) -> tuple[EntryDecision, ...]:
    prepared = apex.prepare(market, parameters=ApexParameters(**parameters))
    return tuple(prepared.decide(i, fees=fees, slippage=SLIPPAGE) for i in range(len(market)))


@pytest.mark.parametrize(
    ("veto", "sentence", "decide"),
    [
        (Veto.WARM_UP, "warm-up: 1 closed candles", lambda: decided()[1]),
        (
            Veto.ILLIQUID,
            "illiquid: trades in 7 of the last 20",
            lambda: all_decisions(with_gaps(walk(6), keep_every=3)),
        ),
        (Veto.TREND, "trend: close ", lambda: decided()[1]),
        (Veto.WEAK_TREND, "weak trend: ADX ", lambda: all_decisions(walk(7, step=0.012))),
        (Veto.DIRECTION, "direction: +DI ", lambda: decided()[1]),
        (Veto.MOMENTUM, "momentum: MACD histogram \N{MINUS SIGN}", lambda: decided()[1]),
        (Veto.OVERBOUGHT, "overbought: RSI ", lambda: decided()[1]),
        (Veto.BELOW_VWAP, "below VWAP: close ", lambda: decided()[1]),
        (Veto.THIN_VOLUME, "thin volume: 0.", lambda: decided()[1]),
        (Veto.OVEREXTENDED, "overextended: ", lambda: decided()[1]),
        (Veto.TOO_VOLATILE, "too volatile: ATR ", lambda: all_decisions(walk(6, step=0.05))),
        (Veto.SCORE, "score: ", lambda: decided()[1]),
        (Veto.EDGE, "edge: target ", lambda: all_decisions(walk(6, step=0.001))),
    ],
)
def test_each_veto_is_reached_and_speaks(
    veto: Veto, sentence: str, decide: Callable[[], tuple[EntryDecision, ...]]
) -> None:
    decision = first_with(veto, decide)
    note = next(note for note in decision.vetoes if note.veto is veto)
    assert note.sentence.startswith(sentence)
    assert "nan" not in note.sentence
    assert not decision.enter


def test_all_vetoes_are_listed_and_agree_with_indicators_computed_apart() -> None:
    market, decisions = decided()
    close, high, low = market.close.tolist(), market.high.tolist(), market.low.tolist()
    fast, mid, slow = (oracle.ema(close, period) for period in (9, 21, 50))
    rsi_fast, rsi_slow = oracle.rsi(close, 9), oracle.rsi(close, 14)
    plus, minus, adx = oracle.directional(high, low, close, 14)
    histogram = oracle.macd_histogram(close, 12, 26, 9)
    vwap = oracle.vwap(high, low, close, market.volume.tolist(), 96)
    volume, atr = oracle.average(market.volume.tolist(), 20), oracle.atr(high, low, close, 14)
    stands: dict[Veto, Callable[[int], bool]] = {
        Veto.TREND: lambda i: not (fast[i] > mid[i] > slow[i] and close[i] > slow[i]),  # type: ignore[operator]
        Veto.WEAK_TREND: lambda i: adx[i] < 20,  # type: ignore[operator]
        Veto.DIRECTION: lambda i: plus[i] <= minus[i],  # type: ignore[operator]
        Veto.MOMENTUM: lambda i: histogram[i] <= 0,  # type: ignore[operator]
        Veto.OVERBOUGHT: lambda i: rsi_fast[i] > 88 or rsi_slow[i] > 80,  # type: ignore[operator]
        Veto.BELOW_VWAP: lambda i: close[i] <= vwap[i],  # type: ignore[operator]
        Veto.THIN_VOLUME: lambda i: market.volume[i] < 0.8 * volume[i],  # type: ignore[operator]
        Veto.OVEREXTENDED: lambda i: close[i] - mid[i] > 4 * atr[i],  # type: ignore[operator]
        Veto.TOO_VOLATILE: lambda i: atr[i] > 0.03 * close[i],  # type: ignore[operator]
        Veto.SCORE: lambda i: decisions[i].score < 65,
    }
    for i in range(100, 600):
        others = [veto for veto in vetoes_of(decisions[i]) if veto is not Veto.EDGE]
        assert others == [veto for veto, rule in stands.items() if rule(i)], i


def test_the_levels_are_multiples_of_the_atr() -> None:
    market, decisions = decided()
    i = entry_index()
    atr = oracle.atr(market.high.tolist(), market.low.tolist(), market.close.tolist(), 14)[i]
    whole = decisions[i].plan
    assert whole is not None
    assert atr is not None
    close = float(market.close[i])
    assert float(whole.reference.value) == close
    assert float(whole.stop.value) == pytest.approx(close - 4 * atr)
    levels = [float(target.level(whole.reference).value) for target in whole.targets]
    assert levels == pytest.approx([close + 6 * atr, close + 9 * atr, close + 13 * atr])
    assert float(whole.trail.value) == pytest.approx(4 * atr / close)
    assert float(whole.stagnation_below.value) == pytest.approx(3 * atr / close)
    assert (whole.stagnation_after_s, whole.max_holding_s) == (144 * 300, 288 * 300)
    assert sum(target.fraction for target in whole.targets) == 1


def edge_with_target(percent: str, *, fees: str = "0.8", slippage: str = "0.1") -> Any:
    first = Target(Ratio.from_percent(percent), plan().targets[0].fraction)
    return entries.edge_of(
        replace(plan(), targets=(first, *plan().targets[1:])),
        fees=Ratio.from_percent(fees),
        slippage=Ratio.from_percent(slippage),
    )


def test_the_edge_pays_the_fee_on_the_purchase_and_on_the_higher_sale() -> None:
    edge = edge_with_target("2.1")
    assert edge.round_trip == Ratio(Decimal("0.016168"))
    assert edge.left == Ratio(Decimal("0.003832"))
    assert edge.sentence == "edge: target 2.1 %, round trip 1.62 %, slippage 0.1 %: 0.38 % left"


@settings(max_examples=200, deadline=None)
@given(
    target=st.decimals("0.0001", "0.5", places=6),
    fee=st.decimals("0", "0.02", places=6),
    slippage=st.decimals("0", "0.02", places=6),
    money=st.decimals("1", "1000000", places=2),
)
def test_what_the_edge_leaves_is_the_profit_of_the_round_trip_in_money(
    target: Decimal, fee: Decimal, slippage: Decimal, money: Decimal
) -> None:
    first = Target(Ratio(target), plan().targets[0].fraction)
    edge = entries.edge_of(replace(plan(), targets=(first,)), fees=Ratio(fee), slippage=Ratio(slippage))
    sale = money * (1 + target)
    profit = sale - sale * fee - money - money * fee - money * slippage
    assert edge.left.value * money == profit


def test_negative_fees_are_refused() -> None:
    with pytest.raises(ValueError, match="not negative"):
        edge_with_target("2", fees="-0.1")


def test_the_same_candle_is_entered_at_low_fees_and_vetoed_at_high_fees() -> None:
    market = decided()[0].upto(entry_index() + 1)
    cheap = apex.evaluate_entry(market, fees=Ratio.zero(), slippage=Ratio.zero())
    dear = apex.evaluate_entry(market, fees=Ratio(Decimal("0.05")), slippage=SLIPPAGE)
    assert cheap.enter
    assert vetoes_of(dear) == [Veto.EDGE]
    assert dear.vetoes[0].sentence.endswith(" left, wanted 0.2 %")


def test_the_edge_veto_stands_exactly_below_the_wanted_edge() -> None:
    market = decided()[0].upto(entry_index() + 1)
    left = decided()[1][entry_index()].edge
    assert left is not None
    exact = ApexParameters(edge_min=left.left.value)
    above = ApexParameters(edge_min=left.left.value + Decimal("1e-18"))
    assert apex.evaluate_entry(market, parameters=exact, fees=FEES, slippage=SLIPPAGE).enter
    assert not apex.evaluate_entry(market, parameters=above, fees=FEES, slippage=SLIPPAGE).enter


def test_no_entry_is_made_whose_first_target_does_not_pay_the_round_trip() -> None:
    for seed in range(6):
        for decision in all_decisions(walk(seed, step=0.003)):
            if decision.enter:
                assert decision.plan is not None
                target = decision.plan.targets[0].distance.value
                assert target - FEES.value * (2 + target) - SLIPPAGE.value >= Decimal("0.002")


def test_a_market_that_stands_still_is_vetoed_and_not_an_error() -> None:
    market = walk(1, length=200)
    still = np.full(200, 10.0)
    flat = Candles(market.time, still, still, still, still, np.zeros(200), interval_s=300)
    decision = apex.evaluate_entry(flat, fees=FEES, slippage=SLIPPAGE)
    assert {Veto.ILLIQUID, Veto.TREND, Veto.WEAK_TREND, Veto.THIN_VOLUME, Veto.EDGE} <= set(vetoes_of(decision))
    assert decision.plan is not None
    assert decision.plan.stop == Price(Decimal(10))


def test_a_decision_is_json_that_a_page_can_show() -> None:
    document = json.loads(json.dumps(decided()[1][entry_index()].as_json()))
    assert document["enter"] is True
    assert document["candle_time"] == START + 300 * entry_index()
    assert sum(Decimal(part["points"]) for part in document["parts"]) == Decimal(document["score"])
    assert document["plan"]["targets"][0]["fraction"] == "2/5"
    refused = json.loads(json.dumps(decided()[1][0].as_json()))
    assert refused["vetoes"] == [{"veto": "warm_up", "sentence": "warm-up: 1 closed candles, 100 needed"}]
    assert refused["plan"] is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(-4.69e-06, "\N{MINUS SIGN}0.00000469"), (96506.123, "96506.1"), (0.5, "0.5"), (float("nan"), "unknown")],
)
def test_a_statistic_in_a_sentence_has_no_exponent_and_a_real_minus(value: float, text: str) -> None:
    assert figure(value, 6) == text
