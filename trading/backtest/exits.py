"""Looking at what is held: where in a candle a level is met, and which candles need no look at all.

The strategy's `evaluate_exit` makes every decision. Here is only which prices it is shown: within a candle the bid goes
open, low, high, close, through every tick between, so a level is met at its own tick, or where the candle opens if that
is beyond it already.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from trading.backtest.books import Account, Holding
from trading.backtest.tape import CLOSE, HIGH, LOW, OPEN
from trading.backtest.terms import Looks
from trading.domain.money import Price
from trading.strategy.exits import trailing_level
from trading.strategy.plan import ONE
from trading.strategy.registry import Strategy

#: A search looks at this many candles first, then at twice as many, and so on.
_SEARCH_FIRST, _SEARCH_MAX = 64, 4096
#: Levels are compared in floats when candles are picked; a tick is far more than their rounding.
_MARGIN_TICKS = 1.0


@dataclass(frozen=True, slots=True)
class Watch:
    """Looks at the holdings of `account` with the eyes of `strategy`."""

    account: Account
    strategy: Strategy

    def next_look(self, holding: Holding, *, last: int) -> int:
        """The first candle after `holding.seen` at which something may be decided; `last` if there is none before.

        The levels are those of the position's plan: no candle at which `trading.strategy.exits` decides is left out.
        """
        bids = self.account.bids[holding.tape.symbol]
        path = self.account.terms.looks is Looks.PATH
        lows, highs = (bids[LOW], bids[HIGH]) if path else (bids[CLOSE], bids[CLOSE])
        begin, end = holding.seen + 1, min(last, max(holding.seen + 1, self._due(holding)))
        size, limits = _SEARCH_FIRST, _Limits.of(holding)
        highest = limits.highest
        while begin < end:
            until = min(end, begin + size)
            tops = np.maximum(np.maximum.accumulate(highs[begin:until]), highest)
            below = lows[begin:until]
            met = (below <= limits.stop) | (highs[begin:until] >= limits.target)
            if limits.armed:
                met |= below <= tops - limits.trail
            if met.any():
                return begin + int(np.argmax(met))
            begin, highest, size = until, float(tops[-1]), min(_SEARCH_MAX, 2 * size)
        return end

    def walk(self, holding: Holding, index: int) -> None:
        """Levels within candle `index`, adverse side first. What happens by the clock happens at its close."""
        tape = holding.tape
        bids = self.account.bids[tape.symbol]
        self._catch_up(holding, index)
        opened, low, high, close = (int(bids[row, index]) for row in (OPEN, LOW, HIGH, CLOSE))
        starts, ends = tape.closes_at(index - 1), tape.closes_at(index)
        for ticks in _path(holding, opened, low, high, close):
            self.look(holding, ticks, market_time=starts, at=ends)
            if not holding.state.managed:
                break
        holding.seen = index

    def look_at_close(self, holding: Holding, index: int) -> None:
        self._catch_up(holding, index)
        ends = holding.tape.closes_at(index)
        close = int(self.account.bids[holding.tape.symbol][CLOSE, index])
        self.look(holding, close, market_time=ends, at=ends)
        holding.seen = index

    def look(self, holding: Holding, ticks: int, *, market_time: int, at: int) -> None:
        """Show the strategy one bid and sell what it decides."""
        bid = holding.tape.price(ticks)
        position = replace(
            holding.position,
            highest=max(holding.position.highest, bid),
            fraction_left=holding.fraction_left(),
        )
        decision = self.strategy.evaluate_exit(position, price=bid, market_time=market_time)
        if decision is not None and self.account.sell(holding, decision, bid=bid, at=at):
            position = replace(position, targets_hit=decision.targets_hit)
        holding.position = position

    def _catch_up(self, holding: Holding, index: int) -> None:
        """The highest bid of the candles that nobody looked at."""
        rows = self.account.bids[holding.tape.symbol]
        highs = rows[HIGH if self.account.terms.looks is Looks.PATH else CLOSE, holding.seen + 1 : index]
        if len(highs):
            _raise_highest(holding, int(highs.max()))

    def _due(self, holding: Holding) -> int:
        """The first candle at whose close stagnation or time may end the position."""
        tape, position = holding.tape, holding.position

        def at_or_after(held_s: int) -> int:
            return -((tape.start - position.opened_at - held_s) // tape.step_s) - 1

        time = at_or_after(position.plan.max_holding_s)
        if position.targets_hit:
            return time
        stagnation = at_or_after(position.plan.stagnation_after_s)
        if stagnation <= holding.seen and position.highest >= position.entry_price * (
            ONE + position.plan.stagnation_below
        ):
            return time
        return min(stagnation, time)


@dataclass(frozen=True, slots=True)
class _Limits:
    """A position's levels in ticks, a margin on the side of looking too often."""

    stop: float
    target: float
    trail: float
    highest: float
    armed: bool

    @classmethod
    def of(cls, holding: Holding) -> _Limits:
        position, targets = holding.position, holding.targets
        highest = _ticks(position.highest, holding)
        return cls(
            stop=_ticks(position.stop, holding) + _MARGIN_TICKS,
            target=targets[position.targets_hit] if position.targets_hit < len(targets) else math.inf,
            trail=_ticks(position.entry_price * position.plan.trail, holding) - _MARGIN_TICKS,
            highest=highest,
            armed=_armed(holding),
        )


def _ticks(price: Price, holding: Holding) -> float:
    return float(price.value / holding.tape.pair.tick)


def _armed(holding: Holding) -> bool:
    """Whether the trailing stop follows; at the latest when the first target's tick was seen."""
    position = holding.position
    return position.targets_hit > 0 or position.highest >= holding.tape.price(holding.targets[0])


def _raise_highest(holding: Holding, ticks: int) -> None:
    price = holding.tape.price(ticks)
    if price > holding.position.highest:
        holding.position = replace(holding.position, highest=price)


def _path(holding: Holding, opened: int, low: int, high: int, close: int) -> Iterator[int]:
    """The bids at which a level is met, in ticks; each is worked out when it is asked for, as every sale moves them."""
    if opened <= _floor(holding) or any(opened >= ticks for ticks in _targets_left(holding)):
        yield opened
    _raise_highest(holding, opened)
    yield from _falling(holding, opened, low)
    yield from _rising(holding, low, high)
    _raise_highest(holding, high)
    yield from _falling(holding, high, close)


def _falling(holding: Holding, start: int, end: int) -> Iterator[int]:
    ticks = _floor(holding)
    if end <= ticks < start:
        yield ticks


def _rising(holding: Holding, start: int, end: int) -> Iterator[int]:
    for ticks in _targets_left(holding):
        if start < ticks <= end:
            yield ticks


def _targets_left(holding: Holding) -> tuple[int, ...]:
    return holding.targets[holding.position.targets_hit :]


def _floor(holding: Holding) -> int:
    """The highest tick at or below the stop or the trailing stop, whichever is higher."""
    position = holding.position
    level = trailing_level(position, price=position.highest) if _armed(holding) else None
    return holding.tape.ticks_below(level or position.stop)
