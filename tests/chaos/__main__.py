"""`make chaos`: kills processes and restarts servers at every point, and sees that all comes right each time.

`make chaos TIMES=1 POINTS="answer read; exit planned, open"`; without them every point five times, in random order. The last lines
are a table and a summary; the status is 1 when anything was not as it must be, or a point was not reached.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tests.chaos.points import BY_NAME, POINTS, SHORT, Point

if TYPE_CHECKING:
    from tests.chaos.trips import Outcome

TIMES = 5
#: What is younger is left out of a check of the books.
CHECKED_AFTER_S = 31.0
MINUTES_MAX = 240


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
    parser.add_argument("--points", default=os.environ.get("POINTS", ""), help="names, separated by semicolons")
    parser.add_argument("--times", type=int, default=int(os.environ.get("TIMES", TIMES)))
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED", time.time_ns() % 1_000_000)))
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("MINUTES", MINUTES_MAX)))
    parser.add_argument("--short", action="store_true", help="a few quick points once, as in `make test`")
    options = parser.parse_args(arguments)
    names = list(SHORT) if options.short else [name.strip() for name in options.points.split(";") if name.strip()]
    unknown = [name for name in names if name not in BY_NAME]
    if unknown:
        parser.error(f"there is no point {', '.join(unknown)}; there are: {'; '.join(BY_NAME)}")
    options.chosen = [BY_NAME[name] for name in names] or list(POINTS)
    options.times = 1 if options.short else options.times
    return options


def _run(options: argparse.Namespace, cluster: object) -> int:
    from tests.chaos import stage as stages
    from tests.chaos.trips import Trip
    from tests.settings import SCRATCH_DIR

    order = [point for point in options.chosen for _ in range(options.times)]
    random.Random(options.seed).shuffle(order)
    began = time.monotonic()
    outcomes: list[Outcome] = []
    _say(f"{len(order)} crashes at {len(options.chosen)} points, seed {options.seed}")
    with stages.built(cluster, scratch=SCRATCH_DIR) as stage:  # type: ignore[arg-type]
        _say(f"everything runs after {time.monotonic() - began:.0f} s")
        for number, point in enumerate(order, start=1):
            if time.monotonic() - began > options.minutes * 60:
                _say(f"{options.minutes:g} minutes are over after {number - 1} crashes")
                break
            outcomes.append(Trip(stage, point).run())
            _say(f"{number}/{len(order)} after {time.monotonic() - began:.0f} s: {_line(outcomes[-1])}")
        books_agree = _check_books(wait=not options.short)
        if any(outcome.problems for outcome in outcomes):
            _keep_logs(stage.stack.data_dir)
    _table(options.chosen, outcomes)
    wrong = sum(bool(outcome.problems) for outcome in outcomes)
    missing = [
        point.name for point in options.chosen if sum(o.hit for o in outcomes if o.point == point) < options.times
    ]
    slowest = max((o.converged_s for o in outcomes if o.converged_s is not None), default=0.0)
    print(
        f"chaos: {len(outcomes)} crashes at {len(options.chosen)} points, {wrong} trips with a problem, "
        f"{len(missing)} points hit less than {options.times} times, slowest to converge {slowest:.1f} s, "
        f"books {'in order' if books_agree else 'WRONG'}, seed {options.seed}, {time.monotonic() - began:.0f} s"
    )
    return 0 if books_agree and not wrong and not missing else 1


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


def _line(outcome: Outcome) -> str:
    converged = "" if outcome.converged_s is None else f"{outcome.converged_s:.1f} s"
    return " | ".join([outcome.point.name, converged or "-", *outcome.problems])


def _table(points: Sequence[Point], outcomes: Sequence[Outcome]) -> None:
    print(f"{'point':<42}{'process':<11}{'strike':<33}{'hit':>4}{'median s':>10}{'slowest s':>11}{'wrong':>7}")
    for point in points:
        mine = [outcome for outcome in outcomes if outcome.point == point]
        times = [outcome.converged_s for outcome in mine if outcome.converged_s is not None]
        median, slowest = (f"{statistics.median(times):.1f}", f"{max(times):.1f}") if times else ("-", "-")
        wrong = sum(bool(outcome.problems) for outcome in mine)
        hit = sum(outcome.hit for outcome in mine)
        print(f"{point.name:<42}{point.process:<11}{point.strike:<33}{hit:>4}{median:>10}{slowest:>11}{wrong:>7}")


def _say(text: str) -> None:
    print(f"chaos: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("chaos: stopped", file=sys.stderr)
        sys.exit(130)
