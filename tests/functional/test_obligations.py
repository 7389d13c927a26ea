"""What followers owe when the master sells: late fills, parts, minima, hands of their owners."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

import pytest
from django.db import transaction

from copytrade.models import CopyOrder
from copytrade.selectors import obligations
from copytrade.services import exits, fan_out, release, watch
from tests.functional.scenario import BEAM, gather
from tests.support.world import World
from trading.domain.instrument import Side
from trading.models import Account, Adjustment, Event, Instrument, Lane, Order, OrderKind, Position, Signal
from trading.services import balances
from trading.services.lanes import Purpose

pytestmark = pytest.mark.django_db(transaction=True)

LOT = Decimal("0.00000001")


def test_three_partial_exits_close_the_masters_fraction_within_a_lot(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada", "ben", usd="1000")
    fleet.world.paper("POST", f"/accounts/{fleet['ben'].paper_id}/deposit", asset="ZUSD", amount="777.77")
    fleet.world.move(31)
    fleet.buy(notional="80")
    fleet.live(4)
    bought = {trader.paper_id: fleet.held(trader) for trader in (fleet.master, fleet["ada"], fleet["ben"])}
    assert len(set(bought.values())) == 2
    for fraction in ("1/3", "1/2", "1/5"):
        fleet.sell(fraction=fraction)
        fleet.live(4)
        masters = 1 - Fraction(fleet.held(fleet.master)) / Fraction(bought[fleet.master.paper_id])
        for name in ("ada", "ben"):
            whole = Fraction(bought[fleet[name].paper_id])
            assert abs(whole - Fraction(fleet.held(fleet[name])) - whole * masters) <= Fraction(LOT)
    fleet.sell()
    fleet.live(4)
    assert fleet.held(fleet["ada"]) == fleet.held(fleet["ben"]) == 0
    assert [len(fleet.at_exchange(fleet[name], "sell")) for name in ("ada", "ben")] == [4, 4]
    fleet.assert_books_agree()


def test_the_masters_partial_fills_are_copied_part_by_part_and_sold_whole(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada")
    fleet.world.paper("POST", "/limits", pair="BEAMUSD", match_max="1000")
    fleet.buy(notional="50")
    fleet.live(4)
    assert len(fleet.world.at_exchange(fleet.master)["trades"]) == 5
    assert fleet.held(fleet["ada"]) == fleet.held(fleet.master)
    fleet.world.paper("POST", "/limits", pair="BEAMUSD", order_max="2000", market_orders_wait=True)
    fleet.sell()
    fleet.live(3)
    assert Signal.objects.filter(kind="exit").count() == 1, "a second after the first fill, before the order is final"
    assert fleet.held(fleet.master) > 0
    fleet.world.paper("POST", "/limits", pair="BEAMUSD")
    fleet.world.paper("POST", "/market/match")
    fleet.live(12)
    assert fleet.held(fleet.master) == fleet.held(fleet["ada"]) == 0
    fleet.assert_books_agree()


def test_what_a_round_trip_left_unsold_is_not_told_as_sold_by_a_later_one(make_world: Callable[..., World]) -> None:
    """One waits for Kraken's minimum and is taken over; one was refused since its owner had sold by hand."""
    fleet = gather(make_world, "ada", "ben", multiplier=Decimal("0.5"))
    fleet.buy()
    fleet.live(14)
    fleet.sell(fraction="1/20")
    fleet.live(4)
    assert fleet.copy(fleet["ada"], sequence=2).reason == "waiting_min"
    release.release_all(fleet["ada"].account, actor="ada", clock=fleet.world.clock)
    assert fleet.copy(fleet["ada"], sequence=2).sentence == release.TAKEN_OVER
    fleet.by_hand("ben", Side.SELL, quantity=str(fleet.held(fleet["ben"])))
    fleet.sell()
    fleet.live(2)
    [refused] = fleet.orders(fleet["ben"], OrderKind.EXIT)
    assert refused.state == "rejected"
    for _ in range(4):
        balances.refresh_due(clock=fleet.world.clock)
        fleet.live(5)
    fleet.buy()
    fleet.live(14)
    fleet.sell()
    fleet.live(6)
    for name in ("ada", "ben"):
        newest = fleet.orders(fleet[name], OrderKind.EXIT)[-1]
        assert newest.state == "filled"
        assert fleet.copy(fleet[name], sequence=5).order_id == newest.pk
        assert [copy.signal.sequence for copy in newest.copies.all()] == [5]


def test_an_entry_that_fills_in_part_is_sold_as_far_as_it_filled(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada")
    fleet.buy()
    fleet.world.send(OrderKind.ENTRY)
    fleet.world.paper("POST", "/limits", pair="BEAMUSD", order_max="1234.5")
    fleet.live(3)
    (order,) = fleet.orders(fleet["ada"], OrderKind.ENTRY)
    assert (order.state, order.filled) == ("canceled", Decimal("1234.5"))
    fleet.world.paper("POST", "/limits", pair="BEAMUSD")
    fleet.sell(fraction="1/2")
    fleet.live(4)
    assert abs(fleet.held(fleet["ada"]) - Decimal("617.25")) <= LOT
    fleet.sell()
    fleet.live(4)
    assert fleet.held(fleet["ada"]) == 0
    fleet.assert_books_agree()


def test_an_entry_of_the_first_signal_that_is_found_after_the_second_exit_is_reduced_as_both_say(
    make_world: Callable[..., World],
) -> None:
    fleet = gather(make_world, "ada", "ben")
    fleet.spoil("drop_after", name="ada")
    fleet.spoil("drop_before", name="ada", endpoint="OpenOrders", times=3)
    fleet.buy()
    fleet.live(2)
    assert [o.state for o in fleet.orders(fleet["ada"], OrderKind.ENTRY)] == ["unknown"]
    for _ in range(2):
        fleet.sell(fraction="1/2")
        fleet.live(3)
    fleet.live(12)
    assert fleet.held(fleet["ada"]) == fleet.held(fleet["ben"]) == fleet.held(fleet.master) > 0
    fleet.assert_books_agree()


def test_who_owes_nothing_is_not_looked_at_again_before_the_next_exit(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada", "ben")
    fleet.buy()
    fleet.live(3)
    bought = fleet.held(fleet["ada"])
    for closed, left in (("1/4", "0.75"), ("1/3", "0.5")):
        fleet.sell(fraction=closed)
        fleet.live(4)
        assert not obligations.candidates().exists()
        for trader in fleet.followers.values():
            assert abs(fleet.held(trader) - bought * Decimal(left)) <= 2 * LOT
    fleet.assert_books_agree()


def test_whatever_is_remembered_wrongly_of_who_owes_nothing_heals_within_a_minute(
    make_world: Callable[..., World],
) -> None:
    fleet = gather(make_world, "ada", "ben")
    fleet.buy()
    fleet.live(3)
    Position.objects.filter(account__role="follower").update(settled_sequence=7)
    fleet.sell()
    fleet.live(62)
    assert fleet.held(fleet["ada"]) == fleet.held(fleet["ben"]) == 0
    assert [len(fleet.at_exchange(trader, "sell")) for trader in fleet.followers.values()] == [1, 1]


def test_who_bought_after_the_newest_exit_is_not_looked_at_whatever_is_remembered(
    make_world: Callable[..., World],
) -> None:
    fleet = gather(make_world, "ada")
    for act in (fleet.buy, fleet.sell, fleet.buy):
        act()
        fleet.live(4)
    # As rows were that were written before anything was remembered.
    assert Position.objects.filter(is_open=True, account__role="follower").update(settled_sequence=0) == 1
    assert not obligations.candidates().exists()
    assert not obligations.candidates(anew=True).exists()


def test_who_owes_too_little_is_looked_at_rarely_and_sold_once_kraken_takes_so_little(
    make_world: Callable[..., World],
) -> None:
    fleet = gather(make_world, "ada", multiplier=Decimal("0.5"))
    fleet.buy()
    fleet.live(3)
    beam = Instrument.objects.filter(symbol=BEAM)
    usual, masters, bought = beam.get().quantity_min, fleet.held(fleet.master), fleet.held(fleet["ada"])
    beam.update(quantity_min=masters / 5)
    fleet.sell(fraction="1/4")
    fleet.live(4)
    assert fleet.copy(fleet["ada"], sequence=2).reason == "waiting_min"
    assert not obligations.candidates().exists()
    beam.update(quantity_min=usual)
    fleet.live(62)
    assert len(fleet.at_exchange(fleet["ada"], "sell")) == 1
    assert abs(fleet.held(fleet["ada"]) - bought * 3 / 4) <= LOT


def test_an_entry_that_is_found_after_what_was_held_was_sold_in_part_is_reduced_too(
    make_world: Callable[..., World],
) -> None:
    fleet = gather(make_world, "ada", "ben")
    fleet.buy()
    fleet.live(3)
    # Nobody's turn to be looked at again comes before the end.
    turn = Position.objects.get(account=fleet["ada"].account).pk % exits.LOOKS_AGAIN
    while int(fleet.world.clock.now().timestamp() - turn - 1) % exits.LOOKS_AGAIN > 5:
        fleet.live(1)
    fleet.spoil("drop_after", name="ada")
    fleet.spoil("drop_before", name="ada", endpoint="OpenOrders", times=4)
    fleet.buy()
    fleet.live(2)
    fleet.sell(fraction="1/2")
    fleet.live(3)
    # What ada held was halved; nothing more is owed until her second purchase is found.
    assert [order.state for order in fleet.orders(fleet["ada"], OrderKind.ENTRY)] == ["filled", "unknown"]
    assert not obligations.candidates().exists()
    fleet.live(40)
    assert fleet.held(fleet["ada"]) == fleet.held(fleet["ben"]) > 0
    fleet.assert_books_agree()


def test_exits_that_are_fanned_out_in_another_order_than_they_were_given_in_are_both_carried_out(
    make_world: Callable[..., World],
) -> None:
    fleet = gather(make_world, "ada")
    fleet.buy()
    fleet.live(3)
    bought, clock = fleet.held(fleet["ada"]), fleet.world.clock
    for _ in range(2):
        fleet.sell(fraction="1/2")
        fleet.world.send(OrderKind.EXIT)
    older, newer = Signal.objects.filter(kind="exit").order_by("sequence")
    # As when of two workers the one with the newer signal is faster.
    for signal in (newer, older):
        with transaction.atomic():
            fan_out._fan_out(signal, now=clock.now())
        while exits.plan_due(clock=clock):
            fleet.world.send(OrderKind.EXIT)
            fleet.world.refresh()
        fleet.world.move(1)
    assert abs(fleet.held(fleet["ada"]) - bought / 4) <= 2 * LOT
    fleet.assert_books_agree()


def test_a_sale_whose_copy_is_not_written_yet_is_not_planned_with_one_that_is(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada")
    fleet.buy()
    fleet.live(3)
    bought, clock, ada = fleet.held(fleet["ada"]), fleet.world.clock, fleet["ada"]
    sold = []
    for _ in range(2):
        fleet.sell(fraction="1/2")
        fleet.world.send(OrderKind.EXIT)
    for signal in Signal.objects.filter(kind="exit").order_by("sequence"):
        with transaction.atomic():
            fan_out._fan_out(signal, now=clock.now())
        assert exits.plan_due(clock=clock) == 1
        fleet.world.send(OrderKind.EXIT)
        fleet.world.refresh()
        sold.append(bought - fleet.held(ada))
    assert abs(sold[0] - bought / 2) <= LOT
    assert abs(sold[1] - bought * 3 / 4) <= 2 * LOT
    fleet.live(2)
    orders = [fleet.copy(ada, sequence=sequence).order for sequence in (2, 3)]
    assert len(set(orders)) == len(fleet.at_exchange(ada, "sell")) == 2
    assert None not in orders


def test_an_unsellable_rest_is_sold_with_the_part_that_was_owed(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada", multiplier=Decimal("0.1"))
    fleet.buy()
    fleet.live(3)
    assert fleet.held(fleet["ada"]) < 1000
    fleet.sell(fraction="3/4")
    fleet.live(4)
    assert fleet.held(fleet["ada"]) == 0
    assert fleet.held(fleet.master) > 0
    fleet.sell()
    fleet.live(4)
    assert fleet.copy(fleet["ada"], sequence=3).reason == "nothing_to_sell"
    fleet.assert_books_agree()


def test_small_debts_wait_until_they_are_worth_an_order(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada", multiplier=Decimal("0.1"))
    fleet.buy()
    fleet.live(3)
    bought = fleet.held(fleet["ada"])
    fleet.sell(fraction="1/4")
    fleet.live(4)
    assert fleet.held(fleet["ada"]) == bought
    waiting = fleet.copy(fleet["ada"], sequence=2)
    assert (waiting.status, waiting.reason) == ("skipped", "waiting_min")
    fleet.sell(fraction="1/3")
    fleet.live(4)
    (order,) = fleet.orders(fleet["ada"], OrderKind.EXIT)
    assert fleet.held(fleet["ada"]) == bought - order.filled
    assert abs(order.filled - bought / 2) <= LOT
    for sequence in (2, 3):
        assert fleet.copy(fleet["ada"], sequence=sequence).order == order
    fleet.assert_books_agree()


def test_dust_is_shown_kept_and_not_retried(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada")
    fleet.buy()
    fleet.world.send(OrderKind.ENTRY)
    fleet.world.paper("POST", "/limits", pair="BEAMUSD", order_max="399")
    fleet.live(3)
    fleet.world.paper("POST", "/limits", pair="BEAMUSD")
    fleet.sell()
    fleet.live(8)
    assert fleet.held(fleet["ada"]) == 399
    assert fleet.orders(fleet["ada"], OrderKind.EXIT) == []
    kept = fleet.copy(fleet["ada"], sequence=2)
    assert (kept.status, kept.reason) == ("skipped", "dust")
    fleet.buy()
    fleet.live(4)
    fleet.sell()
    fleet.live(4)
    assert fleet.held(fleet["ada"]) == 0, "together with the next purchase it could be sold"
    fleet.assert_books_agree()


def test_what_the_user_sold_by_hand_is_noted_and_the_rest_follows_the_master(
    make_world: Callable[..., World],
) -> None:
    fleet = gather(make_world, "ada", "ben")
    fleet.buy()
    fleet.live(3)
    bought = fleet.held(fleet["ada"])
    fleet.world.move(30)
    fleet.by_hand("ada", Side.SELL, quantity="4000")
    fleet.world.refresh()
    reduced = Adjustment.objects.get()
    assert (reduced.kind, reduced.managed_before, reduced.managed_after) == (
        "user_reduced",
        bought,
        fleet.held(fleet["ada"]),
    )
    assert fleet.world.managed(fleet["ada"], BEAM) == fleet.held(fleet["ada"])
    fleet.sell(fraction="1/2")
    fleet.live(4)
    assert abs(fleet.held(fleet["ada"]) - (bought - 4000) / 2) <= LOT
    fleet.sell()
    fleet.live(4)
    assert fleet.held(fleet["ada"]) == fleet.held(fleet["ben"]) == 0


def test_what_was_sold_by_hand_is_no_part_of_a_purchase_that_still_waited(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada")
    fleet.buy()
    fleet.live(3)
    fleet.world.move(30)
    fleet.buy(notional="50")
    fleet.world.send(OrderKind.ENTRY)
    assert Signal.objects.count() == 2
    fleet.by_hand("ada", Side.SELL, quantity="4000")
    balances.refresh([fleet["ada"].account], clock=fleet.world.clock, purpose=Purpose.REFRESH)
    assert Adjustment.objects.count() == 1
    fleet.live(4)
    held = fleet.held(fleet["ada"])
    fleet.sell(fraction="1/2")
    fleet.live(4)
    assert abs(fleet.held(fleet["ada"]) - held / 2) <= 2 * LOT


@pytest.mark.parametrize("spent", [0, 12], ids=["budget to spare", "budget nearly spent"])
def test_a_sale_refused_because_its_owner_sold_by_hand_is_made_of_the_rest_soon(
    make_world: Callable[..., World], spent: int
) -> None:
    fleet = gather(make_world, "ada")
    fleet.buy()
    fleet.live(3)
    fleet.world.move(15)
    balances.refresh_due(clock=fleet.world.clock)
    fleet.by_hand("ada", Side.SELL, quantity="4000")
    if spent:
        Lane.objects.update(rate_points=spent, rate_at=fleet.world.clock.now())
    fleet.sell()
    # The balance of a moment ago would be good for another twenty seconds.
    for _ in range(3):
        fleet.live(5)
        balances.refresh_due(clock=fleet.world.clock)
    assert fleet.orders(fleet["ada"], OrderKind.EXIT)[0].state == "rejected"
    assert Adjustment.objects.count() == 1
    fleet.live(2)
    assert fleet.held(fleet["ada"]) == 0
    fleet.assert_books_agree(fleet.master)


def test_the_users_own_coins_stay_when_everything_managed_is_sold(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada")
    fleet.world.paper("POST", f"/accounts/{fleet['ada'].paper_id}/deposit", asset="BEAM", amount="5000")
    fleet.buy()
    fleet.live(3)
    assert fleet.held(fleet["ada"]) == 5000 + fleet.held(fleet.master)
    fleet.sell()
    fleet.live(4)
    fleet.world.move(60)
    fleet.live(3)
    assert fleet.held(fleet["ada"]) == 5000


def test_coins_in_the_users_own_resting_order_are_left_there(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada")
    fleet.buy()
    fleet.live(3)
    bought = fleet.held(fleet["ada"])
    fleet.world.move(30)
    own = fleet.by_hand("ada", Side.SELL, quantity="4000", price="0.05")
    fleet.world.refresh()
    assert not Adjustment.objects.exists(), "a hold is not a sale"
    fleet.sell()
    fleet.live(4)
    assert fleet.held(fleet["ada"]) == 4000
    assert [order["txid"] for order in fleet.at_exchange(fleet["ada"], "sell") if order["status"] == "open"] == [own]
    assert fleet.orders(fleet["ada"], OrderKind.EXIT)[0].filled == bought - 4000


def test_a_late_joiner_owes_nothing_he_never_bought(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada")
    fleet.buy()
    fleet.live(3)
    late = fleet.world.join("late@nija.example", usd="1000")
    fleet.world.paper("POST", f"/accounts/{late.paper_id}/deposit", asset="BEAM", amount="7000")
    fleet.sell(fraction="1/2")
    fleet.live(3)
    fleet.buy(notional="50")
    fleet.live(3)
    assert fleet.held(late) > 7000
    fleet.sell()
    fleet.live(4)
    assert fleet.held(late) == 7000
    copies = list(CopyOrder.objects.filter(account=late.account).order_by("signal__sequence"))
    assert [copy.reason for copy in copies] == ["nothing_to_sell", "", ""]
    fleet.world.move(60)
    fleet.assert_books_agree(fleet.master, fleet["ada"])


def test_a_copy_that_comes_after_the_masters_exit_is_not_bought(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada")
    fleet.buy()
    fleet.world.send(OrderKind.ENTRY)
    fleet.sell()
    fleet.world.send(OrderKind.EXIT)
    fan_out.claim_signals(clock=fleet.world.clock)
    waiting = list(CopyOrder.objects.filter(kind="entry").values_list("pk", flat=True))
    assert fleet.world.copy(waiting) == 0
    fleet.live(2)
    assert fleet.copy(fleet["ada"]).reason == "master_already_out"
    assert fleet.copy(fleet["ada"], sequence=2).reason == "nothing_to_sell"
    assert fleet.asked(fleet["ada"]) == 0


def test_the_owner_closes_everything_and_the_next_entry_starts_anew(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada", "ben")
    fleet.buy()
    fleet.live(3)
    assert exits.close_all(fleet["ada"].account, actor="ada", clock=fleet.world.clock) == 1
    fleet.live(3)
    assert fleet.held(fleet["ada"]) == 0
    assert fleet.held(fleet["ben"]) == fleet.held(fleet.master) > 0
    assert fleet.orders(fleet["ada"], OrderKind.EXIT)[0].reason == "You asked to sell everything"
    fleet.buy(notional="50")
    fleet.live(4)
    assert fleet.held(fleet["ada"]) > 0
    fleet.sell()
    fleet.live(4)
    assert fleet.held(fleet["ada"]) == fleet.held(fleet["ben"]) == 0
    fleet.assert_books_agree()


@pytest.mark.parametrize("fanned_out", [True, False])
def test_what_waits_to_be_bought_when_everything_is_sold_is_not_bought(
    make_world: Callable[..., World], fanned_out: bool
) -> None:
    fleet = gather(make_world, "ada", "ben")
    fleet.buy()
    fleet.live(3)
    fleet.buy(notional="50")
    fleet.world.send(OrderKind.ENTRY)
    if fanned_out:
        fan_out.claim_signals(clock=fleet.world.clock)
    exits.close_all(fleet["ada"].account, actor="ada", clock=fleet.world.clock)
    fleet.live(4)
    assert (fleet.held(fleet["ada"]), len(fleet.at_exchange(fleet["ada"], "buy"))) == (0, 1)
    assert fleet.held(fleet["ben"]) == fleet.held(fleet.master)
    skipped = fleet.copy(fleet["ada"], sequence=2)
    assert (skipped.status, skipped.reason) == ("skipped", "closed_all")
    assert skipped.sentence == "Everything was asked to be sold before this was bought."
    fleet.assert_books_agree()


def test_an_exit_that_kraken_keeps_refusing_is_tried_ever_more_rarely_and_told(
    make_world: Callable[..., World],
) -> None:
    fleet = gather(make_world, "ada")
    fleet.buy()
    fleet.live(3)
    fleet.spoil("error:EOrder:Insufficient margin", name="ada", times=1000)
    fleet.sell()
    fleet.live(50)
    tried = len(fleet.orders(fleet["ada"], OrderKind.EXIT))
    assert 4 <= tried <= 6
    assert Event.objects.filter(kind="alert", message__contains="sales in a row sold nothing").exists()
    fleet.world.paper("DELETE", "/faults")
    fleet.live(32)
    assert fleet.held(fleet["ada"]) == 0
    assert len(fleet.at_exchange(fleet["ada"], "sell")) == 1


def test_an_exit_without_a_key_waits_is_told_and_holds_nobody_up(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada", "ben")
    fleet.buy()
    fleet.live(3)
    fleet["ada"].account.user.credentials.update(status="disconnected")
    fleet.sell()
    fleet.live(4)
    assert fleet.held(fleet["ben"]) == 0
    assert [o.state for o in fleet.orders(fleet["ada"], OrderKind.EXIT)] == ["ready"]
    fleet.world.move(60)
    for _ in range(2):
        watch.look(clock=fleet.world.clock)
    told = Event.objects.filter(kind="alert", account=fleet["ada"].account, message__contains="could not be sent")
    assert told.count() == 1
    fleet["ada"].account.user.credentials.update(status="active")
    fleet.live(3)
    assert fleet.held(fleet["ada"]) == 0


def test_rewards_earning_coins_still_count_as_held(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada")
    fleet.buy()
    fleet.live(3)
    position = Position.objects.select_related("instrument").get(account=fleet["ada"].account)
    fleet.world.move(20)
    totals = {"BEAM": Decimal(0), "BEAM.F": position.managed}
    balances._adjust_to(fleet["ada"].account, totals, as_of=fleet.world.clock.now())
    assert not Adjustment.objects.exists()
    balances._adjust_to(fleet["ada"].account, {"BEAM": Decimal(0)}, as_of=fleet.world.clock.now())
    assert Adjustment.objects.get().managed_after == 0


def test_one_live_exit_at_a_time_whoever_plans(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada")
    fleet.buy()
    fleet.live(3)
    fleet.sell(fraction="1/2")
    fleet.world.send(OrderKind.EXIT)
    fan_out.claim_signals(clock=fleet.world.clock)
    assert [exits.plan_due(clock=fleet.world.clock) for _ in range(3)] == [1, 0, 0]
    assert Order.objects.filter(account=fleet["ada"].account, kind="exit").count() == 1


def test_an_exit_of_an_entry_that_came_to_nothing_is_settled_though_a_later_entry_filled(
    make_world: Callable[..., World],
) -> None:
    fleet = gather(make_world, "ada")
    fleet.spoil("drop_before", name="ada")
    fleet.buy()
    fleet.live(2)
    assert [order.state for order in fleet.orders(fleet["ada"], OrderKind.ENTRY)] == ["unknown"]
    fleet.sell(fraction="0.9")
    fleet.live(2)
    assert fleet.copy(fleet["ada"], sequence=2).status == "pending"
    fleet.buy()
    fleet.live(30)
    assert [order.state for order in fleet.orders(fleet["ada"], OrderKind.ENTRY)] == ["not_placed", "filled"]
    exit_copy = fleet.copy(fleet["ada"], sequence=2)
    assert (exit_copy.status, exit_copy.reason) == ("skipped", "nothing_to_sell")
    fleet.sell()
    fleet.live(4)
    assert fleet.held(fleet["ada"]) == 0
    assert fleet.copy(fleet["ada"], sequence=2).order is None


def test_once_a_sale_by_hand_is_known_the_rest_is_sold_without_waiting_out_the_failures(
    make_world: Callable[..., World],
) -> None:
    fleet = gather(make_world, "ada")
    fleet.buy()
    fleet.live(12)
    fleet.by_hand("ada", Side.SELL, quantity=f"{fleet.held(fleet['ada']) / 2:.4f}")
    fleet.sell()
    for _ in range(20):
        fleet.live(1)
        if Order.objects.filter(kind=OrderKind.EXIT, state="rejected").count() == 3:
            break
    # Twelve seconds would have to pass after the third failure.
    balances.refresh([Account.objects.get(pk=fleet["ada"].account.pk)], clock=fleet.world.clock, purpose=Purpose.ENTRY)
    assert Adjustment.objects.count() == 1
    fleet.live(2)
    assert fleet.held(fleet["ada"]) == 0
