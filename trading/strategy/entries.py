"""What every strategy's entry decision is made of: rules over a whole array, a plan, the edge that its first target leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from trading.domain.money import Ratio
from trading.strategy.candles import Candles, FloatArray, IntArray
from trading.strategy.decisions import Edge, EntryDecision, PartScore, Veto, VetoNote, percent
from trading.strategy.plan import ONE, EntryPlan
from trading.strategy.vetoes import Rule

#: How far floats may be off when candidates are picked; far more than rounding, far less than a basis point.
CANDIDATE_MARGIN = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Market:
    """What a strategy computed for every candle of an array: vetoes in their order, and what stands at one index.

    `first_target` is the first target's distance as a share of the close, in floats.
    """

    rules: tuple[Rule, ...]
    first_target: FloatArray
    parts_at: Callable[[int], tuple[PartScore, ...]]
    plan_at: Callable[[int], EntryPlan]


@dataclass(frozen=True, slots=True, eq=False)
class Preparation:
    """Everything that entry decisions over `candles` need; `market` is None while there are fewer than `warm_up`."""

    candles: Candles
    warm_up: int
    edge_min: Decimal
    market: Market | None

    def candidates(self, *, fees: Ratio, slippage: Ratio) -> IntArray:
        """The indices worth deciding: no other veto stands, and the edge, reckoned in floats, may suffice.

        Every index that `decide` enters is among them; the few that are not entered lie within the margin.
        """
        if self.market is None:
            return np.zeros(0, dtype=np.int64)
        free = np.ones(len(self.candles), dtype=np.bool_)
        free[: self.warm_up - 1] = False
        for rule in self.market.rules:
            free &= ~rule.stands
        target = self.market.first_target
        left = target - float(fees.value) * (2.0 + target) - float(slippage.value)
        free &= left >= float(self.edge_min) - CANDIDATE_MARGIN
        return np.flatnonzero(free).astype(np.int64)

    def decide(self, index: int, *, fees: Ratio, slippage: Ratio) -> EntryDecision:
        """The decision at the close of candle `index` (0 <= index < number of candles)."""
        if not 0 <= index < len(self.candles):
            raise IndexError(f"candle {index} of {len(self.candles)}")
        candle_time = int(self.candles.time[index])
        if self.market is None or index + 1 < self.warm_up:
            return _warming_up(candle_time, index + 1, self.warm_up)
        notes = [VetoNote(rule.veto, rule.sentence(index)) for rule in self.market.rules if rule.stands[index]]
        plan = self.market.plan_at(index)
        edge = edge_of(plan, fees=fees, slippage=slippage)
        if edge.left < Ratio(self.edge_min):
            notes.append(VetoNote(Veto.EDGE, f"{edge.sentence}, wanted {percent(Ratio(self.edge_min))}"))
        parts = self.market.parts_at(index)
        score = sum((part.points for part in parts), Decimal(0))
        return EntryDecision(candle_time, score, parts, tuple(notes), plan, edge)

    def decide_last(self, *, fees: Ratio, slippage: Ratio) -> EntryDecision:
        """The decision at the last candle; a warm-up without any."""
        if not len(self.candles):
            return _warming_up(None, 0, self.warm_up)
        return self.decide(len(self.candles) - 1, fees=fees, slippage=slippage)


def edge_of(plan: EntryPlan, *, fees: Ratio, slippage: Ratio) -> Edge:
    """Selling at target t costs the fee on 1 + t, buying the fee on 1: round trip = fee x (2 + t).

    Raises ValueError for a fee or slippage below zero.
    """
    if fees < Ratio.zero() or slippage < Ratio.zero():
        raise ValueError(f"fees and slippage are not negative: {fees}, {slippage}")
    target = plan.targets[0].distance
    return Edge(target=target, round_trip=fees * (ONE + ONE + target), slippage=slippage)


def _warming_up(candle_time: int | None, have: int, warm_up: int) -> EntryDecision:
    note = VetoNote(Veto.WARM_UP, f"warm-up: {have} closed candles, {warm_up} needed")
    nothing: tuple[PartScore, ...] = ()
    return EntryDecision(candle_time, Decimal(0), nothing, (note,), None, None)
