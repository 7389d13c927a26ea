"""The demo's market: deterministic, lively, and good enough for the unmodified strategy to trade at once."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

import pytest

from trading.domain.money import Price, Ratio
from trading.paper.market import Candle
from trading.paper.pairs import PAIRS
from trading.paper.synthetic import SyntheticMarket
from trading.strategy import apex
from trading.strategy.candles import Candles
from trading.strategy.decisions import EntryDecision, OpenPosition

MINUTE = 1_795_364_040
FEES, SLIPPAGE = Ratio(Decimal("0.008")), Ratio(Decimal("0.01"))
SEED = 7


def market(started_at: int, *, seed: int = SEED) -> SyntheticMarket:
    return SyntheticMarket(seed=seed, started_at=started_at, spread_bps=Decimal(4))


def candles(shown: SyntheticMarket, pair_id: str, now: float, *, interval_min: int = 1) -> list[Candle]:
    return shown.candles(PAIRS[pair_id], interval_min=interval_min, now=now)


def decision(shown: SyntheticMarket, pair_id: str, now: int) -> EntryDecision:
    rows = [(c.time, c.open, c.high, c.low, c.close, c.vwap, c.volume, c.count) for c in candles(shown, pair_id, now)]
    return apex.evaluate_entry(Candles.from_rows(rows[:-1], interval_s=60), fees=FEES, slippage=SLIPPAGE)


def test_there_are_720_one_minute_candles_ending_now_and_the_last_is_forming() -> None:
    now = MINUTE + 17
    rows = candles(market(now), "BEAMUSD", now)
    assert len(rows) == 720
    assert rows[-1].time == MINUTE
    assert {later.time - row.time for row, later in pairwise(rows)} == {60}
    for row in rows:
        assert 0 < row.low <= min(row.open, row.close, row.vwap) <= max(row.open, row.close, row.vwap) <= row.high
        assert row.volume > 0
        assert row.count > 0
        assert PAIRS["BEAMUSD"].nearest_tick(row.close) == row.close


def test_the_price_is_the_forming_candles_close_and_moves_within_the_minute() -> None:
    shown = market(MINUTE)
    seen = set()
    for second in range(30):
        now = MINUTE + second + 0.5
        quote = shown.quote(PAIRS["BEAMUSD"], now=now)
        assert quote.last == candles(shown, "BEAMUSD", now)[-1].close
        assert quote.bid < quote.ask
        seen.add(quote.last)
    assert len(seen) > 5


def test_a_closed_candle_never_changes_and_another_process_sees_the_same() -> None:
    first, second = market(MINUTE), market(MINUTE)
    early = candles(first, "SOLUSD", MINUTE + 59)[:-1]
    late = {row.time: row for row in candles(second, "SOLUSD", MINUTE + 600)}
    assert [late[row.time] for row in early[20:]] == early[20:]
    assert candles(market(MINUTE, seed=8), "SOLUSD", MINUTE)[:-1] != candles(market(MINUTE), "SOLUSD", MINUTE)[:-1]


def test_a_restored_state_continues_with_its_own_seed_and_start() -> None:
    first, restored = market(MINUTE), market(MINUTE + 86_400, seed=99)
    restored.restore(first.state())
    now = MINUTE + 90_000.0
    for pair in first.pairs:
        assert restored.quote(pair, now=now) == first.quote(pair, now=now)


def test_longer_candles_agree_with_the_minutes_in_them() -> None:
    shown, now = market(MINUTE), MINUTE + 200
    minutes = {row.time: row for row in candles(shown, "XXBTZUSD", now)}
    five = candles(shown, "XXBTZUSD", now, interval_min=5)[-2]
    inside = [minutes[five.time + 60 * n] for n in range(5)]
    assert (five.open, five.close) == (inside[0].open, inside[-1].close)
    assert (five.high, five.low) == (max(row.high for row in inside), min(row.low for row in inside))
    assert five.volume == sum(row.volume for row in inside)


@pytest.mark.parametrize("second", [0, 13, 31, 47, 59])
def test_at_the_start_two_pairs_meet_the_unmodified_entry_rules_and_still_do_a_minute_later(second: int) -> None:
    started_at = MINUTE + second
    shown = market(started_at)
    for pair_id in ("BEAMUSD", "XXRPZUSD"):
        for now in (started_at, MINUTE + 60):
            assert decision(shown, pair_id, now).vetoes == ()


@pytest.mark.parametrize(("second", "delay_s"), [(0, 10), (29, 30), (59, 50)])
def test_a_round_trip_bought_in_the_first_minute_is_complete_after_three(second: int, delay_s: int) -> None:
    started_at = MINUTE + second
    shown, beam = market(started_at), PAIRS["BEAMUSD"]
    now = started_at + delay_s
    plan = decision(shown, "BEAMUSD", now).plan
    assert plan is not None
    bought = shown.quote(beam, now=now).ask
    position = OpenPosition.opened(plan, entry_price=Price(bought), opened_at=now)
    while position.fraction_left > 0 and now < started_at + 180:
        now += 30
        price = Price(shown.quote(beam, now=now).bid)
        decided = apex.evaluate_exit(position, price=price, market_time=now)
        if decided is not None:
            left = position.fraction_left * (1 - decided.fraction)
            position = replace(position, fraction_left=left, targets_hit=decided.targets_hit)
        position = replace(position, highest=max(position.highest, price))
    assert position.fraction_left == 0
    assert price > Price(bought)


def test_a_market_told_to_begin_later_moves_as_if_the_exchange_had_started_then() -> None:
    moved, fresh = market(MINUTE), market(MINUTE + 300)
    candles(moved, "BEAMUSD", MINUTE)
    moved.begin(MINUTE + 300)
    now = MINUTE + 320
    assert candles(moved, "BEAMUSD", now) == candles(fresh, "BEAMUSD", now)
    assert moved.quote(PAIRS["SOLUSD"], now=now) == fresh.quote(PAIRS["SOLUSD"], now=now)
    assert moved.state() == fresh.state()
