"""The engine against a paper exchange in this process, over real HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.world import World
from trading.paper.server import PaperSettings, run_in_thread


@pytest.fixture
def make_world(transactional_db: None, settings: Any, tmp_path: Path, redis_url: str) -> Iterator[Callable[..., World]]:
    """`make_world(market="pinned")`: a paper exchange with these settings and the engine's services on it."""
    with ExitStack() as running:

        def make(**options: object) -> World:
            options.setdefault("state", tmp_path / "paper.sqlite3")
            exchange = running.enter_context(run_in_thread(PaperSettings(**options)))  # type: ignore[arg-type]
            return World(url=exchange.url, settings=settings)  # type: ignore[arg-type]

        yield make
