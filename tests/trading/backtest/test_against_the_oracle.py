"""Every trade of a tape written by hand, and of apex on synthetic markets, equals the oracle's to the last digit."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from tests.trading.backtest import oracle
from tests.trading.backtest.oracle import Rules, Sheet
from tests.trading.backtest.tapes import PLAN, START, STEP, Bar, D, Written, bars_of, run, terms, write
from tests.trading.strategy.markets import walk
from trading.backtest.simulation import Run
from trading.domain.money import Price, Ratio
from trading.strategy import registry
from trading.strategy.candles import Candles
from trading.strategy.plan import EntryPlan

RULES = {
    "SOL-USD": Rules(Fraction(1, 100), 5, Fraction(2, 100)),
    "XRP-USD": Rules(Fraction(1, 100_000), 8, Fraction(2)),
}
FLAT: Bar = ("100", "100", "100", "100")
#: What follows each entry at 100 (ask 100.02, so stop 96.02, targets 106.02, 109.02 and 113.02, trail 4), and how it ends.
SCENES: list[tuple[list[Bar], list[str]]] = [
    ([("100", "100.5", "95", "96")], ["stop"]),
    ([("90", "91", "89", "90.5")], ["stop"]),
    (
        [("100", "106.5", "100", "106"), ("106", "109.3", "105", "109"), ("109", "114", "108", "113.5")],
        ["target_1", "target_2", "target_3"],
    ),
    ([("100", "107", "99.9", "102")], ["target_1", "trailing"]),
    ([("110", "110.5", "109.5", "110"), ("110", "110", "104", "105")], ["target_2", "trailing"]),
    ([("120", "121", "119", "120")], ["target_3"]),
    ([("100", "101", "99", "100.5")] * 6, ["stagnation"]),
    ([("100", "104", "100", "104"), *[("104", "105", "103", "104")] * 11], ["time"]),
    ([("100", "106.2", "100", "106"), *[("106", "106.2", "104", "105")] * 11], ["target_1", "time"]),
    # Stop and target within one candle: the adverse side comes first.
    ([("100", "108", "95", "107")], ["stop"]),
]
FLAT_XRP: Bar = ("0.5", "0.5", "0.5", "0.5")


def plan_of(plan: EntryPlan) -> oracle.Plan:
    return oracle.Plan(
        stop=Fraction(plan.stop_distance.value),
        targets=[(Fraction(target.distance.value), target.fraction) for target in plan.targets],
        trail=Fraction(plan.trail.value),
        stagnation_below=Fraction(plan.stagnation_below.value),
        stagnation_after_s=plan.stagnation_after_s,
        max_holding_s=plan.max_holding_s,
    )


def hand_made() -> tuple[dict[str, list[Bar]], Written]:
    """Ten trades of SOL one after the other; two of XRP beside them, the second open at the end."""
    sol, entries = [FLAT], {}
    for bars, _ in SCENES:
        entries[(START + (len(sol) - 1) * STEP, "100")] = (D(70), PLAN)
        sol += [*bars, FLAT]
    xrp = [FLAT_XRP] * len(sol)
    # Bought at the same close as SOL's first trade, before it because of its score.
    entries[(START, "0.5")] = (D(90), PLAN)
    xrp[3] = ("0.5", "0.56", "0.499", "0.55")
    xrp[4] = ("0.55", "0.55", "0.47", "0.48")
    entries[(START + (len(xrp) - 4) * STEP, "0.5")] = (D(10), PLAN)
    return {"SOL-USD": sol, "XRP-USD": xrp}, Written(entries)


def sheet_of(bars: dict[str, list[Bar]], strategy: Written) -> Sheet:
    def decide(symbol: str, index: int) -> tuple[Fraction, oracle.Plan] | None:
        found = strategy.entries.get((START + index * STEP, f"{float(bars[symbol][index][3]):g}"))
        return (Fraction(found[0]), plan_of(found[1])) if found else None

    return Sheet(rules=RULES, bars=bars, decide=decide, start=START, step=STEP)


def lines_of(found: Run) -> list[oracle.Line]:
    return [
        oracle.Line(
            each.symbol,
            each.at,
            each.reason,
            *(Fraction(amount.value) for amount in (each.price, each.quantity, each.notional, each.fee)),
        )
        for each in found.account.executions
    ]


def test_a_hand_made_tape_of_twelve_trades_equals_the_oracle_to_the_last_digit(tmp_path: Path) -> None:
    bars, strategy = hand_made()
    sheet = sheet_of(bars, strategy)
    sheet.run()
    paths = [write(tmp_path, symbol.replace("-", ""), rows) for symbol, rows in bars.items()]
    found = run(paths, strategy=strategy, asked=terms(candles=len(bars["SOL-USD"])))

    assert len(found.trades) == 12
    by_pair = defaultdict(list)
    for trade in found.trades:
        by_pair[trade.symbol].append([sale.reason for sale in trade.exits])
    assert by_pair["SOL-USD"] == [reasons for _, reasons in SCENES]
    assert by_pair["XRP-USD"] == [["target_1", "target_2", "trailing"], ["end_of_data"]]

    assert lines_of(found) == sheet.lines
    assert [Fraction(trade.profit.value) for trade in found.account.trades] == sheet.profits
    assert Fraction(found.account.cash.value) == sheet.cash


def test_the_first_trades_of_the_hand_made_tape_are_what_a_person_reckons(tmp_path: Path) -> None:
    """12 % of 1000 at the ask 100.02 is 1.19976004 SOL for 120.00000 and 0.96000 of fee; the stop is 4 % below."""
    bars, strategy = hand_made()
    only_sol = Written({key: entry for key, entry in strategy.entries.items() if key[1] == "100"})
    paths = [write(tmp_path, "SOLUSD", bars["SOL-USD"])]
    first = run(paths, strategy=only_sol, asked=terms(candles=len(bars["SOL-USD"]))).trades[0]
    assert (str(first.entry.quantity), str(first.entry.price)) == ("1.19976004", "100.02")
    assert (str(first.entry.notional), str(first.entry.fee)) == ("120", "0.96")
    sale = first.exits[0]
    # 100.019999... - 4 % = 96.0192 within rounding, so the first bid at or below it is 96.01.
    assert (str(sale.price), str(sale.notional), str(sale.fee)) == ("96.01", "115.18896", "0.92151")
    assert str(first.profit) == "-6.69255"


@pytest.mark.parametrize("name", registry.names())
@pytest.mark.parametrize("seed", [3, 8])
def test_registered_strategies_on_synthetic_markets_equal_the_oracle(tmp_path: Path, seed: int, name: str) -> None:
    strategy = registry.get(name)
    markets = {"SOL-USD": walk(seed, length=450, start=20.0), "XRP-USD": walk(seed + 100, length=450, start=0.03)}
    bars = {
        "SOL-USD": bars_of(markets["SOL-USD"], places=2),
        "XRP-USD": bars_of(markets["XRP-USD"], places=5),
    }
    volumes = {symbol: [f"{value:.8f}" for value in market.volume] for symbol, market in markets.items()}
    prepared = {symbol: strategy.prepare(candles(rows, volumes[symbol])) for symbol, rows in bars.items()}

    def decide(symbol: str, index: int) -> tuple[Fraction, oracle.Plan] | None:
        ask, bid = sheet.ask(symbol, index), sheet.bid(symbol, index, 3)
        spread = (price_of(ask) - price_of(bid)).per(price_of(ask))
        decision = prepared[symbol].decide(index, fees=Ratio(D("0.008")), slippage=spread)
        if not decision.enter:
            return None
        assert decision.plan is not None
        return Fraction(decision.score), plan_of(decision.plan)

    sheet = Sheet(rules=RULES, bars=bars, decide=decide, start=START, step=STEP)
    sheet.run()
    paths = [write(tmp_path, symbol.replace("-", ""), rows, volumes=volumes[symbol]) for symbol, rows in bars.items()]
    found = run(paths, strategy=strategy, asked=terms(candles=len(bars["SOL-USD"])))

    assert len(found.trades) >= 5
    assert lines_of(found) == sheet.lines
    assert [Fraction(trade.profit.value) for trade in found.account.trades] == sheet.profits
    assert Fraction(found.account.cash.value) == sheet.cash


def candles(rows: list[Bar], volumes: list[str]) -> Candles:
    opened, high, low, close = ([float(row[column]) for row in rows] for column in range(4))
    time = [START + i * STEP for i in range(len(rows))]
    return Candles(time, opened, high, low, close, [float(v) for v in volumes], interval_s=STEP)  # type: ignore[arg-type]


def price_of(value: Fraction) -> Price:
    return Price(Decimal(value.numerator) / Decimal(value.denominator))
