"""Statistics against a few lines of plain arithmetic over the same executions."""

from __future__ import annotations

import math
import statistics
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from tests.trading.backtest.tapes import START, STEP, Bar, D, Written, bars_of, run, terms, write
from tests.trading.strategy.markets import walk
from trading.backtest.curve import PLACES, curve_of
from trading.backtest.simulation import Run
from trading.backtest.statistics import statistics_of
from trading.domain.instrument import Side
from trading.domain.money import Money
from trading.paper.market import quote_around
from trading.strategy import registry

LENGTH = 1200
FLAT: Bar = ("100", "100", "100", "100")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("market")
    paths = []
    for name, places, start, seed in (("SOLUSD", 2, 140.0, 8), ("XRPUSD", 5, 0.5, 108)):
        market = walk(seed, length=LENGTH, start=start)
        volumes = [f"{value:.8f}" for value in market.volume]
        paths.append(write(folder, name, bars_of(market, places=places), volumes=volumes))
    return run(paths, strategy=registry.get("apex"), asked=terms(candles=LENGTH))


def equity_by_hand(found: Run) -> list[Fraction]:
    """Cash and holdings at the bid at every close, replayed from the executions."""
    cash, held = Fraction(1000), {tape.symbol: Fraction(0) for tape in found.tapes}
    lines = list(found.account.executions)
    worth = []
    for index in range(LENGTH):
        while lines and lines[0].at <= START + (index + 1) * STEP:
            each = lines.pop(0)
            sign = 1 if each.side is Side.BUY else -1
            cash -= sign * Fraction(each.notional.value) + Fraction(each.fee.value)
            held[each.symbol] += sign * Fraction(each.quantity.value)
        bids = {
            tape.symbol: quote_around(tape.pair, tape.price(int(tape.ticks[3, index])).value, D(4)).bid
            for tape in found.tapes
        }
        worth.append(cash + sum(quantity * Fraction(bids[symbol]) for symbol, quantity in held.items()))
    return worth


def test_the_equity_curve_is_exact_at_every_close(found: Run) -> None:
    curve = curve_of(found)
    assert [Fraction(units, 10**PLACES) for units in curve.equity] == equity_by_hand(found)
    assert curve.times.tolist() == [START + (index + 1) * STEP for index in range(LENGTH)]


def test_statistics_are_what_plain_arithmetic_gives(found: Run) -> None:
    told, worth = statistics_of(found), [float(value) for value in equity_by_hand(found)]
    profits = [float(trade.profit.value) for trade in found.trades]
    assert len(profits) >= 5
    assert told.trades == len(profits)
    assert told.profit == found.account.cash - Money(D(1000))
    assert told.net_return == pytest.approx(sum(profits) / 1000)
    assert told.win_rate == sum(profit > 0 for profit in profits) / len(profits)
    lost = -sum(profit for profit in profits if profit <= 0)
    assert told.profit_factor == pytest.approx(sum(profit for profit in profits if profit > 0) / lost)
    peaks = [max(1000.0, *worth[: index + 1]) for index in range(LENGTH)]
    assert told.max_drawdown == pytest.approx(max(1 - value / peak for value, peak in zip(worth, peaks, strict=True)))
    # Midnights are 288 candles apart, and the data begins at one.
    days = [1000.0, *worth[287::288]]
    returns = [after / before - 1 for before, after in pairwise(days)]
    assert told.sharpe == pytest.approx(statistics.mean(returns) / statistics.stdev(returns) * math.sqrt(365))
    candles_held = sum(
        sum(t.entry.at <= START + (i + 1) * STEP < t.exits[-1].at for t in found.trades) > 0 for i in range(LENGTH)
    )
    assert told.exposure == pytest.approx(candles_held / LENGTH)


def test_sums_by_pair_and_by_reason_add_up_to_the_whole(found: Run) -> None:
    told = statistics_of(found)
    assert sum(row.trades for row in told.pairs) == sum(row.trades for row in told.reasons) == told.trades
    assert sum((row.profit for row in told.pairs), Money.zero()) == told.profit
    assert sum((row.fees for row in told.pairs), Money.zero()) == told.fees
    by_reason = sum((row.profit for row in told.reasons), Money.zero())
    # Each reason's profit is rounded to eight decimals.
    assert abs((by_reason - told.profit).value) < D("1e-7")
    fees = sum((each.fee for each in found.account.executions), Money.zero())
    assert told.fees == fees


def test_buy_and_hold_pays_the_spread_and_both_fees(tmp_path: Path) -> None:
    path = write(tmp_path, "SOLUSD", [FLAT, FLAT, ("100", "110", "100", "110")])
    told = statistics_of(run([path], strategy=Written({}), asked=terms(candles=3)))
    # 1000 / 1.008 / 100.02 = 9.91865119 SOL for 992.06349 and 7.93651 of fee, sold at 109.98 for 1090.85326 less 8.72683.
    assert told.held_profit == Money(D("1090.85326") - D("8.72683") - D("992.06349") - D("7.93651"))
    assert told.held == pytest.approx(float(told.held_profit.value) / 1000)


def test_without_a_trade_there_is_no_average_and_no_factor(tmp_path: Path) -> None:
    told = statistics_of(run([write(tmp_path, "SOLUSD", [FLAT] * 3)], strategy=Written({}), asked=terms(candles=3)))
    assert (told.trades, told.net_return, told.max_drawdown, told.exposure) == (0, 0, 0, 0)
    assert (told.sharpe, told.profit_factor, told.win_rate, told.average_profit, told.average_hours) == (None,) * 5
