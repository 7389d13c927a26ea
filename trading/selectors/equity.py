"""What accounts hold and are worth, with a constant number of queries whatever their number."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from trading.domain import order_state
from trading.domain.instrument import Side
from trading.domain.money import Money, Price, Quantity, Ratio
from trading.domain.risk import BalanceSource, Holding, balance_source, copy_equity
from trading.models import Account, AssetBalance, Execution, MarketPrice, Order, OrderKind, Position

QUOTE_ASSETS = ("ZUSD", "USD.F")
#: The fee to expect of an account whose own fees were not read yet: Kraken's entry tier.
TAKER_FEE_UNTOLD = Decimal("0.008")


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
    reserved = _reservations(accounts)
    flows = _flows_since(accounts)
    return {
        account.pk: _worth(
            _Figures(balances[account.pk], positions[account.pk], bids, reserved[account.pk], flows[account.pk]),
            account,
            now=now,
        )
        for account in accounts
    }


@dataclass(frozen=True, slots=True)
class _Figures:
    balances: Mapping[str, AssetBalance]
    positions: Sequence[Position]
    bids: Mapping[int, Decimal]
    reserved: Money
    flow: Money


def _worth(figures: _Figures, account: Account, *, now: datetime) -> Worth:
    source = balance_source(as_of=account.balances_as_of, last_fill_at=account.last_fill_at, now=now)
    positions, reserved, bids = figures.positions, figures.reserved, figures.bids
    if source is BalanceSource.UNKNOWN:
        return Worth(source, account.balances_as_of, None, None, None, reserved, len(positions))
    cash, hold = figures.flow, Money.zero()
    for balance in figures.balances.values():
        cash, hold = cash + Money(balance.total), hold + Money(balance.hold)
    equity = None
    if all(position.instrument_id in bids for position in positions):
        holdings = [Holding(Quantity(p.managed), Price(bids[p.instrument_id])) for p in positions]
        allocation = account.user.risk.allocation
        equity = copy_equity(cash=cash, holdings=holdings, allocation=Money(allocation) if allocation else None)
    free = cash - hold - reserved
    return Worth(source, account.balances_as_of, cash, equity, free, reserved, len(positions))


def _flows_since(accounts: Collection[Account]) -> dict[int, Money]:
    """Quote that moved in our fills after each balance was read: without it a fresh fill would count twice.

    A purchase that may already be in the balance is taken off all the same, a sale that may be in it is not added.
    """
    flows: dict[int, Money] = defaultdict(Money.zero)
    as_of = {account.pk: account.balances_as_of for account in accounts if account.balances_as_of is not None}
    behind = [a.pk for a in accounts if a.pk in as_of and a.last_fill_at is not None and a.last_fill_at >= as_of[a.pk]]
    if not behind:
        return flows
    oldest = min(as_of[account_id] for account_id in behind)
    for fill in Execution.objects.filter(account_id__in=behind, booked_at__gte=oldest):
        read_at = as_of[fill.account_id]
        if fill.booked_at < read_at:
            continue
        if fill.side == Side.BUY:
            flows[fill.account_id] -= Money(fill.notional) + Money(fill.fee)
        elif fill.executed_at > read_at:
            flows[fill.account_id] += Money(fill.notional) - Money(fill.fee)
    return flows


def _reservations(accounts: Collection[Account]) -> dict[int, Money]:
    """Quote that entry orders not yet final may spend with their fees, counted whole even if a part has filled."""
    fees = {account.pk: account.taker_fee for account in accounts}
    reserved: dict[int, Money] = defaultdict(Money.zero)
    on_their_way = Order.objects.filter(
        account_id__in=fees, kind=OrderKind.ENTRY, side=Side.BUY, state__in=order_state.LIVE
    )
    for order in on_their_way.values("account_id", "quantity", "limit_price", "filled_notional"):
        if order["limit_price"] is not None:
            fee = fees[order["account_id"]]
            factor = Ratio(1 + (TAKER_FEE_UNTOLD if fee is None else fee))
            reserved[order["account_id"]] += Quantity(order["quantity"]).at(Price(order["limit_price"])) * factor
    return reserved
