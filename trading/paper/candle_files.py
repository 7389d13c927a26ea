"""Kraken's downloadable OHLCVT files, read strictly: `time,open,high,low,close,volume,trades`, no header, oldest first.

Intervals without a trade are absent, and that is the only gap in the format that is legal. Everything else that is
wrong with a file is refused with one sentence that names the file and the line.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trading.paper.errors import KrakenError
from trading.paper.market import INTERVALS_MIN, Candle
from trading.paper.pairs import Pair, pair_named

FORMAT = "time,open,high,low,close,volume,trades"
COLUMNS = 7
_NAME = re.compile(r"(?P<pair>[A-Za-z0-9.]+)_(?P<minutes>\d{1,5})\.csv(?:\.gz)?", re.ASCII)
_WHOLE = re.compile(r"\d{1,12}", re.ASCII)
_NUMBER = re.compile(r"\d{1,20}(?:\.\d{0,20})?(?:[eE][-+]?\d{1,2})?", re.ASCII)
_PRICE_MAX, _VOLUME_MAX = 1e12, 1e18
_SHOWN_CHARACTERS_MAX = 60
_GZIP = 16 + zlib.MAX_WBITS
# Nothing but numbers, so that what float() and int() also accept (nan, 1_000, spaces) cannot hide in a file.
_ALLOWED = b"0123456789.,eE+-\r\n"

Row = Sequence[str]
Table = NDArray[np.float64]


class CandleFile:
    """One file, oldest candle first. Candles without a trade are absent, as in Kraken's files.

    Lines become candles when they are first looked at: a replay uses a small part of its files. `table` holds the
    same numbers as binary floats, a row a candle, for those who do arithmetic on all of them.
    """

    def __init__(self, pair: Pair, interval_min: int, *, lines: Sequence[str], table: Table) -> None:
        self.pair = pair
        self.interval_min = interval_min
        self.table = table
        self.times: list[int] = table[:, 0].astype(np.int64).tolist()
        self._lines = lines
        self._candles: dict[int, Candle] = {}

    def candle(self, index: int) -> Candle:
        known = self._candles.get(index)
        if known is None:
            known = self._candles[index] = _candle(self.pair, self._lines[index].split(","))
        return known


def candle_paths(wanted: Iterable[Path], *, interval_min: int | None = None) -> list[Path]:
    """Files as they are, of a directory those in it; with an interval only files of that many minutes.

    Raises ValueError with a sentence for a directory that holds none.
    """
    found: list[Path] = []
    for path in wanted:
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(file for file in path.iterdir() if _NAME.fullmatch(file.name))
        if not inside:
            raise ValueError(f"{path} holds no file named PAIR_minutes.csv or PAIR_minutes.csv.gz.")
        found += inside
    if interval_min is None:
        return found
    chosen = [path for path in found if _minutes(path) in (None, interval_min)]
    if found and not chosen:
        raise ValueError(f"None of the candle files is of {interval_min} minutes.")
    return chosen


def read_candles(path: Path) -> CandleFile:
    """`PAIR_minutes.csv` or `.csv.gz`; raises ValueError with a sentence, OSError when it cannot be read."""
    named = _NAME.fullmatch(path.name)
    if named is None or int(named["minutes"]) not in INTERVALS_MIN:
        minutes = ", ".join(map(str, INTERVALS_MIN))
        raise ValueError(f"{path.name} is not named PAIR_minutes.csv or PAIR_minutes.csv.gz, minutes being {minutes}.")
    try:
        pair = pair_named(named["pair"])
    except KrakenError as error:
        raise ValueError(f"{path.name} is of {named['pair']}, a pair that the exchange does not list.") from error
    interval_min = int(named["minutes"])
    raw = path.read_bytes()
    text = _unpacked(path, raw) if path.suffix == ".gz" else raw
    lines = text.decode("latin-1").splitlines()
    if not lines:
        raise ValueError(f"{path.name}, line 1: the file is empty.")
    table = _table_if_sound(text, lines, interval_s=interval_min * 60)
    if table is None:
        raise ValueError(_first_problem(path, lines, interval_s=interval_min * 60))
    return CandleFile(pair, interval_min, lines=lines, table=table)


def _minutes(path: Path) -> int | None:
    named = _NAME.fullmatch(path.name)
    return int(named["minutes"]) if named else None


def _unpacked(path: Path, raw: bytes) -> bytes:
    """Raises ValueError with a sentence; one that breaks off names the last line that is there."""
    unpacker = zlib.decompressobj(_GZIP)
    try:
        text = unpacker.decompress(raw)
    except zlib.error as error:
        raise ValueError(f"{path.name}, line 1: the file is not compressed as .gz, or damaged.") from error
    if not unpacker.eof:
        line = text.count(b"\n") + 1
        raise ValueError(f"{path.name}, line {line}: the compressed file breaks off here; fetch it again.")
    return text


def _table_if_sound(text: bytes, lines: Sequence[str], *, interval_s: int) -> Table | None:
    """The numbers when nothing at all is wrong with them; the whole file at once, because files are long."""
    if text.translate(None, _ALLOWED):
        return None
    try:
        table: Table = np.loadtxt(lines, delimiter=",", comments=None, ndmin=2)
    except ValueError:
        return None
    if table.shape != (len(lines), COLUMNS):
        return None
    times, open_, high, low, close, volumes, trades = table.T
    sound = (
        (table >= 0).all()
        and (table[:, 1:5] > 0).all()
        and (table[:, :5] < _PRICE_MAX).all()
        and (high >= np.maximum(np.maximum(open_, close), low)).all()
        and (low <= np.minimum(open_, close)).all()
        and (volumes < _VOLUME_MAX).all()
        and not (trades % 1).any()
        and not (times % interval_s).any()
        and (np.diff(times) > 0).all()
    )
    return table if sound else None


def _first_problem(path: Path, lines: Sequence[str], *, interval_s: int) -> str:
    """The sentence for the first line that is wrong; the same rules as above, one line after the other."""
    before: int | None = None
    for number, line in enumerate(lines, start=1):
        row = line.split(",")
        problem = _form_problem(line, row) or _price_problem(row) or _time_problem(row[0], before, interval_s)
        if problem:
            return f"{path.name}, line {number}: {problem}"
        before = int(row[0])
    return f"{path.name}: a line ends in an odd way; save it as plain text with one candle a line."


def _form_problem(line: str, row: Row) -> str:
    shown = ascii(line[:_SHOWN_CHARACTERS_MAX])
    if not line.strip():
        return "the line is empty."
    if len(row) == COLUMNS and _WHOLE.fullmatch(row[0]) and _WHOLE.fullmatch(row[6]):
        wrong = next((text for text in row[1:6] if not _NUMBER.fullmatch(text)), None)
        return "" if wrong is None else f"{wrong[:_SHOWN_CHARACTERS_MAX]!a} is not an unsigned number."
    if line[:1].isalpha() or line[:1] == '"':
        return f"{shown} is a header; the file must begin with its first candle ({FORMAT})."
    if len(row) != COLUMNS:
        return f"{len(row)} {'column' if len(row) == 1 else 'columns'} instead of the {COLUMNS} of {FORMAT}."
    return f"{shown} is not {FORMAT}."


def _price_problem(row: Row) -> str:
    open_, high, low, close, volume = map(float, row[1:6])
    if min(open_, high, low, close) <= 0:
        return "a price is not above zero."
    if max(open_, high, low, close) >= _PRICE_MAX or volume >= _VOLUME_MAX:
        return "a price or the volume is beyond all bounds."
    if high < low:
        return f"the high {row[2]} is below the low {row[3]}."
    if not low <= min(open_, close) <= max(open_, close) <= high:
        return f"open {row[1]} and close {row[4]} do not lie between low {row[3]} and high {row[2]}."
    return ""


def _time_problem(time: str, before: int | None, interval_s: int) -> str:
    if int(time) % interval_s:
        return f"{time} is not the start of a {interval_s // 60}-minute candle."
    if before is not None and int(time) == before:
        return f"the candle of {time} is there twice."
    if before is not None and int(time) < before:
        return f"the candle of {time} comes after the one of {before}; candles must be sorted, oldest first."
    return ""


def _candle(pair: Pair, row: Row) -> Candle:
    """The files have no volume-weighted price; the middle of the candle's prices stands in for it."""
    time, _, _, _, _, volume, trades = row
    open_, high, low, close = (pair.nearest_tick(Decimal(price)) for price in row[1:5])
    vwap = (open_ + high + low + close) / 4
    return Candle(int(Decimal(time)), open_, high, low, close, vwap, Decimal(volume), int(Decimal(trades)))
