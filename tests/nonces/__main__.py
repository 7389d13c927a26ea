"""`make nonces`: that no nonce of a key is ever invalid, in the simulator and with real processes.

`make nonces NONCES=20000 CALLS=500`; without them a million simulated nonces and 5,000 real calls twice. The last lines are a
table and a summary; the status is 1 for anything that was not as it must be.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tests.nonces import seeds
from tests.nonces.seeds import Result

if TYPE_CHECKING:
    from tests.nonces.real import Phase

NONCES, CALLS, PROCESSES, JOBS = 1_000_000, 5_000, 32, 2
VIOLATIONS_SHOWN_MAX = 20


def main(arguments: Sequence[str]) -> int:
    options = _options(arguments)
    # A plain kill must still end every process.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
    for name in ("TEST_DATABASE_URL", "DATABASE_URL", "REDIS_URL"):
        os.environ.pop(name, None)
    began = time.monotonic()
    simulated = _simulate(options)
    phases = _call(options) if options.calls else []
    if options.nonces:
        simulated.show()
    _table(phases)
    wrong = simulated.violations + sum(len(phase.wrong) for phase in phases)
    print(
        f"nonces: {simulated.counts['requests written']} simulated, {simulated.counts['invalid']} invalid; "
        f"{sum(phase.accepted for phase in phases)} real, {sum(phase.invalid for phase in phases)} invalid; "
        f"at most {max([simulated.in_flight_max, *(phase.in_flight_max for phase in phases)])} in flight, "
        f"{wrong} violations, seed {options.seed}, {time.monotonic() - began:.0f} s"
    )
    return int(bool(wrong))


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make nonces", description=__doc__)
    named = os.environ
    parser.add_argument("--nonces", type=int, default=int(named.get("NONCES", NONCES)), help="simulated; 0 for none")
    parser.add_argument("--calls", type=int, default=int(named.get("CALLS", CALLS)), help="real, twice; 0 for none")
    parser.add_argument("--seed", type=int, default=int(named.get("SEED", 0)), help="the first one")
    parser.add_argument("--jobs", type=int, default=int(named.get("JOBS", JOBS)), help="simulated side by side")
    parser.add_argument("--processes", type=int, default=PROCESSES, help="real ones")
    return parser.parse_args(arguments)


def _simulate(options: argparse.Namespace) -> Simulated:
    made, began = Simulated(), time.monotonic()
    for result in (
        seeds.results(nonces=options.nonces, first_seed=options.seed, jobs=options.jobs) if options.nonces else ()
    ):
        made.add(result)
        for violation in result.violations[:VIOLATIONS_SHOWN_MAX]:
            _say(f"seed {result.seed}: {violation}")
        _say(f"{made.counts['requests written']} simulated after {time.monotonic() - began:.0f} s")
    return made


def _call(options: argparse.Namespace) -> list[Phase]:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    from tests.support import network, postgres

    with postgres.own_cluster(_say) as cluster, network.this_machine_only():
        os.environ["DATABASE_URL"] = cluster.url
        import django

        django.setup()
        from tests.nonces import real
        from tests.settings import SCRATCH_DIR

        phases = []
        with real.built(cluster, scratch=SCRATCH_DIR) as place:
            for name, bad in (("undisturbed", None), ("disturbed", random.Random(options.seed))):
                phases.append(real.phase(place, name, processes=options.processes, calls=options.calls, bad=bad))
                for sentence in phases[-1].wrong:
                    _say(f"{name}: {sentence}")
                _say(f"{name}: {phases[-1].noted} calls after {phases[-1].seconds:.0f} s")
        return phases


class Simulated:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.runs, self.steps, self.violations, self.in_flight_max = 0, 0, 0, 0
        self.cpu_s = 0.0

    def add(self, result: Result) -> None:
        self.counts += result.counts
        self.runs += 1
        self.steps += result.steps
        self.violations += len(result.violations)
        self.in_flight_max = max(self.in_flight_max, result.in_flight_max)
        self.cpu_s += result.cpu_s

    def show(self) -> None:
        print("simulated:")
        print("\n".join(f"{number:>10}  {name}" for name, number in sorted(self.counts.items())))
        each_ms = 1000 * self.cpu_s / max(1, self.counts["requests written"])
        print(f"{self.runs:>10}  seeds, {self.steps} steps, {each_ms:.2f} ms of a core for each request")


def _table(phases: Sequence[Phase]) -> None:
    if phases:
        columns = ("calls", "accepted", "invalid", "in flight", "killed", "emptied", "errors", "s")
        print(f"{'real':<12}" + "".join(f"{column:>11}" for column in columns))
    for made in phases:
        figures = (made.noted, made.accepted, made.invalid, made.in_flight_max, sum(made.killed.values()))
        print(
            f"{made.name:<12}"
            + "".join(f"{figure:>11}" for figure in (*figures, made.emptied, made.errors, f"{made.seconds:.0f}"))
        )


def _say(text: str) -> None:
    print(f"nonces: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of sets of text must not differ from one process to the next.
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.nonces", *sys.argv[1:]])
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("nonces: stopped", file=sys.stderr)
        sys.exit(130)
