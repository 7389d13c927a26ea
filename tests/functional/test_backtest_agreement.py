"""The same real candles through the real engine and through the backtest: the same trades, to the last digit."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.support.replay import Replay, candle_files
from tests.support.world import World
from trading.backtest.books import END_OF_DATA
from trading.backtest.simulation import simulate
from trading.backtest.tape import tape_of
from trading.backtest.terms import Looks, Terms
from trading.domain.instrument import Side
from trading.domain.money import Money, Ratio
from trading.models import Execution
from trading.paper.candle_files import read_candles
from trading.strategy import registry

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]

#: 2024-07-08 04:30 UTC. Within 140 candles both pairs are entered twice, and left by targets and stops.
STARTS_AT, CANDLES = 1_720_413_000, 140
FILES = ("XDGUSD_5.csv.gz", "SOLUSD_5.csv.gz")
USD = "1000.5000"


def test_the_engine_on_a_replay_makes_the_trades_of_the_backtest(
    make_world: Callable[..., World], settings: Any, tmp_path: Path
) -> None:
    files = candle_files(tmp_path, names=FILES, starts_at=STARTS_AT, candles=CANDLES)
    settings.MASTER_PAIRS, settings.MASTER_CANDLE_MINUTES = ["DOGE-USD", "SOL-USD"], 5
    world = make_world(market="replay", candles=files, start_at=STARTS_AT, rate_tier="starter")
    master = world.join("master@nija.example", usd=USD, role="master")
    Replay(world, master).run(CANDLES)
    lived = [
        (row.instrument.symbol, row.side, row.price, row.quantity, row.notional, row.fee)
        for row in Execution.objects.filter(account=master.account).select_related("instrument").order_by("pk")
    ]

    asked = Terms(
        start_s=STARTS_AT,
        end_s=STARTS_AT + CANDLES * 300,
        capital=Money(Decimal(USD)),
        entry_notional=Ratio.from_percent(settings.MASTER_ENTRY_NOTIONAL_PERCENT),
        max_slippage=Ratio(master.account.user.risk.max_slippage),
        looks=Looks.CLOSE,
    )
    tapes = [tape_of(read_candles(file), start_s=asked.start_s, end_s=asked.end_s) for file in files]
    run = simulate(tapes, strategy=registry.get("apex"), terms=asked, progress=lambda *_: None)
    reckoned = [
        (
            each.symbol,
            each.side.value,
            *(amount.value for amount in (each.price, each.quantity, each.notional, each.fee)),
        )
        for each in run.account.executions
        # The replay leaves what is open at the end.
        if each.reason != END_OF_DATA
    ]

    # What happens at one close is booked in whatever order the answers arrive, so each pair is compared for itself.
    for symbol in settings.MASTER_PAIRS:
        mine = [row for row in lived if row[0] == symbol]
        assert mine == [row for row in reckoned if row[0] == symbol]
        assert sum(row[1] == Side.BUY for row in mine) == 2
        assert sum(row[1] == Side.SELL for row in mine) == 4
