from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trading.strategy.markets import plan
from trading.domain.money import Price
from trading.strategy.plan import EntryPlan, decimal_from_float


@settings(max_examples=200, deadline=None)
@given(st.decimals("0.0000000001", "99999.9999999999", places=10))
def test_a_price_read_as_float_comes_back_as_the_text_it_was(value: Decimal) -> None:
    assert decimal_from_float(float(value)) == value


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_value_that_is_no_number_becomes_no_level(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Price(decimal_from_float(bad))


def test_a_plan_survives_a_json_column_without_loss() -> None:
    whole = plan()
    assert EntryPlan.from_json(json.loads(json.dumps(whole.as_json()))) == whole


def test_stop_and_targets_are_exact_decimals() -> None:
    whole = plan()
    assert whole.stop == Price(Decimal(96))
    assert [target.level(Price(Decimal("0.002918"))) for target in whole.targets] == [
        Price(Decimal("0.00309308")),
        Price(Decimal("0.00318062")),
        Price(Decimal("0.00329734")),
    ]
