"""`make bench-background`: what NIJA does, and what it costs, while ten thousand followers hold something and nobody trades.

`make bench-background FOLLOWERS=10000 WINDOW_S=120 LATENCY_MS=50`. The master buys once and everybody copies it; with SOLD=1/4 he then
sells a quarter, so that everybody holds the rest of something of which a part was sold. When that has come to rest, two minutes of
beat's timetable are measured, in which a few followers sell by hand on the exchange and a few close their position. Tables on
standard output, progress on standard error, one line for each target at the end. A target that is missed is printed; status 1 means
that something was wrong: a refused nonce, a sale by hand not noticed, books that differ.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from tests.benchmarks import database

if TYPE_CHECKING:
    from tests.support.postgres import Cluster

FOLLOWERS, WINDOW_S, LATENCY_MS = 10_000, 120.0, 50.0
#: Less leaves a sale by hand no time to be noticed.
SHORTEST_WINDOW_S = 60.0
FEWEST_FOLLOWERS = 100


def main(arguments: Sequence[str]) -> int:
    options = _options(arguments)
    with database.migrated(_say) as cluster:
        return _run(options, cluster)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-background", description=__doc__)
    parser.add_argument("--followers", type=int, default=int(os.environ.get("FOLLOWERS") or FOLLOWERS))
    parser.add_argument("--window-s", type=float, default=float(os.environ.get("WINDOW_S") or WINDOW_S))
    parser.add_argument("--latency-ms", type=float, default=float(os.environ.get("LATENCY_MS") or LATENCY_MS))
    sold = Fraction(os.environ.get("SOLD") or 0)
    parser.add_argument("--sold", type=Fraction, default=sold, help="the part of it that the master has sold since")
    options = parser.parse_args(arguments)
    if options.followers < FEWEST_FOLLOWERS or options.window_s < SHORTEST_WINDOW_S:
        parser.error(f"FOLLOWERS are {FEWEST_FOLLOWERS} at least, WINDOW_S is {SHORTEST_WINDOW_S:g} at least")
    return options


def _run(options: argparse.Namespace, cluster: Cluster) -> int:
    from tests.benchmarks import background_report, background_window, report, stage
    from tests.benchmarks.measured import time_to_live_s
    from tests.benchmarks.trips import Unfinished
    from tests.settings import SCRATCH_DIR
    from tests.support import redis_server

    began = time.monotonic()
    report.machine(latency_ms=options.latency_ms)
    problems: list[str] = []
    try:
        with (
            redis_server.running(SCRATCH_DIR / "redis.sock") as broker,
            stage.built(
                options.followers,
                cluster=cluster,
                broker=broker,
                scratch=SCRATCH_DIR,
                latency_ms=options.latency_ms,
                time_to_live_s=time_to_live_s(options.followers),
            ) as built,
        ):
            window = background_window.measure(built, window_s=options.window_s, sold=options.sold, say=_say)
            background_report.tables(window)
            report.profile(built.profiles(), size=options.followers)
            background_report.targets(window)
            problems = window.problems
    except (stage.NotReady, Unfinished) as error:
        problems.append(str(error))
    for problem in problems:
        print(f"WRONG {problem}")
    print(f"bench-background: {len(problems)} things wrong, {time.monotonic() - began:.0f} s")
    return 1 if problems else 0


def _say(text: str) -> None:
    print(f"bench-background: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("bench-background: stopped", file=sys.stderr)
        sys.exit(130)
