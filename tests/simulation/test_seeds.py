"""A seed in two processes: nothing is violated, and the same seed is the same run. `make simulate` runs more of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from django.conf import settings

pytestmark = pytest.mark.system

SEED = 4
STEPS_MIN = 200


def _run(seed: int) -> list[object]:
    code = (
        "import django, json, logging; django.setup(); logging.disable(logging.CRITICAL);"
        f" from tests.simulation import command; made = command.simulate({seed});"
        " print(json.dumps([made.violations, made.trace, made.steps, made.signals]))"
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
    made: list[object] = json.loads(done.stdout.splitlines()[-1])
    return made


def test_the_same_seed_is_the_same_run_and_violates_nothing() -> None:
    first, again = _run(SEED), _run(SEED)
    violations, _, steps, _ = first
    assert violations == []
    assert isinstance(steps, int)
    assert steps >= STEPS_MIN
    assert first == again


def test_the_rest_of_a_sale_that_was_swept_up_before_the_master_bought_again_is_no_sale_too_many() -> None:
    """9239: his sale came in two pieces, a purchase between them, and the first left a follower less than Kraken sells."""
    violations, *_ = _run(9239)
    assert violations == []
