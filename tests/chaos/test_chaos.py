"""The short version of `make chaos`, and what its table of points must keep to."""

from __future__ import annotations

import functools
import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from django.db import connection

from nija.celery import BEAT
from tests.chaos import sends
from tests.chaos.points import CANCEL, CLAIM_SIGNALS, POINTS, SEND_EXITS, SHORT, Strike
from tests.chaos.worker import Trigger, wrap
from trading.paper import faults

BASE_DIR = Path(__file__).resolve().parents[2]
POINTS_MIN = 18
PATIENCE_S = 300


def test_every_point_names_a_function_of_the_product(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A seam that was renamed would otherwise never be reached."""
    for point in POINTS:
        module, _, path = point.seam.partition(":")
        *owners, name = path.split(".")
        owner = functools.reduce(getattr, owners, importlib.import_module(module))
        monkeypatch.setattr(owner, name, getattr(owner, name))
        before = getattr(owner, name)
        wrap(point, Trigger(point, tmp_path))
        assert getattr(owner, name) is not before


def test_there_are_points_for_every_process_and_server() -> None:
    names = {point.name for point in POINTS}
    assert len(names) == len({point.slug for point in POINTS}) == len(POINTS) >= POINTS_MIN
    assert {point.process for point in POINTS} == {"worker", "execution", "booking", "exits", "shell"}
    assert {point.strike for point in POINTS} == set(Strike)
    assert set(SHORT) <= names


def test_every_bell_whose_loss_would_cost_money_has_a_sweep_in_the_timetable() -> None:
    swept = {row["task"] for row in BEAT.values()}
    # The copies of an entry are rung again by their own sweep.
    bells = {CLAIM_SIGNALS, SEND_EXITS, CANCEL, "trading.tasks.send_entries", "copytrade.tasks.plan_exits"}
    assert bells <= swept
    # What is rung for with ids is swept by another task.
    assert "trading.tasks.book_orders" in swept
    assert "copytrade.tasks.sweep_entries" in swept


def test_every_fault_of_the_exchange_that_leaves_doubt_is_among_the_ambiguous_sends() -> None:
    assert set(faults.KINDS) - set(sends.FAULTS) == {"rate_limit", "lag"}
    assert set(sends.FAULTS) == {*sends.ACTED, *sends.NEVER_ACTED}
    assert set(sends.SHORT) <= set(sends.FAULTS)


@pytest.mark.timeout(PATIENCE_S + 30)
@pytest.mark.skipif(
    connection.vendor != "postgresql", reason="once in `make test` is enough, beside the other PostgreSQL"
)
def test_trades_come_right_after_a_crash_of_every_worker_and_a_restart_of_the_database(
    record_property: Callable[[str, object], None],
) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("NIJA_", "DJANGO_"))}
    command = [sys.executable, "-m", "tests.chaos", "--short"]
    process = subprocess.Popen(
        command, cwd=BASE_DIR, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        out, said = process.communicate(timeout=PATIENCE_S)
    finally:
        # Not killed: it ends its servers itself.
        process.terminate()
        process.wait()
    record_property("figures", out[out.rfind("point  ") :])
    assert process.returncode == 0, out[-4000:] + said[-4000:]
