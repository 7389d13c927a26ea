"""The vetoes of an entry that the market decides, for all candles at once; the edge needs the fees (apex.py)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_CEILING

import numpy as np
from numpy.typing import NDArray

from trading.domain.money import plain
from trading.strategy.candles import Candles, FloatArray, IntArray
from trading.strategy.decisions import Veto, figure
from trading.strategy.indicators import Indicators, divided
from trading.strategy.parameters import ApexParameters
from trading.strategy.scoring import Scores, relative_volume


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """Where a veto stands, and its sentence at one candle."""

    veto: Veto
    stands: NDArray[np.bool_]
    sentence: Callable[[int], str]


def compute(
    candles: Candles, indicators: Indicators, scores: Scores, *, parameters: ApexParameters
) -> tuple[Rule, ...]:
    """The rules in the order of `Veto`. Written as "not good", so that an undefined value vetoes."""
    return (
        *_market(candles, indicators, parameters),
        *_momentum(candles, indicators, parameters),
        *_limits(candles, indicators, scores, parameters),
    )


def illiquid(traded: IntArray, *, period: int, minimum: int) -> Rule:
    return Rule(
        Veto.ILLIQUID,
        ~(traded >= minimum),
        lambda i: f"illiquid: trades in {traded[i]} of the last {period} intervals, {minimum} needed",
    )


def too_volatile(atr_ratio: FloatArray, *, maximum: float) -> Rule:
    """`atr_ratio` is ATR as a share of the close: beyond `maximum` the stop would be too far away."""
    return Rule(
        Veto.TOO_VOLATILE,
        ~(atr_ratio <= maximum),
        lambda i: f"too volatile: ATR {100 * atr_ratio[i]:.2f} % of the price, at most {100 * maximum:g} % allowed",
    )


def _market(candles: Candles, x: Indicators, p: ApexParameters) -> tuple[Rule, ...]:
    close = candles.close
    up = (x.ema_fast > x.ema_mid) & (x.ema_mid > x.ema_slow) & (close > x.ema_slow)
    return (
        illiquid(x.traded, period=p.liquidity_period, minimum=p.traded_min),
        Rule(
            Veto.TREND,
            ~up,
            lambda i: (
                f"trend: close {figure(close[i], 6)}, EMA {figure(x.ema_fast[i], 6)} / {figure(x.ema_mid[i], 6)} / "
                f"{figure(x.ema_slow[i], 6)} do not rise in order"
            ),
        ),
        Rule(
            Veto.WEAK_TREND,
            ~(x.adx >= p.adx_min),
            lambda i: f"weak trend: ADX {x.adx[i]:.1f}, at least {p.adx_min:g} needed",
        ),
        Rule(
            Veto.DIRECTION,
            ~(x.plus_di > x.minus_di),
            lambda i: f"direction: +DI {x.plus_di[i]:.1f} is not above -DI {x.minus_di[i]:.1f}",
        ),
    )


def _momentum(candles: Candles, x: Indicators, p: ApexParameters) -> tuple[Rule, ...]:
    volume = relative_volume(candles, x)
    return (
        Rule(
            Veto.MOMENTUM,
            ~(x.macd_histogram > 0),
            lambda i: f"momentum: MACD histogram {figure(x.macd_histogram[i], 3)} is not positive",
        ),
        Rule(
            Veto.OVERBOUGHT,
            ~((x.rsi_fast <= p.rsi_fast_max) & (x.rsi_slow <= p.rsi_slow_max)),
            lambda i: (
                f"overbought: RSI {x.rsi_fast[i]:.1f} / {x.rsi_slow[i]:.1f}, "
                f"at most {p.rsi_fast_max:g} / {p.rsi_slow_max:g} allowed"
            ),
        ),
        Rule(
            Veto.BELOW_VWAP,
            ~(candles.close > x.vwap),
            lambda i: f"below VWAP: close {figure(candles.close[i], 6)} is not above {figure(x.vwap[i], 6)}",
        ),
        Rule(
            Veto.THIN_VOLUME,
            ~(volume >= p.relative_volume_min),
            lambda i: f"thin volume: {volume[i]:.2f} times the average, {p.relative_volume_min:g} needed",
        ),
    )


def _limits(candles: Candles, x: Indicators, scores: Scores, p: ApexParameters) -> tuple[Rule, ...]:
    extension = divided(candles.close - x.ema_mid, x.atr, otherwise=np.zeros(len(candles)))
    atr_ratio = x.atr / candles.close
    score_min_tenths = int((p.score_min * 10).to_integral_value(rounding=ROUND_CEILING))
    return (
        Rule(
            Veto.OVEREXTENDED,
            ~(extension <= p.extension_max_atr),
            lambda i: (
                f"overextended: {extension[i]:.1f} ATR above the middle EMA, at most {p.extension_max_atr:g} allowed"
            ),
        ),
        too_volatile(atr_ratio, maximum=p.atr_ratio_max),
        Rule(
            Veto.SCORE,
            scores.total_tenths < score_min_tenths,
            lambda i: f"score: {plain(scores.total(i))} of 100, {plain(p.score_min)} needed",
        ),
    )
