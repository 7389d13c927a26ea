"""Kraken's two rate limiters, continuous decay: the REST call counter per key and the engine counter per pair."""

from __future__ import annotations

from dataclasses import dataclass, field

from trading.paper.errors import KrakenError

HISTORY_CALLS = frozenset({"TradesHistory"})
FREE_CALLS = frozenset({"AddOrder", "CancelOrder"})
# Engine penalty for cancelling an order younger than so many seconds.
_CANCEL_PENALTIES = ((5, 8), (10, 6), (15, 5), (45, 4), (90, 2), (300, 1))


@dataclass(frozen=True, slots=True)
class Tier:
    """Counter limits and their decay per second, and the open orders allowed per pair."""

    calls_max: float
    calls_decay: float
    engine_max: float
    engine_decay: float
    open_orders_max: int


TIERS = {
    "starter": Tier(15, 0.33, 60, 1.0, 60),
    "intermediate": Tier(20, 0.5, 125, 2.34, 80),
    "pro": Tier(20, 1.0, 180, 3.75, 225),
}


@dataclass(slots=True)
class _Counter:
    value: float = 0.0
    at: float = 0.0

    def add(self, cost: float, *, now: float, decay: float, limit: float) -> bool:
        """Whether `cost` still fits; only then it is charged."""
        self.value = max(0.0, self.value - max(0.0, now - self.at) * decay)
        self.at = now
        if self.value + cost > limit:
            return False
        self.value += cost
        return True


@dataclass(slots=True)
class RateLimits:
    """`tier` None switches both limiters off. Counters are not kept over a restart."""

    tier: Tier | None = None
    history_cost: float = 2.0
    _calls: dict[str, _Counter] = field(default_factory=dict)
    _engine: dict[tuple[str, str], _Counter] = field(default_factory=dict)

    def charge_call(self, key: str, endpoint: str, *, now: float) -> None:
        """Raises EAPI:Rate limit exceeded."""
        if self.tier is None or endpoint in FREE_CALLS:
            return
        cost = self.history_cost if endpoint in HISTORY_CALLS else 1.0
        counter = self._calls.setdefault(key, _Counter())
        if not counter.add(cost, now=now, decay=self.tier.calls_decay, limit=self.tier.calls_max):
            raise KrakenError("EAPI:Rate limit exceeded")

    def charge_order(self, account_id: str, pair_id: str, *, open_orders: int, now: float) -> None:
        """One new order; raises EOrder:Rate limit exceeded or EOrder:Orders limit exceeded."""
        if self.tier is None:
            return
        if open_orders >= self.tier.open_orders_max:
            raise KrakenError("EOrder:Orders limit exceeded")
        self._charge_engine((account_id, pair_id), 1.0, now)

    def charge_cancel(self, account_id: str, pair_id: str, *, age_s: float, now: float) -> None:
        """One cancelled order; the younger it was the dearer."""
        if self.tier is None:
            return
        cost = next((penalty for bound, penalty in _CANCEL_PENALTIES if age_s < bound), 0)
        self._charge_engine((account_id, pair_id), float(cost), now)

    def _charge_engine(self, counter_key: tuple[str, str], cost: float, now: float) -> None:
        assert self.tier is not None
        counter = self._engine.setdefault(counter_key, _Counter())
        if not counter.add(cost, now=now, decay=self.tier.engine_decay, limit=self.tier.engine_max):
            raise KrakenError("EOrder:Rate limit exceeded")
