"""Backtests in the data directory, as `manage.py backtest` wrote them: `backtests/NAME/summary.json` and `report.html`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from django.conf import settings

SHOWN_MAX = 50
SUMMARY, REPORT = "summary.json", "report.html"
_RATIOS = ("net_return", "max_drawdown", "sharpe", "profit_factor", "win_rate")
_SUMMARY_BYTES_MAX = 2_000_000
_REPORT_BYTES_MAX = 50_000_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}", re.ASCII)
_HASHES = r"'sha256-[A-Za-z0-9+/=]{44}'"


@dataclass(frozen=True, slots=True)
class Backtest:
    """`problem` is a sentence when the summary cannot be read; then there are no figures."""

    name: str
    has_report: bool
    summary: Mapping[str, Any]
    problem: str = ""

    @property
    def statistics(self) -> Mapping[str, Any]:
        found = self.summary.get("statistics")
        return found if isinstance(found, dict) else {}


def latest() -> list[Backtest]:
    """Newest first, at most 50."""
    root = _root()
    if not root.is_dir():
        return []
    inside = [path for path in root.iterdir() if _directory(path.name) is not None]
    inside.sort(key=lambda path: (path.stat().st_mtime, path.name), reverse=True)
    return [_read(path) for path in inside[:SHOWN_MAX]]


def report(name: str) -> tuple[bytes, str] | None:
    """The report and the Content-Security-Policy to serve it with; None when there is none of that name."""
    directory = _directory(name)
    page = directory / REPORT if directory is not None else None
    if directory is None or page is None or page.is_symlink() or not page.is_file():
        return None
    if page.stat().st_size > _REPORT_BYTES_MAX:
        return None
    return page.read_bytes(), _policy(str(_read(directory).summary.get("report_policy", "")))


def _policy(written: str) -> str:
    """Nothing but the inline scripts and styles whose hashes the backtest wrote down, cut off from our own pages."""
    directives = [
        "default-src 'none'",
        f"script-src {_hashes(written, 'script-src')}",
        f"style-src {_hashes(written, 'style-src')}",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # An origin of its own: whatever a report does, it has no session here.
        "sandbox allow-scripts allow-top-navigation-by-user-activation",
    ]
    return "; ".join(directives)


def _hashes(written: str, directive: str) -> str:
    found = re.search(rf"(?:^|; ){directive} ([^;]*)", written)
    return " ".join(re.findall(_HASHES, found[1])) or "'none'" if found else "'none'"


def _root() -> Path:
    return Path(settings.NIJA_DATA_DIR) / "backtests"


def _directory(name: str) -> Path | None:
    """The backtest of that name: a directory right inside, no link, no hidden one."""
    if not _NAME.fullmatch(name):
        return None
    path = _root() / name
    return path if path.is_dir() and not path.is_symlink() else None


def _read(directory: Path) -> Backtest:
    file, page = directory / SUMMARY, directory / REPORT
    has_report = page.is_file() and not page.is_symlink()
    try:
        if file.is_symlink() or file.stat().st_size > _SUMMARY_BYTES_MAX:
            raise ValueError("too long")
        summary = json.loads(file.read_text(encoding="utf-8"), parse_float=Decimal, parse_constant=_refuse)
        _check(summary)
    except (OSError, ValueError, RecursionError):
        return Backtest(directory.name, has_report, {}, f"Its {SUMMARY} cannot be read.")
    return Backtest(directory.name, has_report, summary)


def _check(summary: Any) -> None:
    """Raises ValueError unless everything that a page shows is of its kind."""
    statistics = summary.get("statistics") if isinstance(summary, dict) else None
    if not isinstance(statistics, dict) or not isinstance(summary.get("pairs"), list):
        raise ValueError("not a summary")
    if not all(isinstance(statistics.get(name), Decimal | int | None) for name in _RATIOS):
        raise ValueError("not a ratio")
    try:
        finite = Decimal(str(statistics["fees"])).is_finite()
    except (KeyError, InvalidOperation) as error:
        raise ValueError("no fees") from error
    if not finite:
        raise ValueError("no fees")


def _refuse(constant: str) -> None:
    raise ValueError(constant)
