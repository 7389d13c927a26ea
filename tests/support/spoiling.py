"""A steady, seeded mix of everything the paper exchange can do wrong on private requests, and what of it really struck."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from copytrade.api.outcomes import Outcome, outcome_of
from copytrade.models import CopyOrder, CopyStatus
from tests.support.replay import CallLog, Replay
from tests.support.world import Trader, World
from trading.domain.order_state import OrderState
from trading.kraken import endpoints
from trading.models import Order, OrderKind, OrderOrigin

#: How long a private request may take while `delay` faults are about, and how late these are. Real time, so both are short.
PATIENCE_S, DELAY_S = 1.0, 1.3
#: What Kraken's documentation of reads allows, by the exchange's clock.
LAG_S = 5.0

TIMES_MAX = 1_000_000

#: Carried out, and the answer is lost.
LOST_ANSWERS = (
    *("drop_after", "http_520_after", "html_after", "bad_json_after"),
    *("error_after:EService:Busy", "error_after:EGeneral:Internal error", "delay_after"),
)
#: Not carried out, which the sender cannot know.
LOST_REQUESTS = (
    *("drop_before", "http_520_before", "html", "bad_json"),
    *("error:EService:Busy", "error:EGeneral:Internal error", "wrong_nonce", "delay"),
)
#: Not carried out, and the answer says so.
REFUSALS = ("rate_limit", "error:EOrder:Rate limit exceeded")
KINDS = (*LOST_ANSWERS, *LOST_REQUESTS, "rate_limit")
READS = ("BalanceEx", "OpenOrders", "ClosedOrders", "QueryOrders", "QueryTrades", "TradesHistory")


@dataclass(frozen=True, slots=True)
class Shares:
    """Of all orders and of all reads, how many go wrong; of all reads, how many are late."""

    orders: float
    reads: float
    lags: float


def lose_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every private request is given up after `PATIENCE_S`, so that no test waits for as long as Kraken may take."""
    monkeypatch.setattr(endpoints, "PRIVATE_TIMEOUT_S", PATIENCE_S)


def spoil(world: World, traders: Sequence[Trader], *, seed: int, shares: Shares) -> None:
    """Until the faults are cleared. Each key has its own, so that the order of other keys' requests changes nothing."""
    wishes = [("AddOrder", kind, shares.orders / len(KINDS)) for kind in KINDS]
    wishes += [(endpoint, kind, shares.reads / len(KINDS)) for endpoint in READS for kind in KINDS]
    wishes += [(endpoint, "lag", shares.lags) for endpoint in READS]
    for place, trader in enumerate(traders):
        for number, (endpoint, kind, share) in enumerate(wishes):
            match = {"endpoint": endpoint, "api_key": trader.api_key}
            chance = {"probability": share, "seed": (seed * 1_000 + place) * 1_000 + number, "times": TIMES_MAX}
            late_s = LAG_S if kind == "lag" else DELAY_S if kind.startswith("delay") else 0
            world.paper("POST", "/faults", kind=kind, match=match, delay_s=late_s, **chance)


def heal(world: World) -> None:
    world.paper("DELETE", "/faults")


def struck(world: World) -> Counter[tuple[str, str]]:
    """How often each kind of fault struck so far, by endpoint and kind."""
    counts: Counter[tuple[str, str]] = Counter()
    for fault in world.paper("GET", "/faults")["faults"]:
        counts[fault["endpoint"], fault["kind"]] += fault["struck"]
    return +counts


def by_kind(counts: Counter[tuple[str, str]]) -> Counter[str]:
    kinds: Counter[str] = Counter()
    for (_, kind), number in counts.items():
        kinds[kind] += number
    return kinds


def assert_nothing_else_went_wrong(results: Counter[str], counts: Counter[tuple[str, str]]) -> None:
    """What the exchange answered, request by request, is what was played: no refusal is the engine's own doing.

    But a request that was held back finds its nonce used by the look that followed, and a late read may not know an order.
    """
    played, answered = by_kind(counts), Counter[str]()
    for result, number in results.items():
        answered[_kind_of(result)] += number
    more = {"error:EAPI:Invalid nonce": played["delay"], "error:EOrder:Invalid order": played["lag"]}
    for kind in (answered.keys() | played.keys()) - {"ok", "delay", "lag"}:
        assert played[kind] <= answered[kind] <= played[kind] + more.get(kind, 0), kind


def _kind_of(result: str) -> str:
    """The fault behind a line of the exchange's log: `ok, fault drop_after`, `ok, 5 s late`, or an error of Kraken's."""
    done, _, fault = result.rpartition("fault ")
    if done or result.startswith("fault "):
        return fault
    return "ok" if result.partition(",")[0] == "ok" else f"error:{result}"


@dataclass(frozen=True, slots=True)
class Harm:
    """How many faults struck, what they did to orders, and what became of these."""

    struck: Counter[tuple[str, str]]
    requests: int
    unknown: int
    found: int
    refused: int
    never_accepted: int
    too_late: int
    planned_again: int
    masters_failed: int

    @property
    def kinds(self) -> Counter[str]:
        """All but late reads, which fail nothing."""
        kinds = by_kind(self.struck)
        del kinds["lag"]
        return kinds

    def __str__(self) -> str:
        on_orders = sum(number for (endpoint, _), number in self.struck.items() if endpoint == "AddOrder")
        return (
            f"  faults: {self.kinds.total()} of {self.requests} private requests went wrong, {on_orders} of them orders; "
            f"{by_kind(self.struck)['lag']} reads were {LAG_S:g} s late\n"
            f"  faults by kind: {', '.join(f'{kind} {number}' for kind, number in sorted(self.kinds.items()))}\n"
            f"  outcomes unknown: {self.unknown}, {self.found} found, {self.unknown - self.found} proved absent; "
            f"{self.refused} orders refused\n"
            f"  entries missed: {self.never_accepted} never accepted, {self.too_late} too late to be sent; "
            f"exits planned again: {self.planned_again}; the master's orders that failed: {self.masters_failed}"
        )


def end(replay: Replay) -> Harm:
    """The faults are over. Nothing but them went wrong, and this is what they did."""
    replay.log.read()
    counts = struck(replay.world)
    heal(replay.world)
    assert_nothing_else_went_wrong(replay.log.results, counts)
    return _harm(replay.log, counts)


def _harm(log: CallLog, counts: Counter[tuple[str, str]]) -> Harm:
    unknown = Order.objects.filter(unknown_at__isnull=False)
    failed = Order.objects.filter(state__in=(OrderState.NOT_PLACED, OrderState.REJECTED))
    copies = failed.filter(origin=OrderOrigin.COPY)
    return Harm(
        struck=counts,
        requests=log.private,
        unknown=unknown.count(),
        found=unknown.exclude(venue_order_id="").count(),
        refused=failed.filter(state=OrderState.REJECTED).count(),
        never_accepted=copies.filter(kind=OrderKind.ENTRY).count(),
        too_late=CopyOrder.objects.filter(status=CopyStatus.MISSED).count(),
        planned_again=copies.filter(kind=OrderKind.EXIT).count(),
        masters_failed=failed.exclude(origin=OrderOrigin.COPY).count(),
    )


def assert_failed_entries_were_missed() -> None:
    """Whoever's entry Kraken never took was asked for once, is told so, and holds nothing of it."""
    for order in Order.objects.filter(origin=OrderOrigin.COPY, kind=OrderKind.ENTRY, venue_order_id=""):
        (copy,) = CopyOrder.objects.filter(account_id=order.account_id, signal_id=order.signal_id)
        assert copy.order_id == order.pk
        assert outcome_of(copy) in (Outcome.MISSED, Outcome.REJECTED)
        assert not order.executions.exists()
