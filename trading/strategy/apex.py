"""`apex`: enter strong, liquid up-trends whose first target pays the round trip; leave by stop, targets and time.

`prepare` computes everything once for a whole array; a decision then reads one index. `evaluate_entry` is that decision
at the last closed candle, so a live cycle and a backtest run the same code. The warm-up of live cycles and backtests
differs in where their arrays start, see `trading.strategy.indicators`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np

from trading.domain.money import Price, Ratio
from trading.strategy import exits, indicators, scoring, vetoes
from trading.strategy.candles import Candles, IntArray
from trading.strategy.decisions import (
    Edge,
    EntryDecision,
    ExitDecision,
    OpenPosition,
    PartScore,
    Veto,
    VetoNote,
    percent,
)
from trading.strategy.parameters import ApexParameters
from trading.strategy.plan import ONE, EntryPlan, Target, decimal_from_float

NAME = "apex"
#: Rises with every change of a rule, a weight or a formula; the parameters hash covers the thresholds.
VERSION = "1"

DEFAULTS = ApexParameters()

#: How far floats may be off when candidates are picked; far more than rounding, far less than a basis point.
CANDIDATE_MARGIN = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Preparation:
    """Indicators, points and vetoes of every candle; `rules` and `scores` are None without candles."""

    candles: Candles
    parameters: ApexParameters
    indicators: indicators.Indicators | None
    scores: scoring.Scores | None
    rules: tuple[vetoes.Rule, ...]

    def candidates(self, *, fees: Ratio, slippage: Ratio) -> IntArray:
        """The indices worth deciding: no other veto stands, and the edge, reckoned in floats, may suffice.

        Every index that `decide` enters is among them; the few that are not entered lie within the margin.
        """
        if self.indicators is None:
            return np.zeros(0, dtype=np.int64)
        free = np.ones(len(self.candles), dtype=np.bool_)
        free[: self.parameters.warm_up - 1] = False
        for rule in self.rules:
            free &= ~rule.stands
        target = self.indicators.atr / self.candles.close * float(self.parameters.targets_atr[0])
        left = target - float(fees.value) * (2.0 + target) - float(slippage.value)
        free &= left >= float(self.parameters.edge_min) - CANDIDATE_MARGIN
        return np.flatnonzero(free).astype(np.int64)

    def decide(self, index: int, *, fees: Ratio, slippage: Ratio) -> EntryDecision:
        """The decision at the close of candle `index` (0 <= index < number of candles)."""
        if not 0 <= index < len(self.candles):
            raise IndexError(f"candle {index} of {len(self.candles)}")
        if self.indicators is None or self.scores is None or index + 1 < self.parameters.warm_up:
            return _warming_up(int(self.candles.time[index]), index + 1, self.parameters)
        notes = [VetoNote(rule.veto, rule.sentence(index)) for rule in self.rules if rule.stands[index]]
        plan = _plan(self, index)
        edge = edge_of(plan, fees=fees, slippage=slippage)
        if edge.left < Ratio(self.parameters.edge_min):
            notes.append(VetoNote(Veto.EDGE, f"{edge.sentence}, wanted {percent(Ratio(self.parameters.edge_min))}"))
        return EntryDecision(
            candle_time=int(self.candles.time[index]),
            score=self.scores.total(index),
            parts=self.scores.at(index),
            vetoes=tuple(notes),
            plan=plan,
            edge=edge,
        )


def prepare(candles: Candles, *, parameters: ApexParameters = DEFAULTS) -> Preparation:
    if len(candles) < parameters.warm_up:
        return Preparation(candles, parameters, None, None, ())
    computed = indicators.compute(candles, parameters=parameters)
    scores = scoring.compute(candles, computed, parameters=parameters)
    rules = vetoes.compute(candles, computed, scores, parameters=parameters)
    return Preparation(candles, parameters, computed, scores, rules)


def evaluate_entry(
    candles: Candles, *, parameters: ApexParameters = DEFAULTS, fees: Ratio, slippage: Ratio
) -> EntryDecision:
    """The decision at the last of the closed `candles`.

    `fees` is the account's taker fee per side, `slippage` what both sides together are expected to lose.
    """
    if not len(candles):
        return _warming_up(None, 0, parameters)
    return prepare(candles, parameters=parameters).decide(len(candles) - 1, fees=fees, slippage=slippage)


def evaluate_exit(position: OpenPosition, *, price: Price, market_time: int) -> ExitDecision | None:
    """What to sell now. `market_time` is unix seconds; the levels are those of the position's own plan."""
    return exits.evaluate(position, price=price, market_time=market_time)


def edge_of(plan: EntryPlan, *, fees: Ratio, slippage: Ratio) -> Edge:
    """Selling at target t costs the fee on 1 + t, buying the fee on 1: round trip = fee x (2 + t).

    Raises ValueError for a fee or slippage below zero.
    """
    if fees < Ratio.zero() or slippage < Ratio.zero():
        raise ValueError(f"fees and slippage are not negative: {fees}, {slippage}")
    target = plan.targets[0].distance
    return Edge(target=target, round_trip=fees * (ONE + ONE + target), slippage=slippage)


def _plan(prepared: Preparation, index: int) -> EntryPlan:
    p, candles = prepared.parameters, prepared.candles
    assert prepared.indicators is not None
    close = decimal_from_float(float(candles.close[index]))
    atr = decimal_from_float(float(prepared.indicators.atr[index]))
    reference = Price(close)
    atr_ratio = Price(atr).per(reference)
    first = atr_ratio * Ratio(p.targets_atr[0])
    return EntryPlan(
        reference=reference,
        stop_distance=atr_ratio * Ratio(p.stop_atr),
        targets=tuple(
            Target(atr_ratio * Ratio(multiple), share)
            for multiple, share in zip(p.targets_atr, p.target_shares, strict=True)
        ),
        trail=atr_ratio * Ratio(p.trail_atr),
        stagnation_below=first * Ratio(p.stagnation_share),
        stagnation_after_s=p.stagnation_after * candles.interval_s,
        max_holding_s=p.max_holding * candles.interval_s,
    )


def _warming_up(candle_time: int | None, have: int, parameters: ApexParameters) -> EntryDecision:
    note = VetoNote(Veto.WARM_UP, f"warm-up: {have} closed candles, {parameters.warm_up} needed")
    nothing: tuple[PartScore, ...] = ()
    return EntryDecision(candle_time, Decimal(0), nothing, (note,), None, None)


@dataclass(frozen=True, slots=True)
class Apex:
    """`apex` with its parameters bound, as the registry holds it."""

    parameters: ApexParameters = field(default=DEFAULTS)

    @property
    def name(self) -> str:
        return NAME

    @property
    def version(self) -> str:
        return VERSION

    @property
    def parameters_hash(self) -> str:
        return self.parameters.digest()

    @property
    def warm_up(self) -> int:
        return self.parameters.warm_up

    def prepare(self, candles: Candles) -> Preparation:
        return prepare(candles, parameters=self.parameters)

    def evaluate_entry(self, candles: Candles, *, fees: Ratio, slippage: Ratio) -> EntryDecision:
        return evaluate_entry(candles, parameters=self.parameters, fees=fees, slippage=slippage)

    def evaluate_exit(self, position: OpenPosition, *, price: Price, market_time: int) -> ExitDecision | None:
        return evaluate_exit(position, price=price, market_time=market_time)
