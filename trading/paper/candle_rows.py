"""Candles as rows of OHLC, rendered once: most rows of an answer were in the answer before."""

from __future__ import annotations

from typing import Any

from trading.paper.market import Candle
from trading.paper.pairs import Pair, text

_KEPT_MAX = 20_000


class CandleRows:
    """By the candle object, because comparing eight decimals costs more than it saves."""

    def __init__(self) -> None:
        self._rows: dict[int, tuple[Candle, list[Any]]] = {}

    def row(self, pair: Pair, candle: Candle) -> list[Any]:
        known = self._rows.get(id(candle))
        # The entry holds its candle, so no other one can have taken over the id.
        if known is not None:
            return known[1]
        if len(self._rows) >= _KEPT_MAX:
            self._rows.clear()
        row = _row(pair, candle)
        self._rows[id(candle)] = (candle, row)
        return row


def _row(pair: Pair, candle: Candle) -> list[Any]:
    prices = (candle.open, candle.high, candle.low, candle.close, candle.vwap)
    shown = [text(price, pair.pair_decimals) for price in prices]
    return [candle.time, *shown, text(candle.volume, pair.lot_decimals), candle.count]
