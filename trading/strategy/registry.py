"""The strategies by name. A cycle stores name, version and parameters hash of the one it ran."""

from __future__ import annotations

from typing import Protocol

from trading.domain.money import Price, Ratio
from trading.strategy.apex import Apex
from trading.strategy.breakout import Breakout
from trading.strategy.candles import Candles, IntArray
from trading.strategy.decisions import EntryDecision, ExitDecision, OpenPosition


class PreparedEntries(Protocol):
    """Entry decisions over one array of candles, computed once for all of them."""

    def candidates(self, *, fees: Ratio, slippage: Ratio) -> IntArray:
        """Rising indices, every one that `decide` would enter among them: the only ones a backtest has to decide."""
        ...

    def decide(self, index: int, *, fees: Ratio, slippage: Ratio) -> EntryDecision:
        """The decision at the close of candle `index`, knowing no later candle."""
        ...


class Strategy(Protocol):
    """One versioned strategy with its parameters bound.

    `warm_up` is the number of closed candles before its first decision. `fees` is the account's taker fee per side,
    `slippage` what both sides together are expected to lose to the spread.
    """

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def parameters_hash(self) -> str: ...
    @property
    def warm_up(self) -> int: ...

    def prepare(self, candles: Candles) -> PreparedEntries: ...
    def evaluate_entry(self, candles: Candles, *, fees: Ratio, slippage: Ratio) -> EntryDecision: ...
    def evaluate_exit(self, position: OpenPosition, *, price: Price, market_time: int) -> ExitDecision | None: ...


class UnknownStrategyError(LookupError):
    """No strategy is registered under that name."""


_STRATEGIES: dict[str, Strategy] = {strategy.name: strategy for strategy in (Apex(), Breakout())}


def names() -> tuple[str, ...]:
    return tuple(sorted(_STRATEGIES))


def get(name: str) -> Strategy:
    """Raises UnknownStrategyError with a sentence that lists the known ones."""
    try:
        return _STRATEGIES[name]
    except KeyError:
        raise UnknownStrategyError(f"no strategy is called {name!r}; known: {', '.join(names())}") from None
