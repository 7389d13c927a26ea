from __future__ import annotations

from decimal import Decimal

from trading.domain.money import Ratio
from trading.kraken.values import FeeRate
from trading.services import fees


def _rate(taker: str, maker: str) -> FeeRate:
    return FeeRate(taker=Ratio(Decimal(taker)), maker=Ratio(Decimal(maker)))


def test_the_dearest_of_the_pairs_counts_so_that_no_cost_is_reckoned_too_low() -> None:
    stablecoin, coin, rebate = _rate("0.002", "0.002"), _rate("0.008", "0.004"), _rate("0.008", "0.0038")
    assert fees.highest([stablecoin, coin, rebate]) == coin
    assert fees.highest([_rate("0.002", "0.005"), _rate("0.008", "0.004")]) == _rate("0.008", "0.005")


def test_without_any_rate_there_is_nothing_to_keep() -> None:
    assert fees.highest([]) is None
