"""Closed candles of several pairs at once: threads for HTTP only, and no longer than a bound."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from trading.kraken.endpoints import PublicClient
from trading.kraken.errors import KrakenError
from trading.models import Instrument
from trading.strategy.candles import CandleError, Candles, OhlcRow, closed

logger = logging.getLogger(__name__)

THREADS_MAX = 4
TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Read:
    """One pair's closed candles, or a sentence that says why there are none."""

    candles: Candles | None
    problem: str = ""


def read(
    instruments: Sequence[Instrument], *, minutes: int, client: PublicClient, timeout_s: float = TIMEOUT_S
) -> dict[int, Read]:
    """By instrument id, in the order given. One pair's failure is that pair's alone."""
    if not instruments:
        return {}
    pool = ThreadPoolExecutor(max_workers=min(THREADS_MAX, len(instruments)), thread_name_prefix="ohlc")
    try:
        asked = {row.pk: pool.submit(_rows, client, row.altname, minutes) for row in instruments}
        wait(asked.values(), timeout=timeout_s)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return {row.pk: _read(asked, row, minutes=minutes) for row in instruments}


def _read(asked: Mapping[int, Future[list[OhlcRow]]], instrument: Instrument, *, minutes: int) -> Read:
    answer = asked[instrument.pk]
    if not answer.done() or answer.cancelled():
        return Read(None, f"Kraken's candles of {instrument.symbol} did not arrive in time.")
    try:
        return Read(closed(answer.result(), interval_s=minutes * 60))
    except KrakenError as error:
        return Read(None, f"Kraken's candles of {instrument.symbol} could not be read: {error}")
    except CandleError as error:
        return Read(None, f"Kraken's candles of {instrument.symbol} are not usable: {error}.")
    except Exception:
        logger.exception("candles of %s", instrument.symbol)
        return Read(None, f"Kraken's candles of {instrument.symbol} could not be read: see the log.")


def _rows(client: PublicClient, altname: str, minutes: int) -> list[OhlcRow]:
    return [
        (row.time, row.open, row.high, row.low, row.close, row.vwap, row.volume, row.count)
        for row in client.ohlc(altname, minutes)
    ]
