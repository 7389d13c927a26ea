"""report.html: one file that opens from disk, with its styles, scripts and figures inside.

Its Content-Security-Policy names the SHA-256 of each of them, so that nothing else runs in it, wherever it is opened.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from django.contrib.staticfiles import finders
from django.template.loader import render_to_string
from django.utils.safestring import SafeString, mark_safe

from trading.backtest.books import END_OF_DATA, Execution, Trade
from trading.backtest.curve import PLACES
from trading.backtest.result import Result, instant
from trading.backtest.tape import CLOSE, HIGH, LOW, OPEN, Tape
from trading.domain.instrument import Side
from trading.domain.money import Money
from trading.paper.market import INTERVALS_MIN

TEMPLATE = "trading/backtest.html"
STYLES = ("vendor/uPlot-1.6.32.min.css", "nija/app.css", "nija/backtest.css")
SCRIPTS = ("vendor/uPlot-1.6.32.iife.min.js", "vendor/lightweight-charts-5.2.1.js", "nija/backtest.js")
#: More points than a screen has columns show nothing more.
POINTS_MAX = 1500
#: Candles drawn for a pair; longer ones are drawn when there are more.
CANDLES_MAX = 3000

REASONS = {
    "entry": "bought",
    "stop": "stop",
    "trailing": "trailing stop",
    "target_1": "target 1",
    "target_2": "target 2",
    "target_3": "target 3",
    "time": "time",
    "stagnation": "stagnation",
    END_OF_DATA: "end of the data",
}


@dataclass(frozen=True, slots=True)
class Page:
    """`policy` is the Content-Security-Policy that the page may be served with; it also stands in the page."""

    html: str
    policy: str


def page(result: Result) -> Page:
    styles = [_inline(name) for name in STYLES]
    scripts = [_inline(name) for name in SCRIPTS]
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(map(_source, scripts))}",
            f"style-src {' '.join(map(_source, styles))}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    context = {
        "policy": policy,
        # Our own files, which hold neither </script nor </style: the tests look.
        "styles": [mark_safe(style) for style in styles],  # noqa: S308
        "scripts": [mark_safe(script) for script in scripts],  # noqa: S308
        "figures": _as_script(_figures(result)),
        **_context(result),
    }
    return Page(render_to_string(TEMPLATE, context), policy)


def _inline(name: str) -> str:
    path = finders.find(name)
    assert isinstance(path, str), f"{name} is part of NIJA"
    return Path(path).read_text(encoding="utf-8")


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _as_script(figures: Any) -> SafeString:
    """JSON that cannot end its script element; a data block needs no hash, since it is not run."""
    text = json.dumps(figures, separators=(",", ":"), allow_nan=False)
    return mark_safe(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))  # noqa: S308


def _context(result: Result) -> dict[str, Any]:
    found = result.statistics
    return {
        "result": result,
        "terms": result.terms,
        "statistics": found,
        "headline": headline(result),
        "from": _minute(result.terms.start_s),
        "to": _minute(result.terms.end_s),
        "tiles": _tiles(result),
        "reasons": [
            {"name": REASONS.get(each.reason, each.reason), "row": each, "profit": dollars(each.profit)}
            for each in found.reasons
        ],
        "pairs": [
            {
                "symbol": each.symbol,
                "trades": each.trades,
                "won": each.won,
                "profit": dollars(each.profit),
                "fees": dollars(each.fees),
                "held": percent(each.held),
            }
            for each in found.pairs
        ],
        "trades": [_trade_row(trade) for trade in result.run.trades],
        "sources": [
            {"source": each, "traded": len(each.tape) - each.tape.first, "first": _minute(each.tape.start)}
            for each in result.sources
        ],
        "parameters": [
            (name, ", ".join(value) if isinstance(value, list) else str(value))
            for name, value in sorted(result.parameters.items())
        ],
        "refused": sorted(result.run.refused.items()),
        "interval_minutes": result.sources[0].tape.step_s // 60,
    }


def headline(result: Result) -> str:
    found = result.statistics
    moved = "made" if found.profit > Money.zero() else "lost"
    against = f"Buying and holding would have returned {percent(found.held)}."
    if not found.trades:
        return f"{result.strategy.name} made no trade. {against}"
    trades = "1 trade" if found.trades == 1 else f"{found.trades} trades"
    return (
        f"{result.strategy.name} {moved} {dollars(found.profit).lstrip('−')} ({percent(found.net_return)}) "
        f"in {trades}, after {dollars(found.fees)} of fees. {against}"
    )


def _tiles(result: Result) -> list[tuple[str, str, str]]:
    """Label, figure, and what stands below it."""
    found = result.statistics
    return [
        ("Net return", percent(found.net_return), f"{dollars(found.profit)} on {dollars(result.terms.capital)}"),
        ("Buy and hold", percent(found.held), f"{dollars(found.held_profit)}, same pairs and fees"),
        ("Largest drawdown", percent(found.max_drawdown), "below the highest equity before"),
        ("Sharpe ratio", number(found.sharpe), "daily returns, a year of 365 days"),
        ("Profit factor", number(found.profit_factor), "won over lost"),
        ("Win rate", percent(found.win_rate), f"of {found.trades} trades"),
        ("Exposure", percent(found.exposure), "of the time in the market"),
        ("Fees", dollars(found.fees), "bought and sold as taker"),
        (
            "Average trade",
            percent(found.average_return),
            f"{dollars(found.average_profit)}, {hours(found.average_hours)}",
        ),
    ]


def _trade_row(trade: Trade) -> dict[str, Any]:
    return {
        "trade": trade,
        "entered": _minute(trade.entry.at),
        "left": _minute(trade.exits[-1].at),
        "profit": dollars(trade.profit),
        "share": percent(float((trade.profit / trade.cost).value)),
        "sales": ", ".join(f"{REASONS.get(sale.reason, sale.reason)} {sale.price}" for sale in trade.exits),
    }


def _figures(result: Result) -> dict[str, Any]:
    return {
        "equity": _equity(result),
        "pairs": [_pair(source.tape, result.run.trades) for source in result.sources],
    }


def _equity(result: Result) -> dict[str, Any]:
    """Each bucket's last equity and deepest drawdown, so that no hole falls between two points."""
    curve = result.curve
    size = max(1, -(-len(curve.times) // POINTS_MAX))
    starts = np.arange(0, len(curve.times), size)
    lasts = np.minimum(starts + size, len(curve.times)) - 1
    equity = [round(units / 10**PLACES, 4) for units in curve.equity[lasts].tolist()]
    deepest = np.minimum.reduceat(curve.drawdown, starts)
    return {
        "t": curve.times[lasts].tolist(),
        "equity": equity,
        "drawdown": [round(100 * each, 4) for each in deepest.tolist()],
    }


def _pair(tape: Tape, trades: Sequence[Trade]) -> dict[str, Any]:
    """Candles in whole ticks, longer than the data's when there are too many, and the fills on them."""
    minutes, size = _drawn_interval(tape)
    starts, columns = _aggregated(tape, size)
    fills = [
        _marker(each, minutes * 60)
        for trade in trades
        if trade.symbol == tape.symbol
        for each in (trade.entry, *trade.exits)
    ]
    return {
        "symbol": tape.symbol,
        "minutes": minutes,
        "tick": float(tape.pair.tick),
        "places": tape.pair.pair_decimals,
        "t": starts,
        "candles": columns,
        "fills": sorted(fills, key=lambda fill: fill["t"]),
    }


def _drawn_interval(tape: Tape) -> tuple[int, int]:
    base, count = tape.step_s // 60, len(tape) - tape.first
    for minutes in INTERVALS_MIN:
        if minutes % base == 0 and count * base <= CANDLES_MAX * minutes:
            return minutes, minutes * 60
    return INTERVALS_MIN[-1], INTERVALS_MIN[-1] * 60


def _aggregated(tape: Tape, size_s: int) -> tuple[list[int], list[list[int]]]:
    times = tape.candles.time[tape.first :]
    groups = times // size_s
    starts = np.flatnonzero(np.concatenate(([True], np.diff(groups) > 0)))
    ends = np.concatenate((starts[1:], [len(times)])) - 1
    ticks = tape.ticks[:, tape.first :]
    columns = np.stack(
        (
            ticks[OPEN][starts],
            np.maximum.reduceat(ticks[HIGH], starts),
            np.minimum.reduceat(ticks[LOW], starts),
            ticks[CLOSE][ends],
        ),
        axis=1,
    )
    return (groups[starts] * size_s).tolist(), columns.tolist()


def _marker(each: Execution, size_s: int) -> dict[str, Any]:
    # A fill is known at its candle's close, which is the next candle's start.
    return {
        "t": (each.at - 1) // size_s * size_s,
        "buy": each.side is Side.BUY,
        "price": str(each.price),
        "why": REASONS.get(each.reason, each.reason),
        "trade": each.trade,
        "at": instant(each.at),
    }


def dollars(amount: Money | None) -> str:
    if amount is None:
        return "–"
    return f"{'−' if amount.value < 0 else ''}${abs(amount.value):,.2f}"


def percent(ratio: float | None) -> str:
    return "–" if ratio is None else f"{100 * ratio:,.2f} %".replace("-", "−")


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}".replace("-", "−")


def hours(value: float | None) -> str:
    return "–" if value is None else f"held {value:.1f} h"


def _minute(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"
