"""No decision and no trade knows a later candle: whatever is changed behind a cut, nothing before it changes."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trading.backtest.tapes import START, STEP, Bar, bars_of, run, tape, terms, write
from tests.trading.strategy.markets import walk
from trading.backtest.books import END_OF_DATA, Execution
from trading.backtest.curve import curve_of
from trading.backtest.simulation import Run, simulate
from trading.backtest.tape import Tape
from trading.backtest.terms import Looks, Terms
from trading.domain.money import Money, Ratio
from trading.strategy import registry

BESIDE_THE_CHECKOUT = Path(__file__).resolve().parents[4] / "shared" / "market-data"
MARKET_DATA = Path(os.environ.get("NIJA_MARKET_DATA") or BESIDE_THE_CHECKOUT)

LENGTH = 600
_MARKET = walk(8, length=LENGTH, start=140.0)
_BARS, _VOLUMES = bars_of(_MARKET, places=2), [f"{value:.8f}" for value in _MARKET.volume]


def changed(bars: list[Bar], cut: int, factor: float) -> list[Bar]:
    """The same candles up to and with `cut`, other prices from there on."""
    later = [tuple(f"{max(0.02, float(price) * factor):.2f}" for price in bar) for bar in reversed(bars[cut + 1 :])]
    return bars[: cut + 1] + later  # type: ignore[return-value]


def until(found: Run, at: int) -> list[Execution]:
    return [each for each in found.account.executions if each.at <= at and each.reason != END_OF_DATA]


@pytest.mark.parametrize("name", registry.names())
@pytest.mark.parametrize("looks", list(Looks))
def test_other_candles_later_leave_every_earlier_trade_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, looks: Looks, name: str
) -> None:
    folder, asked = tmp_path_factory.mktemp("tape"), terms(candles=LENGTH, looks=looks)
    whole = run([write(folder, "SOLUSD", _BARS, volumes=_VOLUMES)], strategy=registry.get(name), asked=asked)
    assert len(whole.trades) >= 4

    @settings(max_examples=12, deadline=None, derandomize=True)
    @given(cut=st.integers(110, LENGTH - 2), factor=st.sampled_from([0.5, 0.97, 1.0, 1.03, 2.0]))
    def same(cut: int, factor: float) -> None:
        path = write(folder, "SOLUSD", changed(_BARS, cut, factor), volumes=_VOLUMES)
        other = run([path], strategy=registry.get(name), asked=asked)
        at = START + (cut + 1) * STEP
        assert until(other, at) == until(whole, at)
        before = cut + 1
        assert curve_of(other).equity[:before].tolist() == curve_of(whole).equity[:before].tolist()

    same()


def test_fewer_candles_give_the_same_trades_as_far_as_they_go(tmp_path: Path) -> None:
    strategy, path = registry.get("apex"), write(tmp_path, "SOLUSD", _BARS, volumes=_VOLUMES)
    whole = run([path], strategy=strategy, asked=terms(candles=LENGTH))
    for length in range(150, LENGTH, 75):
        shorter = run([path], strategy=strategy, asked=terms(candles=length))
        # The last close buys nothing, since nothing follows it.
        before = START + (length - 1) * STEP
        assert until(shorter, before) == until(whole, before)


@pytest.mark.skipif(not MARKET_DATA.is_dir() and "CI" not in os.environ, reason="no real candles beside this checkout")
def test_real_candles_changed_behind_a_cut_change_no_earlier_trade(tmp_path: Path) -> None:
    with gzip.open(MARKET_DATA / "PEPEUSD_5.csv.gz", "rt") as lines:
        rows = [line.strip().split(",") for _, line in zip(range(4000), lines, strict=False)]
    start, end = int(rows[0][0]), int(rows[-1][0]) + STEP
    asked = Terms(
        start, end, Money(terms(candles=1).capital.value), Ratio.from_percent("12"), Ratio.from_percent("0.5")
    )
    whole = simulate(
        [_real(tmp_path, rows, asked)], strategy=registry.get("apex"), terms=asked, progress=lambda *_: None
    )
    assert len(whole.trades) >= 8
    cuts = sorted({index_of(rows, each.at) for each in whole.account.executions[::5]})
    for cut in cuts:
        at = int(rows[cut][0]) + STEP
        other = simulate(
            [_real(tmp_path, rows[: cut + 1] + _shaken(rows[cut + 1 :]), asked)],
            strategy=registry.get("apex"),
            terms=asked,
            progress=lambda *_: None,
        )
        assert until(other, at) == until(whole, at)


def index_of(rows: list[list[str]], at: int) -> int:
    """The last row that had closed by `at`."""
    return int(np.searchsorted([int(row[0]) + STEP for row in rows], at, side="right")) - 1


def _shaken(rows: list[list[str]]) -> list[list[str]]:
    """The prices and volumes of other candles at the same times."""
    return [[row[0], *other[1:]] for row, other in zip(rows, reversed(rows), strict=True)]


def _real(directory: Path, rows: list[list[str]], asked: Terms) -> Tape:
    path = directory / "PEPEUSD_5.csv"
    path.write_text("".join(",".join(row) + "\n" for row in rows))
    return tape(path, asked)
