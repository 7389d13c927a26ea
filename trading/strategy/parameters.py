"""Every number that `apex` decides by, in one frozen object."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, fields
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

#: One reason exists per target, so there are never more.
TARGETS_MAX = 3
PERIOD_MAX = 500


class ParameterError(ValueError):
    """A parameter is out of range; the text names it and says what is allowed."""


@dataclass(frozen=True, slots=True)
class ApexParameters:
    """Thresholds of `apex`. Periods count candles, `_atr` are multiples of ATR, `_share` and `_ratio` pure numbers.

    Thresholds of indicators are floats like the indicators; whatever becomes a level or a cost is Decimal or Fraction.
    Raises ParameterError when constructed out of range.
    """

    # Indicator periods.
    #: The quick average of the close: EMA over so many candles.
    ema_fast: int = 9
    #: The middle average; the close is measured against it.
    ema_mid: int = 21
    #: The slow average: the trend that everything has to agree with.
    ema_slow: int = 50
    #: The quick RSI, for what has just run hot.
    rsi_fast: int = 9
    #: The usual RSI (Wilder: 14).
    rsi_slow: int = 14
    #: ADX and the directional movement (Wilder: 14): how strong the trend is and which way it points.
    adx_period: int = 14
    #: The quick average of MACD.
    macd_fast: int = 12
    #: The slow average of MACD.
    macd_slow: int = 26
    #: The average of MACD that it is compared with.
    macd_signal: int = 9
    #: ATR (Wilder: 14): the measure of all distances below.
    atr_period: int = 14
    #: Rolling volume-weighted average price.
    vwap_period: int = 96
    #: Candles before this one whose average volume it is compared with.
    volume_period: int = 20
    #: Candles whose highs and lows make up the structure.
    structure_period: int = 20
    #: Candles among which those with trades are counted.
    liquidity_period: int = 20
    #: Closed candles before the first decision: twice the slowest EMA, so that its seed has faded.
    warm_up: int = 100

    # Vetoes.
    #: Fewer candles with trades than this among the last `liquidity_period`: illiquid.
    traded_min: int = 10
    #: Wilder calls a market trending from about 20 to 25 on.
    adx_min: float = 20.0
    #: The quick RSI above this: overbought.
    rsi_fast_max: float = 88.0
    #: The slow RSI above this: overbought.
    rsi_slow_max: float = 80.0
    #: Volume of the candle as a multiple of its average.
    relative_volume_min: float = 0.8
    #: How far the close may be above the middle EMA.
    extension_max_atr: float = 4.0
    #: Largest ATR as a share of the close: beyond it the stop would be too far away.
    atr_ratio_max: float = 0.03
    #: Fewer points than this of 100: no entry.
    score_min: Decimal = Decimal(65)
    #: What the first target must leave after fees and slippage, as a share of the notional.
    edge_min: Decimal = Decimal("0.002")

    # Ramps of the score: no points at the first number, all at the second.
    #: ADX that gives all of its points; `adx_min` gives none.
    adx_full: float = 40.0
    #: Relative volume that gives all of its points; `relative_volume_min` gives none.
    relative_volume_full: float = 2.5
    #: Where in its candle the close gives no point; at the high (1) it gives all.
    close_location_none: float = 0.5

    # Levels, as multiples of the ATR at the entry.
    #: The stop, so far below the entry.
    stop_atr: Decimal = Decimal(4)
    #: Prices spread with the square root of time: 6 ATR is about the range of 36 candles.
    targets_atr: tuple[Decimal, ...] = (Decimal(6), Decimal(9), Decimal(13))
    #: The share of the bought quantity sold at each target; together exactly 1.
    target_shares: tuple[Fraction, ...] = (Fraction(2, 5), Fraction(3, 10), Fraction(3, 10))
    #: The trailing stop, so far below the highest price once the first target was reached.
    trail_atr: Decimal = Decimal(4)

    # Time, in candles.
    #: A position is sold after so many candles.
    max_holding: int = 288
    #: A position that has got nowhere by then is given up.
    stagnation_after: int = 144
    #: Share of the first target's distance that must have been reached by then.
    stagnation_share: Decimal = Decimal("0.5")

    def __post_init__(self) -> None:
        self._check_periods()
        self._check_thresholds()
        self._check_levels()

    def _check_periods(self) -> None:
        check_kinds(self)
        # TA-Lib defines its averages from two candles on.
        for name in ("ema_fast", "rsi_fast", "adx_period", "macd_fast", "macd_signal", "atr_period", "volume_period"):
            require(getattr(self, name) >= 2, f"{name} must be at least 2 candles")
        require(self.ema_fast < self.ema_mid < self.ema_slow, "the EMA periods must rise: ema_fast, ema_mid, ema_slow")
        require(self.rsi_fast < self.rsi_slow, "rsi_fast must be shorter than rsi_slow")
        require(self.macd_fast < self.macd_slow, "macd_fast must be shorter than macd_slow")
        require(self.structure_period >= 4, "structure_period must be at least 4 candles")
        require(max(self.vwap_period, self.warm_up) <= PERIOD_MAX, f"no period is longer than {PERIOD_MAX} candles")
        require(
            self.warm_up > self.lookback, f"warm_up must be longer than the indicators need: {self.lookback} candles"
        )
        require(self.traded_min <= self.liquidity_period, "traded_min cannot exceed liquidity_period")
        require(self.stagnation_after <= self.max_holding, "stagnation_after cannot exceed max_holding")

    def _check_thresholds(self) -> None:
        require(0 <= self.adx_min < self.adx_full <= 100, "0 <= adx_min < adx_full <= 100 does not hold")
        for name in ("rsi_fast_max", "rsi_slow_max"):
            require(50 < getattr(self, name) <= 100, f"{name} must be above 50 and at most 100")
        require(
            0 <= self.relative_volume_min < self.relative_volume_full,
            "0 <= relative_volume_min < relative_volume_full does not hold",
        )
        require(0 <= self.close_location_none < 1, "close_location_none must be from 0 to below 1")
        require(self.extension_max_atr > 0, "extension_max_atr must be positive")
        require(0 < self.atr_ratio_max < 1, "atr_ratio_max must be between 0 and 1")
        require(0 <= self.score_min <= 100, "score_min must be from 0 to 100")
        require(0 <= self.edge_min < 1, "edge_min must be from 0 to below 1")
        require(0 <= self.stagnation_share <= 1, "stagnation_share must be from 0 to 1")

    def _check_levels(self) -> None:
        require(self.stop_atr > 0 and self.trail_atr > 0, "stop_atr and trail_atr must be positive")
        require(
            self.stop_atr * Decimal(repr(self.atr_ratio_max)) < 1,
            "stop_atr times atr_ratio_max must stay below 1, or the stop could be below zero",
        )
        require(1 <= len(self.targets_atr) <= TARGETS_MAX, f"there are 1 to {TARGETS_MAX} targets")
        require(
            all(isinstance(each, Decimal) and each.is_finite() for each in self.targets_atr),
            "targets_atr must be finite Decimals",
        )
        rising = all(low < high for low, high in zip((Decimal(0), *self.targets_atr), self.targets_atr, strict=False))
        require(rising, "targets_atr must be positive and rise")
        require(len(self.target_shares) == len(self.targets_atr), "target_shares needs one share per target")
        require(
            all(isinstance(share, Fraction) and share > 0 for share in self.target_shares)
            and sum(self.target_shares) == 1,
            "target_shares must be positive Fractions that add up to exactly 1",
        )

    @property
    def lookback(self) -> int:
        """Candles before every indicator is defined."""
        return max(
            self.ema_slow,
            self.rsi_slow + 1,
            2 * self.adx_period,
            self.macd_slow + self.macd_signal,
            self.atr_period + 1,
            self.volume_period,
            self.structure_period + 1,
        )

    def digest(self) -> str:
        return digest(self)


def check_kinds(parameters: DataclassInstance) -> None:
    """Periods are positive whole numbers, thresholds finite floats, levels finite Decimals. Raises ParameterError."""
    for field in fields(parameters):
        value = getattr(parameters, field.name)
        if field.type == "int" and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ParameterError(f"{field.name} is a positive whole number of candles, not {value!r}")
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if field.type == "float" and not (number and math.isfinite(value)):
            raise ParameterError(f"{field.name} is a finite number, not {value!r}")
        if field.type == "Decimal" and not (isinstance(value, Decimal) and value.is_finite()):
            raise ParameterError(f"{field.name} is a finite Decimal, not {value!r}")


def digest(parameters: DataclassInstance) -> str:
    """SHA-256 over names and values (hex, 64 characters): equal exactly when every parameter is equal."""
    values = {field.name: _text(getattr(parameters, field.name)) for field in fields(parameters)}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _text(value: object) -> object:
    if isinstance(value, tuple):
        return [_text(each) for each in value]
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    return repr(float(value)) if isinstance(value, float) else str(value)


def require(condition: bool, sentence: str) -> None:
    if not condition:
        raise ParameterError(sentence)
