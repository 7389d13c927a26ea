"""The candle files of a backtest: found in one directory, read strictly, known by their SHA-256."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from trading.backtest.tape import CANDLES_MAX, Tape, symbol_of, tape_of
from trading.backtest.terms import BacktestRefused, Progress, Terms
from trading.paper.candle_files import CandleFile, candle_paths, read_candles
from trading.paper.errors import KrakenError
from trading.paper.pairs import pair_named

#: Memory grows with files; nobody has more pairs than this on one exchange page.
FILES_MAX = 50


@dataclass(frozen=True, slots=True)
class Choice:
    """Which files of a directory: of these pairs (BTC-USD; none is all) and of so many minutes (None is whatever)."""

    symbols: tuple[str, ...] = ()
    interval_min: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """One file and the tape made of it."""

    name: str
    sha256: str
    tape: Tape


def read(directory: Path, *, choice: Choice, terms: Terms, progress: Progress) -> list[Source]:
    """The chosen candle files of the directory. Raises BacktestRefused with a sentence."""
    paths = _chosen(directory, choice)
    sources = []
    for number, path in enumerate(paths):
        progress(f"reading {path.name}", number / len(paths))
        sources.append(Source(path.name, _sha256(path), _tape(path, _read(path), terms)))
    return sources


def _chosen(directory: Path, choice: Choice) -> list[Path]:
    wanted = [_symbol(symbol) for symbol in choice.symbols]
    if not directory.is_dir():
        raise BacktestRefused(f"{directory} is not a directory.")
    try:
        found = candle_paths([directory], interval_min=choice.interval_min)
    except (ValueError, OSError) as error:
        raise BacktestRefused(str(error)) from error
    paths = [path for path in found if not wanted or _named(path)[0] in wanted]
    missing = sorted(set(wanted) - {_named(path)[0] for path in paths})
    if missing:
        raise BacktestRefused(f"{directory} has no candle file for {', '.join(missing)}.")
    minutes = sorted({_named(path)[1] for path in paths})
    if len(minutes) > 1:
        raise BacktestRefused(
            f"The candle files must all be of one interval; these are of {' and '.join(map(str, minutes))} minutes. "
            f"Choose one with --interval."
        )
    pairs = [_named(path)[0] for path in paths]
    twice = sorted({pair for pair in pairs if pairs.count(pair) > 1})
    if twice:
        raise BacktestRefused(f"{directory} has two candle files for {twice[0]}; keep one.")
    if len(paths) > FILES_MAX:
        raise BacktestRefused(f"{directory} has {len(paths)} candle files, and {FILES_MAX} are the most.")
    return paths


def _named(path: Path) -> tuple[str, int]:
    """Symbol and minutes from a file's name; the name itself for a pair that is not listed, which reading refuses."""
    name, _, minutes = path.name.partition(".csv")[0].rpartition("_")
    try:
        return symbol_of(pair_named(name)), int(minutes)
    except KrakenError:
        return name, int(minutes)


def _read(path: Path) -> CandleFile:
    try:
        return read_candles(path)
    except ValueError as error:
        raise BacktestRefused(str(error)) from error
    except OSError as error:
        raise BacktestRefused(f"{path.name} cannot be read: {error.strerror}.") from error


def _tape(path: Path, file: CandleFile, terms: Terms) -> Tape:
    span = file.times[-1] - file.times[0]
    if span // (file.interval_min * 60) > CANDLES_MAX:
        raise BacktestRefused(f"{path.name} spans more than {CANDLES_MAX} candles; cut it into parts.")
    if file.times[-1] < terms.start_s or file.times[0] + file.interval_min * 60 > terms.end_s:
        raise BacktestRefused(
            f"{path.name} holds candles from {_day(file.times[0])} to {_day(file.times[-1])}, "
            f"none of them from {_day(terms.start_s)} to {_day(terms.end_s)}."
        )
    return tape_of(file, start_s=terms.start_s, end_s=terms.end_s)


def _symbol(symbol: str) -> str:
    try:
        pair = pair_named(symbol.replace("-", "/"))
    except KrakenError:
        raise BacktestRefused(f"{symbol!r} is not a pair that the exchange lists; write it like BTC-USD.") from None
    return symbol_of(pair)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _day(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"
