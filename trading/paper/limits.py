"""Kraken's two rate limiters, continuous decay, and its lockout: kraken-api.md sections 2.1, 2.3 and 2.4.

The REST call counter is per key. The engine counter and the open orders are per account and pair.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from trading.paper.errors import KrakenError

HISTORY_CALLS = frozenset({"TradesHistory"})
FREE_CALLS = frozenset({"AddOrder", "CancelOrder"})
# Engine penalty for cancelling an order younger than so many seconds.
# Kraken restricts a key "for some seconds, longer if the client keeps calling": refused calls are counted too, up to here.
_CALLS_OVERRUN = 5.0
# After so many wrong keys, signatures or nonces in a row. Kraken says "a few minutes", and that each retry starts anew.
LOCKOUT_FAILURES, LOCKOUT_S = 20, 180.0
_LOCKOUTS_MAX = 10_000
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

    def add(self, cost: float, *, now: float, decay: float, limit: float, overrun: float = 0.0) -> bool:
        """Whether `cost` still fits. What does not is charged only as far as `overrun` above the limit."""
        self.value = max(0.0, self.value - max(0.0, now - self.at) * decay)
        self.at = now
        if self.value + cost > limit:
            self.value = max(self.value, min(self.value + cost, limit + overrun)) if overrun else self.value
            return False
        self.value += cost
        return True


@dataclass(slots=True)
class _Failures:
    count: int = 0
    locked_until: float = 0.0


@dataclass(slots=True)
class RateLimits:
    """`tier` None switches the limiters and the lockout off. Counters are not kept over a restart."""

    tier: Tier | None = None
    history_cost: float = 2.0
    _calls: dict[str, _Counter] = field(default_factory=dict)
    _engine: dict[tuple[str, str], _Counter] = field(default_factory=dict)
    _failures: dict[str, _Failures] = field(default_factory=dict)

    def check_lockout(self, key: str, *, now: float) -> None:
        """Raises EGeneral:Temporary lockout, which starts anew with every call that meets it."""
        failures = self._failures.get(key)
        if self.tier is not None and failures is not None and now < failures.locked_until:
            failures.locked_until = now + LOCKOUT_S
            raise KrakenError("EGeneral:Temporary lockout")

    def note_failure(self, key: str, *, now: float) -> None:
        """A wrong key, signature or nonce. Kraken counts by address too; here everybody shares one, so only by key."""
        if self.tier is None:
            return
        if len(self._failures) >= _LOCKOUTS_MAX:
            self._failures.clear()
        failures = self._failures.setdefault(key, _Failures())
        failures.count += 1
        if failures.count >= LOCKOUT_FAILURES:
            failures.count, failures.locked_until = 0, now + LOCKOUT_S

    def note_success(self, key: str) -> None:
        self._failures.pop(key, None)

    def charge_call(self, key: str, endpoint: str, *, now: float) -> None:
        """Raises EAPI:Rate limit exceeded."""
        if self.tier is None or endpoint in FREE_CALLS:
            return
        cost = self.history_cost if endpoint in HISTORY_CALLS else 1.0
        counter = self._calls.setdefault(key, _Counter())
        limit, decay = self.tier.calls_max, self.tier.calls_decay
        if not counter.add(cost, now=now, decay=decay, limit=limit, overrun=_CALLS_OVERRUN):
            raise KrakenError("EAPI:Rate limit exceeded")

    def charge_order(self, account_id: str, pair_id: str, *, now: float) -> None:
        """One new order, also one that turns out to be invalid; raises EOrder:Rate limit exceeded."""
        if self.tier is not None:
            self._charge_engine((account_id, pair_id), 1.0, now)

    def check_open_orders(self, open_orders: int) -> None:
        """Raises EOrder:Orders limit exceeded when a pair already has as many as the tier allows."""
        if self.tier is not None and open_orders >= self.tier.open_orders_max:
            raise KrakenError("EOrder:Orders limit exceeded")

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
