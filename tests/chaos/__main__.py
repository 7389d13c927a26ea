"""`make chaos`: three proofs on real processes. Kills at every point, ambiguous sends on every path, stops at random instants.

`make chaos TIMES=1 POINTS="answer read; exit planned, open"`; without them every point five times, in random order. `PARTS` chooses
among `points, sends, stops`. Each part ends with a table, and the last lines are a summary of each; the status is 1 when anything
was not as it must be, or something was not reached.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import Protocol

from tests.chaos.points import BY_NAME, POINTS, SHORT

PARTS = ("points", "sends", "stops")
TIMES = 5
#: How often each path meets each fault, and how many stops there are.
SENDS, STOPS = 2, 50
STOPS_SHORT = 3
#: What is younger is left out of a check of the books.
CHECKED_AFTER_S = 31.0
MINUTES_MAX = 240


class Report(Protocol):
    """What a part has to show: its problems in a line each, a table, a line for the end."""

    @property
    def good(self) -> bool: ...

    @property
    def told(self) -> list[str]: ...

    def table(self) -> str: ...

    def summary(self) -> str: ...


def main(arguments: Sequence[str]) -> int:
    options = _options(arguments)
    # A plain kill must still end every process.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    for name in ("TEST_DATABASE_URL", "REDIS_URL"):
        os.environ.pop(name, None)
    from tests.support import network, postgres

    with postgres.own_cluster(_say) as cluster, network.this_machine_only():
        os.environ["DATABASE_URL"] = cluster.url
        import django

        django.setup()
        return _run(options, cluster)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    told = os.environ.get
    parser.add_argument("--parts", default=told("PARTS", ""), help=f"of {', '.join(PARTS)}, separated by commas")
    parser.add_argument("--points", default=told("POINTS", ""), help="names, separated by semicolons")
    parser.add_argument("--times", type=int, default=int(told("TIMES", TIMES)), help="of each point")
    parser.add_argument("--sends", type=int, default=int(told("SENDS", SENDS)), help="of each fault on each path")
    parser.add_argument("--stops", type=int, default=int(told("STOPS", STOPS)))
    parser.add_argument("--seed", type=int, default=int(told("SEED", time.time_ns() % 1_000_000)))
    parser.add_argument("--minutes", type=float, default=float(told("MINUTES", MINUTES_MAX)), help="for the points")
    parser.add_argument("--short", action="store_true", help="a few quick points once, as in `make test`")
    options = parser.parse_args(arguments)
    names = list(SHORT) if options.short else [name.strip() for name in options.points.split(";") if name.strip()]
    unknown = [name for name in names if name not in BY_NAME]
    if unknown:
        parser.error(f"there is no point {', '.join(unknown)}; there are: {'; '.join(BY_NAME)}")
    options.chosen = [BY_NAME[name] for name in names] or list(POINTS)
    options.parts = [name.strip() for name in options.parts.split(",") if name.strip()] or list(PARTS)
    if set(options.parts) - set(PARTS):
        parser.error(f"the parts are {', '.join(PARTS)}")
    if options.short:
        options.times, options.stops = 1, STOPS_SHORT
    return options


def _run(options: argparse.Namespace, cluster: object) -> int:
    from tests.chaos import crashes, sends, stops
    from tests.chaos import stage as stages
    from tests.settings import SCRATCH_DIR

    began = time.monotonic()
    reports: list[Report] = []
    with stages.built(cluster, scratch=SCRATCH_DIR) as stage:  # type: ignore[arg-type]
        _say(f"everything runs after {time.monotonic() - began:.0f} s, seed {options.seed}")
        # First, because every point is timed with three followers; the other parts let more of them join.
        if "points" in options.parts:
            wish = crashes.Wish(options.chosen, options.times, options.seed, options.minutes)
            reports.append(crashes.run(stage, wish, say=_say))
        if "sends" in options.parts:
            reports.append(sends.run(stage, sends.QUICK if options.short else sends.Wish(options.sends), say=_say))
        if "stops" in options.parts:
            followers = len(stage.followers) if options.short else stops.FOLLOWERS
            reports.append(stops.run(stage, count=options.stops, seed=options.seed, followers=followers, say=_say))
        books_agree = _check_books(wait=not options.short)
        good = books_agree and all(report.good for report in reports)
        if not good:
            _keep_logs(stage.stack.data_dir)
    for report in reports:
        print("\n".join([*report.told, report.table()]))
    for report in reports:
        print(report.summary())
    print(
        f"chaos: {', '.join(options.parts)} {'all right' if good else 'WRONG'}, "
        f"books {'in order' if books_agree else 'WRONG'}, seed {options.seed}, {time.monotonic() - began:.0f} s"
    )
    return 0 if good else 1


def _check_books(*, wait: bool) -> bool:
    from django.core.management import CommandError, call_command

    if wait:
        time.sleep(CHECKED_AFTER_S)
    try:
        call_command("check_books")
    except SystemExit as ended:
        return not ended.code
    except CommandError as error:
        _say(str(error))
        return False
    return True


def _keep_logs(data_dir: object) -> None:
    """The processes' logs live in a scratch directory that goes with this process; a failure needs them."""
    kept = os.environ.get("CHAOS_LOGS")
    if kept:
        import shutil

        shutil.copytree(f"{data_dir}/logs", kept, dirs_exist_ok=True)


def _say(text: str) -> None:
    print(f"chaos: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("chaos: stopped", file=sys.stderr)
        sys.exit(130)
