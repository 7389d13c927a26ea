"""The files of a backtest, all or none: written into a directory beside the place, which is then renamed."""

from __future__ import annotations

import csv
import json
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path

from trading.backtest import report
from trading.backtest.books import Trade
from trading.backtest.result import Result, instant
from trading.backtest.statistics import rounded
from trading.backtest.terms import BacktestRefused
from trading.domain.money import CONTEXT, plain

SUMMARY = "summary.json"
REPORT = "report.html"
TRADES = "trades.csv"
FILLS = "fills.csv"
EQUITY = "equity.csv"
#: An average of several prices has no last digit.
_AVERAGE = Decimal("1e-12")

Row = Sequence[str]


def publish(result: Result, directory: Path) -> None:
    """Write everything to `directory`, replacing an earlier backtest there.

    Raises BacktestRefused when something else is there, or nothing can be written.
    """
    if directory.exists() and not _is_replaceable(directory):
        raise BacktestRefused(f"{directory} exists and is no backtest; name another directory with --out.")
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
        try:
            _write(result, beside)
            beside.chmod(0o755)
            _replace(beside, directory)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    except OSError as error:
        raise BacktestRefused(f"{directory} cannot be written: {error.strerror or error}.") from error


def _is_replaceable(directory: Path) -> bool:
    if not directory.is_dir():
        return False
    names = {path.name for path in directory.iterdir()}
    return not names or (SUMMARY in names and names <= {SUMMARY, REPORT, TRADES, FILLS, EQUITY})


def _replace(beside: Path, directory: Path) -> None:
    if not directory.exists():
        beside.rename(directory)
        return
    old = beside.with_name(beside.name + "-old")
    directory.rename(old)
    beside.rename(directory)
    shutil.rmtree(old)


def _write(result: Result, directory: Path) -> None:
    page = report.page(result)
    _write_csv(directory / TRADES, _TRADE_COLUMNS, map(_trade_row, result.run.trades))
    _write_csv(directory / FILLS, _FILL_COLUMNS, _fill_rows(result))
    _write_csv(directory / EQUITY, ("at", "cash", "equity", "drawdown"), _equity_rows(result))
    (directory / REPORT).write_text(page.html, encoding="utf-8")
    summary = {**result.as_json(), "report_policy": page.policy}
    text = json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False)
    (directory / SUMMARY).write_text(text + "\n", encoding="utf-8")


def _write_csv(path: Path, columns: Row, rows: Iterable[Row]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


_TRADE_COLUMNS = (
    "trade", "pair", "entered_at", "left_at", "score", "quantity", "entry_price", "entry_notional", "average_exit_price",
    "exit_notional", "fees", "profit", "reasons",
)  # fmt: skip


def _trade_row(trade: Trade) -> Row:
    average = CONTEXT.divide(trade.proceeds.value, trade.entry.quantity.value).quantize(_AVERAGE)
    return (
        str(trade.number),
        trade.symbol,
        instant(trade.entry.at),
        instant(trade.exits[-1].at),
        plain(trade.score),
        str(trade.entry.quantity),
        str(trade.entry.price),
        str(trade.entry.notional),
        plain(average),
        str(trade.proceeds),
        str(trade.fees),
        str(trade.profit),
        " ".join(sale.reason for sale in trade.exits),
    )


_FILL_COLUMNS = (
    "trade", "pair", "at", "side", "reason", "price", "quantity", "notional", "fee", "profit", "cash_after",
)  # fmt: skip


def _fill_rows(result: Result) -> Iterable[Row]:
    for each in result.run.account.executions:
        yield (
            str(each.trade),
            each.symbol,
            instant(each.at),
            each.side.value,
            each.reason,
            str(each.price),
            str(each.quantity),
            str(each.notional),
            str(each.fee),
            str(rounded(each.profit)),
            str(each.cash_after),
        )


def _equity_rows(result: Result) -> Iterable[Row]:
    """A row a candle; money exact, drawdown as a ratio with six decimals."""
    curve = result.curve
    for at, cash, equity, drawdown in zip(
        curve.times.tolist(), curve.cash, curve.equity, curve.drawdown.tolist(), strict=True
    ):
        yield instant(at), str(curve.money(cash)), str(curve.money(equity)), f"{abs(drawdown):.6f}"
