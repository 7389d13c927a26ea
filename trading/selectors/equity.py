"""What accounts hold and are worth, with a constant number of queries whatever their number."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from trading.domain import order_state
from trading.domain.instrument import Side
from trading.domain.money import Money, Price, Quantity
from trading.domain.risk import BalanceSource, Holding, balance_source, copy_equity
from trading.models import Account, AssetBalance, MarketPrice, Order, OrderKind, Position

QUOTE_ASSETS = ("ZUSD", "USD.F")


@dataclass(frozen=True, slots=True)
class Worth:
    """One account's figures. `equity` and `free_cash` are None when the balance is unknown: unknown is not zero.

    `reserved` is the quote that entries on their way may still take. A managed position without a known price makes
    equity unknown too.
    """

    source: BalanceSource
    as_of: datetime | None
    cash: Money | None
    equity: Money | None
    free_cash: Money | None
    reserved: Money
    open_positions: int


def worth_of(accounts: Collection[Account], *, now: datetime) -> dict[int, Worth]:
    """Worth by account id. Allocation comes from the owner's risk settings (`account.user.risk`)."""
    ids = [account.pk for account in accounts]
    balances: dict[int, dict[str, AssetBalance]] = defaultdict(dict)
    for balance in AssetBalance.objects.filter(account_id__in=ids, asset__in=QUOTE_ASSETS):
        balances[balance.account_id][balance.asset] = balance
    positions: dict[int, list[Position]] = defaultdict(list)
    for position in Position.objects.filter(account_id__in=ids, is_open=True):
        positions[position.account_id].append(position)
    bids = dict(
        MarketPrice.objects.filter(
            instrument_id__in={p.instrument_id for rows in positions.values() for p in rows}
        ).values_list("instrument_id", "bid")
    )
    reserved = _reservations(ids)
    return {
        account.pk: _worth(
            account, balances[account.pk], positions[account.pk], bids=bids, reserved=reserved[account.pk], now=now
        )
        for account in accounts
    }


def _worth(
    account: Account,
    balances: Mapping[str, AssetBalance],
    positions: Sequence[Position],
    *,
    bids: Mapping[int, Decimal],
    reserved: Money,
    now: datetime,
) -> Worth:
    source = balance_source(as_of=account.balances_as_of, last_fill_at=account.last_fill_at, now=now)
    if source is BalanceSource.UNKNOWN:
        return Worth(source, account.balances_as_of, None, None, None, reserved, len(positions))
    cash = hold = Money.zero()
    for balance in balances.values():
        cash, hold = cash + Money(balance.total), hold + Money(balance.hold)
    equity = None
    if all(position.instrument_id in bids for position in positions):
        holdings = [Holding(Quantity(p.managed), Price(bids[p.instrument_id])) for p in positions]
        allocation = account.user.risk.allocation
        equity = copy_equity(cash=cash, holdings=holdings, allocation=Money(allocation) if allocation else None)
    free = cash - hold - reserved
    return Worth(source, account.balances_as_of, cash, equity, free, reserved, len(positions))


def _reservations(account_ids: Collection[int]) -> dict[int, Money]:
    """Quote that entry orders still on their way may spend, counted whole even if a part has filled."""
    reserved: dict[int, Money] = defaultdict(Money.zero)
    on_their_way = Order.objects.filter(
        account_id__in=account_ids, kind=OrderKind.ENTRY, side=Side.BUY, state__in=order_state.OUTSTANDING
    )
    for order in on_their_way.values("account_id", "quantity", "limit_price", "filled_notional"):
        if order["limit_price"] is not None:
            reserved[order["account_id"]] += Quantity(order["quantity"]).at(Price(order["limit_price"]))
    return reserved
