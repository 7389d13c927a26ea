"""What must hold after a replay, account by account: flat, every digit the exchange's, one row for each order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import ROUND_DOWN, Decimal
from fractions import Fraction
from typing import Any

from copytrade.models import CopyOrder, CopyStatus, SkipReason
from copytrade.services import books
from tests.support.replay import Replay
from tests.support.world import Trader, World
from trading.domain.order_state import FINAL, OrderState
from trading.models import Adjustment, AssetBalance, Execution, Order, OrderKind, Position, Signal, SignalKind
from trading.services import balances

USD = "ZUSD"


def assert_everything_agrees(replay: Replay, everybody: Mapping[str, tuple[Trader, str]]) -> None:
    """`everybody` are all traders, the master too, with the dollars each started with."""
    world = replay.world
    world.move(60)
    balances.refresh_due(clock=world.clock)
    for trader, started_with in everybody.values():
        seen = world.at_exchange(trader)
        assert_flat(trader)
        assert_books_equal(trader, seen, started_with=Decimal(started_with))
        assert_each_order_has_one_row(trader, seen)
        assert replay.spoilt or seen["requests"]["invalid_nonces"] == 0
        assert seen["requests"]["max_in_flight"] == 1
    followers = [trader for trader, _ in everybody.values() if trader != replay.master]
    assert_every_signal_has_an_outcome_for_every_follower(followers)
    replay.log.read()
    assert len(replay.log.keys) == len(everybody)
    assert_the_books_check_is_clean(world)


def assert_the_books_check_is_clean(world: World) -> None:
    report = books.check(clock=world.clock, sleep=world.move)
    assert report.findings == []
    assert report.count == 0


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
    fills = list(Execution.objects.filter(account=trader.account).select_related("order"))
    ours = {
        fill.trade_id: (fill.order.venue_order_id, fill.side, fill.quantity, fill.price, fill.notional, fill.fee)
        for fill in fills
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
    assert len(ours) == len(fills)

    expected = {USD: started_with}
    for fill in fills:
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
    ours = list(Order.objects.filter(account=trader.account))
    assert all(order.state in FINAL for order in ours)
    placed = {str(order.client_order_id): order for order in ours if order.venue_order_id}
    at_exchange = {order["cl_ord_id"]: order for order in seen["orders"]}
    assert len(at_exchange) == len(seen["orders"])
    assert placed.keys() == at_exchange.keys()
    assert len(placed) == sum(bool(order.venue_order_id) for order in ours)
    assert len(placed) == seen["requests"]["accepted_orders"]
    for name, order in placed.items():
        theirs = at_exchange[name]
        assert order.venue_order_id == theirs["txid"]
        assert order.filled == Decimal(theirs["vol_exec"])
        assert order.filled_notional == Decimal(theirs["cost"])
        assert order.fee == Decimal(theirs["fee"])


def assert_every_signal_has_an_outcome_for_every_follower(followers: Sequence[Trader]) -> None:
    accounts = {trader.account.pk for trader in followers}
    signals = set(Signal.objects.values_list("pk", flat=True))
    assert signals
    outcomes = Counter(CopyOrder.objects.values_list("signal_id", "account_id"))
    assert set(outcomes) == {(signal, account) for signal in signals for account in accounts}
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
    for order in Order.objects.filter(account_id__in=accounts).prefetch_related("copies"):
        kinds = {copy.kind for copy in order.copies.all()}
        assert kinds == {order.kind} or (not kinds and was_planned_again(order)), (
            f"{order} of a follower answers no signal"
        )
        assert (order.signal_id is not None) == (order.kind == OrderKind.ENTRY)


def was_planned_again(order: Order) -> bool:
    """An exit that Kraken never took; what it was to sell is the next one's, and so are its copies."""
    failed = order.kind == OrderKind.EXIT and order.state in (OrderState.NOT_PLACED, OrderState.REJECTED)
    mine = Order.objects.filter(account_id=order.account_id, instrument_id=order.instrument_id, kind=OrderKind.EXIT)
    assert order.exit_number is not None or not failed
    return failed and mine.filter(exit_number=(order.exit_number or 0) + 1).exists()


def assert_exits_close_the_masters_share(follower: Trader) -> None:
    """Every sale of an account far above the minimums is the master's own fraction of what was managed, to the lot."""
    mine = Order.objects.filter(account=follower.account, filled__gt=0).select_related("instrument").order_by("pk")
    managed: dict[int, Decimal] = {}
    for order in mine:
        before = managed.get(order.instrument_id, Decimal(0))
        if order.kind == OrderKind.ENTRY:
            managed[order.instrument_id] = before + order.filled
            continue
        (share,) = {copy.signal.closed_fraction for copy in order.copies.select_related("signal")}
        # What an earlier sale was rounded down by is sold with the next one.
        assert abs(Fraction(order.filled) - Fraction(before) * share) <= 2 * Fraction(order.instrument.lot_size)
        managed[order.instrument_id] = before - order.filled
    assert managed
    assert not any(managed.values())
