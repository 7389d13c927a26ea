"""The backtest's one account: cash, what it holds, and every execution, filled and rounded as the paper exchange does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from functools import cached_property

from trading.backtest.tape import CLOSE, Tape
from trading.backtest.terms import Terms
from trading.domain import master_sizing
from trading.domain.instrument import Side
from trading.domain.master_sizing import Funds, PartTooSmall, TooSmall
from trading.domain.money import Money, Price, Quantity
from trading.domain.position import PositionState, bought, sold
from trading.domain.risk import Holding as Valued
from trading.domain.risk import copy_equity
from trading.paper import matching
from trading.paper.market import Quote, quote_around
from trading.paper.pairs import ASSETS, floor_text
from trading.strategy.candles import IntArray
from trading.strategy.decisions import EntryDecision, ExitDecision, OpenPosition
from trading.strategy.opening import opened_by_fills

#: Sold because the candles end, not because the strategy said so.
END_OF_DATA = "end_of_data"
ENTRY = "entry"
WHOLE = Fraction(1)
_USD = ASSETS["ZUSD"]


@dataclass(frozen=True, slots=True)
class Execution:
    """One fill. `at` is the close of the candle in which it happened, unix seconds.

    `profit` belongs to sales: what came in less the fee and the share of the cost, entry fee included.
    """

    trade: int
    symbol: str
    side: Side
    at: int
    reason: str
    price: Price
    quantity: Quantity
    notional: Money
    fee: Money
    profit: Money
    cash_after: Money


@dataclass
class Trade:
    """From one entry to the sale that leaves nothing of it. Its sums are read once that has happened."""

    number: int
    score: Decimal
    entry: Execution
    exits: list[Execution] = field(default_factory=list)

    @property
    def symbol(self) -> str:
        return self.entry.symbol

    @cached_property
    def fees(self) -> Money:
        return sum((each.fee for each in self.exits), self.entry.fee)

    @cached_property
    def proceeds(self) -> Money:
        """What the sales brought, before fees."""
        return sum((each.notional for each in self.exits), Money.zero())

    @property
    def cost(self) -> Money:
        """What the entry took, its fee included."""
        return self.entry.notional + self.entry.fee

    @cached_property
    def profit(self) -> Money:
        """Net of all fees, and exact: no cost is shared out."""
        return self.proceeds - self.fees - self.entry.notional

    @property
    def reason(self) -> str:
        """Of the last sale, which ended it."""
        return self.exits[-1].reason


@dataclass(slots=True)
class Holding:
    """A trade under way. `bought` is what it began with, `seen` the last candle whose prices it knows.

    `targets` are the first ticks at or above each target of the plan.
    """

    tape: Tape
    trade: Trade
    position: OpenPosition
    bought: Quantity
    state: PositionState
    targets: tuple[int, ...]
    seen: int

    def fraction_left(self) -> Fraction:
        return min(WHOLE, Fraction(self.state.managed.value) / Fraction(self.bought.value))


@dataclass(slots=True)
class Account:
    """`bids` are those of each tape by symbol; a trade is listed once nothing of it is left."""

    terms: Terms
    bids: Mapping[str, IntArray]
    cash: Money
    holdings: dict[str, Holding] = field(default_factory=dict)
    trades: list[Trade] = field(default_factory=list)
    executions: list[Execution] = field(default_factory=list)

    @property
    def cash_told(self) -> Money:
        """Cash as Kraken's Balance prints it, which is what sizes an entry live."""
        return Money(Decimal(floor_text(self.cash.value, _USD.decimals)))

    def equity(self, at: int) -> Money:
        """Cash and everything held, at the bid of each pair's newest candle closed by `at` (unix seconds)."""
        held = (Valued(each.state.managed, self._bid(symbol, each.tape, at)) for symbol, each in self.holdings.items())
        return copy_equity(cash=self.cash_told, holdings=held, allocation=None)

    def places_taken(self, at: int) -> int:
        """Holdings at `at` (unix seconds), less what is too little to be sold."""
        return sum(
            each.tape.instrument.sellable(each.state.managed, self._bid(symbol, each.tape, at))
            for symbol, each in self.holdings.items()
        )

    def _bid(self, symbol: str, tape: Tape, at: int) -> Price:
        return tape.price(int(self.bids[symbol][CLOSE, _closed(tape, at)]))

    def buy(
        self, tape: Tape, index: int, decision: EntryDecision, *, quote: Quote, equity: Money
    ) -> Holding | TooSmall:
        """At the ask, after the close of candle `index`, when all of the account is worth `equity`."""
        at = tape.closes_at(index)
        sized = master_sizing.size_entry(
            tape.instrument,
            amount=equity * self.terms.entry_notional,
            ask=Price(quote.ask),
            max_slippage=self.terms.max_slippage,
            fee=self.terms.taker_fee,
            funds=Funds(equity=equity, free_cash=self.cash_told),
        )
        if isinstance(sized, TooSmall):
            return sized
        assert decision.plan is not None, "a decision to enter has a plan"
        filled = self._filled(tape, Price(quote.ask), sized.quantity)
        notional, fee = Money(filled.cost), Money(filled.fee)
        self.cash = self.cash - notional - fee
        number = len(self.trades) + len(self.holdings) + 1
        entry = Execution(
            trade=number,
            symbol=tape.symbol,
            side=Side.BUY,
            at=at,
            reason=ENTRY,
            price=Price(filled.price),
            quantity=sized.quantity,
            notional=notional,
            fee=fee,
            profit=Money.zero(),
            cash_after=self.cash,
        )
        self.executions.append(entry)
        position = opened_by_fills(decision.plan, notional=notional, quantity=sized.quantity, opened_at=at)
        holding = Holding(
            tape=tape,
            trade=Trade(number, decision.score, entry),
            position=position,
            bought=sized.quantity,
            state=bought(PositionState.flat(), quantity=sized.quantity, notional=notional, fee=fee),
            targets=tuple(tape.ticks_above(target.level(position.entry_price)) for target in decision.plan.targets),
            seen=index,
        )
        self.holdings[tape.symbol] = holding
        return holding

    def sell(self, holding: Holding, decision: ExitDecision, *, bid: Price, at: int) -> bool:
        """The part the decision asks for, all of it when Kraken does not take so little; False for what is dust."""
        rules, managed = holding.tape.instrument, holding.state.managed
        quantity = master_sizing.size_exit(rules, managed=managed, fraction=decision.fraction, bid=bid)
        if isinstance(quantity, PartTooSmall):
            quantity = master_sizing.size_exit(rules, managed=managed, fraction=WHOLE, bid=bid)
        if isinstance(quantity, PartTooSmall):
            return False
        self._book_sale(holding, quantity, reason=decision.reason.value, bid=bid, at=at)
        return True

    def sell_rest(self, holding: Holding, *, bid: Price, at: int) -> None:
        """Nothing follows: all of it, however little, so that every trade has its result."""
        self._book_sale(holding, holding.state.managed, reason=END_OF_DATA, bid=bid, at=at)

    def _book_sale(self, holding: Holding, quantity: Quantity, *, reason: str, bid: Price, at: int) -> None:
        filled = self._filled(holding.tape, bid, quantity)
        notional, fee = Money(filled.cost), Money(filled.fee)
        before = holding.state
        holding.state = sold(before, quantity=quantity, notional=notional, fee=fee)
        self.cash = self.cash + notional - fee
        execution = Execution(
            trade=holding.trade.number,
            symbol=holding.tape.symbol,
            side=Side.SELL,
            at=at,
            reason=reason,
            price=bid,
            quantity=quantity,
            notional=notional,
            fee=fee,
            profit=holding.state.realised - before.realised,
            cash_after=self.cash,
        )
        holding.trade.exits.append(execution)
        self.executions.append(execution)
        if not holding.state.managed:
            del self.holdings[holding.tape.symbol]
            self.trades.append(holding.trade)

    def _filled(self, tape: Tape, price: Price, quantity: Quantity) -> matching.Fill:
        return matching.fill(tape.pair, price.value, quantity.value, fees=self.terms.fees, maker=False)


def quote_at(tape: Tape, index: int, *, spread_bps: Decimal) -> Quote:
    """Bid and ask at the close of candle `index`."""
    return quote_around(tape.pair, tape.price(int(tape.ticks[CLOSE, index])).value, spread_bps)


def _closed(tape: Tape, at: int) -> int:
    return (at - tape.start) // tape.step_s - 1
