"""What a replay came to: the master's round trips by how they ended, the copies, the speed. Read from booked executions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from copytrade.models import CopyOrder, CopyStatus
from tests.support.world import Trader
from trading.domain.order_state import FINAL
from trading.models import Execution, Order, OrderKind, OrderOrigin, Signal

BY_HAND = "by hand"
#: How the sentence of a strategy's exit begins, and the name it is counted under.
_BEGINNINGS = {"stop": "stop", "trailing stop": "trailing", "time": "time", "stagnation": "stagnation"}


@dataclass(frozen=True, slots=True)
class Trip:
    """From the master's first fill of a position to the one that left nothing. `exits` are why each part was sold."""

    symbol: str
    by_strategy: bool
    exits: tuple[str, ...]

    @property
    def ended_by(self) -> str:
        return self.exits[-1]

    @property
    def in_parts(self) -> bool:
        return len(self.exits) > 1


def why_sold(order: Order) -> str:
    if order.origin != OrderOrigin.STRATEGY:
        return BY_HAND
    beginning = order.reason.partition(":")[0]
    return "target" if beginning.startswith("target ") else _BEGINNINGS[beginning]


def master_trips(master: Trader) -> list[Trip]:
    """Completed round trips, told by the master's booked executions alone; nothing may be held any more."""
    trips: list[Trip] = []
    fills = Execution.objects.filter(account=master.account).select_related("order", "instrument").order_by("pk")
    held: dict[str, Decimal] = {}
    orders: dict[str, list[Order]] = {}
    for fill in fills:
        symbol = fill.instrument.symbol
        seen = orders.setdefault(symbol, [])
        if fill.order not in seen:
            seen.append(fill.order)
        held[symbol] = held.get(symbol, Decimal(0)) + (fill.quantity if fill.side == "buy" else -fill.quantity)
        if not held[symbol]:
            exits = tuple(why_sold(order) for order in seen if order.kind == OrderKind.EXIT)
            trips.append(Trip(symbol, seen[0].origin == OrderOrigin.STRATEGY, exits))
            orders[symbol] = []
    assert not any(held.values()), f"the master still holds {held}"
    return trips


def filled_entries() -> list[Order]:
    copies = Order.objects.filter(origin=OrderOrigin.COPY, kind=OrderKind.ENTRY, state__in=FINAL, filled__gt=0)
    return list(copies)


def filled_copies() -> int:
    exits = Order.objects.filter(origin=OrderOrigin.COPY, kind=OrderKind.EXIT, state__in=FINAL, filled__gt=0).count()
    return len(filled_entries()) + exits


def summary(trips: Sequence[Trip], followers: Mapping[str, Trader], *, what: str, candles: int, seconds: float) -> str:
    """`what` names the pairs; `seconds` is the real time that the candles took."""
    entries = filled_entries()
    by_account = Counter(order.account_id for order in entries)
    skipped = Counter(CopyOrder.objects.filter(status=CopyStatus.SKIPPED).values_list("kind", "reason"))
    missed = CopyOrder.objects.filter(status=CopyStatus.MISSED).count()
    strategy = sum(trip.by_strategy for trip in trips)
    per_candle_ms = 1000 * seconds / max(1, candles)
    lines = [
        f"replay: {candles} candles of {what}, {len(followers)} followers",
        f"  master: {len(trips)} round trips ({strategy} by the strategy), {sum(t.in_parts for t in trips)} in parts; "
        f"ended by {_counted(Counter(t.ended_by for t in trips))}",
        f"  sales of the master: {_counted(Counter(why for trip in trips for why in trip.exits))}",
        f"  copies: {len(entries)} entries and {filled_copies() - len(entries)} exits filled, "
        f"{Execution.objects.count()} executions, {Signal.objects.count()} signals, {missed} missed",
        "  entries by follower: " + ", ".join(f"{n} {by_account[t.account.pk]}" for n, t in followers.items()),
        "  skipped: " + _counted({f"{kind} {why}": n for (kind, why), n in skipped.items()}),
        f"  speed: {seconds:.0f} s, {per_candle_ms:.0f} ms a candle with all that followed from it",
    ]
    return "\n".join(lines)


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(counts.items())) or "none"
