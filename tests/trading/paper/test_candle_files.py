"""Kraken's OHLCVT files: what is legal is read, everything else refused by file and line, and nothing half started."""

from __future__ import annotations

import gzip
import random
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from trading.paper.candle_files import candle_paths, read_candles
from trading.paper.server import CannotStart, run_in_thread
from trading.paper.settings import PaperSettings

START = 1_719_792_000
BASE_DIR = Path(__file__).resolve().parents[3]


def row(number: int, prices: str = "100,101,99,100.5", *, step: int = 300) -> str:
    return f"{START + step * number},{prices},12.5,3"


GOOD = [row(n) for n in range(4)]
WRONG: dict[str, tuple[list[str], int, str]] = {
    "header": (["time,open,high,low,close,volume,trades", *GOOD], 1, "is a header"),
    "six columns": ([GOOD[0], GOOD[1].rpartition(",")[0], *GOOD[2:]], 2, "6 columns instead of the 7"),
    "eight columns": ([*GOOD[:2], f"{GOOD[2]},0"], 3, "8 columns instead of the 7"),
    "semicolons": ([GOOD[0].replace(",", ";")], 1, "1 column instead of the 7"),
    "words": ([*GOOD[:3], row(3, "100,101,low,100.5")], 4, "'low' is not an unsigned number"),
    "nan": ([row(0, "100,nan,99,100.5")], 1, "'nan' is not an unsigned number"),
    "underscores": ([row(0, "1_00,101,99,100.5")], 1, "'1_00' is not an unsigned number"),
    "a date": (["2024-07-01,100,101,99,100.5,12.5,3"], 1, "is not time,open,high,low,close,volume,trades"),
    "a blank line": ([GOOD[0], "", GOOD[1]], 2, "the line is empty"),
    "a negative volume": ([f"{START},100,101,99,100.5,-1,3"], 1, "'-1' is not an unsigned number"),
    "a price of zero": ([GOOD[0], row(1, "100,101,0,100.5")], 2, "a price is not above zero"),
    "a huge price": ([row(0, "100,1e14,99,100.5")], 1, "beyond all bounds"),
    "high below low": ([GOOD[0], row(1, "100,98,99,98.5")], 2, "the high 98 is below the low 99"),
    "close outside": ([row(0, "100,101,99,101.5")], 1, "close 101.5 do not lie between low 99 and high 101"),
    "twice": ([*GOOD, GOOD[-1]], 5, f"the candle of {START + 900} is there twice"),
    "unsorted": ([GOOD[0], GOOD[2], GOOD[1]], 3, "candles must be sorted, oldest first"),
    "off the grid": ([GOOD[0], row(1, step=301)], 2, f"{START + 301} is not the start of a 5-minute candle"),
    "empty": ([], 1, "the file is empty"),
}


def written(directory: Path, lines: list[str], name: str = "SOLUSD_5.csv") -> Path:
    path = directory / name
    text = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    return path


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("wrong", WRONG)
def test_a_bad_line_is_refused_by_file_and_number(tmp_path: Path, wrong: str, packed: str) -> None:
    lines, number, reason = WRONG[wrong]
    with pytest.raises(ValueError, match=reason) as refusal:
        read_candles(written(tmp_path, lines, f"SOLUSD_5.csv{packed}"))
    sentence = str(refusal.value)
    assert sentence.startswith(f"SOLUSD_5.csv{packed}, line {number}: ")
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_a_compressed_file_that_breaks_off_is_refused_where_it_does(tmp_path: Path) -> None:
    chance = random.Random(1)
    lines = [row(n, f"100,{101 + chance.random():.8f},99,100.5") for n in range(400)]
    path = written(tmp_path, lines, "SOLUSD_5.csv.gz")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"SOLUSD_5\.csv\.gz, line (1|2)\d\d: the compressed file breaks off here"):
        read_candles(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="line 1: the compressed file breaks off"):
        read_candles(path)
    path.write_bytes(b"not compressed at all")
    with pytest.raises(ValueError, match="line 1: the file is not compressed"):
        read_candles(path)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("SOLUSD.csv", "is not named PAIR_minutes.csv"),
        ("SOLUSD_7.csv", "is not named PAIR_minutes.csv"),
        ("SOLUSD_5.txt", "is not named PAIR_minutes.csv"),
        ("NOPEUSD_5.csv", "is of NOPEUSD, a pair that the exchange does not list"),
    ],
)
def test_a_file_of_another_name_or_pair_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"{name} {reason}"):
        read_candles(written(tmp_path, GOOD, name))


def test_absent_intervals_windows_line_ends_and_small_prices_are_legal(tmp_path: Path) -> None:
    path = tmp_path / "PEPEUSD_5.csv"
    prices = "1.1876e-05,1.1881e-05,1.1875e-05,0.00001188"
    path.write_bytes("\r\n".join([row(0, prices), row(9, prices)]).encode())
    file = read_candles(path)
    assert file.times == [START, START + 2700]
    assert file.candle(1).open == Decimal("0.000011876")
    assert file.candle(1).volume == Decimal("12.5")


@pytest.mark.parametrize("wrong", ["unsorted", "header", "empty"])
def test_the_server_ends_with_the_sentence_and_leaves_nothing_behind(tmp_path: Path, wrong: str) -> None:
    lines, number, reason = WRONG[wrong]
    written(tmp_path, GOOD, "XBTUSD_5.csv")
    written(tmp_path, lines)
    state = tmp_path / "paper.sqlite3"
    options = ("--state", str(state), "--market", "replay", "--candles", str(tmp_path))
    ended = subprocess.run(
        [sys.executable, "-m", "trading.paper.server", *options],
        cwd=BASE_DIR,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    (sentence,) = ended.stderr.splitlines()
    assert sentence.startswith(f"SOLUSD_5.csv, line {number}: ")
    assert reason in sentence
    assert not state.exists()


def test_a_directory_gives_all_its_files_and_the_interval_chooses_among_them(
    settings: PaperSettings, tmp_path: Path
) -> None:
    files = tmp_path / "market"
    files.mkdir()
    for name in ("SOLUSD_5.csv.gz", "XBTUSD_5.csv"):
        written(files, [row(n) for n in range(30)], name)
    for name in ("ETHUSD_60.csv", "XBTUSD_60.csv"):
        written(files, [row(n, step=3600) for n in range(30)], name)
    (files / "README.md").write_text("Not a candle file.")
    replay = replace(settings, market="replay", candles=(files,), warmup_candles=5)
    for interval_min, pairs in ((5, {"SOLUSD", "XXBTZUSD"}), (60, {"XETHZUSD", "XXBTZUSD"})):
        with run_in_thread(replace(replay, interval_min=interval_min)) as running:
            assert set(running.get("/0/public/AssetPairs")["result"]) == pairs
            running.post("/paper/market/advance", candles=3)
            rows = running.get(f"/0/public/OHLC?pair=XBTUSD&interval={interval_min}")["result"]["XXBTZUSD"]
            assert [r[0] for r in rows] == [START + 60 * interval_min * n for n in range(9)]
    with pytest.raises(CannotStart, match="of 5 and 60 minutes"), run_in_thread(replay):
        pass


def test_a_directory_without_candles_and_a_missing_file_are_refused(settings: PaperSettings, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no file named PAIR_minutes"):
        candle_paths([tmp_path])
    with pytest.raises(ValueError, match="None of the candle files is of 60 minutes"):
        candle_paths([written(tmp_path, GOOD)], interval_min=60)
    replay = replace(settings, market="replay", warmup_candles=1)
    missing = replace(replay, candles=(tmp_path / "XBTUSD_5.csv",))
    with pytest.raises(CannotStart, match=r"XBTUSD_5\.csv cannot be read: No such file"), run_in_thread(missing):
        pass
    with pytest.raises(CannotStart, match="needs candle files"), run_in_thread(replay):
        pass
    again = written(tmp_path, GOOD, "SOLUSD_5.csv.gz")
    twice = replace(replay, candles=(tmp_path / "SOLUSD_5.csv", again))
    with pytest.raises(CannotStart, match="not two of SOLUSD"), run_in_thread(twice):
        pass
