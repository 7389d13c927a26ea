"""The default parameters on real Kraken candles, read from the folder that lies beside the checkout."""

from __future__ import annotations

import gzip
import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.trading.strategy.markets import FEES, SLIPPAGE
from trading.strategy import apex, indicators, registry
from trading.strategy.candles import Candles

BESIDE_THE_CHECKOUT = Path(__file__).resolve().parents[4] / "shared" / "market-data"
MARKET_DATA = Path(os.environ.get("NIJA_MARKET_DATA") or BESIDE_THE_CHECKOUT)

pytestmark = pytest.mark.skipif(
    not MARKET_DATA.is_dir() and "CI" not in os.environ, reason="no real candles beside this checkout"
)


@cache
def real(pair: str) -> Candles:
    with gzip.open(MARKET_DATA / f"{pair}_5.csv.gz", "rt") as lines:
        time, opened, high, low, close, volume, _ = np.loadtxt(lines, delimiter=",").T
    return Candles(time.astype(np.int64), opened, high, low, close, volume, interval_s=300)


@pytest.mark.parametrize(("pair", "per_thousand"), [("PEPEUSD", 10), ("XDGUSD", 8), ("SOLUSD", 6), ("FLRUSD", 5)])
def test_volatile_pairs_are_entered_from_time_to_time_at_the_entry_tier_fees(pair: str, per_thousand: int) -> None:
    market = real(pair)
    prepared = apex.prepare(market)
    candidates = prepared.candidates(fees=FEES, slippage=SLIPPAGE).tolist()
    entries = [i for i in candidates if prepared.decide(i, fees=FEES, slippage=SLIPPAGE).enter]
    measured = 1000 * len(entries) / len(market)
    print(f"{pair}: {len(entries)} entry signals in {len(market)} candles, {measured:.1f} per thousand")
    assert per_thousand <= measured <= 60


@pytest.mark.parametrize("pair", ["PEPEUSD", "XDGUSD", "SOLUSD"])
def test_breakouts_happen_on_real_candles_and_each_knows_nothing_of_later_ones(pair: str) -> None:
    market, strategy = real(pair).upto(5_000), registry.get("breakout")
    prepared = strategy.prepare(market)
    candidates = prepared.candidates(fees=FEES, slippage=SLIPPAGE).tolist()
    entries = [i for i in candidates if prepared.decide(i, fees=FEES, slippage=SLIPPAGE).enter]
    print(f"{pair}: {len(entries)} entry signals in {len(market)} candles")
    assert 5 <= len(entries) <= 500
    for i in (*entries[:3], 1_000, 4_999):
        alone = strategy.evaluate_entry(market.upto(i + 1), fees=FEES, slippage=SLIPPAGE)
        assert alone == prepared.decide(i, fees=FEES, slippage=SLIPPAGE)


def test_a_decision_on_real_candles_knows_nothing_of_later_ones() -> None:
    market = real("PEPEUSD").upto(5_000)
    prepared = apex.prepare(market)
    entered = prepared.candidates(fees=FEES, slippage=SLIPPAGE).tolist()[:5]
    assert len(entered) == 5
    for i in (*entered, 1_000, 2_500, 4_999):
        alone = apex.evaluate_entry(market.upto(i + 1), fees=FEES, slippage=SLIPPAGE)
        assert alone == prepared.decide(i, fees=FEES, slippage=SLIPPAGE)


def test_a_window_of_720_candles_sees_nearly_the_same_indicators_as_the_whole_history() -> None:
    market = real("SOLUSD")
    window = Candles(
        *(column[4_280:5_000] for column in (market.time, market.open, market.high, market.low, market.close)),
        volume=market.volume[4_280:5_000],
        interval_s=300,
    )
    whole = indicators.compute(market.upto(5_000), parameters=apex.DEFAULTS)
    live = indicators.compute(window, parameters=apex.DEFAULTS)
    for name in ("ema_slow", "rsi_slow", "adx", "atr", "vwap", "macd_histogram"):
        assert getattr(live, name)[-1] == pytest.approx(getattr(whole, name)[-1], rel=1e-8)
