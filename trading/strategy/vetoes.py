"""The vetoes of an entry that the market decides, for all candles at once; the edge needs the fees (apex.py)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_CEILING

import numpy as np
from numpy.typing import NDArray

from trading.domain.money import plain
from trading.strategy.candles import Candles
from trading.strategy.decisions import Veto
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


def _market(candles: Candles, x: Indicators, p: ApexParameters) -> tuple[Rule, ...]:
    close = candles.close
    up = (x.ema_fast > x.ema_mid) & (x.ema_mid > x.ema_slow) & (close > x.ema_slow)
    return (
        Rule(
            Veto.ILLIQUID,
            ~(x.traded >= p.traded_min),
            lambda i: (
                f"illiquid: trades in {x.traded[i]} of the last {p.liquidity_period} intervals, {p.traded_min} needed"
            ),
        ),
        Rule(
            Veto.TREND,
            ~up,
            lambda i: (
                f"trend: close {close[i]:.6g}, EMA {x.ema_fast[i]:.6g} / {x.ema_mid[i]:.6g} / "
                f"{x.ema_slow[i]:.6g} do not rise in order"
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
            lambda i: f"momentum: MACD histogram {x.macd_histogram[i]:.3g} is not positive",
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
            lambda i: f"below VWAP: close {candles.close[i]:.6g} is not above {x.vwap[i]:.6g}",
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
        Rule(
            Veto.TOO_VOLATILE,
            ~(atr_ratio <= p.atr_ratio_max),
            lambda i: (
                f"too volatile: ATR {100 * atr_ratio[i]:.2f} % of the price, "
                f"at most {100 * p.atr_ratio_max:g} % allowed"
            ),
        ),
        Rule(
            Veto.SCORE,
            scores.total_tenths < score_min_tenths,
            lambda i: f"score: {plain(scores.total(i))} of 100, {plain(p.score_min)} needed",
        ),
    )
