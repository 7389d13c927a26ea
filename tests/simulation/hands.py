"""What account owners do at the exchange itself, on its own pages, without telling us."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal

from tests.simulation.network import Network
from tests.simulation.scheduler import NS, Scheduler
from trading.models import Account, Role
from trading.paper import order_entry
from trading.paper.errors import KrakenError
from trading.paper.pairs import PAIRS, Pair
from trading.paper.records import Account as PaperAccount
from trading.paper.records import Order

_CENT_OF_A_COIN = Decimal("0.00001")


@dataclass
class Hands:
    """`resting`: orders placed by hand that were open when they were placed; nobody but their owner may cancel them."""

    scheduler: Scheduler
    network: Network
    paper_ids: dict[int, str]
    acts: Counter[str]
    resting: list[Order] = field(default_factory=list)
    cancelled: set[str] = field(default_factory=set)

    def sell(self) -> None:
        """Some of a coin, whether NIJA bought it or not."""
        paper = self._somebody()
        pair = self._a_coin_of(paper)
        if pair is not None and self._place(paper, pair, "sell", self._part(paper, pair), None) is not None:
            self.acts["sold by hand"] += 1

    def place(self) -> None:
        """An order of one's own far from the market, whose hold takes coins or dollars out of NIJA's reach."""
        paper, chance = self._somebody(), self.scheduler.random
        pair = self._a_coin_of(paper)
        if pair is None or chance.randrange(3) == 0:
            pair = pair or PAIRS["XDGUSD"]
            price = pair.nearest_tick(self._bid(pair) * Decimal(chance.randrange(40, 80)) / 100)
            volume = self.network.exchange.available(paper, "ZUSD") * Decimal(chance.randrange(5, 40)) / 100 / price
            order = self._place(paper, pair, "buy", volume, price)
        else:
            price = pair.nearest_tick(self._bid(pair) * Decimal(chance.randrange(130, 300)) / 100)
            order = self._place(paper, pair, "sell", self._part(paper, pair), price)
        if order is not None:
            self.acts["placed by hand"] += 1
            self.resting.append(order)

    def cancel(self) -> None:
        """One's own order, or one of NIJA's that rests."""
        exchange = self.network.exchange
        found = [order for paper in self._followers() for order in exchange.open_orders_of(paper)]
        if found:
            self._cancel(found[self.scheduler.random.randrange(len(found))])

    def deposit_coins(self, altnames: tuple[str, ...]) -> None:
        pair = self.network.exchange.market.book.named(altnames[self.scheduler.random.randrange(len(altnames))])
        value = Decimal(self.scheduler.random.randrange(5, 200))
        volume = (value / pair.typical_price).quantize(_CENT_OF_A_COIN)
        self.network.exchange.accounts.change(self._somebody(), pair.base, volume)
        self.acts["coins deposited"] += 1

    def pay_in(self) -> None:
        """Or out: dollars that come and go are no profit and no loss."""
        paper, chance = self._somebody(), self.scheduler.random
        amount = Decimal(chance.randrange(-50, 100)) * self.network.exchange.available(paper, "ZUSD") / 200
        self.network.exchange.accounts.change(paper, "ZUSD", amount.quantize(Decimal("0.0001")))
        self.acts["paid in or out"] += 1

    def master_trades(self, altnames: tuple[str, ...]) -> None:
        """The master trades on Kraken, and is copied all the same."""
        chance = self.scheduler.random
        paper = self._paper(Account.objects.get(role=Role.MASTER))
        pair = self._a_coin_of(paper)
        if pair is not None and chance.randrange(2):
            if self._place(paper, pair, "sell", self._part(paper, pair), None) is not None:
                self.acts["master sold outside"] += 1
            return
        pair = self.network.exchange.market.book.named(altnames[chance.randrange(len(altnames))])
        volume = Decimal(chance.randrange(20, 90)) / self._bid(pair)
        if self._place(paper, pair, "buy", volume, None) is not None:
            self.acts["master bought outside"] += 1

    def let_go(self) -> None:
        """Owners cancel what they left open, so that nothing is held back any more."""
        for order in self.resting:
            if order.is_open:
                self._cancel(order)

    def violations(self) -> list[str]:
        """I10: what an owner placed by hand is not cancelled by anybody else."""
        return [
            f"I10: order {order.txid}, placed by hand, was cancelled"
            for order in self.resting
            if order.status == "canceled" and order.txid not in self.cancelled
        ]

    def _cancel(self, order: Order) -> None:
        self.network.set_time()
        exchange = self.network.exchange
        exchange.cancel(exchange.accounts.by_id[order.account_id], [order], now=self._now_s)
        self.cancelled.add(order.txid)
        self.acts["cancelled by hand"] += 1

    def _place(
        self, paper: PaperAccount, pair: Pair, side: str, volume: Decimal, price: Decimal | None
    ) -> Order | None:
        self.network.set_time()
        params = {"type": side, "pair": pair.altname, "volume": f"{volume.quantize(_CENT_OF_A_COIN):f}"}
        params |= {"ordertype": "market"} if price is None else {"ordertype": "limit", "price": f"{price:f}"}
        try:
            request = order_entry.read(params, pair=pair, now=self._now_s)
            return self.network.exchange.add_order(paper, request, now=self._now_s)
        except KrakenError:
            return None

    @property
    def _now_s(self) -> float:
        return self.scheduler.now_ns / NS

    def _bid(self, pair: Pair) -> Decimal:
        return self.network.exchange.market.quote(pair, now=0.0).bid

    def _part(self, paper: PaperAccount, pair: Pair) -> Decimal:
        return (
            self.network.exchange.available(paper, pair.base) * Decimal(self.scheduler.random.randrange(1, 101)) / 100
        )

    def _a_coin_of(self, paper: PaperAccount) -> Pair | None:
        coins = [pair for pair in PAIRS.values() if self.network.exchange.available(paper, pair.base) > 0]
        return coins[self.scheduler.random.randrange(len(coins))] if coins else None

    def _paper(self, account: Account) -> PaperAccount:
        return self.network.exchange.accounts.by_id[self.paper_ids[account.pk]]

    def _followers(self) -> list[PaperAccount]:
        return [self._paper(account) for account in Account.objects.filter(role=Role.FOLLOWER).order_by("pk")]

    def _somebody(self) -> PaperAccount:
        followers = self._followers()
        return followers[self.scheduler.random.randrange(len(followers))]
