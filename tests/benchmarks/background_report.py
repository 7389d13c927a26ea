"""The tables of `make bench-background`, and its targets."""

from __future__ import annotations

import os
import statistics
from collections import Counter
from collections.abc import Sequence

from tests.benchmarks import report
from tests.benchmarks.background_window import Window

TASKS_SHOWN = 16
KINDS_SHOWN = 16
CORES_MAX = 1.0
AGE_MAX_S = 30.0
#: What stands for Kraken costs nothing where NIJA runs.
NOT_OURS = "null exchange"


def tables(window: Window) -> None:
    _processes(window)
    _tasks(window)
    _done(window)


def targets(window: Window) -> None:
    print()
    report.target("CPU of all but the null exchange, % of a core", _cores(window) * 100, CORES_MAX * 100)
    report.target("oldest balance, s", window.ages_s[-1], AGE_MAX_S)
    report.target("longest between two requests for a balance, s", window.gaps_s[-1], AGE_MAX_S)


def _cores(window: Window) -> float:
    return sum(window.cpu_s(name) for name in window.after if name != NOT_OURS) / window.seconds


def _processes(window: Window) -> None:
    who = f"{window.followers:,} followers, of whom {window.holders:,} hold something"
    print(f"\n{who}, {window.seconds:.0f} s, load {os.getloadavg()[0]:.1f} at the end")
    print(f"{'processes':16}{'':>6}{'CPU s':>9}{'% of a core':>13}{'ms a follower and minute':>26}{'share MB':>10}")
    for name, usage in window.after.items():
        _line(name, window, window.cpu_s(name), f"{usage.processes:>6}", f"{usage.share_mb:>10.0f}")
    _line("all but the last", window, _cores(window) * window.seconds, f"{'':>6}")


def _line(name: str, window: Window, cpu_s: float, count: str, memory: str = "") -> None:
    each_ms = cpu_s * 1000 / window.followers / window.seconds * 60
    print(f"{name:16}{count}{cpu_s:>9.2f}{cpu_s / window.seconds * 100:>13.1f}{each_ms:>26.3f}{memory}")


def _tasks(window: Window) -> None:
    """Those that took most, their processes' time between tasks left out."""
    print(
        f"\n{'task':24}{'runs':>6}{'CPU s':>8}{'ms a run':>10}{'wall s':>8}{'database s':>12}{'statements':>12}{'p50':>6}{'max':>6}"
    )
    kinds: Counter[str] = Counter()
    for name, cost in sorted(window.costs.items(), key=lambda item: -item[1].cpu_s)[:TASKS_SHOWN]:
        kinds.update(cost.kinds)
        print(
            f"{name:24}{cost.runs:>6}{cost.cpu_s:>8.2f}{cost.cpu_s / cost.runs * 1000:>10.1f}{cost.wall_s:>8.2f}"
            f"{cost.database_s:>12.2f}{sum(cost.statements):>12,}{statistics.median(cost.statements):>6.0f}"
            f"{max(cost.statements):>6}"
        )
    shown = [f"{count:,} {kind}" for kind, count in kinds.most_common(KINDS_SHOWN)]
    for start in range(0, len(shown), 4):
        print(f"  {'; '.join(shown[start : start + 4])}")


def _done(window: Window) -> None:
    print(f"\n{'seconds':44}{'p50':>8}{'p99':>8}{'max':>8}")
    for what, values in (
        ("age of a stored balance", window.ages_s),
        ("longest between two requests, by follower", window.gaps_s),
        ("from a sale by hand to the books", window.noticed_s),
    ):
        if values:
            print(f"{what:44}{_quantile(values, 0.5):>8.1f}{_quantile(values, 0.99):>8.1f}{values[-1]:>8.1f}")
    often = ", ".join(f"{count:,} followers {times} times" for times, count in sorted(window.reads.items()))
    print(f"balances asked for: {often}")
    print(f"requests: {', '.join(f'{count:,} {method}' for method, count in window.requests.most_common())}")
    print(f"sales booked: {window.booked}; sales by hand noticed: {len(window.noticed_s)}")


def _quantile(values: Sequence[float], share: float) -> float:
    return values[min(len(values) - 1, int(share * len(values)))]
