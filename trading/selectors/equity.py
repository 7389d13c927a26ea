"""What accounts hold and are worth, with a constant number of queries whatever their number."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from django.db.models import Value

from trading.domain import order_state
from trading.domain.instrument import Side
from trading.domain.money import Money, Price, Quantity, Ratio
from trading.domain.order_state import OrderState
from trading.domain.risk import BalanceSource, Holding, balance_source, copy_equity
from trading.models import Account, AssetBalance, Execution, Order, OrderKind, Position

QUOTE_ASSETS = ("ZUSD", "USD.F")
#: The fee to expect of an account whose own fees were not read yet: Kraken's entry tier.
TAKER_FEE_UNTOLD = Decimal("0.008")
#: What a row of the figures is; of an order, its state.
_BALANCE, _POSITION = "balance", "position"


@dataclass(frozen=True, slots=True)
class Worth:
    """One account's figures. `equity` and `free_cash` are None when the balance is unknown: unknown is not zero.

    `total` is what the account is worth without regard to an allocation.
    `reserved` is the quote that entries on their way may still take. A managed position without a known price makes
    equity unknown too.
    """

    source: BalanceSource
    as_of: datetime | None
    cash: Money | None
    total: Money | None
    equity: Money | None
    free_cash: Money | None
    reserved: Money
    open_positions: int


@dataclass(slots=True)
class Figures:
    """What the books say of one account: its quote balances, open managed positions, entries that may still take quote."""

    balances: list[tuple[Decimal, Decimal]] = field(default_factory=list)
    """Total and what is on hold."""
    positions: list[tuple[int, Decimal, Decimal | None]] = field(default_factory=list)
    """Instrument, managed quantity, the market's bid if known."""
    entries: list[tuple[int, OrderState, Decimal, Decimal | None]] = field(default_factory=list)
    """Instrument, state, quantity, limit price if any."""

    @property
    def open_instruments(self) -> frozenset[int]:
        """Where something is held or the exchange may be about to take an entry."""
        under_way = {instrument for instrument, state, _, _ in self.entries if state in order_state.OUTSTANDING}
        return frozenset(under_way | {instrument for instrument, _, _ in self.positions})


def figures_of(account_ids: Collection[int]) -> dict[int, Figures]:
    """Figures by account id, all in one statement: a claim of entries reads them with the accounts locked."""
    balances = AssetBalance.objects.filter(account_id__in=account_ids, asset__in=QUOTE_ASSETS)
    positions = Position.objects.filter(account_id__in=account_ids, is_open=True)
    on_their_way = Order.objects.filter(
        account_id__in=account_ids, kind=OrderKind.ENTRY, side=Side.BUY, state__in=order_state.LIVE
    )
    rows = positions.values_list("account_id", Value(_POSITION), "instrument_id", "managed", "instrument__price__bid")
    rows = rows.union(
        balances.values_list("account_id", Value(_BALANCE), Value(0), "total", "hold"),
        on_their_way.values_list("account_id", "state", "instrument_id", "quantity", "limit_price"),
        all=True,
    )
    found: dict[int, Figures] = {account_id: Figures() for account_id in account_ids}
    for account_id, what, instrument_id, first, second in rows:
        figures = found[account_id]
        if what == _BALANCE:
            figures.balances.append((first, second))
        elif what == _POSITION:
            figures.positions.append((instrument_id, first, second))
        else:
            figures.entries.append((instrument_id, OrderState(what), first, second))
    return found


def worth_of(
    accounts: Collection[Account], *, now: datetime, figures: Mapping[int, Figures] | None = None
) -> dict[int, Worth]:
    """Worth by account id. Allocation comes from the owner's risk settings (`account.user.risk`)."""
    known = figures_of([account.pk for account in accounts]) if figures is None else figures
    flows = _flows_since(accounts)
    return {account.pk: _worth(known[account.pk], account, flow=flows[account.pk], now=now) for account in accounts}


def _worth(figures: Figures, account: Account, *, flow: Money, now: datetime) -> Worth:
    source = balance_source(as_of=account.balances_as_of, last_fill_at=account.last_fill_at, now=now)
    positions, reserved = figures.positions, _reserved(figures, account)
    if source is BalanceSource.UNKNOWN:
        return Worth(source, account.balances_as_of, None, None, None, None, reserved, len(positions))
    cash, hold = flow, Money.zero()
    for balance, held in figures.balances:
        cash, hold = cash + Money(balance), hold + Money(held)
    total: Money | None = None
    equity: Money | None = None
    holdings = [Holding(Quantity(managed), Price(bid)) for _, managed, bid in positions if bid is not None]
    if len(holdings) == len(positions):
        allocation = account.user.risk.allocation
        total = copy_equity(cash=cash, holdings=holdings, allocation=None)
        equity = copy_equity(cash=cash, holdings=holdings, allocation=Money(allocation) if allocation else None)
    free = cash - hold - reserved
    return Worth(source, account.balances_as_of, cash, total, equity, free, reserved, len(positions))


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


def _reserved(figures: Figures, account: Account) -> Money:
    """Quote that entry orders not yet final may spend with their fees, counted whole even if a part has filled."""
    factor = Ratio(1 + (TAKER_FEE_UNTOLD if account.taker_fee is None else account.taker_fee))
    reserved = Money.zero()
    for _, _, quantity, limit_price in figures.entries:
        if limit_price is not None:
            reserved += Quantity(quantity).at(Price(limit_price)) * factor
    return reserved
