"""Real candles, and of every kind of private request some fail: the same books, only some entries are missed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.functional.test_replay import FILES, FOLLOWERS, MASTER_USD, PAIRS, STARTS_AT
from tests.support import replay_books, replay_figures, spoiling
from tests.support.replay import Replay, TripByHand, candle_files
from tests.support.spoiling import Shares
from tests.support.world import World

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(1800)]

SEED = 1
SHARES = Shares(orders=0.3, reads=0.12, lags=0.1)
NAMES = ("large", "even", "doubled", "modest", "denied")
BY_HAND = (
    TripByHand("DOGE-USD", opens=2, notional="75", parts=((25, "1"),)),
    TripByHand("SOL-USD", opens=40, notional="90.25", parts=((20, "1/3"), (45, "1/2"), (70, "1"))),
    TripByHand("ETH-USD", opens=70, notional="61.5", parts=((35, "1/2"), (50, "1"))),
    TripByHand("XRP-USD", opens=100, notional="80", parts=((30, "1/4"), (60, "1"))),
    TripByHand("DOGE-USD", opens=200, notional="99", parts=((25, "2/3"), (45, "1"))),
    TripByHand("ETH-USD", opens=300, notional="101.5", parts=((35, "1/2"), (50, "1"))),
)


@dataclass(frozen=True, slots=True)
class Length:
    """How many candles are replayed, and what these must bring about at least, so that the rest says something."""

    candles: int
    trips: int
    copies: int
    faults: int
    unknown: int
    found: int
    missed: int
    planned_again: int


SHORT = Length(450, trips=6, copies=50, faults=70, unknown=12, found=6, missed=2, planned_again=1)
LONG = Length(700, trips=7, copies=70, faults=90, unknown=15, found=8, missed=3, planned_again=2)


@pytest.mark.parametrize("wanted", [SHORT, pytest.param(LONG, marks=pytest.mark.system)])
def test_real_candles_with_faults_leave_every_follower_flat_and_the_books_equal_to_the_exchange(
    wanted: Length,
    make_world: Callable[..., World],
    settings: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    files = candle_files(tmp_path, names=FILES, starts_at=STARTS_AT, candles=wanted.candles)
    settings.MASTER_PAIRS, settings.MASTER_CANDLE_MINUTES = list(PAIRS), 5
    world = make_world(market="replay", candles=files, start_at=STARTS_AT, rate_tier="starter")
    world.paper("POST", "/limits", pair="XDGUSD", match_max="700")
    master = world.join("master@nija.example", usd=MASTER_USD, role="master")
    followers = {name: world.join(f"{name}@nija.example", **FOLLOWERS[name]) for name in NAMES}
    spoiling.lose_patience(monkeypatch)
    spoiling.spoil(world, [master, *followers.values()], seed=SEED, shares=SHARES)

    began = time.monotonic()
    replay = Replay(world, master=master, by_hand=BY_HAND, spoilt=True)
    replay.run(wanted.candles)
    replay.sell_what_is_left()
    harm = spoiling.end(replay)

    trips = replay_figures.master_trips(master)
    what, seconds = ", ".join(PAIRS), time.monotonic() - began
    figures = replay_figures.summary(trips, followers, what=what, candles=wanted.candles, seconds=seconds)
    record_property("figures", f"{figures}\n{harm}")
    everybody = {"master": (master, MASTER_USD)} | {
        name: (trader, FOLLOWERS[name]["usd"]) for name, trader in followers.items()
    }
    replay_books.assert_everything_agrees(replay, everybody)
    for follower in followers.values():
        replay_books.assert_exits_close_the_masters_share(follower)
    spoiling.assert_failed_entries_were_missed()
    assert len(trips) >= wanted.trips
    assert replay_figures.filled_copies() >= wanted.copies
    assert len(harm.kinds) == len(spoiling.KINDS), "every kind of fault struck"
    assert harm.kinds.total() >= wanted.faults
    assert harm.unknown >= wanted.unknown
    assert harm.found >= wanted.found
    assert harm.never_accepted + harm.too_late >= wanted.missed
    assert harm.planned_again >= wanted.planned_again
