"""The master's rules, watched at the exchange: what it was asked to buy and sell, and when."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from django.db import connection

from copytrade.models import CopyOrder
from tests.support import tape
from tests.support.world import Trader, World
from trading.domain.money import AmountError
from trading.models import Candidate, Control, Order, OrderKind, Signal, StrategyCycle
from trading.services import balances, cycles, fees, levels, market
from trading.strategy import registry

pytestmark = pytest.mark.django_db(transaction=True)

FALLS = (0.97,)
RISES_AND_FALLS_BACK = (1.06, 1.04)


@dataclass
class Trading:
    """A master who trades `breakout` on hand-made candles, and one follower."""

    world: World
    settings: Any
    master: Trader
    follower: Trader

    def candle(self, count: int = 1) -> None:
        """So many candles close, and prices are read as the timetable does."""
        self.world.paper("POST", "/market/advance", candles=count)
        self.world.prices()

    def live(self, seconds: int, *, with_cycles: bool = True) -> None:
        """What the timetable rings, second by second."""
        for second in range(seconds):
            if second % 20 == 0:
                market.measure_venue_clock(clock=self.world.clock, sleep=self.world.move)
            if second % 5 == 0:
                balances.refresh_due(clock=self.world.clock)
            if with_cycles:
                cycles.run_due_cycle(clock=self.world.clock)
            levels.watch(clock=self.world.clock)
            self.world.round()
            self.world.move(1)

    def seen(self, trader: Trader, side: str) -> list[Any]:
        """Orders that the exchange accepted, oldest first."""
        orders = [row for row in self.world.at_exchange(trader)["orders"] if row["descr"]["type"] == side]
        return sorted(orders, key=lambda row: row["opentm"])


@pytest.fixture
def start(make_world: Callable[..., World], settings: Any, tmp_path: Path) -> Callable[..., Trading]:
    def start(*, usd: str = "1000", pairs: int = 1, later: Sequence[float] = ()) -> Trading:
        symbols = tape.SYMBOLS[:pairs]
        files = tape.write(tmp_path, later=dict.fromkeys(symbols, later), pairs=pairs)
        settings.MASTER_STRATEGY, settings.MASTER_CANDLE_MINUTES = "breakout", 5
        settings.MASTER_PAIRS = list(symbols)
        world = make_world(market="replay", candles=files, start_at=tape.BREAKS_OUT_AT)
        world.prices()
        master = world.join("master@nija.example", usd=usd, role="master")
        return Trading(world, settings, master, world.join("follower@nija.example", usd="1000"))

    return start


@pytest.mark.parametrize(
    ("usd", "profile", "spacing_s", "monitoring_s"),
    [("90", "LOW_CAPITAL", 3, 30), ("500", "STANDARD", 2, 10), ("5000", "AGGRESSIVE", 1, 5)],
)
def test_the_rate_profile_spaces_entries_and_cycles_and_eight_positions_are_the_most(
    start: Callable[..., Trading], usd: str, profile: str, spacing_s: int, monitoring_s: int
) -> None:
    trading = start(usd=usd, pairs=9)
    trading.candle()
    trading.live(8 * spacing_s + monitoring_s + 2)

    bought = trading.seen(trading.master, "buy")
    # The strongest first: the tape lets the first pair break out furthest. The ninth finds no place.
    assert [tape.SYMBOLS[tape_index(row)] for row in bought] == list(tape.SYMBOLS[:8])
    times = [row["opentm"] for row in bought]
    assert [later - earlier for earlier, later in pairwise(times)] == [spacing_s] * 7
    # An entry that is not booked yet counts for nothing, so the next one may be a little smaller, never larger.
    most = Decimal(usd) * Decimal("0.12")
    assert most * Decimal("0.99") < Decimal(bought[0]["cost"])
    for row in bought:
        assert most * Decimal("0.85") < Decimal(row["cost"]) <= most

    done = list(StrategyCycle.objects.order_by("pk"))
    assert {cycle.profile for cycle in done} == {profile}
    assert (done[-1].started_at - done[-2].started_at).total_seconds() == monitoring_s
    vetoes = Candidate.objects.get(cycle=done[-1], instrument__symbol=tape.SYMBOLS[8]).vetoes
    assert vetoes[-1] == {
        "code": "position_cap",
        "sentence": "8 positions are open or being opened, and 8 is the most.",
    }


def tape_index(row: Any) -> int:
    names = [altname for altname, _, _ in tape.PAIRS]
    return names.index(row["descr"]["pair"])


def test_two_workers_at_once_run_one_cycle_and_the_exchange_sees_one_purchase(start: Callable[..., Trading]) -> None:
    trading = start(pairs=3)
    trading.candle()
    market.measure_venue_clock(clock=trading.world.clock, sleep=trading.world.move)
    balances.refresh_due(clock=trading.world.clock)
    together = Barrier(4)

    def work() -> object:
        together.wait()
        try:
            return cycles.run_due_cycle(clock=trading.world.clock)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as workers:
        results = [future.result() for future in [workers.submit(work) for _ in range(4)]]
    trading.world.settle()
    assert sum(result is not None for result in results) == 1
    assert StrategyCycle.objects.count() == 1
    assert len(trading.seen(trading.master, "buy")) == 1


def test_breakout_trades_from_the_signal_to_the_stop_and_every_order_names_it(start: Callable[..., Trading]) -> None:
    trading = start(later=FALLS)
    trading.candle()
    trading.live(5)
    strategy = registry.get("breakout")
    assert len(trading.seen(trading.master, "buy")) == len(trading.seen(trading.follower, "buy")) == 1
    trading.candle()
    trading.live(5)
    (sale,), (copy,) = trading.seen(trading.master, "sell"), trading.seen(trading.follower, "sell")
    assert sale["vol_exec"] == trading.seen(trading.master, "buy")[0]["vol_exec"]
    assert copy["vol_exec"] == trading.seen(trading.follower, "buy")[0]["vol_exec"]

    reasons = Order.objects.filter(account=trading.master.account).order_by("pk").values_list("reason", flat=True)
    # The fee that Kraken told this account and the spread that it quoted, four basis points.
    assert re.fullmatch(
        r"breakout: score \d+(\.\d)? of 100, "
        r"target [34](\.\d+)? %, round trip 1\.6\d? %, slippage 0\.0[345] %: [12](\.\d+)? % left",
        reasons[0],
    ), reasons[0]
    assert reasons[1].startswith("stop: ")
    asked = (strategy.name, strategy.version, strategy.parameters_hash)
    assert StrategyCycle.objects.values_list("strategy", "version", "parameters_hash").distinct().get() == asked
    for rows in (Order.objects.all(), Signal.objects.all()):
        assert rows.count() in {2, 4}
        assert set(rows.values_list("strategy", "strategy_version", "parameters_hash")) == {asked}


def test_half_is_sold_at_the_target_and_the_rest_by_the_trailing_stop(start: Callable[..., Trading]) -> None:
    trading = start(later=RISES_AND_FALLS_BACK)
    trading.candle()
    trading.live(5)
    for _ in RISES_AND_FALLS_BACK:
        trading.candle()
        trading.live(5)
    (buy,), sales = trading.seen(trading.master, "buy"), trading.seen(trading.master, "sell")
    sold = [Decimal(row["vol_exec"]) for row in sales]
    assert sum(sold) == Decimal(buy["vol_exec"])
    assert abs(sold[0] - sold[1]) <= Decimal("0.00000001")
    exits = Order.objects.filter(account=trading.master.account, kind=OrderKind.EXIT).order_by("pk")
    assert [order.reason.split(":")[0] for order in exits] == ["target 1", "trailing stop"]


def test_the_stop_sells_while_every_cycle_fails(start: Callable[..., Trading]) -> None:
    trading = start(later=FALLS, pairs=2)
    trading.candle()
    trading.live(2)
    trading.settings.MASTER_ENTRY_NOTIONAL_PERCENT = "twelve"
    trading.world.move(30)
    trading.candle()
    with pytest.raises(AmountError):
        cycles.run_due_cycle(clock=trading.world.clock)
    assert StrategyCycle.objects.latest("pk").problem.startswith("The cycle failed: AmountError")
    trading.live(5, with_cycles=False)
    assert len(trading.seen(trading.master, "sell")) == len(trading.seen(trading.master, "buy")) >= 1
    assert len(trading.seen(trading.follower, "sell")) == len(trading.seen(trading.follower, "buy")) >= 1


def test_a_position_keeps_the_strategy_that_opened_it_when_another_is_chosen(start: Callable[..., Trading]) -> None:
    trading = start(later=FALLS)
    trading.candle()
    trading.live(5)
    trading.settings.MASTER_STRATEGY = "apex"
    trading.candle()
    trading.live(35)
    assert len(trading.seen(trading.master, "sell")) == 1
    assert Order.objects.get(account=trading.master.account, kind=OrderKind.EXIT).strategy == "breakout"
    assert StrategyCycle.objects.latest("pk").strategy == "apex"


def test_independent_mode_copies_no_entry_and_every_exit(start: Callable[..., Trading]) -> None:
    trading = start(later=FALLS, pairs=2)
    first, second = tape.SYMBOLS[:2]
    trading.settings.MASTER_PAIRS = [first]
    trading.candle()
    trading.live(5)
    trading.settings.COPY_TRADING_MODE, trading.settings.MASTER_PAIRS = "INDEPENDENT", [second]
    trading.live(30)
    assert len(trading.seen(trading.master, "buy")) == 2
    assert len(trading.seen(trading.follower, "buy")) == 1
    reasons = CopyOrder.objects.filter(kind="entry").order_by("pk").values_list("reason", flat=True)
    assert list(reasons) == ["", "independent_mode"]
    trading.candle()
    trading.live(5)
    assert len(trading.seen(trading.master, "sell")) == 2
    assert [row["descr"]["pair"] for row in trading.seen(trading.follower, "sell")] == [tape.PAIRS[0][0]]


def test_entry_blocking_keeps_planned_and_unplanned_entries_from_the_exchange_and_no_exit(
    start: Callable[..., Trading],
) -> None:
    trading = start(later=FALLS, pairs=2)
    first, second = tape.SYMBOLS[:2]
    trading.candle()
    trading.settings.MASTER_PAIRS = [first]
    trading.live(5)
    planned = trading.world.master_buys(second, notional="50")
    # Whatever the database says: nobody has stopped anything there.
    assert not Control.objects.filter(stopped_at__isnull=False).exists()
    trading.settings.ENTRY_BLOCKING, trading.settings.MASTER_PAIRS = True, [first, second]
    trading.live(32)
    planned.refresh_from_db()
    assert (planned.state, planned.refusal) == ("skipped", "Entries are blocked by ENTRY_BLOCKING")
    assert StrategyCycle.objects.latest("pk").problem == "Entries are blocked by ENTRY_BLOCKING in the environment."
    assert len(trading.seen(trading.master, "buy")) == len(trading.seen(trading.follower, "buy")) == 1
    trading.candle()
    trading.live(5)
    assert len(trading.seen(trading.master, "sell")) == len(trading.seen(trading.follower, "sell")) == 1


def test_fees_are_read_once_a_day_for_each_account_and_judged_by(start: Callable[..., Trading]) -> None:
    trading = start()

    def asked() -> int:
        log = trading.world.paper("GET", "/log")["log"]
        return sum(row["endpoint"] == "TradeVolume" for row in log)

    trading.master.account.refresh_from_db()
    assert (trading.master.account.taker_fee, trading.master.account.maker_fee) == (Decimal("0.008"), Decimal("0.004"))
    before = asked()
    trading.world.move(19 * 3600)
    assert fees.refresh_due(clock=trading.world.clock) == 0
    trading.world.move(2 * 3600)
    assert fees.refresh_due(clock=trading.world.clock) == 2
    assert asked() == before + 2
