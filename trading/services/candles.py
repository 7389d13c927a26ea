"""Closed candles of several pairs at once: threads for HTTP only, and no longer than a bound.

A process keeps what each client answered and asks for the newest candles only, among them one that it knows: when that
one is not the same any more, everything is read anew.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cache
from weakref import WeakKeyDictionary

import numpy as np

from trading.kraken.endpoints import PublicClient
from trading.kraken.errors import KrakenError
from trading.kraken.values import Candle
from trading.models import Instrument
from trading.strategy.candles import CandleError, Candles, OhlcRow, closed

logger = logging.getLogger(__name__)

THREADS_MAX = 4
TIMEOUT_S = 20.0
#: So many a whole answer of Kraken's holds, the forming candle left out; what is kept never grows beyond it.
CLOSED_MAX = 719
#: So many of the known candles are asked for again: the newest may still have changed after it was first told.
REPEATED = 2
#: What is kept is replaced by a whole answer after so many short ones.
SHORT_READS_MAX = 200
_COLUMNS = ("time", "open", "high", "low", "close", "volume")


@dataclass(frozen=True, slots=True)
class Read:
    """One pair's closed candles, or a sentence that says why there are none."""

    candles: Candles | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class _Kept:
    candles: Candles
    short_reads: int


#: By the name that the exchange is asked with and the minutes of a candle.
_Memory = dict[tuple[str, int], _Kept]
_memories: WeakKeyDictionary[PublicClient, _Memory] = WeakKeyDictionary()
_memories_lock = threading.Lock()


def read(
    instruments: Sequence[Instrument], *, minutes: int, client: PublicClient, timeout_s: float = TIMEOUT_S
) -> dict[int, Read]:
    """By instrument id, in the order given. One pair's failure is that pair's alone."""
    with _memories_lock:
        memory = _memories.setdefault(client, {})
    asked = {row.pk: _readers().submit(_candles, client, memory, row.altname, minutes) for row in instruments}
    _, late = wait(asked.values(), timeout=timeout_s)
    for future in late:
        future.cancel()
    return {row.pk: _read(asked, row) for row in instruments}


@cache
def _readers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=THREADS_MAX, thread_name_prefix="ohlc")


def _read(asked: Mapping[int, Future[Candles]], instrument: Instrument) -> Read:
    answer = asked[instrument.pk]
    if not answer.done() or answer.cancelled():
        return Read(None, f"Kraken's candles of {instrument.symbol} did not arrive in time.")
    try:
        return Read(answer.result())
    except KrakenError as error:
        return Read(None, f"Kraken's candles of {instrument.symbol} could not be read: {error}")
    except CandleError as error:
        return Read(None, f"Kraken's candles of {instrument.symbol} are not usable: {error}.")
    except Exception:
        logger.exception("candles of %s", instrument.symbol)
        return Read(None, f"Kraken's candles of {instrument.symbol} could not be read: see the log.")


def _candles(client: PublicClient, memory: _Memory, altname: str, minutes: int) -> Candles:
    """What a whole answer would hold, of which as little as possible is asked for."""
    kept = memory.get((altname, minutes))
    found, short_reads = None, 0
    if kept is not None and len(kept.candles) > REPEATED and kept.short_reads < SHORT_READS_MAX:
        since = int(kept.candles.time[-REPEATED - 1])
        newest = _closed(client.ohlc(altname, minutes, since=since), minutes=minutes)
        found, short_reads = _joined(kept.candles, newest), kept.short_reads + 1
    if found is None:
        found, short_reads = _closed(client.ohlc(altname, minutes), minutes=minutes), 0
    memory[altname, minutes] = _Kept(found, short_reads)
    return found


def _joined(kept: Candles, newest: Candles) -> Candles | None:
    """`kept` continued by `newest`, whose first candle must be one of them; None when it is not."""
    if not len(newest):
        return None
    at = int(np.searchsorted(kept.time, newest.time[0]))
    if at == 0:
        return newest
    if at == len(kept) or any(getattr(kept, name)[at] != getattr(newest, name)[0] for name in _COLUMNS):
        return None
    columns = {
        name: np.concatenate((getattr(kept, name)[:at], getattr(newest, name)))[-CLOSED_MAX:] for name in _COLUMNS
    }
    return Candles(**columns, interval_s=kept.interval_s)


def _closed(told: Sequence[Candle], *, minutes: int) -> Candles:
    rows: list[OhlcRow] = [
        (row.time, row.open, row.high, row.low, row.close, row.vwap, row.volume, row.count) for row in told
    ]
    return closed(rows, interval_s=minutes * 60)
