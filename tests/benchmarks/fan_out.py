"""`make bench`: from the master's fill to the last follower's, against the raw limit of the same machine in the same run.

`make bench SIZES="1000 100" LATENCY_MS=50`. The null exchange takes and fills every order at once and answers after the latency; the
workers are those of the Procfile, on a PostgreSQL that writes to disk. Tables on standard output, progress on standard error, one
line for each target at the end. A target that is missed is printed; status 1 means that something was wrong: an order twice, a
copy missed, a signature or a nonce refused, books that differ.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tests.benchmarks import database

if TYPE_CHECKING:
    from tests.support.postgres import Cluster

SIZES = "1000 100 3000 10000"
LATENCY_MS = 50.0
#: The size that the targets speak of, measured first and in full.
WHOLE = 1_000
#: No trip is waited for longer, and none after so long.
TRIP_S, TRIP_S_PER_1000, WHOLE_RUN_S = 30.0, 15.0, 440.0


def main(arguments: Sequence[str]) -> int:
    options = _options(arguments)
    with database.migrated(_say) as cluster:
        return _run(options, cluster)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--sizes", default=os.environ.get("SIZES") or SIZES, help="numbers of followers")
    parser.add_argument("--latency-ms", type=float, default=float(os.environ.get("LATENCY_MS") or LATENCY_MS))
    options = parser.parse_args(arguments)
    options.sizes = [int(size) for size in options.sizes.replace(",", " ").split()]
    if not options.sizes or min(options.sizes) < 1:
        parser.error("SIZES are numbers of followers, such as 1000 100")
    return options


def _run(options: argparse.Namespace, cluster: Cluster) -> int:
    from tests.benchmarks import raw_limit, report
    from tests.benchmarks.measured import Measured, Plan, measure
    from tests.settings import SCRATCH_DIR
    from tests.support import redis_server

    began = time.monotonic()
    report.machine(latency_ms=options.latency_ms)
    raw = raw_limit.measure(latency_ms=options.latency_ms, orders=WHOLE)
    report.raw_limit(raw)
    measured: list[Measured] = []
    with redis_server.running(SCRATCH_DIR / "redis.sock") as broker:
        for size in options.sizes:
            if time.monotonic() - began > WHOLE_RUN_S - TRIP_S:
                print(f"{size:,} followers: not measured, {WHOLE_RUN_S:.0f} s are nearly over")
                continue
            _say(f"{size:,} followers, {time.monotonic() - began:.0f} s after the start")
            plan = Plan(
                size=size,
                whole=size == WHOLE,
                trip_s=TRIP_S + TRIP_S_PER_1000 * size / 1000,
                ends_at=began + WHOLE_RUN_S,
                latency_ms=options.latency_ms,
                tell=report.trip,
            )
            found = measure(plan, servers=(cluster, broker), scratch=SCRATCH_DIR)
            report.processes(found)
            report.profile(found.profiles, size=found.size)
            measured.append(found)
    report.growth(measured)
    report.targets(measured, raw)
    problems = [f"{found.size:,}: {problem}" for found in measured for problem in found.problems]
    if any(variant.refused for variant in raw.variants):
        problems.append("the raw client's orders were refused")
    for problem in problems:
        print(f"WRONG {problem}")
    print(f"bench: {len(measured)} sizes, {len(problems)} things wrong, {time.monotonic() - began:.0f} s")
    return 1 if problems else 0


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("bench: stopped", file=sys.stderr)
        sys.exit(130)
