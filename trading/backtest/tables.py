"""The statistics as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from trading.backtest.report import REASONS, dollars, headline, hours, number, percent
from trading.backtest.result import Result, instant


def text_of(result: Result) -> str:
    """One line that answers, a table of statistics, one of pairs, one of reasons."""
    found = result.statistics
    parts = [
        headline(result),
        f"{instant(result.terms.start_s)} to {instant(result.terms.end_s)}, inputs {result.inputs_hash[:12]}",
        "",
        _table(
            ("", ""),
            [
                ("Net return", f"{percent(found.net_return)} ({dollars(found.profit)})"),
                ("Buy and hold", f"{percent(found.held)} ({dollars(found.held_profit)})"),
                ("Final cash", dollars(found.final_cash)),
                ("Largest drawdown", percent(found.max_drawdown)),
                ("Sharpe ratio (daily, x sqrt 365)", number(found.sharpe)),
                ("Profit factor", number(found.profit_factor)),
                ("Win rate", percent(found.win_rate)),
                ("Exposure", percent(found.exposure)),
                ("Fees", dollars(found.fees)),
                ("Trades", str(found.trades)),
                ("Average trade", f"{percent(found.average_return)} ({dollars(found.average_profit)})"),
                ("Average holding", hours(found.average_hours).removeprefix("held ")),
            ],
        ),
        "",
        _table(
            ("Pair", "Trades", "Won", "Profit", "Fees", "Held"),
            [
                (row.symbol, str(row.trades), str(row.won), dollars(row.profit), dollars(row.fees), percent(row.held))
                for row in found.pairs
            ],
        ),
    ]
    if found.reasons:
        rows = [
            (REASONS.get(row.reason, row.reason), str(row.sales), str(row.trades), dollars(row.profit))
            for row in found.reasons
        ]
        parts += ["", _table(("Sold by", "Sales", "Ended", "Profit"), rows)]
    refused = ", ".join(f"{count} {code}" for code, count in sorted(result.run.refused.items()))
    if refused:
        parts += ["", f"Decisions to enter that bought nothing: {refused}"]
    return "\n".join(parts)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The first column to the left, the others to the right."""
    shown = [head, *rows] if any(head) else list(rows)
    widths = [max(len(row[column]) for row in shown) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in shown
    )
