"""What people and the market do during a run: the master trades, followers interfere, the operator stops and resumes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from functools import partial

from accounts.models import RiskSettings
from copytrade.services import exits
from tests.simulation.hands import Hands
from tests.simulation.network import Network
from tests.simulation.scheduler import NS, Scheduler
from trading.domain.money import Money, Price, Quantity
from trading.models import Account, Instrument, MarketPrice, OrderOrigin, Position, Role
from trading.paper.matching import Liquidity
from trading.services import halts, market, master_orders
from trading.services.clock import Clock
from trading.services.halts import StopReport
from trading.services.master_orders import MasterOrderRefused

SYMBOLS = ("BEAM-USD", "SOL-USD", "DOGE-USD")
ALTNAMES = ("BEAMUSD", "SOLUSD", "XDGUSD")
ACTS_MAX = 600
MANY_ACTS = 10
SLOW_ONE_IN = 4
#: While everybody is stopped there is little to see.
RESUMED_ONE_IN = 8
#: So long it takes at most until the last follower has copied a purchase on a good day.
STOPPED_WITHIN_NS = 2 * NS
PIECES = 5
SALES_BEFORE_REST = 4
#: A balance tells what was sold ten seconds after the last fill, and is read every twenty.
REST_NS = 16 * NS


@dataclass
class People:
    """`acts` counts what was really done; they go on until `enough` has happened.

    `entry_taken`: the exchange has an entry of which nothing is booked yet. `stopped` is told what a stop counted.
    """

    scheduler: Scheduler
    network: Network
    clock: Clock
    paper_ids: dict[int, str]
    enough: Callable[[], bool]
    entry_taken: Callable[[], bool]
    stopped: Callable[[StopReport], None]
    acts: Counter[str] = field(default_factory=Counter)
    over: bool = False

    def __post_init__(self) -> None:
        self.hands = Hands(self.scheduler, self.network, self.paper_ids, self.acts)
        chance = self.scheduler.random
        self.are_slow = chance.randrange(SLOW_ONE_IN) == 0
        self._pause_ns = (chance.randrange(15, 31) if self.are_slow else chance.randrange(3, 15)) * NS // 10

    def start(self) -> None:
        self.scheduler.spawn("people", "people", self._live)

    def _live(self) -> None:
        chance = self.scheduler.random
        others: tuple[Callable[[], None], ...] = (
            *(self._move_price,) * 4,
            *(self._thin_market,) * 2,
            *(self._sell_in_pieces,) * 2,
            self.hands.sell,
            *(self.hands.place,) * 2,
            self.hands.cancel,
            partial(self.hands.deposit_coins, ALTNAMES),
            self.hands.pay_in,
            *(partial(self.hands.master_trades, ALTNAMES),) * 2,
            self._change_settings,
            self._stop_or_resume,
            self._stop_account_or_resume,
            self._close_all,
        )
        while not self.enough() and sum(self.acts.values()) < ACTS_MAX:
            if self.acts["platform stopped"] > self.acts["platform resumed"] and chance.randrange(RESUMED_ONE_IN) == 0:
                self._stop_or_resume()
            # Who has traded much already trades less: a key's budget bears no more.
            pause_ns = self._pause_ns if self.master_acts < MANY_ACTS else 3 * self._pause_ns
            self.scheduler.sleep(chance.randrange(NS // 20, pause_ns))
            if chance.randrange(100) < 55:
                self._master_trades()
            else:
                others[chance.randrange(len(others))]()
        self.over = True

    def match(self) -> None:
        """Once a second the market gives resting orders another piece."""
        if self.network.exchange.has_open_orders:
            self.network.set_time()
            self.network.exchange.match_resting(now=self.scheduler.now_ns / NS)
        self.scheduler.at(NS, self.match)

    def let_go(self) -> None:
        """The market is deep again, and nobody holds anything back."""
        self.network.exchange.liquidity.clear()
        self.hands.let_go()

    def sell_everything(self, *, signals_missing: int) -> int:
        """How many positions the master still holds, of those that are not too small to be sold.

        Each sale is a signal: where more of them are wanted than there are positions he first sells half of each.
        """
        held = Position.objects.filter(account__role=Role.MASTER, is_open=True).select_related("instrument")
        sellable = [position for position in held if not is_dust(position)]
        for position in sellable:
            if signals_missing <= len(sellable) or not self._sell(position.instrument, Fraction(1, 2)):
                self._sell(position.instrument, Fraction(1))
        return len(sellable)

    def _master_trades(self) -> None:
        chance = self.scheduler.random
        instrument = self._an_instrument()
        held = Position.objects.filter(account__role=Role.MASTER, instrument=instrument, is_open=True).exists()
        if held and chance.randrange(3):
            self._sell(instrument, (Fraction(1), Fraction(1, 3), Fraction(1, 2), Fraction(9, 10))[chance.randrange(4)])
            return
        self._buy(instrument)

    def _an_instrument(self) -> Instrument:
        return Instrument.objects.get(symbol=SYMBOLS[self.scheduler.random.randrange(len(SYMBOLS))])

    def _buy(self, instrument: Instrument) -> None:
        amount = Money(Decimal(self.scheduler.random.randrange(1500, 12000)) / 100)
        try:
            master_orders.plan_entry(
                instrument=instrument, amount=amount, origin=OrderOrigin.MANUAL, reason="By hand", clock=self.clock
            )
        except MasterOrderRefused as refusal:
            self.acts[f"refused: {refusal.code}"] += 1
        else:
            self.acts["master bought"] += 1

    def _sell(self, instrument: Instrument, fraction: Fraction) -> bool:
        """Whether the product took it."""
        try:
            master_orders.plan_exit(
                instrument=instrument, fraction=fraction, origin=OrderOrigin.MANUAL, reason="By hand", clock=self.clock
            )
        except MasterOrderRefused as refusal:
            self.acts[f"refused: {refusal.code}"] += 1
            return False
        self.acts["master sold"] += 1
        return True

    def _move_price(self) -> None:
        self.network.set_time()
        chance = self.scheduler.random
        pair = self.network.exchange.market.book.named(_altname(SYMBOLS[chance.randrange(len(SYMBOLS))]))
        bid = pair.nearest_tick(
            self.network.exchange.market.quote(pair, now=0.0).bid * Decimal(chance.randrange(970, 1031)) / 1000
        )
        self.network.exchange.market.pin(pair, bid=bid, ask=bid + pair.tick)
        self.acts["price moved"] += 1

    def _thin_market(self) -> None:
        """Orders are matched in pieces, or only in part, until somebody makes the market deep again."""
        chance = self.scheduler.random
        pair = self.network.exchange.market.book.named(_altname(SYMBOLS[chance.randrange(len(SYMBOLS))]))
        liquidity = self.network.exchange.liquidity
        if liquidity.pop(pair.id, None) is not None:
            return
        typical = Decimal(chance.randrange(20, 60)) / pair.typical_price
        piece = typical.quantize(Decimal("0.0001"))
        liquidity[pair.id] = (
            Liquidity(match_max=piece),
            Liquidity(order_max=piece),
            Liquidity(order_max=piece, market_orders_wait=True),
        )[chance.randrange(3)]
        self.acts["market thinned"] += 1

    def _sell_in_pieces(self) -> None:
        """The master's sale rests between its fills, which are signalled before it is final."""
        held = list(Position.objects.filter(account__role=Role.MASTER, is_open=True).select_related("instrument"))
        if held:
            position = held[self.scheduler.random.randrange(len(held))]
            pair = self.network.exchange.market.book.named(position.instrument.altname)
            piece = (position.managed / PIECES).quantize(Decimal("0.0001"))
            self.network.exchange.liquidity[pair.id] = Liquidity(order_max=piece, market_orders_wait=True)
            self._sell(position.instrument, Fraction(1))
            self.acts["sold in pieces"] += 1

    def _somebody(self) -> Account:
        followers = list(Account.objects.filter(role=Role.FOLLOWER).select_related("user__risk").order_by("pk"))
        return followers[self.scheduler.random.randrange(len(followers))]

    def _change_settings(self) -> None:
        chance = self.scheduler.random
        loses = chance.randrange(4) == 0
        RiskSettings.objects.filter(user=self._somebody().user).update(
            multiplier=Decimal(chance.randrange(2, 30)) / 10,
            max_risk=Decimal(chance.randrange(1, 11)) / 100,
            max_open_positions=chance.randrange(1, 4),
            max_daily_loss=Decimal("0.01") if loses and chance.randrange(2) else None,
            max_drawdown=Decimal("0.0001") if loses else None,
        )
        self.acts["settings changed"] += 1

    def _stop_or_resume(self) -> None:
        if halts.control().stopped_at is None:
            self.stopped(halts.stop_platform(actor="operator", reason="a test", clock=self.clock))
            self.acts["platform stopped"] += 1
        else:
            halts.resume_platform(actor="operator", clock=self.clock)
            self.acts["platform resumed"] += 1

    @property
    def master_acts(self) -> int:
        return self.acts["master bought"] + self.acts["master sold"]

    def buy_in_peace(self, instruments: int) -> None:
        """Somebody has set our clock right and lets entries go on; of so many instruments, if there are."""
        market.measure_venue_clock(clock=self.clock)
        while market.clock_problem(now=self.clock.now()) is not None:
            self.scheduler.sleep(NS)
            market.measure_venue_clock(clock=self.clock)
        halts.resume_platform(actor="operator", clock=self.clock)
        for instrument in Instrument.objects.filter(symbol__in=SYMBOLS).order_by("pk")[:instruments]:
            self._buy(instrument)

    def sell_by_hand_and_rest(self) -> None:
        """Owners sell of what NIJA bought, and everybody waits until that must have been noticed."""
        for _ in range(SALES_BEFORE_REST):
            self.hands.sell()
        self.scheduler.sleep(REST_NS)

    def stop_amid_a_purchase(self) -> None:
        """A last stop while a purchase is on its way to everybody: at an instant that only chance knows, or as soon as the
        exchange has taken an entry, which is then to be cancelled."""
        chance = self.scheduler.random
        halts.resume_platform(actor="operator", clock=self.clock)
        self._buy(self._an_instrument())
        # Entries under way are what a stop has to cancel, and seldom met at an instant of chance.
        if chance.randrange(4) == 0:
            self.scheduler.sleep(chance.randrange(1, STOPPED_WITHIN_NS))
        else:
            self.scheduler.wait_for(self.entry_taken, at_most_ns=STOPPED_WITHIN_NS)
        self._stop_or_resume()

    def _stop_account_or_resume(self) -> None:
        account = self._somebody()
        if account.user.risk.stopped_at is None:
            halts.stop_account(account, actor="owner", reason="a test", clock=self.clock)
            self.acts["account stopped"] += 1
        else:
            halts.resume_account(account, actor="owner", clock=self.clock)
            self.acts["account resumed"] += 1

    def _close_all(self) -> None:
        exits.close_all(self._somebody(), actor="owner", clock=self.clock)
        self.acts["closed all"] += 1


def is_dust(position: Position) -> bool:
    """Too small for the exchange's minimum at the price the engine knows."""
    rules, price = position.instrument.rules, MarketPrice.objects.filter(instrument=position.instrument).first()
    managed = Quantity(position.managed)
    return managed < rules.quantity_min or (price is not None and not rules.sellable(managed, Price(price.bid)))


def _altname(symbol: str) -> str:
    return ALTNAMES[SYMBOLS.index(symbol)]
