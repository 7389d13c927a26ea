"""What a backtest comes to. Money is Decimal and exact; ratios, and only they, are floats."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import reduce

import numpy as np

from trading.backtest.books import Trade, quote_at
from trading.backtest.curve import PLACES, Curve, curve_of
from trading.backtest.simulation import Run
from trading.backtest.tape import Tape
from trading.backtest.terms import Terms
from trading.domain.money import CONTEXT, Money, Price, Ratio
from trading.paper import matching
from trading.strategy.candles import FloatArray

DAY_S = 86_400
#: Crypto trades every day of the year.
DAYS_A_YEAR = 365
ONE = Ratio(Decimal(1))


@dataclass(frozen=True, slots=True)
class Reason:
    """The sales for one reason; `trades` counts those that it ended."""

    reason: str
    sales: int
    trades: int
    profit: Money


@dataclass(frozen=True, slots=True)
class PairResult:
    symbol: str
    trades: int
    won: int
    profit: Money
    fees: Money
    #: What holding this pair alone would have returned.
    held: float


@dataclass(frozen=True, slots=True)
class Statistics:
    """Ratios are floats: 0.05 is five per cent. None is "not defined": no trade, no loss, less than three days.

    `sharpe` is mean over standard deviation (n - 1) of the returns of whole UTC days, times the square root of 365,
    without a risk-free rate. `profit_factor` is what winning trades made over what losing ones lost. `exposure` is the
    share of candle closes with a position. `held` is buying equal parts of all pairs at the first close and selling at
    the last, with the same spread and fees.
    """

    final_cash: Money
    profit: Money
    net_return: float
    max_drawdown: float
    sharpe: float | None
    profit_factor: float | None
    win_rate: float | None
    exposure: float
    fees: Money
    trades: int
    average_profit: Money | None
    average_return: float | None
    average_hours: float | None
    held_profit: Money
    held: float
    reasons: tuple[Reason, ...]
    pairs: tuple[PairResult, ...]


def statistics_of(run: Run, curve: Curve | None = None) -> Statistics:
    curve = curve or curve_of(run)
    trades, capital = run.trades, run.terms.capital
    profit = run.account.cash - capital
    held = {tape.symbol: _held(tape, run.terms, share=1) for tape in run.tapes}
    held_profit = total(_held(tape, run.terms, share=len(run.tapes)) for tape in run.tapes)
    count = len(trades)
    return Statistics(
        final_cash=run.account.cash,
        profit=profit,
        net_return=_ratio(profit, capital),
        max_drawdown=abs(float(curve.drawdown.min(initial=0.0))),
        sharpe=_sharpe(daily_returns(curve, capital)),
        profit_factor=_profit_factor(trades),
        win_rate=sum(_won(trade) for trade in trades) / count if count else None,
        exposure=float(curve.held.mean()),
        fees=total(trade.fees for trade in trades),
        trades=count,
        average_profit=_average(trades),
        average_return=math.fsum(_ratio(each.profit, each.cost) for each in trades) / count if count else None,
        average_hours=math.fsum(_hours(each) for each in trades) / count if count else None,
        held_profit=held_profit,
        held=_ratio(held_profit, capital),
        reasons=_reasons(trades),
        pairs=tuple(_pair_result(tape.symbol, trades, _ratio(held[tape.symbol], capital)) for tape in run.tapes),
    )


def daily_returns(curve: Curve, capital: Money) -> FloatArray:
    """Returns of whole UTC days, from the capital at the first midnight of the data on."""
    midnight = curve.times % DAY_S == 0
    worth = (curve.equity[midnight] / 10**PLACES).astype(np.float64)
    starts_at_midnight = (int(curve.times[0]) - _step(curve)) % DAY_S == 0
    levels = np.concatenate(([float(capital.value)], worth)) if starts_at_midnight else worth
    return np.asarray(levels[1:] / levels[:-1] - 1.0, dtype=np.float64)


def _step(curve: Curve) -> int:
    return int(curve.times[1] - curve.times[0]) if len(curve.times) > 1 else 0


def _sharpe(returns: FloatArray) -> float | None:
    if len(returns) < 2:
        return None
    spread = float(returns.std(ddof=1))
    return float(returns.mean()) / spread * math.sqrt(DAYS_A_YEAR) if spread > 0 else None


def _profit_factor(trades: Sequence[Trade]) -> float | None:
    won = total(trade.profit for trade in trades if _won(trade))
    lost = total(-trade.profit for trade in trades if not _won(trade))
    return _ratio(won, lost) if lost else None


def _reasons(trades: Sequence[Trade]) -> tuple[Reason, ...]:
    sales = [sale for trade in trades for sale in trade.exits]
    return tuple(
        Reason(
            reason=reason,
            sales=sum(sale.reason == reason for sale in sales),
            trades=sum(trade.reason == reason for trade in trades),
            profit=rounded(total(sale.profit for sale in sales if sale.reason == reason)),
        )
        for reason in sorted({sale.reason for sale in sales})
    )


def _pair_result(symbol: str, trades: Sequence[Trade], held: float) -> PairResult:
    mine = [trade for trade in trades if trade.symbol == symbol]
    return PairResult(
        symbol=symbol,
        trades=len(mine),
        won=sum(_won(trade) for trade in mine),
        profit=total(trade.profit for trade in mine),
        fees=total(trade.fees for trade in mine),
        held=held,
    )


def _held(tape: Tape, terms: Terms, *, share: int) -> Money:
    """Profit of one part in `share` of the capital in this pair from the first traded close to the last."""
    part = terms.capital / Ratio(Decimal(share))
    ask = Price(quote_at(tape, tape.first, spread_bps=terms.spread_bps).ask)
    bid = quote_at(tape, tape.last, spread_bps=terms.spread_bps).bid
    quantity = tape.instrument.round_quantity(part / (ONE + terms.taker_fee) / ask)
    bought, sold = (
        matching.fill(tape.pair, price, quantity.value, fees=terms.fees, maker=False) for price in (ask.value, bid)
    )
    return Money(sold.cost) - Money(sold.fee) - Money(bought.cost) - Money(bought.fee)


def total(amounts: Iterable[Money]) -> Money:
    """Added up as Decimals: thousands of amounts are checked once, as their sum."""
    return Money(reduce(CONTEXT.add, (amount.value for amount in amounts), Decimal(0)))


def rounded(amount: Money) -> Money:
    """A sale's profit holds a share of the cost, a quotient without end: shown to eight decimals."""
    return Money(amount.value.quantize(Decimal("1e-8")))


def _average(trades: Sequence[Trade]) -> Money | None:
    if not trades:
        return None
    return rounded(total(each.profit for each in trades) / Ratio(Decimal(len(trades))))


def _won(trade: Trade) -> bool:
    return trade.profit > Money.zero()


def _hours(trade: Trade) -> float:
    return (trade.exits[-1].at - trade.entry.at) / 3600


def _ratio(part: Money, whole: Money) -> float:
    return float((part / whole).value)
