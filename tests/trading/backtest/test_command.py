"""`manage.py backtest` as it is typed: what it prints and writes, and that a refusal leaves nothing behind."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from decimal import Decimal
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from tests.trading.backtest.tapes import START, STEP, bars_of, write
from tests.trading.strategy.markets import walk

LENGTH = 600
FROM, TO = "2024-07-01", "2024-07-03T02:00"
FILES = {"summary.json", "report.html", "trades.csv", "fills.csv", "equity.csv"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for name, places, start, seed in (("SOLUSD", 2, 140.0, 8), ("XRPUSD", 5, 0.5, 108)):
        market = walk(seed, length=LENGTH, start=start)
        write(folder, name, bars_of(market, places=places), volumes=[f"{value:.8f}" for value in market.volume])
    return folder


def backtest(data: Path, capsys: pytest.CaptureFixture[str] | None = None, **options: object) -> str:
    given = {"strategy": "apex", "data": data, "start": FROM, "end": TO, **options}
    call_command("backtest", **given)
    return capsys.readouterr().out if capsys else ""


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def content(directory: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()}


def test_a_backtest_prints_its_answer_and_writes_below_the_data_directory(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with override_settings(NIJA_DATA_DIR=tmp_path / "nija"):
        printed = backtest(data, capsys)
    (directory,) = (tmp_path / "nija" / "backtests").iterdir()
    assert re.fullmatch(r"apex-20240701-20240703T0200-[0-9a-f]{12}", directory.name)
    assert {path.name for path in directory.iterdir()} == FILES
    assert f"Report: {directory}/report.html" in printed
    summary = json.loads((directory / "summary.json").read_text())
    assert printed.startswith("apex ")
    assert re.search(rf"^Trades +{summary['statistics']['trades']}$", printed, re.M)
    assert re.search(r"^Profit factor +[\d.]+$", printed, re.M)
    for reason in summary["statistics"]["reasons"]:
        assert reason["reason"].replace("_", " ").removesuffix(" of data") in printed.replace("the data", "data")


def test_the_summary_and_the_tables_tell_the_same(data: Path, tmp_path: Path) -> None:
    backtest(data, out=tmp_path / "out", capital="2500.50", pairs="SOL-USD")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    trades = rows(tmp_path / "out" / "trades.csv")
    fills = rows(tmp_path / "out" / "fills.csv")
    equity = rows(tmp_path / "out" / "equity.csv")
    told = summary["statistics"]
    assert summary["pairs"] == ["SOL-USD"]
    assert len(trades) == told["trades"] >= 4
    final = Decimal(told["final_cash"])
    assert final == Decimal("2500.5") + sum(Decimal(trade["profit"]) for trade in trades)
    assert Decimal(fills[-1]["cash_after"]) == Decimal(equity[-1]["equity"]) == final
    assert Decimal(told["fees"]) == sum(Decimal(fill["fee"]) for fill in fills)
    assert len(equity) == LENGTH
    assert summary["kind"] == "nija-backtest"
    assert summary["parameters"]["score_min"] == "65"
    (file,) = summary["data"]
    assert file["sha256"] == hashlib.sha256((data / "SOLUSD_5.csv").read_bytes()).hexdigest()
    assert (summary["from"], summary["to"]) == ("2024-07-01T00:00:00Z", "2024-07-03T02:00:00Z")


def test_the_same_input_gives_the_same_bytes_and_other_input_another_name(data: Path, tmp_path: Path) -> None:
    backtest(data, out=tmp_path / "one")
    backtest(data, out=tmp_path / "two")
    first = content(tmp_path / "one")
    assert first == content(tmp_path / "two")
    # Again into the same place: replaced, not added to.
    backtest(data, out=tmp_path / "one")
    assert content(tmp_path / "one") == first
    names = set()
    for change in ({}, {"capital": "1001"}, {"spread_bps": "5"}, {"taker_fee": "0.4"}, {"pairs": "SOL-USD"}):
        backtest(data, out=tmp_path / "other", **change)
        names.add(json.loads((tmp_path / "other" / "summary.json").read_text())["name"])
    assert len(names) == 5


BAD = [
    ({"strategy": "magic"}, r"^No strategy is called 'magic'; known: apex, breakout\.$"),
    ({"capital": "much"}, r"^--capital cannot be used: 'much' is not a number\.$"),
    ({"capital": "-5"}, r"^The capital is an amount above zero, not -5\.$"),
    ({"start": TO, "end": FROM}, r"^The range is empty: --from must be before --to\.$"),
    ({"start": "July"}, r"^--from is a day or an instant such as 2024-07-01 or 2024-07-01T12:00, not 'July'\.$"),
    ({"end": "2024-07-01T08:00"}, r"^SOL-USD has 96 candles up to --to, and apex needs 100 before its first decision"),
    ({"start": "2023-01-01", "end": "2023-02-01"}, r"^SOLUSD_5.csv holds candles from 2024-07-01 00:00 to .*, none of"),
    ({"pairs": "SOL-USD,MOON-USD"}, r"^'MOON-USD' is not a pair that the exchange lists; write it like BTC-USD\.$"),
    ({"pairs": "BTC-USD"}, r"has no candle file for BTC-USD\.$"),
    ({"interval": "60"}, r"^None of the candle files is of 60 minutes\.$"),
    ({"interval": "x"}, r"^--interval is a number of minutes, not 'x'\.$"),
    ({"spread_bps": "2000"}, r"^The spread is from 0 to below 1000 basis points"),
    ({"taker_fee": "100"}, r"^The taker fee is a percentage from 0 to below 100, not 100\.$"),
]


@pytest.mark.parametrize(("change", "sentence"), BAD)
def test_what_cannot_be_used_is_refused_in_a_sentence_and_nothing_is_written(
    data: Path, tmp_path: Path, change: dict[str, str], sentence: str
) -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CommandError, match=sentence) as refused:
        backtest(data, out=tmp_path / "out", **change)
    assert refused.value.returncode == 1
    assert "\n" not in str(refused.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_files_that_do_not_fit_are_refused_by_name(data: Path, tmp_path: Path) -> None:
    def refused(sentence: str) -> None:
        with pytest.raises(CommandError, match=sentence):
            backtest(data, out=tmp_path / "out")
        assert not (tmp_path / "out").exists()

    (data / "ETHUSD_60.csv").write_text(f"{START},1,1,1,1,1,1\n")
    refused(r"must all be of one interval; these are of 5 and 60 minutes\. Choose one with --interval\.")
    (data / "ETHUSD_60.csv").unlink()
    (data / "MOONUSD_5.csv").write_text(f"{START},1,1,1,1,1,1\n")
    refused("MOONUSD_5.csv is of MOONUSD, a pair that the exchange does not list")
    (data / "MOONUSD_5.csv").unlink()
    (data / "XETHZUSD_5.csv").write_text(f"{START},1,1,1,1,1,1\n")
    (data / "ETHUSD_5.csv").write_text(f"{START},1,1,1,1,1,1\n")
    refused("has two candle files for ETH-USD; keep one")
    (data / "XETHZUSD_5.csv").unlink()
    (data / "ETHUSD_5.csv").write_text(f"{START},1,1,1,1,1,1\n{START},1,1,1,1,1,1\n")
    refused(f"ETHUSD_5.csv, line 2: the candle of {START} is there twice")
    for path in data.iterdir():
        path.unlink()
    refused("holds no file named PAIR_minutes.csv")
    data.rmdir()
    refused("is not a directory")


def test_another_directory_is_never_overwritten(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(CommandError, match="exists and is no backtest"):
        backtest(data, out=out)
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]
    (out / "thesis.txt").unlink()
    backtest(data, out=out)
    assert {path.name for path in out.iterdir()} == FILES
    assert {path.name for path in tmp_path.iterdir()} == {"data", "out"}


def test_a_range_inside_the_data_uses_what_lies_before_as_history(data: Path, tmp_path: Path) -> None:
    backtest(data, out=tmp_path / "out", start="2024-07-02", end="2024-07-03")
    ((first, *_),) = [json.loads((tmp_path / "out" / "summary.json").read_text())["data"]]
    assert first["candles_traded"] == 288
    assert first["candles"] == 576
    fills = rows(tmp_path / "out" / "fills.csv")
    assert all("2024-07-02T00:05:00Z" <= fill["at"] <= "2024-07-03T00:00:00Z" for fill in fills)
    assert START + 288 * STEP == 1_719_878_400
