"""Seeds side by side. Imports nothing of the engine, for a spawned process begins here, and so does who has other settings."""

from __future__ import annotations

import logging
import multiprocessing
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tests.simulation import prepare

#: A run's clocks and lane begin anew; what goes wrong late in a run is met as well.
NONCES_PER_SEED = 5_000


@dataclass
class Result:
    seed: int
    counts: Counter[str]
    violations: list[str]
    in_flight_max: int
    steps: int
    trace: str
    cpu_s: float


def results(*, nonces: int, first_seed: int, jobs: int) -> Iterator[Result]:
    """Of so many simulated nonces, as they are done; in processes of their own, since the simulator has its own settings."""
    runs = -(-nonces // NONCES_PER_SEED)
    asked = [(first_seed + run, min(NONCES_PER_SEED, nonces - run * NONCES_PER_SEED)) for run in range(runs)]
    context = multiprocessing.get_context("spawn")
    with context.Pool(jobs, initializer=prepare.django, initargs=(logging.CRITICAL,)) as pool:
        yield from pool.imap_unordered(_run, asked, chunksize=1)


def _run(asked: tuple[int, int]) -> Result:
    from tests.nonces import simulated

    return simulated.Run(*asked).result()
