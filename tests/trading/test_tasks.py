from __future__ import annotations

from pathlib import Path

import pytest
from pytest_django import DjangoCaptureOnCommitCallbacks
from pytest_django.fixtures import Settings

from trading import doorbell, tasks
from trading.paper.server import run_in_thread
from trading.paper.settings import PaperSettings

pytestmark = pytest.mark.django_db


def test_new_prices_ring_for_a_look_at_the_levels_and_an_exchange_that_is_silent_does_not(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    rung: list[str] = []
    monkeypatch.setattr(doorbell, "_send", lambda task, _args: rung.append(task))
    with run_in_thread(PaperSettings(state=tmp_path / "paper.sqlite3")) as exchange:
        settings.KRAKEN_API_URL = exchange.url
        with django_capture_on_commit_callbacks(execute=True):
            tasks.refresh_prices()
        assert rung == ["trading.tasks.watch_master_levels"]
    with django_capture_on_commit_callbacks(execute=True):
        tasks.refresh_prices()
    assert len(rung) == 1
