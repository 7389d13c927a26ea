"""The strategy on several tapes with one account, candle after candle: what live cycles and watching levels would do.

At the close of a candle, in this order: what met a level within the candle was sold; the strategy decides on the closed
candle and buys; then the clock's exits and, on the last candle, the end of the data. Only candles at which something can
happen are visited.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from trading.backtest.books import Account, Holding, Trade, quote_at
from trading.backtest.exits import Watch
from trading.backtest.tape import Tape
from trading.backtest.terms import BacktestRefused, Looks, Progress, Terms
from trading.domain.master_sizing import POSITIONS_MAX, TooSmall
from trading.domain.money import Money, Price, Ratio
from trading.domain.rate_profile import rate_profile
from trading.paper.market import Quote
from trading.strategy.decisions import EntryDecision
from trading.strategy.registry import PreparedEntries, Strategy

#: Why a decision to enter bought nothing, beside the codes of sizing.
POSITION_CAP = "position_cap"
SPACING = "spacing"
_PROGRESS_STEPS = 50


@dataclass(slots=True)
class Seat:
    """One tape and how far it has been worked. `candidates` are rising indices, `at` the next one's place among them."""

    tape: Tape
    prepared: PreparedEntries
    candidates: list[int]
    at: int = 0
    due: int = 0

    def next_candidate(self, after: int) -> int:
        """The first candidate behind candle `after`; behind the last candle if there is none."""
        while self.at < len(self.candidates) and self.candidates[self.at] <= after:
            self.at += 1
        return self.candidates[self.at] if self.at < len(self.candidates) else self.tape.last + 1

    def is_candidate(self, index: int) -> bool:
        self.next_candidate(index - 1)
        return self.at < len(self.candidates) and self.candidates[self.at] == index


@dataclass(frozen=True, slots=True)
class Wanted:
    """A decision to enter that is not yet bought."""

    seat: Seat
    decision: EntryDecision
    quote: Quote


@dataclass(frozen=True, slots=True)
class Run:
    """What came out. `refused` counts decisions to enter that bought nothing, by code."""

    terms: Terms
    tapes: Sequence[Tape]
    account: Account
    refused: Counter[str]

    @property
    def trades(self) -> list[Trade]:
        """In the order of their entries."""
        return sorted(self.account.trades, key=lambda trade: trade.number)


@dataclass(slots=True)
class Simulation:
    terms: Terms
    strategy: Strategy
    seats: Sequence[Seat]
    account: Account
    watch: Watch
    refused: Counter[str] = field(default_factory=Counter)
    last_entry_at: int | None = None

    def run(self, progress: Progress) -> None:
        for seat in self.seats:
            seat.due = seat.next_candidate(seat.tape.first - 1)
        told, span = 0, self.terms.end_s - self.terms.start_s
        while True:
            waiting = [seat for seat in self.seats if seat.due <= seat.tape.last]
            if not waiting:
                break
            now = min(seat.tape.closes_at(seat.due) for seat in waiting)
            self._close([seat for seat in waiting if seat.tape.closes_at(seat.due) == now], now)
            step = _PROGRESS_STEPS * (now - self.terms.start_s) // span
            if step > told:
                told = step
                progress("trading", step / _PROGRESS_STEPS)

    def _close(self, seats: Sequence[Seat], now: int) -> None:
        """Everything that happens up to and at the instant `now` on the tapes for which something may."""
        held = [(seat, holding) for seat in seats if (holding := self._holding(seat)) is not None]
        if self.terms.looks is Looks.PATH:
            for seat, holding in held:
                self.watch.walk(holding, seat.due)
        self._enter([seat for seat in seats if self._holding(seat) is None and seat.is_candidate(seat.due)], now)
        for seat, holding in held:
            if holding.state.managed:
                self.watch.look_at_close(holding, seat.due)
            if holding.state.managed and seat.due == seat.tape.last:
                self.account.sell_rest(holding, bid=Price(self._quote(seat).bid), at=now)
        for seat in seats:
            seat.due = self._next(seat)

    def _next(self, seat: Seat) -> int:
        holding = self._holding(seat)
        if holding is None:
            return seat.next_candidate(seat.due)
        return self.watch.next_look(holding, last=seat.tape.last)

    def _enter(self, seats: Sequence[Seat], now: int) -> None:
        """As many strategy cycles as live would run before the next candle closes; each buys its best candidate."""
        wanted = [found for seat in seats if (found := self._decide(seat)) is not None]
        wanted.sort(key=lambda each: (-each.decision.score, each.seat.tape.symbol))
        cycle_at = now
        while wanted:
            equity = self.account.equity(now)
            profile = rate_profile(equity)
            spacing_s = int(profile.entry_spacing.total_seconds())
            if self.last_entry_at is None or cycle_at - self.last_entry_at >= spacing_s:
                if self.account.places_taken(now) >= POSITIONS_MAX:
                    self.refused[POSITION_CAP] += len(wanted)
                    return
                self._buy_best(wanted, cycle_at, equity)
            cycle_at += int(profile.monitoring.total_seconds())
            if self.terms.looks is Looks.CLOSE or cycle_at >= now + seats[0].tape.step_s:
                break
        if wanted:
            self.refused[SPACING] += len(wanted)

    def _buy_best(self, wanted: list[Wanted], cycle_at: int, equity: Money) -> None:
        """The first of `wanted` that can be bought; it and those that cannot leave the list."""
        while wanted:
            best = wanted.pop(0)
            bought = self.account.buy(best.seat.tape, best.seat.due, best.decision, quote=best.quote, equity=equity)
            if not isinstance(bought, TooSmall):
                self.last_entry_at = cycle_at
                return
            self.refused[bought.code] += 1

    def _decide(self, seat: Seat) -> Wanted | None:
        quote = self._quote(seat)
        spread = (Price(quote.ask) - Price(quote.bid)).per(Price(quote.ask))
        decision = seat.prepared.decide(seat.due, fees=self.terms.taker_fee, slippage=spread)
        return Wanted(seat, decision, quote) if decision.enter else None

    def _quote(self, seat: Seat) -> Quote:
        return quote_at(seat.tape, seat.due, spread_bps=self.terms.spread_bps)

    def _holding(self, seat: Seat) -> Holding | None:
        return self.account.holdings.get(seat.tape.symbol)


def simulate(tapes: Sequence[Tape], *, strategy: Strategy, terms: Terms, progress: Progress) -> Run:
    """Deterministic: the same tapes and terms give the same run. Raises BacktestRefused for too few candles."""
    seats = []
    for number, tape in enumerate(sorted(tapes, key=lambda each: each.symbol)):
        progress(f"preparing {tape.symbol}", number / len(tapes))
        seats.append(_seat(tape, strategy, terms))
    account = Account(terms, {tape.symbol: tape.bids(terms.spread_bps) for tape in tapes}, terms.capital)
    simulation = Simulation(terms, strategy, seats, account, Watch(account, strategy))
    simulation.run(progress)
    return Run(terms, [seat.tape for seat in seats], account, simulation.refused)


def _seat(tape: Tape, strategy: Strategy, terms: Terms) -> Seat:
    if len(tape) <= strategy.warm_up:
        raise BacktestRefused(
            f"{tape.symbol} has {len(tape)} candles up to --to, and {strategy.name} needs {strategy.warm_up} before its "
            f"first decision and one after it."
        )
    prepared = strategy.prepare(tape.candles)
    # Without slippage: a spread only takes candidates away, and what it really is each decision is told.
    found = prepared.candidates(fees=terms.taker_fee, slippage=Ratio.zero())
    # What is bought at the last close could only be sold at the same price.
    return Seat(tape, prepared, found[(found >= tape.first) & (found < tape.last)].tolist())
