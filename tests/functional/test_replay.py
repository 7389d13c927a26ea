"""3,000 real candles of four pairs, ten followers: what the master closed is closed everywhere, every digit agrees."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from accounts.models import RiskSettings
from accounts.models.risk import CopyState
from copytrade.models import CopyOrder, CopyStatus, SkipReason
from tests.support import replay_books, replay_figures
from tests.support.replay import Replay, TripByHand, candle_files
from tests.support.world import Trader, World
from trading.models import Signal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(1800)]

PAIRS = ("ETH-USD", "SOL-USD", "DOGE-USD", "XRP-USD")
FILES = ("ETHUSD_5.csv.gz", "SOLUSD_5.csv.gz", "XDGUSD_5.csv.gz", "XRPUSD_5.csv.gz")
#: 2024-09-10 14:00 UTC. In the ten days that follow, every kind of exit comes up, and few candles are without a trade.
STARTS_AT = 1_725_976_800


@dataclass(frozen=True, slots=True)
class Length:
    """How many candles are replayed, and what these must bring about at least."""

    candles: int
    trips: int
    copies: int
    in_parts: int
    ended_by: frozenset[str]


#: `make test` runs it on PostgreSQL; a bare pytest, on SQLite, has a shorter one.
LENGTHS = {
    "postgresql": Length(3000, 20, 100, 5, frozenset({"stop", "target", "trailing", "time", replay_figures.BY_HAND})),
    "sqlite": Length(600, 7, 50, 3, frozenset({"stop", "trailing", replay_figures.BY_HAND})),
}

MASTER_USD = "1000.5000"
FOLLOWERS: dict[str, dict[str, Any]] = {
    "large": {"usd": "5200.0000"},
    "even": {"usd": "1000.5000"},
    "doubled": {"usd": "840.2500", "multiplier": Decimal(2), "max_risk": Decimal("0.05")},
    "allocated": {"usd": "2600.1000", "allocation": Decimal(400)},
    "modest": {"usd": "3100.4400", "max_risk": Decimal("0.01")},
    # Ten per cent of it buys enough DOGE, and less SOL than Kraken sells.
    "small": {"usd": "48.1000"},
    "careful": {"usd": "310.7500", "multiplier": Decimal("0.5"), "max_open_positions": 1},
    "chosen": {"usd": "700.3500", "allowed_symbols": ["SOL-USD"]},
    "denied": {"usd": "455.2000", "denied_symbols": ["DOGE-USD"]},
    "leaving": {"usd": "999.9900"},
}
#: Of these the smallest sale is far above Kraken's minimums.
ROOMY = ("large", "even", "doubled", "allocated", "modest", "chosen", "denied")
BY_HAND = (
    TripByHand("DOGE-USD", opens=2, notional="75", parts=((25, "1"),)),
    TripByHand("SOL-USD", opens=100, notional="90.25", parts=((20, "1/3"), (45, "1/2"), (70, "1"))),
    TripByHand("ETH-USD", opens=150, notional="61.5", parts=((35, "1/2"), (50, "1"))),
)
#: While the trip in SOL is under way.
LEAVES_AFTER_CANDLES = 110


def test_real_candles_leave_every_follower_flat_and_the_books_equal_to_the_exchange(
    make_world: Callable[..., World],
    settings: Any,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    wanted = LENGTHS[connection.vendor]
    files = candle_files(tmp_path, names=FILES, starts_at=STARTS_AT, candles=wanted.candles)
    settings.MASTER_PAIRS, settings.MASTER_CANDLE_MINUTES = list(PAIRS), 5
    world = make_world(market="replay", candles=files, start_at=STARTS_AT, rate_tier="starter")
    # DOGE is matched in pieces, so that orders have several executions, each rounded by itself.
    world.paper("POST", "/limits", pair="XDGUSD", match_max="700")
    master = world.join("master@nija.example", usd=MASTER_USD, role="master")
    followers = {name: world.join(f"{name}@nija.example", **risk) for name, risk in FOLLOWERS.items()}

    began = time.monotonic()
    replay = Replay(world, master=master, by_hand=BY_HAND)
    replay.run(LEAVES_AFTER_CANDLES)
    assert world.managed(followers["leaving"], "SOL-USD") > 0
    RiskSettings.objects.filter(user__trading_account=followers["leaving"].account).update(state=CopyState.CLOSE_ONLY)
    newest_before = Signal.objects.order_by("-pk").values_list("pk", flat=True)[0]
    replay.run(wanted.candles - LEAVES_AFTER_CANDLES)
    replay.sell_what_is_left()

    trips = replay_figures.master_trips(master)
    what, seconds = ", ".join(PAIRS), time.monotonic() - began
    # Printed in pytest's summary by tests/conftest.py.
    record_property(
        "figures", replay_figures.summary(trips, followers, what=what, candles=replay.candles, seconds=seconds)
    )
    assert replay.candles == wanted.candles
    assert len(trips) >= wanted.trips
    assert sum(trip.in_parts for trip in trips) >= wanted.in_parts
    assert {trip.ended_by for trip in trips} >= wanted.ended_by
    assert replay_figures.filled_copies() >= wanted.copies
    everybody = {"master": (master, MASTER_USD)} | {
        name: (trader, FOLLOWERS[name]["usd"]) for name, trader in followers.items()
    }
    replay_books.assert_everything_agrees(replay, everybody)
    for name in ROOMY:
        replay_books.assert_exits_close_the_masters_share(followers[name])
    assert_each_size_met_its_own_rule(followers)
    assert_who_left_was_sold_out_and_bought_nothing_more(followers["leaving"], since=newest_before)


def entries(follower: Trader, *symbols: str) -> list[CopyOrder]:
    mine = CopyOrder.objects.filter(account=follower.account, kind="entry", signal__instrument__symbol__in=symbols)
    return list(mine.select_related("signal__instrument"))


def assert_each_size_met_its_own_rule(followers: dict[str, Trader]) -> None:
    """Not all the same ten times over: each setting showed."""
    small, chosen, denied = followers["small"], followers["chosen"], followers["denied"]
    assert {copy.reason for copy in entries(small, "SOL-USD")} == {SkipReason.BELOW_QUANTITY_MIN.value}
    assert any(copy.status == CopyStatus.ORDERED for copy in entries(small, "DOGE-USD"))
    assert {copy.signal.instrument.symbol for copy in bought(chosen)} == {"SOL-USD"}
    assert {copy.reason for copy in entries(chosen, "DOGE-USD")} == {SkipReason.SYMBOL_NOT_ALLOWED.value}
    assert {copy.reason for copy in entries(denied, "DOGE-USD")} == {SkipReason.SYMBOL_NOT_ALLOWED.value}
    assert SkipReason.MAX_POSITIONS.value in {copy.reason for copy in entries(followers["careful"], *PAIRS)}
    for name, rule in FOLLOWERS.items():
        for copy in bought(followers[name]):
            assert copy.equity is not None
            assert copy.notional is not None
            assert copy.notional <= copy.equity * rule.get("max_risk", Decimal("0.1"))
            assert copy.equity <= rule.get("allocation", copy.equity)
    largest = {name: max(copy.notional or 0 for copy in bought(trader)) for name, trader in followers.items()}
    assert len(set(largest.values())) == len(FOLLOWERS)


def bought(follower: Trader) -> list[CopyOrder]:
    return [copy for copy in entries(follower, *PAIRS) if copy.status == CopyStatus.ORDERED]


def assert_who_left_was_sold_out_and_bought_nothing_more(follower: Trader, *, since: int) -> None:
    later = CopyOrder.objects.filter(account=follower.account, signal_id__gt=since)
    assert {copy.reason for copy in later.filter(kind="entry")} == {SkipReason.CLOSE_ONLY.value}
    assert later.filter(kind="exit", status=CopyStatus.ORDERED).count() >= 3
