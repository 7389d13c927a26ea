"""What the account was worth at every candle's close, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from trading.backtest.books import Account
from trading.backtest.simulation import Run
from trading.backtest.tape import CLOSE, Tape
from trading.domain.instrument import Side
from trading.domain.money import Money
from trading.strategy.candles import FloatArray, IntArray

#: Everything is counted in 10**-18 dollars as whole numbers of any size: a lot has 8 decimals, a tick at most 10.
PLACES = 18
ObjectArray = NDArray[np.object_]


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One point a candle: `times` is its close in unix seconds, `cash` and `equity` are in 10**-18 dollars.

    `held` says whether anything was held then, `drawdown` how far equity lay below its peak so far (0 or negative).
    """

    times: IntArray
    cash: ObjectArray
    equity: ObjectArray
    held: NDArray[np.bool_]
    drawdown: FloatArray

    def money(self, units: int) -> Money:
        return Money(Decimal(units).scaleb(-PLACES))


def curve_of(run: Run) -> Curve:
    step_s = run.tapes[0].step_s
    begin = min(tape.closes_at(tape.first) for tape in run.tapes)
    end = max(tape.closes_at(tape.last) for tape in run.tapes)
    times = np.arange(begin, end + 1, step_s, dtype=np.int64)
    cash = _cash(run, times)
    value = np.zeros(len(times), dtype=np.object_)
    held = np.zeros(len(times), dtype=np.bool_)
    for tape in run.tapes:
        for since, until, lots in _stretches(run.account, tape):
            at, to = (np.searchsorted(times, moment) for moment in (since, until))
            first = (since - tape.start) // step_s - 1
            bids = run.account.bids[tape.symbol][CLOSE, first : first + int(to - at)].astype(np.object_)
            value[at:to] += bids * (lots * _units(tape.pair.tick * tape.instrument.lot_size))
            held[at:to] = True
    equity = cash + value
    floats = (equity / 10**PLACES).astype(np.float64)
    peaks = np.maximum(np.maximum.accumulate(floats), float(run.terms.capital.value))
    return Curve(times, cash, equity, held, floats / peaks - 1.0)


def _cash(run: Run, times: IntArray) -> ObjectArray:
    """At each close what the last execution up to it left."""
    executions = run.account.executions
    left = [run.terms.capital, *(execution.cash_after for execution in executions)]
    units = np.array([_units(money.value) for money in left], dtype=np.object_)
    at = np.array([execution.at for execution in executions], dtype=np.int64)
    return np.asarray(units[np.searchsorted(at, times, side="right")], dtype=np.object_)


def _stretches(account: Account, tape: Tape) -> Sequence[tuple[int, int, int]]:
    """(since, until, lots): what was held of the pair at the closes from `since` on and before `until`, unix seconds."""
    found: list[tuple[int, int, int]] = []
    lots, since = 0, 0
    for execution in account.executions:
        if execution.symbol != tape.symbol:
            continue
        if lots and execution.at > since:
            found.append((since, execution.at, lots))
        moved = int(execution.quantity.value / tape.instrument.lot_size)
        lots, since = lots + (moved if execution.side is Side.BUY else -moved), execution.at
    assert lots == 0, "a backtest ends flat"
    return found


def _units(amount: Decimal) -> int:
    units = amount.scaleb(PLACES)
    assert units == units.to_integral_value(), f"{amount} has more than {PLACES} decimals"
    return int(units)
