"""`breakout`: buy when a candle closes above the channel of the candles before; leave by stop, target, trail and time.

The entry, N and the stop are those of the Turtles' System 1 (Curtis Faith, "The Original Turtle Trading Rules", 2003;
the channel is Richard Donchian's). What is different, and why, is in docs/strategy.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

import numpy as np

from trading.domain.money import Price, Ratio
from trading.strategy import exits, indicators, vetoes
from trading.strategy.candles import Candles, FloatArray
from trading.strategy.decisions import (
    EntryDecision,
    ExitDecision,
    OpenPosition,
    Part,
    PartScore,
    PointLine,
    Veto,
    figure,
)
from trading.strategy.entries import Market, Preparation
from trading.strategy.parameters import PERIOD_MAX, check_kinds, digest, require
from trading.strategy.plan import EntryPlan, Target, decimal_from_float
from trading.strategy.vetoes import Rule

NAME = "breakout"
#: Rises with every change of a rule or a formula; the parameters hash covers the thresholds.
VERSION = "1"


@dataclass(frozen=True, slots=True)
class BreakoutParameters:
    """Thresholds of `breakout`. Periods count candles, `_n` are multiples of N, the ATR over `n_period`.

    Raises ParameterError when constructed out of range.
    """

    #: Candles whose highest high the close must exceed.
    channel: int = 20
    #: Candles of N, the ATR.
    n_period: int = 20
    #: Candles among which those with trades are counted.
    liquidity_period: int = 20
    #: Closed candles before the first decision: five times `n_period`, so that N's seed has faded.
    warm_up: int = 100
    #: Fewer candles with trades than this among the last `liquidity_period`: illiquid.
    traded_min: int = 10
    #: Largest N as a share of the close.
    n_ratio_max: float = 0.03
    #: So many N above the channel give all points.
    strength_full_n: float = 1.0
    #: What the target must leave after fees and slippage, as a share of the notional.
    edge_min: Decimal = Decimal("0.002")
    #: The stop, so far below the entry.
    stop_n: Decimal = Decimal(2)
    #: The target, so far above the entry.
    target_n: Decimal = Decimal(6)
    #: The share sold at the target; the rest is left to the trailing stop.
    target_share: Fraction = Fraction(1, 2)
    #: The trailing stop, so far below the highest price once the target was reached.
    trail_n: Decimal = Decimal(2)
    #: A position is sold after so many candles.
    max_holding: int = 288

    def __post_init__(self) -> None:
        check_kinds(self)
        require(self.n_period >= 2 and self.channel >= 2, "channel and n_period must be at least 2 candles")
        require(max(self.channel, self.warm_up) <= PERIOD_MAX, f"no period is longer than {PERIOD_MAX} candles")
        lookback = max(self.channel, self.n_period, self.liquidity_period) + 1
        require(self.warm_up > lookback, f"warm_up must be longer than the indicators need: {lookback} candles")
        require(self.traded_min <= self.liquidity_period, "traded_min cannot exceed liquidity_period")
        require(0 < self.n_ratio_max < 1, "n_ratio_max must be between 0 and 1")
        require(self.strength_full_n > 0, "strength_full_n must be positive")
        require(0 <= self.edge_min < 1, "edge_min must be from 0 to below 1")
        levels = (self.stop_n, self.target_n, self.trail_n)
        require(all(multiple > 0 for multiple in levels), "stop_n, target_n and trail_n must be positive")
        require(
            self.stop_n * Decimal(repr(self.n_ratio_max)) < 1,
            "stop_n times n_ratio_max must stay below 1, or the stop could be below zero",
        )
        share = self.target_share
        require(isinstance(share, Fraction) and 0 < share <= 1, "target_share must be a Fraction above 0 and at most 1")

    def digest(self) -> str:
        return digest(self)


DEFAULTS = BreakoutParameters()


@dataclass(frozen=True, slots=True)
class Breakout:
    """`breakout` with its parameters bound, as the registry holds it."""

    parameters: BreakoutParameters = field(default=DEFAULTS)

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
        p = self.parameters
        return Preparation(candles, p.warm_up, p.edge_min, _market(candles, p) if len(candles) >= p.warm_up else None)

    def evaluate_entry(self, candles: Candles, *, fees: Ratio, slippage: Ratio) -> EntryDecision:
        return self.prepare(candles).decide_last(fees=fees, slippage=slippage)

    def evaluate_exit(self, position: OpenPosition, *, price: Price, market_time: int) -> ExitDecision | None:
        return exits.evaluate(position, price=price, market_time=market_time)


def _market(candles: Candles, p: BreakoutParameters) -> Market:
    n = indicators.average_true_range(candles, p.n_period)
    channel = indicators.prior_high(candles, p.channel)
    traded = indicators.traded_intervals(candles, p.liquidity_period)
    above = indicators.divided(candles.close - channel, n, otherwise=np.zeros(len(candles)))
    return Market(
        rules=(
            vetoes.illiquid(traded, period=p.liquidity_period, minimum=p.traded_min),
            Rule(
                Veto.NO_BREAKOUT,
                ~(candles.close > channel),
                lambda i: (
                    f"no breakout: close {figure(candles.close[i], 6)} is not above {figure(channel[i], 6)}, "
                    f"the highest of the {p.channel} candles before"
                ),
            ),
            vetoes.too_volatile(n / candles.close, maximum=p.n_ratio_max),
        ),
        first_target=n / candles.close * float(p.target_n),
        parts_at=lambda index: (_strength(float(above[index]), p),),
        plan_at=lambda index: _plan(candles, n, index, parameters=p),
    )


def _strength(above_n: float, p: BreakoutParameters) -> PartScore:
    """0 to 100 points for how far the close is above the channel, in N: the stronger market is bought first."""
    tenths = round(1000 * min(1.0, max(0.0, above_n / p.strength_full_n)))
    line = PointLine("close above the channel, in N", Decimal(tenths) / 10, Decimal(100))
    return PartScore(Part.STRUCTURE, (line,))


def _plan(candles: Candles, n: FloatArray, index: int, *, parameters: BreakoutParameters) -> EntryPlan:
    p = parameters
    reference = Price(decimal_from_float(float(candles.close[index])))
    n_ratio = Price(decimal_from_float(float(n[index]))).per(reference)
    holding_s = p.max_holding * candles.interval_s
    return EntryPlan(
        reference=reference,
        stop_distance=n_ratio * Ratio(p.stop_n),
        targets=(Target(n_ratio * Ratio(p.target_n), p.target_share),),
        trail=n_ratio * Ratio(p.trail_n),
        # Never given up for standing still: the time limit ends it at the same moment.
        stagnation_below=Ratio.zero(),
        stagnation_after_s=holding_s,
        max_holding_s=holding_s,
    )
