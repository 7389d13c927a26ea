"""What an account is shown of itself: everything, or what it was some seconds ago, as when Kraken's reads lag."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from trading.paper.engine import Exchange
from trading.paper.errors import KrakenError
from trading.paper.pairs import PAIRS, ZERO
from trading.paper.records import Account, Order, Trade


class Reads:
    """`lag_s` is how late the reads are. Deposits are never late: only what orders and trades changed."""

    def __init__(self, exchange: Exchange, account: Account, *, now: float, lag_s: float) -> None:
        self._exchange = exchange
        self._account = account
        self._until = now - lag_s if lag_s else None

    def orders(self) -> list[Order]:
        """Oldest first."""
        every = self._exchange.orders_of(self._account)
        return every if self._until is None else [shown for order in every if (shown := self._as_of(order))]

    def open_orders(self) -> list[Order]:
        if self._until is None:
            return self._exchange.open_orders_of(self._account)
        return [order for order in self.orders() if order.is_open]

    def trades(self) -> list[Trade]:
        """Oldest first."""
        every = self._exchange.trades_of(self._account)
        return every if self._until is None else [trade for trade in every if trade.time <= self._until]

    def order(self, txid: str) -> Order:
        """Raises EOrder:Invalid order for one that is not there, not yet shown, or somebody else's."""
        found = self._exchange.orders.get(txid)
        shown = found and self._as_of(found)
        if not shown or shown.account_id != self._account.id:
            raise KrakenError("EOrder:Invalid order")
        return shown

    def trade(self, txid: str) -> Trade:
        """Raises EOrder:Invalid order, as `order` does."""
        found = self._exchange.trades.get(txid)
        late = found is not None and self._until is not None and found.time > self._until
        if found is None or late or found.account_id != self._account.id:
            raise KrakenError("EOrder:Invalid order")
        return found

    def balances(self) -> dict[str, Decimal]:
        """By asset; a late read does not know the newest trades."""
        shown = dict(self._account.balances)
        for trade in self._not_yet_shown():
            pair, sign = PAIRS[trade.pair_id], 1 if trade.side == "buy" else -1
            shown[pair.base] = shown.get(pair.base, ZERO) - sign * trade.volume
            shown[pair.quote] = shown.get(pair.quote, ZERO) + sign * trade.cost + trade.fee
        return shown

    def holds(self) -> dict[str, Decimal]:
        """What open orders reserve, by asset."""
        return self._exchange.holds_of(self.open_orders())

    def _not_yet_shown(self) -> list[Trade]:
        if self._until is None:
            return []
        return [trade for trade in self._exchange.trades_of(self._account) if trade.time > self._until]

    def _as_of(self, order: Order) -> Order | None:
        until = self._until
        if until is None or (order.opened_at <= until and (order.closed_at or 0.0) <= until and not order.is_open):
            return order
        if order.opened_at > until:
            return None
        trades = [trade for txid in order.trades if (trade := self._exchange.trades[txid]).time <= until]
        return replace(
            order,
            status="open",
            reason=None,
            closed_at=None,
            executed=sum((trade.volume for trade in trades), ZERO),
            cost=sum((trade.cost for trade in trades), ZERO),
            fee=sum((trade.fee for trade in trades), ZERO),
            trades=[trade.txid for trade in trades],
        )
