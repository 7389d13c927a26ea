"""`make mutants`: applies deliberate bugs one at a time and sees that the tests or the simulator notice each.

`make mutants NAMES="rounds a quantity up; trusts our clock" JOBS=1`; without names all of them. What they name is run
without any of them first and must pass. The last lines are a table and a summary; the status is 1 unless all were caught.
"""

from __future__ import annotations

import argparse
import os
import queue
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.mutants.catalogue import MUTANTS, Mutant
from tests.mutants.workshop import Ended, NoCheckout, Verdict, Workshop
from tests.support import postgres

JOBS = 2
SHOWN_LINES = 40


def main(arguments: Sequence[str]) -> int:
    options = _options(arguments)
    # A plain kill must still end every process and remove the copies.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
    began = time.monotonic()
    with _workshops(options.chosen, jobs=options.jobs) as workshops:
        _say(f"{len(options.chosen)} mutants; first what they name, unchanged")
        if not _all_pass(workshops[0], options.chosen, jobs=options.jobs):
            return 1
        _say(f"all of it passes after {time.monotonic() - began:.0f} s")
        verdicts = _try_out(options.chosen, workshops, began=began)
    _table(verdicts)
    caught = sum(bool(verdict.caught_by) for verdict in verdicts)
    wrong = sum(bool(verdict.problem) for verdict in verdicts)
    print(
        f"mutants: {len(verdicts)} tried, {caught} caught, {len(verdicts) - caught - wrong} survived, "
        f"{wrong} to be put right, {time.monotonic() - began:.0f} s"
    )
    return int(caught < len(options.chosen))


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("--names", default=os.environ.get("NAMES", ""), help="names, separated by semicolons")
    parser.add_argument("--jobs", type=int, default=int(os.environ.get("JOBS", JOBS)))
    options = parser.parse_args(arguments)
    by_name = {mutant.name: mutant for mutant in MUTANTS}
    names = [name.strip() for name in options.names.split(";") if name.strip()]
    unknown = [name for name in names if name not in by_name]
    if unknown:
        parser.error(f"there is no mutant {', '.join(unknown)}; there are: {'; '.join(by_name)}")
    options.chosen = [by_name[name] for name in names] or list(MUTANTS)
    options.jobs = max(1, min(options.jobs, len(options.chosen)))
    return options


@contextmanager
def _workshops(chosen: Sequence[Mutant], *, jobs: int) -> Iterator[list[Workshop]]:
    """So many copies, and a PostgreSQL server of our own when one of the chosen needs it."""
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nija-mutants-")))
        server = ""
        if any(mutant.postgres for mutant in chosen):
            server = stack.enter_context(postgres.own_cluster(_say)).url.rpartition("/")[0]
        workshops = [Workshop(base / str(n), database_url=f"{server}/mutants_{n}") for n in range(jobs)]
        for workshop in workshops:
            stack.callback(workshop.close)
        yield workshops


def _all_pass(workshop: Workshop, chosen: Sequence[Mutant], *, jobs: int) -> bool:
    """Without a mutant: a test that fails anyway would catch anything."""
    spread = ("-n", str(jobs), "--dist", "worksteal")
    runs: list[tuple[str, Ended]] = []
    for on_postgres in (False, True):
        tests = sorted({test for mutant in chosen if mutant.postgres is on_postgres for test in mutant.tests})
        if tests:
            database = "PostgreSQL" if on_postgres else "SQLite"
            runs.append((f"on {database}", workshop.test(tests, postgres=on_postgres, more=spread)))
    seeds = max(mutant.seeds for mutant in chosen)
    if seeds:
        runs.append(("in the simulator", workshop.simulate(seeds, jobs=jobs)))
    failed = [(where, ended) for where, ended in runs if ended.status != 0]
    for where, ended in failed:
        print("\n".join(ended.output.splitlines()[-SHOWN_LINES:]), file=sys.stderr)
        _say(f"what the mutants name does not pass {where}, so it would prove nothing")
    return not failed


def _try_out(chosen: Sequence[Mutant], workshops: Sequence[Workshop], *, began: float) -> list[Verdict]:
    free: queue.SimpleQueue[Workshop] = queue.SimpleQueue()
    for workshop in workshops:
        free.put(workshop)

    def one(mutant: Mutant) -> Verdict:
        workshop = free.get()
        try:
            return workshop.try_out(mutant)
        finally:
            free.put(workshop)

    verdicts: dict[str, Verdict] = {}
    pool = ThreadPoolExecutor(max_workers=len(workshops))
    try:
        for number, done in enumerate(as_completed([pool.submit(one, mutant) for mutant in chosen]), start=1):
            verdict = done.result()
            verdicts[verdict.mutant.name] = verdict
            _say(
                f"{number}/{len(chosen)} after {time.monotonic() - began:.0f} s: {verdict.mutant.name}: {_said(verdict)}"
            )
    except BaseException:
        for workshop in workshops:
            workshop.close()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    return [verdicts[mutant.name] for mutant in chosen]


def _said(verdict: Verdict) -> str:
    if verdict.problem:
        return f"PROBLEM: {verdict.problem}"
    return verdict.caught_by.removeprefix("tests/") or "SURVIVED"


def _table(verdicts: Sequence[Verdict]) -> None:
    width = max(len(verdict.mutant.name) for verdict in verdicts) + 2
    paths = max(len(verdict.mutant.path) for verdict in verdicts) + 2
    print(f"{'mutant':<{width}}{'file':<{paths}}{'seconds':>7}  caught by")
    for verdict in verdicts:
        mutant = verdict.mutant
        print(f"{mutant.name:<{width}}{mutant.path:<{paths}}{verdict.seconds:>7.1f}  {_said(verdict)}")


def _say(text: str) -> None:
    print(f"mutants: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (NoCheckout, postgres.NoPostgres) as error:
        _say(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        print("mutants: stopped", file=sys.stderr)
        sys.exit(130)
