"""`apex`: enter strong, liquid up-trends whose first target pays the round trip; leave by stop, targets and time.

`prepare` computes everything once for a whole array; a decision then reads one index. `evaluate_entry` is that decision
at the last closed candle, so a live cycle and a backtest run the same code. The warm-up of live cycles and backtests
differs in where their arrays start, see `trading.strategy.indicators`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from trading.domain.money import Price, Ratio
from trading.strategy import exits, indicators, scoring, vetoes
from trading.strategy.candles import Candles
from trading.strategy.decisions import EntryDecision, ExitDecision, OpenPosition
from trading.strategy.entries import Market, Preparation
from trading.strategy.indicators import Indicators
from trading.strategy.parameters import ApexParameters
from trading.strategy.plan import EntryPlan, Target, decimal_from_float

NAME = "apex"
#: Rises with every change of a rule, a weight or a formula; the parameters hash covers the thresholds.
VERSION = "1"

DEFAULTS = ApexParameters()


def prepare(candles: Candles, *, parameters: ApexParameters = DEFAULTS) -> Preparation:
    """Indicators, points and vetoes of every candle."""
    market = _market(candles, parameters) if len(candles) >= parameters.warm_up else None
    return Preparation(candles, parameters.warm_up, parameters.edge_min, market)


def evaluate_entry(
    candles: Candles, *, parameters: ApexParameters = DEFAULTS, fees: Ratio, slippage: Ratio
) -> EntryDecision:
    """The decision at the last of the closed `candles`.

    `fees` is the account's taker fee per side, `slippage` what both sides together are expected to lose.
    """
    return prepare(candles, parameters=parameters).decide_last(fees=fees, slippage=slippage)


def evaluate_exit(position: OpenPosition, *, price: Price, market_time: int) -> ExitDecision | None:
    """What to sell now. `market_time` is unix seconds; the levels are those of the position's own plan."""
    return exits.evaluate(position, price=price, market_time=market_time)


def _market(candles: Candles, parameters: ApexParameters) -> Market:
    computed = indicators.compute(candles, parameters=parameters)
    scores = scoring.compute(candles, computed, parameters=parameters)
    return Market(
        rules=vetoes.compute(candles, computed, scores, parameters=parameters),
        first_target=computed.atr / candles.close * float(parameters.targets_atr[0]),
        parts_at=scores.at,
        plan_at=lambda index: _plan(candles, computed, index, parameters=parameters),
    )


def _plan(candles: Candles, computed: Indicators, index: int, *, parameters: ApexParameters) -> EntryPlan:
    p = parameters
    reference = Price(decimal_from_float(float(candles.close[index])))
    atr_ratio = Price(decimal_from_float(float(computed.atr[index]))).per(reference)
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
