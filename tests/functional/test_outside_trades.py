"""What the master trades on Kraken by hand, outside NIJA, is found, booked once and copied like anything else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

import pytest

from accounts.models import RiskSettings, User
from tests.functional.outside import (
    FOUND,
    alerts,
    assert_books_are_clean,
    at_rest,
    outside_orders,
)
from tests.functional.scenario import BEAM, Fleet, gather
from tests.support.world import Trader, World
from trading.domain.instrument import Side
from trading.domain.money import Money, Price, Ratio
from trading.models import (
    Account,
    Adjustment,
    Execution,
    Levels,
    Order,
    OrderOrigin,
    Position,
    Signal,
)
from trading.services import cancelling, halts, intake, master_orders
from trading.services.master_orders import StrategyEntry
from trading.strategy.plan import EntryPlan, Target

pytestmark = pytest.mark.django_db(transaction=True)

D = Decimal


@pytest.fixture
def fleet(make_world: Callable[..., World]) -> Fleet:
    """A master and one follower, equally rich, both at rest."""
    return at_rest(gather(make_world, "ada", max_slippage=D("0.02")))


def test_a_sale_read_together_with_a_purchase_does_not_come_off_the_masters_allocation(fleet: Fleet) -> None:
    RiskSettings.objects.filter(user=fleet.master.account.user).update(allocation=D(50))
    fleet.buy(notional="30")
    fleet.live(FOUND)
    fleet.world.pin("ETHUSD", bid="1000", ask="1000.01")
    fleet.by_hand("master", Side.SELL, quantity=str(fleet.held(fleet.master)))
    fleet.by_hand("master", Side.BUY, quantity="0.01", pair="ETHUSD")
    fleet.live(FOUND)
    bought = Order.objects.get(origin="outside", side="buy")
    assert bought.equity_before == D(50)


def test_a_purchase_outside_is_copied_in_time_and_in_proportion(fleet: Fleet) -> None:
    txid = fleet.by_hand("master", Side.BUY, quantity="5000")
    fleet.live(6)
    (order,) = outside_orders(fleet)
    assert (order.venue_order_id, order.state, order.kind) == (txid, "filled", "entry")
    assert (order.quantity, order.filled, order.sent_at) == (D(5000), D(5000), None)
    # BalanceEx tells four decimals.
    assert order.equity_before is not None
    assert abs(order.equity_before - 1000) < D("0.001")
    signal = Signal.objects.get()
    assert (signal.kind, signal.quantity, signal.master_equity) == ("entry", D(5000), order.equity_before)
    copied = fleet.copy(fleet["ada"])
    assert copied.status == "ordered"
    assert copied.order is not None
    assert copied.order.sent_at is not None
    assert copied.order.sent_at - signal.executed_at <= timedelta(seconds=7.5)
    assert abs(fleet.held(fleet["ada"]) - 5000) < D("0.001")
    fleet.live(FOUND)
    assert Signal.objects.count() == 1
    fleet.assert_books_agree()


def test_a_purchase_found_late_is_missed_with_the_reason_and_its_sale_is_still_an_exit(fleet: Fleet) -> None:
    fleet.by_hand("master", Side.BUY, quantity="5000")
    fleet.world.move(9)
    fleet.live(FOUND)
    copied = fleet.copy(fleet["ada"])
    assert (copied.status, copied.reason) == ("missed", "too_late")
    assert "ten seconds" in copied.sentence
    assert fleet.held(fleet["ada"]) == 0
    assert fleet.world.managed(fleet.master, BEAM) == 5000
    fleet.by_hand("master", Side.SELL, quantity="5000")
    fleet.live(FOUND)
    assert Signal.objects.get(kind="exit").closed_fraction == 1
    assert fleet.copy(fleet["ada"], sequence=2).reason == "nothing_to_sell"
    fleet.assert_books_agree()


def test_a_sale_outside_closes_the_same_fraction_of_every_copy(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada", "ben")
    fleet.buy()
    fleet.live(FOUND)
    bought = fleet.held(fleet.master)
    fleet.by_hand("master", Side.SELL, quantity="4000")
    fleet.live(FOUND)
    signal = Signal.objects.get(kind="exit")
    assert (signal.quantity, signal.managed_before) == (D(4000), bought)
    assert signal.closed_fraction == Fraction(4000) / Fraction(bought)
    for trader in fleet.followers.values():
        assert abs(fleet.held(trader) - fleet.held(fleet.master)) <= D("0.00000001")
    assert not Adjustment.objects.exists(), "what a trade explains is no reduction"
    fleet.by_hand("master", Side.SELL, quantity=str(fleet.held(fleet.master)))
    fleet.live(FOUND)
    assert [fleet.held(trader) for trader in (fleet.master, *fleet.followers.values())] == [0, 0, 0]
    assert not Position.objects.filter(is_open=True).exists()
    fleet.assert_books_agree()


def test_a_purchase_on_top_and_a_sale_of_part_of_a_mixed_position(fleet: Fleet) -> None:
    fleet.buy()
    fleet.live(3)
    ours = fleet.held(fleet.master)
    fleet.by_hand("master", Side.BUY, quantity="3000")
    fleet.live(FOUND)
    assert fleet.world.managed(fleet.master, BEAM) == ours + 3000
    fleet.by_hand("master", Side.SELL, quantity="2500")
    fleet.live(FOUND)
    exit_signal = Signal.objects.get(kind="exit")
    assert exit_signal.closed_fraction == Fraction(2500) / Fraction(ours + 3000)
    assert abs(fleet.held(fleet["ada"]) / fleet.held(fleet.master) - 1) < D("0.001")
    fleet.sell()
    fleet.live(FOUND)
    assert fleet.held(fleet.master) == fleet.held(fleet["ada"]) == 0
    assert [s.sequence for s in Signal.objects.order_by("pk")] == [1, 2, 3, 4]
    assert_books_are_clean(fleet)
    fleet.assert_books_agree()


def test_a_limit_order_that_fills_in_parts_gives_a_signal_for_each_part(fleet: Fleet) -> None:
    fleet.world.paper("POST", "/limits", pair="BEAMUSD", order_max="2000")
    fleet.by_hand("master", Side.BUY, quantity="5000", price="0.010001")
    fleet.live(7)
    (order,) = outside_orders(fleet)
    assert (order.state, order.filled) == ("partial", 2000)
    assert [signal.quantity for signal in Signal.objects.all()] == [2000]
    fleet.world.paper("POST", "/market/match")
    fleet.live(7)
    fleet.world.paper("POST", "/market/match")
    fleet.live(FOUND)
    order.refresh_from_db()
    assert (order.state, order.filled) == ("filled", 5000)
    assert [signal.quantity for signal in Signal.objects.order_by("pk")] == [2000, 2000, 1000]
    assert {signal.master_equity for signal in Signal.objects.all()} == {order.equity_before}
    assert [copied.status for copied in fleet["ada"].account.copies.order_by("pk")] == ["ordered"] * 3
    assert_books_are_clean(fleet)
    fleet.assert_books_agree()


def test_a_sale_of_more_than_is_managed_sells_the_managed_part_and_no_more(fleet: Fleet) -> None:
    fleet.world.paper("POST", f"/accounts/{fleet.master.paper_id}/deposit", asset="BEAM", amount="7000")
    fleet.buy(notional="60")
    fleet.live(FOUND)
    managed = fleet.world.managed(fleet.master, BEAM)
    assert fleet.held(fleet.master) == managed + 7000
    fleet.by_hand("master", Side.SELL, quantity=str(managed + 1000))
    fleet.live(30)
    (order,) = outside_orders(fleet)
    assert (order.state, order.quantity, order.filled) == ("filled", managed + 1000, managed)
    signal = Signal.objects.get(kind="exit")
    assert (signal.quantity, signal.managed_before, signal.closed_fraction) == (managed, managed, 1)
    position = Position.objects.get(account=fleet.master.account)
    assert (position.managed, position.is_open) == (0, False)
    (trade,) = [t for t in fleet.world.at_exchange(fleet.master)["trades"] if t["type"] == "sell"]
    booked = Execution.objects.get(trade_id=trade["txid"])
    share = managed / (managed + 1000)
    assert abs(booked.notional - D(trade["cost"]) * share) < D("1e-9")
    assert abs(booked.fee - D(trade["fee"]) * share) < D("1e-9")
    assert fleet.held(fleet["ada"]) == 0
    assert Account.objects.get(pk=fleet.master.account.pk).held_at is None
    assert_books_are_clean(fleet)


def test_a_sale_of_coins_that_were_never_managed_is_nobodys_business(fleet: Fleet) -> None:
    fleet.world.paper("POST", f"/accounts/{fleet.master.paper_id}/deposit", asset="BEAM", amount="9000")
    fleet.live(FOUND)
    fleet.by_hand("master", Side.SELL, quantity="4000")
    fleet.live(FOUND)
    fleet.buy(notional="60")
    fleet.live(FOUND)
    assert outside_orders(fleet) == []
    assert [signal.kind for signal in Signal.objects.all()] == ["entry"]
    assert fleet.held(fleet["ada"]) > 0


def test_a_sale_told_late_cannot_have_sold_what_was_bought_after_it(fleet: Fleet) -> None:
    fleet.world.paper("POST", f"/accounts/{fleet.master.paper_id}/deposit", asset="BEAM", amount="9000")
    fleet.live(FOUND)
    fleet.spoil("http_502_before", endpoint="ClosedOrders", times=3)
    fleet.by_hand("master", Side.SELL, quantity="4000")
    fleet.live(2)
    fleet.buy(notional="60")
    fleet.live(30)
    assert outside_orders(fleet) == []
    assert not Signal.objects.filter(kind="exit").exists()


def test_what_was_traded_before_the_account_was_known_is_the_masters_own(make_world: Callable[..., World]) -> None:
    world = make_world(market="pinned")
    world.pin("BEAMUSD", bid="0.010000", ask="0.010001")
    fleet = gather_with_history(world)
    fleet.live(FOUND)
    (order,) = outside_orders(fleet)
    assert (order.quantity, order.filled) == (6000, 2000), "the fills before are his own"
    assert Signal.objects.get().quantity == 2000
    assert fleet.world.managed(fleet.master, BEAM) == 2000
    fleet.live(30)
    assert [o.state for o in outside_orders(fleet)] == ["partial"]


def gather_with_history(world: World) -> Fleet:
    """A master with a filled order and a half filled open one from before; the open one then fills some more."""
    made = world.paper("POST", "/accounts", label="master", balances={"ZUSD": "1000"})
    user = User.objects.create_user(email="master@nija.example", password="a long enough password")
    fleet = Fleet(world, Trader(Account(), made["account"], made["api_key"]), {})
    fleet.by_hand("master", Side.BUY, quantity="1000")
    world.paper("POST", "/limits", pair="BEAMUSD", order_max="2000")
    fleet.by_hand("master", Side.BUY, quantity="6000", price="0.010001")
    world.move(10)
    credential = intake.submit(
        user, api_key=made["api_key"], api_secret=made["api_secret"], clock=world.clock, role="master"
    )
    intake.check_pending(credential.pk, clock=world.clock)
    fleet.master = Trader(Account.objects.get(user=user), made["account"], made["api_key"])
    fleet.live(FOUND)
    assert not Order.objects.exists()
    world.paper("POST", "/market/match")
    return fleet


def test_a_stop_skips_the_copies_and_books_and_sells_all_the_same(fleet: Fleet) -> None:
    fleet.buy(notional="50")
    fleet.live(FOUND)
    halts.stop_platform(actor="test", reason="looking into it", clock=fleet.world.clock)
    fleet.by_hand("master", Side.BUY, quantity="1000")
    fleet.live(FOUND)
    copied = fleet.copy(fleet["ada"], sequence=2)
    assert (copied.status, copied.reason) == ("skipped", "halted")
    assert fleet.world.managed(fleet.master, BEAM) == fleet.held(fleet.master)
    fleet.by_hand("master", Side.SELL, quantity=str(fleet.held(fleet.master)))
    fleet.live(FOUND)
    assert fleet.held(fleet.master) == fleet.held(fleet["ada"]) == 0


def test_an_order_he_left_open_is_neither_cancelled_by_a_stop_nor_in_the_way_of_our_sale(fleet: Fleet) -> None:
    fleet.buy(notional="50")
    fleet.live(FOUND)
    fleet.world.paper("POST", "/limits", pair="BEAMUSD", order_max="500")
    fleet.by_hand("master", Side.BUY, quantity="3000", price="0.010001")
    fleet.by_hand("master", Side.SELL, quantity="2000", price="0.010000")
    fleet.live(FOUND)
    assert {(o.kind, o.state) for o in outside_orders(fleet)} == {("entry", "partial"), ("exit", "partial")}
    report = halts.stop_platform(actor="test", reason="", clock=fleet.world.clock)
    assert report.already_sent == 0
    assert cancelling.cancel_stopped_entries(clock=fleet.world.clock) == 0
    fleet.world.paper("POST", "/limits", pair="BEAMUSD")
    halts.resume_platform(actor="test", clock=fleet.world.clock)
    assert fleet.sell(fraction="0.5").state == "ready"
    fleet.live(2)
    fleet.world.move(61)
    fleet.live(5)
    assert alerts() == []
    statuses = {o["txid"]: o["status"] for o in fleet.world.at_exchange(fleet.master)["orders"]}
    assert {statuses[o.venue_order_id] for o in outside_orders(fleet)} <= {"open", "closed"}


def test_a_follower_is_never_looked_at_or_touched_by_this(fleet: Fleet) -> None:
    fleet.world.paper("POST", f"/accounts/{fleet['ada'].paper_id}/deposit", asset="BEAM", amount="5000")
    fleet.by_hand("ada", Side.SELL, quantity="2000")
    fleet.by_hand("ada", Side.BUY, quantity="1000")
    fleet.live(FOUND)
    fleet.live(FOUND)
    assert fleet.asked(fleet["ada"], "ClosedOrders") == fleet.asked(fleet["ada"], "OpenOrders") == 0
    assert not Order.objects.exists()
    assert not Execution.objects.exists()
    assert not Position.objects.filter(account=fleet["ada"].account).exists()
    assert fleet.held(fleet["ada"]) == 4000


def test_levels_of_the_strategy_grow_and_shrink_with_what_is_traded_outside(fleet: Fleet) -> None:
    plan = EntryPlan(
        reference=Price(D("0.01")),
        stop_distance=Ratio(D("0.04")),
        targets=(Target(Ratio(D("0.06")), Fraction(1)),),
        trail=Ratio(D("0.04")),
        stagnation_below=Ratio(D("0.03")),
        stagnation_after_s=36_000,
        max_holding_s=72_000,
    )
    entry = StrategyEntry("apex", "1", "abc", plan, fleet.world.clock.now())
    master_orders.plan_entry(
        instrument=fleet.world.instrument(BEAM),
        amount=Money(D(50)),
        origin=OrderOrigin.STRATEGY,
        reason="apex",
        clock=fleet.world.clock,
        asked_by=entry,
    )
    fleet.live(FOUND)
    fleet.world.prices()
    fleet.world.watch_levels()
    bought = fleet.world.managed(fleet.master, BEAM)
    fleet.by_hand("master", Side.BUY, quantity="1000")
    fleet.live(FOUND)
    fleet.world.prices()
    fleet.world.watch_levels()
    kept = Levels.objects.get().plan
    assert (D(kept["bought"]), D(kept["managed"])) == (bought + 1000, bought + 1000)
    fleet.by_hand("master", Side.SELL, quantity="1500")
    fleet.live(FOUND)
    fleet.world.prices()
    fleet.world.watch_levels()
    kept = Levels.objects.get().plan
    assert (D(kept["bought"]), D(kept["managed"])) == (bought + 1000, bought - 500)
    fleet.by_hand("master", Side.SELL, quantity=str(fleet.held(fleet.master)))
    fleet.live(FOUND)
    fleet.world.prices()
    fleet.world.watch_levels()
    assert not Levels.objects.exists()


def test_looking_leaves_a_starter_account_room_for_everything_else(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, rate_tier="starter")
    fleet.world.move(60)
    for quantity in ("3000", "2000"):
        fleet.by_hand("master", Side.BUY, quantity=quantity)
        fleet.live(20)
        fleet.buy(notional="40")
        fleet.live(15)
    fleet.sell()
    fleet.live(40)
    assert not [row["result"] for row in fleet.log(fleet.master) if "Rate limit" in row["result"]]
    found = [order.answered_at for order in outside_orders(fleet) if order.answered_at]
    fills = [execution.executed_at for execution in Execution.objects.filter(order__origin="outside").order_by("pk")]
    assert len(found) == 2
    assert all(late - at <= timedelta(seconds=7.5) for late, at in zip(found, fills, strict=True))
    fleet.assert_books_agree()
