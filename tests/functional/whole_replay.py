"""All real candles there are, with three followers: `make replay`. Not collected by `make test`, for it takes hours.

CANDLES in the environment ends each part after so many candles. FAULTS=1 makes private requests fail on the way, in the
order of chance that SEED (1 unless named) brings.
"""

from __future__ import annotations

import gzip
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.functional.test_replay import FOLLOWERS
from tests.support import replay_books, replay_figures, spoiling
from tests.support.replay import WARM_UP_CANDLES, Replay, market_data
from tests.support.world import World

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(12 * 3600)]

MASTER_USD = "10000.0000"
SAY_EVERY_CANDLES = 500
#: With FAULTS=1.
SHARES = spoiling.Shares(orders=0.1, reads=0.05, lags=0.05)
#: Ten take part in `make test`; what months of candles add is the master's, so three very different ones suffice here.
NAMES = ("large", "doubled", "small")


@dataclass(frozen=True, slots=True)
class Part:
    """Files of one interval; `after` starts where that file ends instead of where all of these begin."""

    minutes: int
    files: dict[str, str]
    after: str = ""


FIVE_MINUTES = {
    "ETH-USD": "ETHUSD_5.csv.gz",
    "SOL-USD": "SOLUSD_5.csv.gz",
    "XRP-USD": "XRPUSD_5.csv.gz",
    "DOGE-USD": "XDGUSD_5.csv.gz",
    "LTC-USD": "LTCUSD_5.csv.gz",
    "PEPE-USD": "PEPEUSD_5.csv.gz",
    "FLR-USD": "FLRUSD_5.csv.gz",
}
CHOSEN = {name: FOLLOWERS[name] for name in NAMES}
PARTS = {
    "five-minutes": Part(5, FIVE_MINUTES),
    "hours": Part(60, {"BTC-USD": "XBTUSD_60.csv.gz", "ETH-USD": "ETHUSD_60.csv.gz"}),
    "last-hours": Part(60, {"ETH-USD": "ETHUSD_60.csv.gz"}, after="XBTUSD_60.csv.gz"),
}


@pytest.mark.parametrize("name", PARTS)
def test_every_real_candle_leaves_the_books_equal_to_the_exchange(
    name: str,
    make_world: Callable[..., World],
    settings: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    part = PARTS[name]
    files = market_data(tuple(part.files.values()))
    starts_at, candles = _span(part, files)
    settings.MASTER_PAIRS, settings.MASTER_CANDLE_MINUTES = list(part.files), part.minutes
    world = make_world(market="replay", candles=files, start_at=starts_at, rate_tier="starter")
    master = world.join("master@nija.example", usd=MASTER_USD, role="master")
    followers = {label: world.join(f"{label}@nija.example", **risk) for label, risk in CHOSEN.items()}
    spoilt = os.environ.get("FAULTS", "") not in ("", "0")
    if spoilt:
        spoiling.lose_patience(monkeypatch)
        seed = int(os.environ.get("SEED") or 1)
        spoiling.spoil(world, [master, *followers.values()], seed=seed, shares=SHARES)

    began = time.monotonic()
    replay = Replay(world, master=master, spoilt=spoilt)
    while replay.candles < candles:
        replay.run(min(SAY_EVERY_CANDLES, candles - replay.candles))
        with capsys.disabled():
            # What a worker of pytest-xdist prints is lost, what it complains is not.
            said = _progress(name, replay, candles=candles, seconds=time.monotonic() - began)
            print(said, file=sys.stderr, flush=True)
    replay.sell_what_is_left()
    harm = f"\n{spoiling.end(replay)}" if spoilt else ""

    trips = replay_figures.master_trips(master)
    what, seconds = f"{part.minutes} minutes of {', '.join(part.files)}", time.monotonic() - began
    figures = replay_figures.summary(trips, followers, what=what, candles=candles, seconds=seconds)
    record_property("figures", f"{figures}{harm}\n  memory: {_memory_mb()} MB at most")
    everybody = {"master": (master, MASTER_USD)} | {
        label: (trader, CHOSEN[label]["usd"]) for label, trader in followers.items()
    }
    replay_books.assert_everything_agrees(replay, everybody)
    spoiling.assert_failed_entries_were_missed()


def _span(part: Part, files: tuple[Path, ...]) -> tuple[int, int]:
    """Where the replay starts (unix seconds), after the warm-up, and how many candles all of the files cover."""
    step_s = part.minutes * 60
    first = max(_ends(file)[0] for file in files)
    last = min(_ends(file)[1] for file in files)
    starts_at = first + WARM_UP_CANDLES * step_s
    if part.after:
        (before,) = market_data((part.after,))
        starts_at = _ends(before)[1] + step_s
    starts_at -= starts_at % step_s
    return starts_at, min((last + step_s - starts_at) // step_s, int(os.environ.get("CANDLES") or 10**9))


def _ends(file: Path) -> tuple[int, int]:
    with gzip.open(file, "rt") as lines:
        times = [int(line.partition(",")[0]) for line in lines]
    return min(times), max(times)


def _progress(name: str, replay: Replay, *, candles: int, seconds: float) -> str:
    left_s = seconds / replay.candles * (candles - replay.candles)
    return (
        f"{name}: {replay.candles} of {candles} candles, {1000 * seconds / replay.candles:.0f} ms each, "
        f"{replay.settled} times traded, {_memory_mb()} MB, {left_s / 60:.0f} min left"
    )


def _memory_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
