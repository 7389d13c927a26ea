"""A handful of seeds in processes of their own: nothing is violated, and the same seed is the same run."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from django.conf import settings

SEEDS = (1, 2, 4)
STEPS_MIN = 200


def _runs(*seeds: int) -> list[list[object]]:
    code = (
        "import django, json, logging; django.setup(); logging.disable(logging.CRITICAL);"
        f" from tests.simulation import command; made = [command.simulate(seed) for seed in {seeds}];"
        " print(json.dumps([[r.violations, r.trace, r.steps, r.signals] for r in made]))"
    )
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "tests.simulation.settings", "PYTHONHASHSEED": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=settings.BASE_DIR,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    made: list[list[object]] = json.loads(done.stdout.splitlines()[-1])
    return made


def test_the_same_seed_is_the_same_run_and_violates_nothing() -> None:
    first, again = _runs(*SEEDS), _runs(SEEDS[-1])
    assert [run[0] for run in first] == [[]] * len(SEEDS)
    assert first[-1:] == again
    assert all(isinstance(run[2], int) and run[2] >= STEPS_MIN for run in first)
