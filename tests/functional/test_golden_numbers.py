"""The golden numbers of DESIGN section 3: what the replaced system printed as $4,757.31 is done right here."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from copytrade.models import CopyOrder
from copytrade.services import exits
from tests.support.world import World
from trading.models import Order, OrderKind, Position

pytestmark = pytest.mark.django_db(transaction=True)


def test_followers_buy_2898_51_and_2257_36_beam_and_sell_exactly_that(make_world: Callable[..., World]) -> None:
    world = make_world(market="pinned")
    world.pin("BEAMUSD", bid="0.002917", ask="0.002918")
    master = world.join("master@nija.example", usd="60.5340", role="master")
    ada = world.join("ada@nija.example", usd="84.5785")
    ben = world.join("ben@nija.example", usd="65.8698")

    world.master_buys("BEAM-USD", quantity="3404.8349")
    world.settle()

    assert world.holding(master, "BEAM") == Decimal("3404.8349")
    assert f"{world.holding(ada, 'BEAM'):.2f}" == "2898.51"
    assert f"{world.holding(ben, 'BEAM'):.2f}" == "2257.36"
    copy = CopyOrder.objects.get(account=ada.account)
    assert f"{copy.proportional:.2f} {copy.notional:.2f} {copy.cap}" == "13.88 8.46 max_risk"
    copy = CopyOrder.objects.get(account=ben.account)
    assert f"{copy.proportional:.2f} {copy.notional:.2f}" == "10.81 6.59"

    held = [world.holding(trader, "BEAM") for trader in (ada, ben)]
    world.pin("BEAMUSD", bid="0.003100", ask="0.003101")
    world.master_sells("BEAM-USD")
    world.settle()

    for trader, quantity in zip((ada, ben), held, strict=True):
        seen = world.at_exchange(trader)
        assert Decimal(seen["balances"].get("BEAM", "0")) == 0
        executed = {order["descr"]["type"]: Decimal(order["vol_exec"]) for order in seen["orders"]}
        assert len(seen["orders"]) == 2
        assert executed == {"buy": quantity, "sell": quantity}
        ours = set(Order.objects.filter(account=trader.account).values_list("venue_order_id", flat=True))
        assert ours == {order["txid"] for order in seen["orders"]}
        assert Position.objects.get(account=trader.account).managed == 0
    assert world.holding(master, "BEAM") == 0


def test_a_sale_planned_the_moment_the_master_sold_is_told_by_its_copy(make_world: Callable[..., World]) -> None:
    world = make_world(market="pinned")
    world.pin("BEAMUSD", bid="0.002917", ask="0.002918")
    world.join("master@nija.example", usd="60.5340", role="master")
    ada = world.join("ada@nija.example", usd="84.5785")
    world.master_buys("BEAM-USD", quantity="3404.8349")
    world.settle()

    world.master_sells("BEAM-USD")
    world.send(OrderKind.EXIT)
    # The bell of the executions may be heard before the one of the signal.
    exits.plan_due(clock=world.clock)
    world.send(OrderKind.EXIT)
    world.settle()

    copy = CopyOrder.objects.get(account=ada.account, kind="exit")
    assert copy.status == "ordered"
    assert copy.order is not None
    assert copy.order.filled == Decimal("2898.50925291")
    assert world.holding(ada, "BEAM") == 0
