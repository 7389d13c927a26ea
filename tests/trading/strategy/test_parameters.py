from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from trading.strategy.breakout import BreakoutParameters
from trading.strategy.parameters import ApexParameters, ParameterError


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"ema_fast": 0}, "ema_fast is a positive whole number of candles, not 0"),
        ({"ema_fast": 9.5}, "ema_fast is a positive whole number"),
        ({"ema_fast": True}, "ema_fast is a positive whole number"),
        ({"ema_fast": 1}, "ema_fast must be at least 2"),
        ({"ema_mid": 60}, "EMA periods must rise"),
        ({"rsi_fast": 14}, "rsi_fast must be shorter"),
        ({"macd_fast": 26}, "macd_fast must be shorter"),
        ({"structure_period": 3}, "structure_period must be at least 4"),
        ({"vwap_period": 501}, "no period is longer than 500"),
        ({"warm_up": 50}, "warm_up must be longer than the indicators need: 50"),
        ({"traded_min": 21}, "traded_min cannot exceed"),
        ({"stagnation_after": 289}, "stagnation_after cannot exceed"),
        ({"adx_min": float("nan")}, "adx_min is a finite number, not nan"),
        ({"adx_min": 45.0}, "adx_min < adx_full"),
        ({"rsi_slow_max": 101.0}, "rsi_slow_max must be above 50"),
        ({"relative_volume_min": 3.0}, "relative_volume_min < relative_volume_full"),
        ({"close_location_none": 1.0}, "close_location_none"),
        ({"extension_max_atr": 0.0}, "extension_max_atr"),
        ({"atr_ratio_max": 1.0}, "atr_ratio_max"),
        ({"score_min": Decimal(101)}, "score_min must be from 0 to 100"),
        ({"score_min": 65}, "score_min is a finite Decimal, not 65"),
        ({"edge_min": Decimal("-0.1")}, "edge_min"),
        ({"edge_min": Decimal("NaN")}, "edge_min is a finite Decimal"),
        ({"stagnation_share": Decimal(2)}, "stagnation_share"),
        ({"stop_atr": Decimal(0)}, "must be positive"),
        ({"stop_atr": Decimal(40)}, "the stop could be below zero"),
        ({"targets_atr": ()}, "there are 1 to 3 targets"),
        ({"targets_atr": (6.0, 9.0, 13.0)}, "finite Decimals"),
        ({"targets_atr": (Decimal(6), Decimal(6), Decimal(9))}, "positive and rise"),
        ({"targets_atr": (Decimal(6),)}, "one share per target"),
        ({"target_shares": (Fraction(1, 2), Fraction(1, 4), Fraction(1, 8))}, "add up to exactly 1"),
    ],
)
def test_a_parameter_out_of_range_is_refused_by_name(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence):
        ApexParameters(**changes)


NONSENSE: dict[str, tuple[object, ...]] = {
    "int": (0, -1, 1.5, True, "9", None),
    "float": (float("nan"), float("inf"), True, "9", None),
    "Decimal": (Decimal("NaN"), Decimal("Infinity"), 9, 0.5, "9", None),
    "Fraction": (Fraction(0), Fraction(-1), Fraction(3, 2), 0.5, "1/2", None),
    "tuple[Decimal, ...]": ((), (0.5,), (Decimal("NaN"),), (Decimal(-1),), (Decimal(0),)),
    "tuple[Fraction, ...]": ((), (0.5,), (Fraction(-1),), (Fraction(2),)),
}


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (kind, field.name, value)
        for kind in (ApexParameters, BreakoutParameters)
        for field in fields(kind)
        for value in NONSENSE[str(field.type)]
    ],
)
def test_nonsense_in_any_parameter_is_refused_with_a_sentence(kind: type[Any], name: str, value: object) -> None:
    with pytest.raises(ParameterError) as refusal:
        kind(**{name: value})
    assert name in str(refusal.value) or "target" in str(refusal.value)
    assert len(str(refusal.value).split()) > 4


def test_parameters_cannot_be_changed_once_made() -> None:
    for parameters in (ApexParameters(), BreakoutParameters()):
        with pytest.raises(FrozenInstanceError):
            parameters.warm_up = 200  # type: ignore[misc]


def test_the_digest_changes_with_any_value_and_not_with_its_notation() -> None:
    standard = ApexParameters()
    assert len(standard.digest()) == 64
    assert standard.digest() == ApexParameters().digest()
    assert standard.digest() == ApexParameters(score_min=Decimal("65.0")).digest()
    changed = [
        ApexParameters(ema_slow=49),
        ApexParameters(adx_min=20.5),
        ApexParameters(stop_atr=Decimal("4.1")),
        ApexParameters(target_shares=(Fraction(1, 2), Fraction(1, 4), Fraction(1, 4))),
    ]
    assert len({standard.digest(), *(each.digest() for each in changed)}) == 5
