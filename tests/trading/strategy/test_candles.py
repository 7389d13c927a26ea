from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from tests.trading.strategy.markets import walk
from trading.strategy.candles import CandleError, Candles, OhlcRow, closed


def row(time: int, *, low: str = "9", high: str = "11", close: str = "10", volume: str = "5") -> OhlcRow:
    return (time, Decimal("10"), Decimal(high), Decimal(low), Decimal(close), Decimal("10.1"), Decimal(volume), 3)


def test_the_last_row_is_still_forming_and_dropped() -> None:
    candles = closed([row(60), row(120), row(180)], interval_s=60)
    assert candles.time.tolist() == [60, 120]
    assert candles.volume.tolist() == [5.0, 5.0]


def test_no_rows_and_one_forming_row_give_no_candles() -> None:
    assert len(closed([], interval_s=60)) == 0
    assert len(closed([row(60)], interval_s=60)) == 0


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([row(60), row(60)], r"candle 1 \(time 60\) does not start after the one before it"),
        ([row(120), row(60)], "does not start after"),
        ([row(60, high="NaN")], "not finite"),
        ([row(60, volume="Infinity")], "not finite"),
        ([row(60, low="0")], "not positive"),
        ([row(60, volume="-1")], "negative volume"),
        ([row(60, high="9", low="11")], "high below its low"),
        ([row(60, close="12")], "opens or closes outside its range"),
        ([row(60)[:7]], "a candle row is"),
    ],
)
def test_unusable_rows_are_refused_with_the_reason(rows: list[OhlcRow], sentence: str) -> None:
    with pytest.raises(CandleError, match=sentence):
        Candles.from_rows(rows, interval_s=60)


def test_columns_of_different_length_and_no_interval_are_refused() -> None:
    good = walk(1, length=5)
    with pytest.raises(CandleError, match="differ in length"):
        Candles(good.time, good.open[:4], good.high, good.low, good.close, good.volume, interval_s=300)
    with pytest.raises(CandleError, match="positive number of seconds"):
        Candles(good.time, good.open, good.high, good.low, good.close, good.volume, interval_s=0)


def test_candles_cannot_be_changed_and_do_not_follow_the_arrays_they_came_from() -> None:
    close = np.full(3, 10.0)
    candles = Candles(np.arange(3), close, close, close, close, close, interval_s=60)
    close[0] = 99.0
    assert candles.close[0] == 10.0
    with pytest.raises(ValueError, match="read-only"):
        candles.close[0] = 1.0
