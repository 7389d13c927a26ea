"""The rules around the trades: places, cash, cycles, marks at the edges of the data."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trading.backtest.tapes import PLAN, START, STEP, Bar, D, Written, run, terms, write
from trading.backtest.simulation import POSITION_CAP, SPACING, Run
from trading.backtest.terms import BacktestRefused, Looks
from trading.domain.instrument import Side
from trading.domain.money import Money, Ratio
from trading.paper.pairs import PAIRS
from trading.strategy import registry

#: Every pair of the exchange at a price at which five per cent of 1000 dollars buys twice its minimum.
PRICES = {
    "XBTUSD": "100", "ETHUSD": "101", "SOLUSD": "102", "LTCUSD": "103", "XRPUSD": "0.5", "XDGUSD": "0.1",
    "PEPEUSD": "0.00001", "FLRUSD": "0.02", "BEAMUSD": "0.003",
}  # fmt: skip
QUIET: Bar = ("100", "100.5", "99.5", "100")


def all_at_once(directory: Path, **changes: object) -> Run:
    """Nine pairs, all wanted at the first close; the later in the list the higher the score."""
    paths, entries = [], {}
    for place, (name, price) in enumerate(PRICES.items()):
        paths.append(write(directory, name, [(price, price, price, price)] * 3))
        entries[(START, f"{float(price):g}")] = (D(place), PLAN)
    asked = terms(candles=3, entry_notional=Ratio(D("0.05")), **changes)
    return run(paths, strategy=Written(entries), asked=asked)


def bought(found: Run) -> list[str]:
    return [each.symbol for each in found.account.executions if each.side is Side.BUY]


def test_the_best_scores_are_bought_first_and_the_ninth_finds_no_place(tmp_path: Path) -> None:
    assert len(PRICES) == len(PAIRS)
    found = all_at_once(tmp_path)
    assert bought(found) == [
        "BEAM-USD", "FLR-USD", "PEPE-USD", "DOGE-USD", "XRP-USD", "LTC-USD", "SOL-USD", "ETH-USD",
    ]  # fmt: skip
    assert dict(found.refused) == {POSITION_CAP: 1}


def test_each_entry_is_sized_by_what_the_one_before_left(tmp_path: Path) -> None:
    first, second = [each for each in all_at_once(tmp_path).account.executions if each.side is Side.BUY][:2]
    assert first.notional == Money(D("50"))
    assert Money(D("49.9")) < second.notional < first.notional


def test_looking_at_closes_only_is_one_cycle_a_candle(tmp_path: Path) -> None:
    found = all_at_once(tmp_path, looks=Looks.CLOSE)
    assert bought(found) == ["BEAM-USD"]
    assert dict(found.refused) == {SPACING: 8}


def test_cash_that_is_spent_buys_nothing_more(tmp_path: Path) -> None:
    first = ("100", "100", "100", "100")
    paths = [write(tmp_path, "SOLUSD", [first] * 3), write(tmp_path, "LTCUSD", [("50", "50", "50", "50")] * 3)]
    entries = {(START, "100"): (D(90), PLAN), (START, "50"): (D(10), PLAN)}
    found = run(paths, strategy=Written(entries), asked=terms(candles=3, entry_notional=Ratio(D("0.7"))))
    assert bought(found) == ["SOL-USD"]
    assert dict(found.refused) == {"no_free_cash": 1}


def test_an_account_too_small_for_the_exchange_trades_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, "SOLUSD", [QUIET] * 4)
    found = run([path], strategy=Written({(START, "100"): (D(90), PLAN)}), asked=terms(candles=4, capital=Money(D(5))))
    assert found.trades == []
    assert dict(found.refused) == {"below_minimum": 1}
    assert found.account.cash == Money(D(5))


def test_a_part_too_small_to_sell_takes_the_whole_position_with_it(tmp_path: Path) -> None:
    """0.048 SOL bought; two fifths would be below Kraken's 0.02, so all of it goes at the first target."""
    bars = [QUIET, ("100", "107", "100", "106.8"), QUIET]
    path = write(tmp_path, "SOLUSD", bars)
    asked = terms(candles=3, capital=Money(D(40)))
    trade = run([path], strategy=Written({(START, "100"): (D(90), PLAN)}), asked=asked).trades[0]
    assert [sale.reason for sale in trade.exits] == ["target_1"]
    assert trade.exits[0].quantity == trade.entry.quantity


def test_nothing_is_bought_at_the_last_close_or_before_the_range(tmp_path: Path) -> None:
    path = write(tmp_path, "SOLUSD", [QUIET] * 6)
    entries = {(START + i * STEP, "100"): (D(90), PLAN) for i in (0, 1, 5)}
    assert run([path], strategy=Written(entries), asked=terms(start=2, candles=6)).trades == []


def test_looking_at_closes_only_sells_at_the_close(tmp_path: Path) -> None:
    bars = [QUIET, ("100", "100", "90", "95"), QUIET]
    path = write(tmp_path, "SOLUSD", bars)
    asked = terms(candles=3, looks=Looks.CLOSE)
    sale = run([path], strategy=Written({(START, "100"): (D(90), PLAN)}), asked=asked).trades[0].exits[0]
    # The bid of 95 is 94.98.
    assert (sale.reason, str(sale.price)) == ("stop", "94.98")


def test_an_exit_within_a_candle_frees_its_pair_for_that_candles_close(tmp_path: Path) -> None:
    bars = [QUIET, ("100", "100", "90", "100"), QUIET, QUIET]
    entries = {(START, "100"): (D(90), PLAN), (START + STEP, "100"): (D(90), PLAN)}
    found = run([write(tmp_path, "SOLUSD", bars)], strategy=Written(entries), asked=terms(candles=4))
    assert [trade.entry.at - START for trade in found.trades] == [STEP, 2 * STEP]


def test_too_few_candles_for_the_strategy_are_refused_with_what_is_needed(tmp_path: Path) -> None:
    path = write(tmp_path, "SOLUSD", [QUIET] * 100)
    with pytest.raises(
        BacktestRefused, match="SOL-USD has 100 candles up to --to, and apex needs 100 before its first"
    ):
        run([path], strategy=registry.get("apex"), asked=terms(candles=100))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"start": 5, "candles": 5}, "--from must be before --to"),
        ({"capital": Money(D(0))}, "capital is an amount above zero"),
        ({"spread_bps": D("1000")}, "spread is from 0 to below 1000"),
        ({"spread_bps": D("1.00001")}, "at most 4 decimals"),
        ({"entry_notional": Ratio(D("1.01"))}, "at most 100 % of equity"),
    ],
)
def test_terms_out_of_range_are_refused(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(BacktestRefused, match=sentence):
        terms(**{"candles": 5, **change})  # type: ignore[arg-type]
