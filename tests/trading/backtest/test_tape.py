"""Whole ticks are the paper exchange's own prices, and the strategy sees the floats of their decimals."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trading.backtest.tapes import START, STEP, tape, terms, write
from trading.backtest.tape import CLOSE, Tape, symbol_of, tape_of
from trading.backtest.terms import BacktestRefused
from trading.paper.candle_files import read_candles
from trading.paper.market import quote_around
from trading.paper.pairs import PAIRS, pair_named

PATHS = st.lists(st.integers(1, 5_000_000), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(
    closes=PATHS,
    pair=st.sampled_from(sorted(PAIRS)),
    spread=st.decimals(0, 999, places=4, allow_nan=False, allow_infinity=False),
)
def test_bids_in_ticks_are_the_paper_exchanges_quotes(closes: list[int], pair: str, spread: Decimal) -> None:
    listed = PAIRS[pair]
    ticks = np.tile(np.array(closes, dtype=np.int64), (4, 1))
    bids = Tape(listed, *(None,) * 3, ticks, *(None,) * 3).bids(spread)  # type: ignore[arg-type]
    for close, bid in zip(closes, bids[CLOSE].tolist(), strict=True):
        assert quote_around(listed, close * listed.tick, spread).bid == bid * listed.tick


@pytest.mark.parametrize("price", ["0.1241349", "0.12413491", "0.12413495", "0.124134950001"])
def test_prices_off_the_tick_become_the_nearest_one_as_at_the_exchange(tmp_path: Path, price: str) -> None:
    path = write(tmp_path, "XDGUSD", [(price, price, price, price)] * 2)
    read = tape(path, terms(candles=2))
    expected = pair_named("XDGUSD").nearest_tick(Decimal(price))
    assert read.price(int(read.ticks[CLOSE, 0])).value == expected
    assert read.candles.close[0] == float(expected)


def test_intervals_without_a_trade_are_flat_candles_of_no_volume(tmp_path: Path) -> None:
    path = tmp_path / "SOLUSD_5.csv"
    path.write_text(f"{START},10,11,9,10.5,3,1\n{START + 3 * STEP},20,21,19,20,3,1\n")
    read = tape(path, terms(candles=4))
    assert len(read) == 4
    assert read.flat == 2
    assert read.candles.time.tolist() == [START + i * STEP for i in range(4)]
    for column in (read.candles.open, read.candles.high, read.candles.low, read.candles.close):
        assert column[1:3].tolist() == [10.5, 10.5]
    assert read.candles.volume.tolist() == [3, 0, 0, 3]


def test_what_lies_before_the_range_is_history_and_what_lies_behind_is_not_read(tmp_path: Path) -> None:
    path = write(tmp_path, "SOLUSD", [("10", "10", "10", "10")] * 9)
    read = tape(path, terms(start=3, candles=7))
    assert len(read) == 7
    assert read.first == 3
    assert read.closes_at(read.last) == START + 7 * STEP


def test_a_price_beyond_all_ticks_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "PEPEUSD", [("999999", "999999", "999999", "999999")])
    with pytest.raises(BacktestRefused, match="PEPEUSD has a price above"):
        tape_of(read_candles(path), start_s=START, end_s=START + STEP)


def test_pairs_are_called_as_people_call_them() -> None:
    assert [symbol_of(pair_named(name)) for name in ("XBTUSD", "XDGUSD", "PEPEUSD")] == [
        "BTC-USD",
        "DOGE-USD",
        "PEPE-USD",
    ]
