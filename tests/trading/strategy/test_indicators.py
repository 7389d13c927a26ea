from __future__ import annotations

import numpy as np
import pytest

from tests.trading.strategy import oracle
from tests.trading.strategy.markets import candles_of, walk, with_gaps
from trading.strategy import indicators
from trading.strategy.candles import Candles, FloatArray
from trading.strategy.parameters import ApexParameters

P = ApexParameters()


def assert_equal(measured: FloatArray, expected: oracle.Series) -> None:
    wanted = np.array([np.nan if value is None else value for value in expected])
    assert np.isnan(measured).tolist() == np.isnan(wanted).tolist()
    scale = float(np.nanmax(np.abs(wanted)))
    np.testing.assert_allclose(measured, wanted, rtol=1e-9, atol=1e-11 * scale)


@pytest.fixture(scope="module", params=["ordinary prices", "prices of a millionth of a cent"])
def market(request: pytest.FixtureRequest) -> Candles:
    return walk(3, length=400, start=100.0 if request.param == "ordinary prices" else 1e-8)


@pytest.fixture(scope="module")
def computed(market: Candles) -> indicators.Indicators:
    return indicators.compute(market, parameters=P)


def test_the_averages_equal_plain_loops(market: Candles, computed: indicators.Indicators) -> None:
    close = market.close.tolist()
    assert_equal(computed.ema_fast, oracle.ema(close, 9))
    assert_equal(computed.ema_mid, oracle.ema(close, 21))
    assert_equal(computed.ema_slow, oracle.ema(close, 50))
    assert_equal(computed.volume_average, oracle.average(market.volume.tolist(), 20))


def test_rsi_equals_wilders_plain_loop(market: Candles, computed: indicators.Indicators) -> None:
    assert_equal(computed.rsi_fast, oracle.rsi(market.close.tolist(), 9))
    assert_equal(computed.rsi_slow, oracle.rsi(market.close.tolist(), 14))


def test_atr_and_directional_movement_equal_wilders_plain_loops(
    market: Candles, computed: indicators.Indicators
) -> None:
    columns = (market.high.tolist(), market.low.tolist(), market.close.tolist())
    plus, minus, adx = oracle.directional(*columns, 14)
    assert_equal(computed.atr, oracle.atr(*columns, 14))
    assert_equal(computed.plus_di, plus)
    assert_equal(computed.minus_di, minus)
    assert_equal(computed.adx, adx)


def test_the_macd_histogram_equals_appels_plain_loop(market: Candles, computed: indicators.Indicators) -> None:
    assert_equal(computed.macd_histogram, oracle.macd_histogram(market.close.tolist(), 12, 26, 9))


def test_the_rolling_vwap_equals_a_plain_loop(market: Candles, computed: indicators.Indicators) -> None:
    columns = (market.high.tolist(), market.low.tolist(), market.close.tolist(), market.volume.tolist())
    assert_equal(computed.vwap, oracle.vwap(*columns, P.vwap_period))


def test_vwap_without_any_volume_is_the_close() -> None:
    candles = candles_of(np.linspace(10.0, 11.0, 30), volume=np.zeros(30), wick=0.001)
    np.testing.assert_array_equal(indicators.rolling_vwap(candles, 5), candles.close)


def test_vwap_is_not_disturbed_by_a_huge_volume_that_left_the_window() -> None:
    volume = np.ones(40)
    volume[3] = 1e18
    candles = candles_of(np.full(40, 10.0), volume=volume, wick=0.0)
    np.testing.assert_allclose(indicators.rolling_vwap(candles, 5)[10:], 10.0, rtol=1e-14)
    np.testing.assert_array_equal(indicators.rolling_sum(candles.volume, 5)[10:], 5.0)


def test_structure_levels_look_at_the_candles_before(market: Candles, computed: indicators.Indicators) -> None:
    for i in (20, 57, 399):
        assert computed.prior_high[i] == market.high[i - 20 : i].max()
        assert computed.recent_low[i] == market.low[i - 9 : i + 1].min()
        assert computed.earlier_low[i] == market.low[i - 19 : i - 9].min()


def test_rising_volume_is_the_share_of_candles_that_rose(market: Candles, computed: indicators.Indicators) -> None:
    window = slice(180, 200)
    rose = market.close[window] > market.open[window]
    expected = market.volume[window][rose].sum() / market.volume[window].sum()
    assert computed.rising_volume[199] == pytest.approx(expected, rel=1e-12)


def test_absent_and_empty_candles_do_not_count_as_traded() -> None:
    thin = with_gaps(walk(3, length=400), keep_every=4)
    assert indicators.compute(thin, parameters=P).traded[-1] == 5
    full = walk(3, length=200)
    silent = Candles(full.time, full.open, full.high, full.low, full.close, np.zeros(200), interval_s=300)
    assert indicators.compute(full, parameters=P).traded[-1] == 20
    assert indicators.compute(silent, parameters=P).traded[-1] == 0


def test_scaling_all_prices_by_a_power_of_two_changes_no_oscillator() -> None:
    market = walk(5, length=300)
    tiny = Candles(
        market.time,
        *(np.ldexp(column, -40) for column in (market.open, market.high, market.low, market.close)),
        volume=market.volume,
        interval_s=300,
    )
    one, other = (indicators.compute(each, parameters=P) for each in (market, tiny))
    for name in ("rsi_fast", "rsi_slow", "adx", "plus_di", "minus_di"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    np.testing.assert_array_equal(np.ldexp(one.atr, -40), other.atr)
