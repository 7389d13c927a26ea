"""The golden numbers of DESIGN section 3 on an exchange that misbehaves: the same to the last digit, or not at all."""

from __future__ import annotations

import operator
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from copytrade.api.outcomes import Outcome, outcome_of
from copytrade.models import CopyOrder
from tests.functional.scenario import BEAM, Fleet
from tests.support import spoiling
from tests.support.spoiling import LOST_ANSWERS, LOST_REQUESTS, READS, REFUSALS, Shares
from tests.support.world import Trader, World
from trading.models import Execution, Order, OrderKind, Position, Signal

pytestmark = pytest.mark.django_db(transaction=True)

MASTER_BUYS = "3404.8349"
#: What each buys and then sells, in BEAM, and the dollars that he has in the end.
GOLDEN = {
    "master": (Decimal("3404.8349"), Decimal("60.98975757")),
    "ada": (Decimal("2898.50925291"), Decimal("84.96648285")),
    "ben": (Decimal("2257.36120630"), Decimal("66.17196134")),
}
#: After a refusal for calling too often a key's budget needs a while.
RECOVERS_S = 60
TRIES_MAX = 8
#: In a run by chance.
LEAST_STRUCK = 3
#: The other kinds take the same ways through the engine; `make system` has them all.
QUICK = ("drop_before", "wrong_nonce", "delay", "rate_limit", "drop_after", "http_520_after", "delay_after", "lag")


@dataclass
class Play:
    """The scenario, act by act. What the master does by hand and what fails, he does again."""

    fleet: Fleet

    @property
    def everybody(self) -> dict[str, Trader]:
        return {"master": self.fleet.master, **self.fleet.followers}

    def buy(self) -> None:
        self.fleet.world.master_buys(BEAM, quantity=MASTER_BUYS)
        self.fleet.world.settle_wholly()

    def sell(self) -> None:
        self.fleet.world.pin("BEAMUSD", bid="0.003100", ask="0.003101")
        self.fleet.world.master_sells(BEAM)
        self.fleet.world.settle_wholly()

    def spoil_orders(self, kind: str, *names: str) -> None:
        for name in names:
            who = None if name == "master" else name
            self.fleet.spoil(kind, name=who, delay_s=spoiling.DELAY_S if kind.startswith("delay") else 0)

    def spoil_reads(self, kind: str, **more: object) -> None:
        late_s = spoiling.DELAY_S if kind.startswith("delay") else 0
        for name in (None, *self.fleet.followers):
            for endpoint in READS:
                self.fleet.spoil(kind, name=name, endpoint=endpoint, **{"delay_s": late_s, **more})

    def refused(self, trader: Trader, kind: OrderKind) -> list[str]:
        return [order.state for order in self.fleet.orders(trader, kind)][:-1]

    def assert_holds(self, *names: str) -> None:
        """The golden quantities bought and not yet sold."""
        for name in names:
            assert self.fleet.held(self.everybody[name]) == GOLDEN[name][0], name

    def assert_golden(self, *names: str, rounding: Decimal = Decimal(0)) -> None:
        """Bought and sold once, the golden quantity, and left with the dollars of a day without faults.

        `rounding` is what they may differ by when the exchange rounds cost and fee of several pieces instead of one.
        """
        for name in names:
            trader, (quantity, dollars) = self.everybody[name], GOLDEN[name]
            seen = self.fleet.world.at_exchange(trader)
            executed = [(order["descr"]["type"], Decimal(order["vol_exec"])) for order in seen["orders"]]
            assert sorted(executed) == [("buy", quantity), ("sell", quantity)], name
            assert Decimal(seen["balances"].get("BEAM", "0")) == 0, name
            assert abs(Decimal(seen["balances"]["ZUSD"]) - dollars) <= rounding, name
            assert Position.objects.get(account=trader.account).managed == 0, name
        self.assert_honest()

    def assert_missed(self, name: str, *outcomes: Outcome) -> None:
        """Asked once at most and never again; nothing was bought, so nothing is sold."""
        trader = self.fleet[name]
        assert self.fleet.world.at_exchange(trader)["orders"] == []
        entry, sale = CopyOrder.objects.filter(account=trader.account).select_related("order").order_by("pk")
        assert self.fleet.asked(trader) == (entry.order is not None)
        assert outcome_of(entry) in (outcomes or (Outcome.MISSED, Outcome.REJECTED))
        assert (sale.status, sale.reason) == ("skipped", "nothing_to_sell")

    def assert_honest(self) -> None:
        """No order twice, books and exchange agree, and units are dollars nowhere."""
        self.fleet.assert_books_agree()
        for trader in self.everybody.values():
            asked = [row["cl_ord_id"] for row in self.fleet.log(trader) if row["endpoint"] == "AddOrder"]
            assert len(asked) == len(set(asked))
            ids = [order["cl_ord_id"] for order in self.fleet.world.at_exchange(trader)["orders"]]
            assert len(ids) == len(set(ids))
        money = [
            *CopyOrder.objects.values_list("proportional", "notional", "equity"),
            *Signal.objects.values_list("notional", "master_equity"),
            *Execution.objects.values_list("notional", "fee"),
            *Order.objects.values_list("filled_notional", "fee", "equity_before"),
        ]
        amounts = {f"{amount:.2f}" for row in money for amount in row if amount is not None}
        assert amounts
        assert "4757.31" not in amounts


def _some_quick(every: Iterable[Any], *, quick: Container[Any]) -> list[Any]:
    return [case if case in quick else pytest.param(case, marks=pytest.mark.system) for case in every]


@pytest.fixture
def play(make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch) -> Play:
    world = make_world(market="pinned", rate_tier="starter")
    world.pin("BEAMUSD", bid="0.002917", ask="0.002918")
    master = world.join("master@nija.example", usd="60.5340", role="master")
    ada = world.join("ada@nija.example", usd="84.5785")
    ben = world.join("ben@nija.example", usd="65.8698")
    spoiling.lose_patience(monkeypatch)
    return Play(Fleet(world, master, {"ada": ada, "ben": ben}))


def test_without_a_fault_these_are_the_golden_numbers(play: Play) -> None:
    play.buy()
    play.assert_holds("master", "ada", "ben")
    play.sell()
    play.assert_golden("master", "ada", "ben")


@pytest.mark.parametrize("kind", _some_quick(LOST_ANSWERS, quick=QUICK))
def test_orders_whose_answers_are_all_lost_are_found_and_come_to_the_same(play: Play, kind: str) -> None:
    play.spoil_orders(kind, "master", "ada", "ben")
    play.buy()
    play.assert_holds("master", "ada", "ben")
    play.spoil_orders(kind, "master", "ada", "ben")
    play.sell()
    play.assert_golden("master", "ada", "ben")
    assert Order.objects.count() == 6
    assert Order.objects.filter(unknown_at__isnull=False).count() == 6, "every fault struck"


@pytest.mark.parametrize("kind", _some_quick([*LOST_REQUESTS, *REFUSALS], quick=QUICK))
def test_an_entry_that_failed_is_missed_and_an_exit_that_failed_is_planned_again(play: Play, kind: str) -> None:
    ended = "rejected" if kind in REFUSALS else "not_placed"
    fleet = play.fleet
    play.spoil_orders(kind, "master")
    play.buy()
    assert [order.state for order in fleet.orders(fleet.master, OrderKind.ENTRY)] == [ended]
    assert [fleet.world.at_exchange(trader)["orders"] for trader in play.everybody.values()] == [[], [], []]
    assert not Signal.objects.exists()
    fleet.world.move(RECOVERS_S)

    play.spoil_orders(kind, "ada")
    play.buy()
    play.assert_holds("master", "ben")
    assert fleet.held(fleet["ada"]) == 0
    fleet.world.move(RECOVERS_S)

    play.spoil_orders(kind, "master")
    play.sell()
    play.assert_holds("master", "ben")
    fleet.world.move(RECOVERS_S)

    play.spoil_orders(kind, "ben")
    play.sell()
    play.assert_golden("master", "ben")
    play.assert_missed("ada", Outcome.REJECTED if kind in REFUSALS else Outcome.MISSED)
    assert play.refused(fleet.master, OrderKind.EXIT) == play.refused(fleet["ben"], OrderKind.EXIT) == [ended]
    assert fleet.world.paper("GET", "/faults")["faults"] == [], "every fault struck"


@pytest.mark.parametrize("kind", _some_quick([*LOST_REQUESTS, "lag"], quick=("drop_before", "wrong_nonce", "lag")))
def test_reads_that_fail_or_are_late_change_no_number(play: Play, kind: str) -> None:
    """Of all answers but the master's first, so that all depends on the reads."""
    more: dict[str, object] = {"delay_s": spoiling.LAG_S, "times": spoiling.TIMES_MAX} if kind == "lag" else {}
    play.spoil_reads(kind, **more)
    play.spoil_orders("drop_after", "ada", "ben")
    play.buy()
    play.assert_holds("master", "ada", "ben")
    spoiling.heal(play.fleet.world)
    play.spoil_reads(kind, **more)
    play.spoil_orders("drop_after", "master", "ada", "ben")
    play.sell()
    play.assert_golden("master", "ada", "ben")
    assert Order.objects.count() == 6
    assert Order.objects.filter(unknown_at__isnull=False).count() == 5


def test_what_the_master_bought_and_kraken_tells_too_late_is_copied_by_nobody(play: Play) -> None:
    """His answer is lost, and three looks fail, five seconds apart: an entry lives ten, and is missed, never chased."""
    play.spoil_orders("drop_after", "master")
    play.fleet.spoil("http_520_before", endpoint="OpenOrders", times=3)
    play.buy()
    play.assert_holds("master")
    play.sell()
    play.assert_golden("master")
    for name in play.fleet.followers:
        play.assert_missed(name, Outcome.MISSED)
        assert play.fleet.asked(play.fleet[name]) == 0
        assert play.fleet.copy(play.fleet[name]).reason == "too_late"


def test_orders_matched_in_many_pieces_come_to_the_same_quantities(play: Play) -> None:
    play.fleet.world.paper("POST", "/limits", pair="BEAMUSD", match_max="417.3")
    play.spoil_orders("drop_after", "master", "ada", "ben")
    play.buy()
    play.assert_holds("master", "ada", "ben")
    play.spoil_orders("drop_after", "master", "ada", "ben")
    play.sell()
    pieces = 2 * (9 + 7 + 6)
    assert Execution.objects.count() == pieces
    play.assert_golden("master", "ada", "ben", rounding=pieces * Decimal("1e-8"))


def test_what_the_market_did_not_give_a_follower_is_neither_chased_nor_sold(play: Play) -> None:
    """Nobody gets more than 2,500 BEAM for an order: all of the master's, a part of hers, all of his."""
    play.fleet.world.paper("POST", "/limits", pair="BEAMUSD", order_max="2500")
    play.spoil_orders("drop_after", "master", "ada", "ben")
    play.buy()
    play.assert_holds("ben")
    play.spoil_orders("drop_after", "master", "ada", "ben")
    play.sell()
    play.assert_golden("ben")
    for trader in (play.fleet.master, play.fleet["ada"]):
        sold = [Decimal(order["vol_exec"]) for order in play.fleet.at_exchange(trader, "sell")]
        assert sold == [Decimal(2500)]
        assert play.fleet.held(trader) == 0


@pytest.mark.parametrize("seed", _some_quick(range(1, 13), quick=range(1, 3)))
def test_whatever_fails_by_chance_who_bought_has_the_golden_numbers(play: Play, seed: int) -> None:
    fleet = play.fleet
    everybody = list(play.everybody.values())
    spoiling.spoil(fleet.world, everybody, seed=seed, shares=Shares(orders=0.5, reads=0.25, lags=0.15))
    for act, done in ((play.buy, bool), (play.sell, operator.not_)):
        for _ in range(TRIES_MAX):
            if not done(fleet.held(fleet.master)):
                act()
                fleet.world.move(RECOVERS_S)
    bought = {name for name, trader in fleet.followers.items() if fleet.at_exchange(trader, "buy")}
    assert spoiling.struck(fleet.world).total() >= LEAST_STRUCK
    play.assert_golden("master", *bought)
    for name in fleet.followers.keys() - bought:
        play.assert_missed(name)
