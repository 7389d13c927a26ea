"""The table of `make bench-pages`."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence

from django.db import connection

from tests.benchmarks.page_timing import Timing


def machine(rows: Mapping[str, int], *, filled_s: float) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        (version,) = cursor.fetchone() or ("",)
    told = ", ".join(f"{count:,} {name}" for name, count in sorted(rows.items(), key=lambda item: -item[1]))
    print(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, PostgreSQL {version}"
    )
    print(f"about {told}; filled after {filled_s:.0f} s", flush=True)


def head() -> None:
    print(f"\n{'milliseconds':44}{'SQL':>5}{'p50':>8}{'p95':>8}{'p99':>8}{'of':>5}{'at most':>9}")


def line(timing: Timing) -> None:
    limit = timing.page.limit_ms
    verdict = "" if limit is None else "  met" if timing.is_met else f"  NOT met: {timing.ms(0.95):.0f} ms"
    print(
        f"{timing.page.name:44}{timing.told:>5}{timing.ms(0.5):>8.1f}{timing.ms(0.95):>8.1f}{timing.ms(0.99):>8.1f}"
        f"{len(timing.seconds):>5}{'-' if limit is None else f'{limit:.0f}':>9}{verdict}",
        flush=True,
    )


def summary(timings: Sequence[Timing], problems: Sequence[str], *, took_s: float) -> None:
    print()
    for problem in problems:
        print(f"WRONG {problem}")
    promised = [timing for timing in timings if timing.page.limit_ms is not None]
    missed = [timing.page.name for timing in promised if not timing.is_met]
    print(f"target: p95 within its limit: {len(promised) - len(missed)} of {len(promised)} met{'' if not missed else ', NOT met: '}"
          f"{', '.join(missed)}")  # fmt: skip
    print(f"bench-pages: {len(timings)} pages and lists, {len(problems)} things wrong, {took_s:.0f} s")
