from __future__ import annotations

import pytest

from tests.trading.strategy.markets import FEES, SLIPPAGE, walk
from trading.strategy import apex, registry
from trading.strategy.parameters import ApexParameters


def test_apex_is_found_by_name_with_version_and_parameters_hash() -> None:
    strategy = registry.get("apex")
    assert (strategy.name, strategy.version) == (apex.NAME, apex.VERSION)
    assert strategy.parameters_hash == ApexParameters().digest()
    assert strategy.warm_up == ApexParameters().warm_up
    assert registry.names() == ("apex", "breakout")


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(registry.UnknownStrategyError, match="no strategy is called 'apx'; known: apex, breakout"):
        registry.get("apx")


def test_the_registered_strategy_decides_like_the_module() -> None:
    market = walk(2)
    ours = registry.get("apex").evaluate_entry(market, fees=FEES, slippage=SLIPPAGE)
    assert ours == apex.evaluate_entry(market, fees=FEES, slippage=SLIPPAGE)
