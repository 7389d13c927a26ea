"""A small fleet on a paper exchange whose answers can be spoilt, seen from the exchange's side."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from copytrade.models import CopyOrder
from tests.support.waiting import WaitingClient
from tests.support.world import Trader, World
from trading.domain.instrument import Side
from trading.domain.money import Price, Quantity
from trading.kraken.endpoints import AddOrder, OrderType, PrivateClient, TimeInForce
from trading.kraken.signing import Credentials
from trading.models import Order, OrderKind
from trading.services import market, private

BEAM = "BEAM-USD"
ROUNDS_PER_MEASUREMENT = 20


@dataclass
class Fleet:
    world: World
    master: Trader
    followers: dict[str, Trader]

    def __getitem__(self, name: str) -> Trader:
        return self.followers[name]

    def spoil(self, kind: str, *, name: str | None = None, endpoint: str = "AddOrder", **more: Any) -> None:
        """The next call of `endpoint` by this follower (by default the master) goes wrong as `kind` says."""
        trader = self.master if name is None else self.followers[name]
        match = {"endpoint": endpoint, "api_key": trader.api_key}
        self.world.paper("POST", "/faults", kind=kind, match=match, **more)

    def buy(self, *, notional: str = "100", symbol: str = BEAM) -> Order:
        return self.world.master_buys(symbol, notional=notional)

    def sell(self, *, fraction: str = "1", symbol: str = BEAM) -> Order:
        return self.world.master_sells(symbol, fraction=fraction)

    def live(self, seconds: int) -> None:
        """So many rounds of everything the workers do, a second apart."""
        for second in range(seconds):
            if second % ROUNDS_PER_MEASUREMENT == ROUNDS_PER_MEASUREMENT - 1:
                market.measure_venue_clock(clock=self.world.clock, sleep=self.world.move)
            self.world.round()
            self.world.move(1)

    def by_hand(self, name: str, side: Side, *, quantity: str, price: str | None = None, pair: str = "BEAMUSD") -> str:
        """The user trades on Kraken's own page, at the market unless a `price` is named; the order's id."""
        trader = self.followers.get(name, self.master)
        key = self.world.paper("POST", f"/accounts/{trader.paper_id}/keys", label="by hand")
        credentials = Credentials.from_text(key["api_key"], key["api_secret"])
        client = WaitingClient(PrivateClient(private.transport(), credentials))
        order = AddOrder(
            altname=pair,
            side=side,
            ordertype=OrderType.MARKET if price is None else OrderType.LIMIT,
            quantity=Quantity(Decimal(quantity)),
            price=None if price is None else Price(Decimal(price)),
            timeinforce=None if price is None else TimeInForce.GOOD_TILL_CANCELLED,
            cl_ord_id=str(uuid.uuid4()),
            deadline=None,
        )
        return str(client.add_order(order, nonce=1).txid or "")

    def at_exchange(self, trader: Trader, side: str) -> list[Any]:
        """The orders the exchange accepted from this trader."""
        return [order for order in self.world.at_exchange(trader)["orders"] if order["descr"]["type"] == side]

    def asked(self, trader: Trader, endpoint: str = "AddOrder") -> int:
        """How many requests of this kind the exchange saw from this trader."""
        return sum(row["endpoint"] == endpoint for row in self.log(trader))

    def log(self, trader: Trader) -> list[Any]:
        """This trader's requests in the order in which the exchange took them."""
        return [row for row in self.world.paper("GET", "/log")["log"] if row["api_key"] == trader.api_key]

    def held(self, trader: Trader, asset: str = "BEAM") -> Decimal:
        return self.world.holding(trader, asset)

    def orders(self, trader: Trader, kind: OrderKind) -> list[Order]:
        return list(Order.objects.filter(account=trader.account, kind=kind).order_by("pk"))

    def copy(self, trader: Trader, *, sequence: int = 1) -> CopyOrder:
        return CopyOrder.objects.select_related("order").get(account=trader.account, signal__sequence=sequence)

    def assert_books_agree(self, *traders: Trader) -> None:
        """Managed quantity is what the exchange holds, executions and orders are the exchange's own, each once."""
        for trader in traders or (self.master, *self.followers.values()):
            seen = self.world.at_exchange(trader)
            assert self.world.managed(trader, BEAM) == Decimal(seen["balances"].get("BEAM", "0"))
            booked = trader.account.executions.values_list("trade_id", flat=True)
            assert sorted(booked) == sorted(trade["txid"] for trade in seen["trades"])
            known = trader.account.orders.exclude(venue_order_id="").values_list("venue_order_id", flat=True)
            assert sorted(known) == sorted(order["txid"] for order in seen["orders"])
            assert seen["requests"]["max_in_flight"] <= 1
            nonces = [int(row["nonce"]) for row in self.log(trader)]
            assert nonces == sorted(set(nonces))


def gather_holding(make_world: Callable[..., World], *names: str) -> Fleet:
    """Everybody holds what the master bought a moment ago."""
    fleet = gather(make_world, *names)
    fleet.buy()
    fleet.live(3)
    assert all(fleet.held(fleet[name]) > 0 for name in names)
    return fleet


def gather(
    make_world: Callable[..., World], *names: str, usd: str = "1000", rate_tier: str = "none", **risk: Any
) -> Fleet:
    """A master and followers with `usd` each, BEAM pinned at a bid of 0.0100."""
    world = make_world(market="pinned", rate_tier=rate_tier)
    world.pin("BEAMUSD", bid="0.010000", ask="0.010001")
    master = world.join("master@nija.example", usd=usd, role="master")
    followers = {name: world.join(f"{name}@nija.example", usd=usd, **risk) for name in names}
    return Fleet(world, master, followers)
