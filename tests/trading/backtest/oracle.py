"""A backtest as a spreadsheet would reckon it: every candle, every tick, every share as a fraction.

Shares no code with the product: only numbers go in (rows of text, plans as fractions) and lines come out. It is slow and
plain on purpose: no search, no levels in floats, no arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import floor

F = Fraction
LOT = F(1, 10**8)
NOTHING, HALF_A_DOLLAR = F(0), F(1, 2)
CASH, SHARE, SPREAD, FEE, SLIPPAGE = F(1000), F(12, 100), F(4, 10_000), F(8, 1000), F(5, 1000)


@dataclass(frozen=True)
class Rules:
    """One row of AssetPairs."""

    tick: Fraction
    cost_places: int
    ordermin: Fraction
    costmin: Fraction = HALF_A_DOLLAR


@dataclass(frozen=True)
class Plan:
    """Distances from the entry price, seconds from the entry; targets are (distance, share of what was bought)."""

    stop: Fraction
    targets: Sequence[tuple[Fraction, Fraction]]
    trail: Fraction
    stagnation_below: Fraction
    stagnation_after_s: int
    max_holding_s: int


@dataclass(frozen=True)
class Line:
    symbol: str
    at: int
    reason: str
    price: Fraction
    quantity: Fraction
    notional: Fraction
    fee: Fraction


@dataclass
class Lot:
    entry: Fraction
    plan: Plan
    opened_at: int
    bought: Fraction
    managed: Fraction
    stop: Fraction
    highest: Fraction
    hit: int = 0
    profit: Fraction = NOTHING


#: The entry wanted at the close of candle `index` of a pair: score and plan.
Decide = Callable[[str, int], "tuple[Fraction, Plan] | None"]


@dataclass
class Sheet:
    """`bars` are open, high, low, close by pair, all pairs from the same time on, none missing."""

    rules: Mapping[str, Rules]
    bars: Mapping[str, Sequence[Sequence[str]]]
    decide: Decide
    start: int
    step: int
    cash: Fraction = CASH
    share: Fraction = SHARE
    spread: Fraction = SPREAD
    fee: Fraction = FEE
    slippage: Fraction = SLIPPAGE
    lots: dict[str, Lot] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    profits: list[Fraction] = field(default_factory=list)

    def run(self) -> None:
        length = len(next(iter(self.bars.values())))
        for i in range(length):
            before = list(self.lots)
            for symbol in sorted(before):
                self.within(symbol, i)
            self.enter(i, last=i == length - 1)
            for symbol in sorted(before):
                self.clock(symbol, i)
            if i == length - 1:
                for symbol in sorted(self.lots):
                    self.sell(symbol, i, self.lots[symbol].managed, self.bid(symbol, i, 3), "end_of_data")

    # Prices.

    def price(self, symbol: str, i: int, column: int) -> Fraction:
        return F(self.bars[symbol][i][column])

    def on_tick(self, symbol: str, price: Fraction) -> Fraction:
        tick = self.rules[symbol].tick
        return max(tick, floor(price / tick + F(1, 2)) * tick)

    def bid(self, symbol: str, i: int, column: int) -> Fraction:
        price = self.price(symbol, i, column)
        return self.on_tick(symbol, price - price * self.spread / 2)

    def ask(self, symbol: str, i: int) -> Fraction:
        price = self.price(symbol, i, 3)
        return max(
            self.on_tick(symbol, price + price * self.spread / 2), self.bid(symbol, i, 3) + self.rules[symbol].tick
        )

    # Within a candle: every tick of open, low, high, close.

    def within(self, symbol: str, i: int) -> None:
        for price in self.path(symbol, i):
            if symbol in self.lots:
                self.level(symbol, i, price)

    def path(self, symbol: str, i: int) -> Sequence[Fraction]:
        tick = self.rules[symbol].tick
        points = [round(self.bid(symbol, i, column) / tick) for column in (0, 2, 1, 3)]
        walked = [points[0]]
        for point in points[1:]:
            step = 1 if point > walked[-1] else -1
            walked += range(walked[-1] + step, point + step, step) if point != walked[-1] else []
        return [each * tick for each in walked]

    def level(self, symbol: str, i: int, price: Fraction) -> None:
        lot = self.lots[symbol]
        lot.highest = max(lot.highest, price)
        if price <= lot.stop:
            self.sell(symbol, i, lot.managed, price, "stop")
            return
        levels = [lot.entry * (1 + distance) for distance, _ in lot.plan.targets]
        if lot.hit or lot.highest >= levels[0]:
            trailing = max(lot.stop, lot.highest - lot.entry * lot.plan.trail)
            if price <= trailing:
                self.sell(symbol, i, lot.managed, price, "trailing")
                return
        reached = sum(price >= level for level in levels)
        if reached > lot.hit:
            kept = 1 - sum((share for _, share in lot.plan.targets[:reached]), F(0))
            part = floor((lot.managed - kept * lot.managed / min(F(1), lot.managed / lot.bought)) / LOT) * LOT
            lot.hit = reached
            whole = not self.sellable(symbol, lot.managed - part, price) or not self.sellable(symbol, part, price)
            self.sell(symbol, i, lot.managed if whole else part, price, f"target_{reached}")

    def sellable(self, symbol: str, quantity: Fraction, price: Fraction) -> bool:
        rules = self.rules[symbol]
        return quantity > 0 and quantity >= rules.ordermin and quantity * price >= rules.costmin

    # At a candle's close.

    def enter(self, i: int, *, last: bool) -> None:
        wanted = []
        for symbol in self.bars:
            found = None if symbol in self.lots or last else self.decide(symbol, i)
            if found is not None:
                wanted.append((-found[0], symbol, found[1]))
        for _, symbol, plan in sorted(wanted, key=lambda each: each[:2]):
            self.buy(symbol, i, plan)

    def buy(self, symbol: str, i: int, plan: Plan) -> None:
        rules, ask = self.rules[symbol], self.ask(symbol, i)
        told = floor(self.cash * 10_000) / F(10_000)
        equity = told + sum((lot.managed * self.bid(each, i, 3) for each, lot in self.lots.items()), F(0))
        quantity = floor(equity * self.share / ask / LOT) * LOT
        limit = max(ask, floor(ask * (1 + self.slippage) / rules.tick) * rules.tick)
        if (
            quantity < 2 * rules.ordermin
            or quantity * ask < 2 * rules.costmin
            or quantity * limit * (1 + self.fee) > told
        ):
            return
        at = self.start + (i + 1) * self.step
        notional, fee = self.line(symbol, at, "entry", ask, quantity)
        self.cash -= notional + fee
        entry = rounded_even(notional / quantity, 12)
        stop = rounded_even(entry * (1 - plan.stop), 12)
        self.lots[symbol] = Lot(entry, plan, at, quantity, quantity, stop, entry, profit=-notional - fee)

    def clock(self, symbol: str, i: int) -> None:
        lot = self.lots.get(symbol)
        if lot is None:
            return
        close, held = self.bid(symbol, i, 3), (i + 1) * self.step + self.start - lot.opened_at
        if held >= lot.plan.max_holding_s:
            self.sell(symbol, i, lot.managed, close, "time")
            return
        never = lot.highest < lot.entry * (1 + lot.plan.stagnation_below)
        if held >= lot.plan.stagnation_after_s and not lot.hit and never:
            self.sell(symbol, i, lot.managed, close, "stagnation")

    def sell(self, symbol: str, i: int, quantity: Fraction, price: Fraction, reason: str) -> None:
        lot = self.lots[symbol]
        notional, fee = self.line(symbol, self.start + (i + 1) * self.step, reason, price, quantity)
        self.cash += notional - fee
        lot.managed -= quantity
        lot.profit += notional - fee
        if not lot.managed:
            del self.lots[symbol]
            self.profits.append(lot.profit)

    def line(self, symbol: str, at: int, reason: str, price: Fraction, quantity: Fraction) -> tuple[Fraction, Fraction]:
        places = self.rules[symbol].cost_places
        notional = rounded_up(price * quantity, places)
        fee = rounded_up(notional * self.fee, places)
        self.lines.append(Line(symbol, at, reason, price, quantity, notional, fee))
        return notional, fee


def rounded_up(value: Fraction, places: int) -> Fraction:
    """Half up."""
    return F(floor(value * 10**places + F(1, 2)), 10**places)


def rounded_even(value: Fraction, places: int) -> Fraction:
    """Half to even, which is what `round` does with fractions."""
    return F(round(value * 10**places), 10**places)
