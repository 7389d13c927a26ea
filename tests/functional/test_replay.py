"""600 real candles of two pairs, five followers: what the master closed is closed everywhere, and every digit agrees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from copytrade.models import CopyOrder, CopyStatus, SkipReason
from tests.support.replay import Replay, TripByHand, candle_files
from tests.support.world import Trader, World
from trading.domain.order_state import FINAL
from trading.models import (
    Adjustment,
    AssetBalance,
    Execution,
    Order,
    OrderKind,
    OrderOrigin,
    Position,
    Signal,
    SignalKind,
)
from trading.services import balances

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.money, pytest.mark.timeout(400)]

PAIRS = ("DOGE-USD", "SOL-USD")
FILES = ("XDGUSD_5.csv.gz", "SOLUSD_5.csv.gz")
#: 2024-10-27 19:40 UTC. Every one of the next 600 candles is in both files, and the strategy makes about nine trips.
STARTS_AT = 1_730_058_000
CANDLES = 600
TRIPS_MIN, COPIES_MIN = 6, 25
USD = "ZUSD"

MASTER_USD = "1000.5000"
FOLLOWERS: dict[str, dict[str, Any]] = {
    "large": {"usd": "5200.0000"},
    "doubled": {"usd": "840.2500", "multiplier": Decimal(2), "max_risk": Decimal("0.05")},
    "allocated": {"usd": "2600.1000", "allocation": Decimal(400)},
    # Ten per cent of it buys enough DOGE, and less SOL than Kraken sells.
    "small": {"usd": "48.1000"},
    "careful": {"usd": "310.7500", "multiplier": Decimal("0.5"), "max_open_positions": 1},
}
BY_HAND = (
    TripByHand("SOL-USD", opens=30, notional="90.25", parts=((20, "1/3"), (45, "1/2"), (70, "1"))),
    TripByHand("SOL-USD", opens=150, notional="61.5", parts=((35, "1"),)),
    TripByHand("DOGE-USD", opens=2, notional="75", parts=((25, "1"),)),
)


@dataclass(frozen=True)
class Trip:
    """From the master's first fill of a position to the one that left nothing."""

    symbol: str
    by_strategy: bool
    exits: int


def test_real_candles_leave_every_follower_flat_and_the_books_equal_to_the_exchange(
    make_world: Callable[..., World],
    settings: Any,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    files = candle_files(tmp_path, names=FILES, starts_at=STARTS_AT, candles=CANDLES)
    settings.MASTER_PAIRS, settings.MASTER_CANDLE_MINUTES = list(PAIRS), 5
    world = make_world(market="replay", candles=files, start_at=STARTS_AT, rate_tier="starter")
    # DOGE is matched in pieces, so that orders have several executions, each rounded by itself.
    world.paper("POST", "/limits", pair="XDGUSD", match_max="700")
    master = world.join("master@nija.example", usd=MASTER_USD, role="master")
    followers = {name: world.join(f"{name}@nija.example", **risk) for name, risk in FOLLOWERS.items()}

    replay = Replay(world, master_id=master.account.pk, by_hand=BY_HAND)
    replay.run(CANDLES)
    replay.sell_what_is_left()

    trips = master_trips(master)
    # Printed in pytest's summary by tests/conftest.py.
    record_property("figures", summary(trips, followers, candles=replay.candles))

    assert replay.candles == CANDLES
    assert len(trips) >= TRIPS_MIN
    assert any(trip.by_strategy for trip in trips)
    assert any(trip.exits == 3 for trip in trips if not trip.by_strategy)
    assert len(filled_entries()) >= COPIES_MIN
    everybody = {"master": (master, MASTER_USD)} | {
        name: (trader, FOLLOWERS[name]["usd"]) for name, trader in followers.items()
    }
    world.move(60)
    balances.refresh_due(clock=world.clock)
    for trader, started_with in everybody.values():
        seen = world.at_exchange(trader)
        assert_flat(trader)
        assert_books_equal(trader, seen, started_with=Decimal(started_with))
        assert_each_order_has_one_row(trader, seen)
        assert seen["requests"]["invalid_nonces"] == 0
        assert seen["requests"]["max_in_flight"] == 1
    assert_every_signal_has_an_outcome_for_every_follower(list(followers.values()))
    assert_nonces_rise(world)
    assert_each_size_met_its_own_rule(followers)
    for name in ("large", "doubled", "allocated"):
        assert_exits_close_the_masters_share(followers[name])


def master_trips(master: Trader) -> list[Trip]:
    """Completed round trips, told by the master's booked executions alone."""
    trips: list[Trip] = []
    for symbol in PAIRS:
        held, orders = Decimal(0), list[Order]()
        fills = Execution.objects.filter(account=master.account, instrument__symbol=symbol)
        for fill in fills.select_related("order").order_by("pk"):
            if fill.order not in orders:
                orders.append(fill.order)
            held += fill.quantity if fill.side == "buy" else -fill.quantity
            if not held:
                exits = sum(order.kind == OrderKind.EXIT for order in orders)
                trips.append(Trip(symbol, orders[0].origin == OrderOrigin.STRATEGY, exits))
                orders = []
        assert held == 0, f"the master still holds {held} {symbol}"
    return trips


def filled_entries() -> list[Order]:
    copies = Order.objects.filter(origin=OrderOrigin.COPY, kind=OrderKind.ENTRY, state__in=FINAL, filled__gt=0)
    return list(copies)


def summary(trips: Sequence[Trip], followers: dict[str, Trader], *, candles: int) -> str:
    entries, by_account = filled_entries(), Counter(order.account_id for order in filled_entries())
    exits = Order.objects.filter(origin=OrderOrigin.COPY, kind=OrderKind.EXIT, filled__gt=0).count()
    skipped = Counter(CopyOrder.objects.filter(status=CopyStatus.SKIPPED).values_list("kind", "reason"))
    missed = CopyOrder.objects.filter(status=CopyStatus.MISSED).count()
    strategy = [trip for trip in trips if trip.by_strategy]
    parts = ", ".join(f"{count} in {number}" for number, count in sorted(Counter(t.exits for t in trips).items()))
    lines = [
        f"replay: {candles} candles of {' and '.join(PAIRS)}, {len(followers)} followers",
        f"  master: {len(trips)} round trips ({len(strategy)} by the strategy), exits per trip: {parts}",
        f"  copies: {len(entries)} entries and {exits} exits filled, {Execution.objects.count()} executions, "
        f"{Signal.objects.count()} signals, {missed} missed",
        "  entries by follower: " + ", ".join(f"{n} {by_account[t.account.pk]}" for n, t in followers.items()),
        "  skipped: " + (", ".join(f"{kind} {why} {n}" for (kind, why), n in sorted(skipped.items())) or "none"),
    ]
    return "\n".join(lines)


def assert_flat(trader: Trader) -> None:
    """The master sold everything, so nothing is managed any more, or it is dust and says so."""
    for position in Position.objects.filter(account=trader.account, managed__gt=0).select_related("instrument"):
        told = CopyOrder.objects.filter(
            account=trader.account, signal__instrument=position.instrument, kind=SignalKind.EXIT
        ).order_by("-signal__sequence")
        assert [copy.reason for copy in told[:1]] == [SkipReason.DUST.value]
        assert told[0].sentence


def assert_books_equal(trader: Trader, seen: Any, *, started_with: Decimal) -> None:
    """Executions trade by trade, coins and dollars to the last digit the exchange holds, and as BalanceEx shows them."""
    ours = {
        fill.trade_id: (fill.order.venue_order_id, fill.side, fill.quantity, fill.price, fill.notional, fill.fee)
        for fill in Execution.objects.filter(account=trader.account).select_related("order")
    }
    theirs = {
        trade["txid"]: (
            trade["ordertxid"],
            trade["type"],
            *(Decimal(trade[name]) for name in ("vol", "price", "cost", "fee")),
        )
        for trade in seen["trades"]
    }
    assert ours == theirs
    assert len(ours) == Execution.objects.filter(account=trader.account).count()

    expected = {USD: started_with}
    for fill in Execution.objects.filter(account=trader.account):
        expected[USD] += (fill.notional if fill.side == "sell" else -fill.notional) - fill.fee
    for position in Position.objects.filter(account=trader.account).select_related("instrument"):
        expected[position.instrument.base_asset] = position.managed
    held = {asset: Decimal(amount) for asset, amount in seen["balances"].items()}
    assert held == expected
    assert seen["holds"] == {}
    assert not Adjustment.objects.filter(account=trader.account).exists()

    # BalanceEx prints dollars with four decimals, never more than there is.
    shown = dict(AssetBalance.objects.filter(account=trader.account).values_list("asset", "total"))
    assert shown.pop(USD) == held.pop(USD).quantize(Decimal("0.0001"), rounding=ROUND_DOWN)
    assert {asset: amount for asset, amount in shown.items() if amount} == {a: n for a, n in held.items() if n}


def assert_each_order_has_one_row(trader: Trader, seen: Any) -> None:
    ours = Order.objects.filter(account=trader.account)
    assert not ours.exclude(state__in=FINAL).exists()
    placed = {str(order.client_order_id): order for order in ours.exclude(venue_order_id="")}
    at_exchange = {order["cl_ord_id"]: order for order in seen["orders"]}
    assert len(at_exchange) == len(seen["orders"])
    assert placed.keys() == at_exchange.keys()
    assert len(placed) == ours.exclude(venue_order_id="").count()
    assert len(placed) == seen["requests"]["accepted_orders"]
    for name, order in placed.items():
        theirs = at_exchange[name]
        assert order.venue_order_id == theirs["txid"]
        assert order.filled == Decimal(theirs["vol_exec"])
        assert order.filled_notional == Decimal(theirs["cost"])
        assert order.fee == Decimal(theirs["fee"])


def assert_every_signal_has_an_outcome_for_every_follower(followers: Sequence[Trader]) -> None:
    accounts = {trader.account.pk for trader in followers}
    outcomes = Counter(CopyOrder.objects.values_list("signal_id", "account_id"))
    assert set(outcomes) == {(signal, account) for signal in _all_signals() for account in accounts}
    assert set(outcomes.values()) == {1}
    for copy in CopyOrder.objects.select_related("order"):
        if copy.status == CopyStatus.ORDERED:
            assert copy.order is not None
            assert copy.order.account_id == copy.account_id
            assert copy.order.state in FINAL
        else:
            assert copy.status in (CopyStatus.SKIPPED, CopyStatus.MISSED)
            assert copy.reason in set(SkipReason)
            assert copy.sentence
    for order in Order.objects.filter(account_id__in=accounts):
        kinds = set(order.copies.values_list("kind", flat=True))
        assert kinds == {order.kind}, f"{order} of a follower answers no signal"
        assert (order.signal_id is not None) == (order.kind == OrderKind.ENTRY)


def assert_nonces_rise(world: World) -> None:
    """As the exchange received them, key by key, with everything it was asked answered without an error."""
    log = world.paper("GET", "/log?limit=20000")["log"]
    by_key: dict[str, list[int]] = {}
    for row in log:
        assert row["result"] == "ok", row
        if row["api_key"]:
            by_key.setdefault(row["api_key"], []).append(int(row["nonce"]))
    assert len(by_key) == len(FOLLOWERS) + 1
    for nonces in by_key.values():
        assert all(earlier < later for earlier, later in pairwise(nonces))


def assert_each_size_met_its_own_rule(followers: dict[str, Trader]) -> None:
    """Not all the same five times over: each setting showed."""

    def entries(name: str, symbol: str) -> list[CopyOrder]:
        return list(
            CopyOrder.objects.filter(account=followers[name].account, kind="entry", signal__instrument__symbol=symbol)
        )

    assert {copy.reason for copy in entries("small", "SOL-USD")} == {SkipReason.BELOW_QUANTITY_MIN.value}
    assert any(copy.status == CopyStatus.ORDERED for copy in entries("small", "DOGE-USD"))
    for name, rule in FOLLOWERS.items():
        for copy in (c for pair in PAIRS for c in entries(name, pair) if c.status == CopyStatus.ORDERED):
            assert copy.equity is not None
            assert copy.notional is not None
            assert copy.notional <= copy.equity * rule.get("max_risk", Decimal("0.1"))
            assert copy.equity <= rule.get("allocation", copy.equity)
    largest = {name: max(c.notional or 0 for c in entries(name, "DOGE-USD")) for name in FOLLOWERS}
    assert len(set(largest.values())) == len(FOLLOWERS)


def assert_exits_close_the_masters_share(follower: Trader) -> None:
    """Every sale of an account far above the minimums is the master's own fraction of what was managed, to the lot."""
    for symbol in PAIRS:
        managed = Decimal(0)
        for order in Order.objects.filter(account=follower.account, instrument__symbol=symbol, filled__gt=0).order_by(
            "pk"
        ):
            if order.kind == OrderKind.ENTRY:
                managed += order.filled
                continue
            (share,) = {copy.signal.closed_fraction for copy in order.copies.select_related("signal")}
            # What an earlier sale was rounded down by is sold with the next one.
            assert abs(Fraction(order.filled) - Fraction(managed) * share) <= 2 * Fraction(order.instrument.lot_size)
            managed -= order.filled
        assert managed == 0


def _all_signals() -> list[int]:
    signals = list(Signal.objects.values_list("pk", flat=True))
    assert signals
    return signals
