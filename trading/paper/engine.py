"""The exchange itself: accounts, holds, matching at the market's bid and ask. No HTTP here.

Every change is queued to the store in the same step, so a commit holds whole orders or nothing of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_CEILING, Decimal

from trading.paper import matching, order_entry
from trading.paper.accounts import Accounts
from trading.paper.candle_rows import CandleRows
from trading.paper.clock import WallClock
from trading.paper.errors import KrakenError
from trading.paper.limits import RateLimits
from trading.paper.market import Candle, Market, Quote
from trading.paper.matching import Fees, Fill, Liquidity
from trading.paper.order_entry import OrderRequest
from trading.paper.pairs import PAIRS, ZERO, Pair, to_places
from trading.paper.records import Account, Order, Trade, kraken_id
from trading.paper.store import Loaded, Store


class Exchange:
    """One exchange in memory, written through to its store."""

    def __init__(self, market: Market, store: Store, *, fees: Fees, limits: RateLimits) -> None:
        loaded = store.load()
        self.market = market
        self.candle_rows = CandleRows()
        self.clock = WallClock()
        self.fees = fees
        self.limits = limits
        self.liquidity: dict[str, Liquidity] = {}
        self.status = "online"
        self.accounts = Accounts(store, loaded)
        self._store = store
        self._load(loaded)

    def _load(self, loaded: Loaded) -> None:
        self.orders = {order.txid: order for order in loaded.orders}
        self.trades = {trade.txid: trade for trade in loaded.trades}
        self._orders_of: dict[str, list[Order]] = {}
        self._open_of: dict[str, dict[str, Order]] = {}
        self._trades_of: dict[str, list[Trade]] = {}
        for order in loaded.orders:
            self._index(order)
        for trade in loaded.trades:
            self._trades_of.setdefault(trade.account_id, []).append(trade)
        self._last_trade_id = max((trade.trade_id for trade in loaded.trades), default=0)
        if "market" in loaded.meta:
            self.market.restore(loaded.meta["market"])
        self.save_market()

    def save_market(self) -> None:
        self._store.put_meta("market", self.market.state())

    def orders_of(self, account: Account) -> list[Order]:
        """Oldest first."""
        return self._orders_of.get(account.id, [])

    def open_orders_of(self, account: Account) -> list[Order]:
        return list(self._open_of.get(account.id, {}).values())

    def trades_of(self, account: Account) -> list[Trade]:
        """Oldest first."""
        return self._trades_of.get(account.id, [])

    def holds_of(self, orders: Iterable[Order]) -> dict[str, Decimal]:
        """What these open orders reserve, by asset."""
        holds: dict[str, Decimal] = {}
        for order in orders:
            asset, amount = self._hold(order)
            holds[asset] = holds.get(asset, ZERO) + amount
        return holds

    def available(self, account: Account, asset: str) -> Decimal:
        return account.balances.get(asset, ZERO) - self.holds_of(self.open_orders_of(account)).get(asset, ZERO)

    def _hold(self, order: Order) -> tuple[str, Decimal]:
        pair = PAIRS[order.pair_id]
        if order.side == "sell":
            return pair.base, order.remaining
        price = order.limit_price
        if price is None:
            price = self.market.quote(pair, now=self.clock.now()).ask
        return pair.quote, self._reserve(pair, price, order.remaining)

    def _reserve(self, pair: Pair, price: Decimal, volume: Decimal) -> Decimal:
        """Cost and taker fee of buying `volume`, rounded up; whether Kraken reserves the fee is not documented."""
        exact = matching.with_fee(price, volume, percent=self.fees.taker_percent)
        return to_places(exact, pair.cost_decimals, ROUND_CEILING)

    def add_order(self, account: Account, request: OrderRequest, *, now: float) -> Order | None:
        """Accept, match and book one order, or raise KrakenError with nothing changed; None when only validating."""
        self._check_mode(request)
        quote = self.market.quote(request.pair, now=now)
        order_entry.check_minimums(request, quote.ask if request.side == "buy" else quote.bid)
        crosses = request.crosses(bid=quote.bid, ask=quote.ask)
        if crosses and "post" in request.oflags:
            raise KrakenError("EOrder:Post only order")
        open_orders = self._open_of.get(account.id, {})
        same_pair = sum(1 for order in open_orders.values() if order.pair_id == request.pair.id)
        self.limits.check_open_orders(same_pair)
        if request.cl_ord_id and any(order.cl_ord_id == request.cl_ord_id for order in open_orders.values()):
            raise KrakenError("EOrder:Duplicate order")
        fills = self._taker_fills(request, quote) if crosses else []
        self._check_funds(account, request, quote=quote, fills=fills)
        if request.validate:
            return None
        order = self._opened(account, request, now)
        for fill in fills:
            self._book(account, order, fill, now=now)
        self._settle_remainder(order, request.timeinforce, now=now)
        self._store.put_order(order)
        return order

    def _check_mode(self, request: OrderRequest) -> None:
        if self.status == "maintenance":
            raise KrakenError("EService:Unavailable")
        if self.status == "cancel_only" or (self.status == "post_only" and "post" not in request.oflags):
            raise KrakenError(f"EService:Market in {self.status} mode")

    def _taker_fills(self, request: OrderRequest, quote: Quote) -> list[Fill]:
        price = quote.ask if request.side == "buy" else quote.bid
        volumes = self.liquidity_for(request.pair).slices(request.volume)
        if request.timeinforce == "FOK" and sum(volumes, ZERO) < request.volume:
            return []
        return [matching.fill(request.pair, price, volume, fees=self.fees, maker=False) for volume in volumes]

    def liquidity_for(self, pair: Pair) -> Liquidity:
        return self.liquidity.get(pair.id) or self.liquidity.get("*") or Liquidity()

    def _check_funds(self, account: Account, request: OrderRequest, *, quote: Quote, fills: list[Fill]) -> None:
        """The whole order at its own price must be affordable, and so must what it does at once."""
        if request.side == "sell":
            needed, asset = request.volume, request.pair.base
        else:
            asset = request.pair.quote
            price = quote.ask if request.limit_price is None else request.limit_price
            spent = sum((fill.cost + fill.fee for fill in fills), ZERO)
            rest = request.volume - sum((fill.volume for fill in fills), ZERO)
            needed = self._reserve(request.pair, price, request.volume)
            needed = max(needed, spent + self._reserve(request.pair, price, rest))
        if needed > self.available(account, asset):
            raise KrakenError("EOrder:Insufficient funds")

    def _opened(self, account: Account, request: OrderRequest, now: float) -> Order:
        order = Order(
            txid=kraken_id("O"),
            account_id=account.id,
            pair_id=request.pair.id,
            side=request.side,
            ordertype=request.ordertype,
            volume=request.volume,
            limit_price=request.limit_price,
            timeinforce=request.timeinforce,
            # Fees are always charged in quote, whatever preference was sent.
            oflags=",".join(request.oflags) or "fciq",
            opened_at=now,
            cl_ord_id=request.cl_ord_id,
            userref=request.userref,
            expires_at=request.expires_at,
        )
        self.orders[order.txid] = order
        self._index(order)
        return order

    def _index(self, order: Order) -> None:
        self._orders_of.setdefault(order.account_id, []).append(order)
        if order.is_open:
            self._open_of.setdefault(order.account_id, {})[order.txid] = order

    def _book(self, account: Account, order: Order, fill: Fill, *, now: float) -> None:
        """One execution: balances, order totals and the trade itself."""
        pair = PAIRS[order.pair_id]
        self._last_trade_id += 1
        trade = Trade(
            txid=kraken_id("T"),
            order_txid=order.txid,
            account_id=account.id,
            pair_id=pair.id,
            side=order.side,
            ordertype=order.ordertype,
            time=now,
            price=fill.price,
            cost=fill.cost,
            fee=fill.fee,
            volume=fill.volume,
            maker=fill.maker,
            trade_id=self._last_trade_id,
            market_time=self.market.market_time(now),
        )
        buying = order.side == "buy"
        self.accounts.change(account, pair.base, fill.volume if buying else -fill.volume)
        self.accounts.change(account, pair.quote, (-fill.cost if buying else fill.cost) - fill.fee)
        order.executed += fill.volume
        order.cost += fill.cost
        order.fee += fill.fee
        order.trades.append(trade.txid)
        self.trades[trade.txid] = trade
        self._trades_of.setdefault(account.id, []).append(trade)
        self._store.put_trade(trade)

    def _settle_remainder(self, order: Order, timeinforce: str, *, now: float) -> None:
        if not order.remaining:
            self._close(order, "closed", reason=None, now=now)
        elif timeinforce == "IOC":
            self._close(order, "canceled", reason="Immediate or cancel", now=now)
        elif timeinforce == "FOK":
            self._close(order, "canceled", reason="Fill or kill", now=now)
        elif order.limit_price is None and not self.liquidity_for(PAIRS[order.pair_id]).market_orders_wait:
            self._close(order, "canceled", reason="Insufficient liquidity", now=now)

    def _close(self, order: Order, status: str, *, reason: str | None, now: float) -> None:
        order.status, order.reason, order.closed_at = status, reason, now
        self._open_of.get(order.account_id, {}).pop(order.txid, None)

    def cancel(self, account: Account, orders: Iterable[Order], *, now: float) -> int:
        """Cancel the open ones; raises EOrder:Unknown order when there is none."""
        if self.status == "maintenance":
            raise KrakenError("EService:Unavailable")
        still_open = [order for order in orders if order.is_open and order.account_id == account.id]
        if not still_open:
            raise KrakenError("EOrder:Unknown order")
        for order in still_open:
            self.limits.charge_cancel(account.id, order.pair_id, age_s=now - order.opened_at, now=now)
            self._close(order, "canceled", reason="User requested", now=now)
            self._store.put_order(order)
        return len(still_open)

    def resting(self, pair: Pair) -> list[Order]:
        """Everybody's open orders of a pair, newest first."""
        every = (order for orders in self._open_of.values() for order in orders.values())
        return sorted((o for o in every if o.pair_id == pair.id), key=lambda o: o.opened_at, reverse=True)

    @property
    def has_open_orders(self) -> bool:
        return any(self._open_of.values())

    def expire_due(self, *, now: float) -> None:
        """End the orders whose time (GTD) is over."""
        for account_orders in list(self._open_of.values()):
            for order in [o for o in account_orders.values() if o.expires_at is not None and o.expires_at <= now]:
                self._close(order, "expired", reason=None, now=order.expires_at or now)
                self._store.put_order(order)

    def match_resting(self, *, now: float, closed: dict[str, Candle] | None = None) -> int:
        """Fill what the market has reached, by its quote or by a candle that just closed; returns the trades made."""
        made = 0
        self.expire_due(now=now)
        for account_orders in list(self._open_of.values()):
            for order in list(account_orders.values()):
                made += self._match_one(order, candle=(closed or {}).get(order.pair_id), now=now)
        return made

    def _match_one(self, order: Order, *, candle: Candle | None, now: float) -> int:
        pair = PAIRS[order.pair_id]
        quote = self.market.quote(pair, now=now)
        if not matching.reached(order, bid=quote.bid, ask=quote.ask, candle=candle):
            return 0
        account = self.accounts.by_id[order.account_id]
        maker = order.limit_price is not None
        price = order.limit_price or (quote.ask if order.side == "buy" else quote.bid)
        fills = [
            matching.fill(pair, price, volume, fees=self.fees, maker=maker)
            for volume in self.liquidity_for(pair).slices(order.remaining)
        ]
        _, held = self._hold(order)
        booked = 0
        for fill in fills:
            # The hold pays for it; a market order that waited may find the price beyond what is left.
            free = self.available(account, pair.quote) + (held if order.side == "buy" else ZERO)
            if order.side == "buy" and fill.cost + fill.fee > free:
                self._close(order, "canceled", reason="Insufficient funds", now=now)
                break
            self._book(account, order, fill, now=now)
            _, held = self._hold(order)
            booked += 1
        if order.is_open and not order.remaining:
            self._close(order, "closed", reason=None, now=now)
        self._store.put_order(order)
        return booked
