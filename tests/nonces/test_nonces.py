"""The short version of `make nonces`: the simulated lanes for a few thousand nonces, and real processes for a few calls."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence

import pytest
from django.conf import settings
from django.db import connection

PATIENCE_S = 280


def ended(arguments: Sequence[str]) -> str:
    """What the command printed; it must have found nothing wrong."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("NIJA_", "DJANGO_"))}
    command = [sys.executable, "-m", "tests.nonces", *arguments]
    process = subprocess.Popen(
        command, cwd=settings.BASE_DIR, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        out, said = process.communicate(timeout=PATIENCE_S)
    finally:
        # Not killed: it ends its servers itself.
        process.terminate()
        process.wait()
    assert process.returncode == 0, out[-3000:] + said[-3000:]
    return out


def test_simulated_processes_that_die_while_clocks_are_set_use_no_nonce_twice() -> None:
    out = ended(["--nonces", "2000", "--calls", "0", "--seed", "2", "--jobs", "1"])
    assert "2000 simulated, 0 invalid" in out
    counted = {name: int(number) for number, name in re.findall(r"^ +(\d+)  (.+)$", out, re.MULTILINE)}
    assert counted["fences"] > 0
    assert counted["orders written"] > 0
    assert counted["of them above the clock"] > 0, "the clock was behind the counter"
    assert counted["requests of killed senders"] > 0


@pytest.mark.system
@pytest.mark.timeout(PATIENCE_S + 20)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="it has a PostgreSQL of its own; once is enough")
def test_the_exchange_finds_every_nonce_of_many_processes_valid_though_some_die_and_clocks_are_off(
    record_property: Callable[[str, object], None],
) -> None:
    out = ended(["--nonces", "0", "--calls", "200", "--processes", "8"])
    record_property("figures", out)
    assert re.search(r"^disturbed +200 +\d+ +0 +1 +4 +1 ", out, re.MULTILINE), out
