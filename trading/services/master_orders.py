"""Orders of the master, by the strategy and by hand: planned here, sent by the execution process like any other."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import OuterRef, Subquery

from accounts.models import Credential
from trading import doorbell
from trading.domain import master_sizing, order_state
from trading.domain.instrument import Side
from trading.domain.master_sizing import Funds, PartTooSmall, SizedEntry, TooSmall
from trading.domain.money import AmountError, Money, Price, Quantity, Ratio
from trading.domain.order_state import OrderState
from trading.models import (
    Account,
    Control,
    EntryPlan,
    Instrument,
    MarketPrice,
    Order,
    OrderKind,
    OrderOrigin,
    Position,
    Role,
    Venue,
)
from trading.selectors import equity
from trading.services import market, unsold
from trading.services.clock import Clock
from trading.strategy import plan as strategy_plan

ENTRY_TASK = "trading.tasks.send_entries"
EXIT_TASK = "trading.tasks.send_exits"
ENTRY_LIFE = timedelta(seconds=10)
#: Paid by an account whose own fees were not read yet: Kraken's entry tier.
TAKER_FEE_DEFAULT = Ratio(Decimal("0.008"))
WAIT_S = 30.0
POLL_S = 0.2
REASON_MAX = 300
#: An order that a person has to look at does not change by waiting.
SETTLED = order_state.FINAL | {OrderState.MANUAL}


class MasterOrderRefused(Exception):
    """Nothing was planned. `code` is for programs, the text is a sentence."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


@dataclass(frozen=True, slots=True)
class Problem:
    """Why the master may open nothing now, whatever the pair."""

    code: str
    sentence: str


@dataclass(frozen=True, slots=True)
class AskedBy:
    """The strategy that asked for an order, `parameters_hash` telling which thresholds it had; or a person, who may name the order.

    `until_sold`: asks for a sale again until it is done, and after a refusal for what is free. Nothing else asked for is cut.
    """

    strategy: str
    version: str
    parameters_hash: str
    client_order_id: uuid.UUID | None = field(default=None, kw_only=True)
    until_sold: bool = field(default=False, kw_only=True)

    @property
    def columns(self) -> dict[str, Any]:
        return {
            "client_order_id": self.client_order_id or uuid.uuid4(),
            "strategy": self.strategy,
            "strategy_version": self.version,
            "parameters_hash": self.parameters_hash,
        }


#: Or Kraken's own page.
A_PERSON = AskedBy("", "", "")


@dataclass(frozen=True, slots=True)
class StrategyEntry(AskedBy):
    """The decision that an entry follows; `market_at` is the close of its candle, market time."""

    plan: strategy_plan.EntryPlan
    market_at: datetime


def master_account() -> Account | None:
    """With what its active key may not do (`key_problem`, None without a key), which is what `entry_problems` asks for."""
    keys = Credential.objects.filter(user=OuterRef("user"), status=Credential.Status.ACTIVE)
    found = Account.objects.annotate(key_problem=Subquery(keys.values("entries_blocked_reason")[:1]))
    return found.select_related("user__risk").filter(venue=settings.VENUE, role=Role.MASTER).first()


def find_instrument(symbol: str) -> Instrument:
    """By the name people use (BEAM-USD). Raises MasterOrderRefused."""
    found = Instrument.objects.filter(venue=settings.VENUE, symbol=symbol.strip().upper()).first()
    if found is None:
        raise MasterOrderRefused(
            "unknown_symbol",
            f"{symbol!r} is not a pair that Kraken quotes in US dollars. Write it like BTC-USD.",
        )
    return found


def entry_problems(account: Account, *, now: datetime, worth: equity.Worth | None = None) -> list[Problem]:
    """Everything that stops the master's entries now, first things first. The claim of an order looks again.

    `account` is `master_account()`, `worth` is the account's as of `now`, when the caller knows it already.
    """
    control = Control.objects.filter(pk=Control.SINGLETON).first()
    risk = account.user.risk
    venue = Venue.objects.filter(pk=settings.VENUE).first()
    status = (venue.status if venue else "") or "online"
    clock = market.clock_problem_of(venue, now=now)
    balance = worth or equity.worth_of([account], now=now)[account.pk]
    key_problem: str | None = account.key_problem  # type: ignore[attr-defined]
    own_limit = risk.closed(now=now)
    checks: list[tuple[bool, str, str]] = [
        (not settings.ORDERS_ALLOWED, "orders_not_allowed", _NOT_ALLOWED),
        (settings.ENTRY_BLOCKING, "entries_blocked", "Entries are blocked by ENTRY_BLOCKING in the environment."),
        (
            control is not None and control.stopped_at is not None,
            "halted",
            f"Entries are stopped: {(control.reason if control else '') or 'no reason was given'}.",
        ),
        (risk.stopped_at is not None, "master_stopped", "The master's own account is stopped."),
        (own_limit != "", "master_closed", f"The master buys nothing: {own_limit}"),
        (key_problem is None, "no_key", "The master's account has no API key."),
        (bool(key_problem), "key_problem", key_problem or ""),
        (account.held_at is not None, "account_held", f"The master's account is held: {account.held_reason}"),
        (status != "online", "venue_status", f"Kraken is in the state {status} and takes no new orders."),
        (clock is not None, "clock_unknown", clock or ""),
        (balance.equity is None, "balance_unknown", _balance_sentence(account)),
    ]
    return [Problem(code, sentence) for stands, code, sentence in checks if stands]


def plan_entry(
    *,
    instrument: Instrument,
    amount: Money | Quantity,
    origin: OrderOrigin,
    reason: str,
    clock: Clock,
    asked_by: AskedBy = A_PERSON,
) -> Order:
    """A READY buy of the master: IOC, limited to the ask plus the slippage he accepts, to be sent within 10 s.

    `amount` is US dollars or base quantity. Must not be called inside a transaction. Raises MasterOrderRefused.
    """
    account = _master()
    require_positive(amount)
    if not instrument.tradable:
        raise MasterOrderRefused("not_tradable", f"{instrument.symbol} cannot be traded at Kraken at the moment.")
    problems = entry_problems(account, now=clock.now())
    if problems:
        raise MasterOrderRefused(problems[0].code, problems[0].sentence)
    try:
        price = market.fresh_price(instrument, clock=clock)
    except market.PriceUnknown as error:
        raise MasterOrderRefused("price_unknown", str(error)) from None
    with transaction.atomic(durable=True):
        # The lock that every claim of an entry takes, so that two plans never count on the same cash.
        locked = Account.objects.select_for_update().get(pk=account.pk)
        for name in _OF_THE_BALANCE:
            setattr(account, name, getattr(locked, name))
        now = clock.now()
        if isinstance(asked_by, StrategyEntry):
            _refuse_second_entry_on_candle(account, instrument, asked_by)
        sized = _sized(account, instrument, amount=amount, ask=Price(price.ask), now=now)
        order = Order.objects.create(
            account=account,
            instrument=instrument,
            kind=OrderKind.ENTRY,
            origin=origin,
            side=Side.BUY,
            quantity=sized.quantity.value,
            limit_price=sized.limit_price.value,
            reason=reason[:REASON_MAX],
            state=OrderState.READY,
            equity_before=sized.equity_before.value,
            expires_at=now + ENTRY_LIFE,
            created_at=now,
            **asked_by.columns,
        )
        if isinstance(asked_by, StrategyEntry):
            _store_plan(order, asked_by)
        doorbell.ring(ENTRY_TASK)
        doorbell.changed([account.user_id])
    return order


def plan_exit(
    *,
    instrument: Instrument,
    fraction: Fraction,
    origin: OrderOrigin,
    reason: str,
    clock: Clock,
    asked_by: AskedBy = A_PERSON,
) -> Order:
    """A READY market sale of `fraction` of what the master manages. Reads no cap, no stop and no balance.

    Must not be called inside a transaction. Raises MasterOrderRefused.
    """
    account = _master()
    with transaction.atomic(durable=True):
        position = lock_position(account, instrument)
        if position is None:
            raise MasterOrderRefused("no_position", f"The master manages no {instrument.symbol}.")
        return create_exit(
            position, fraction=fraction, origin=origin, reason=reason, now=clock.now(), asked_by=asked_by
        )


def average_price(order: Order) -> Price | None:
    """What was paid or received per unit; None when nothing was traded."""
    return Money(order.filled_notional) / Quantity(order.filled) if order.filled else None


def lock_position(account: Account, instrument: Instrument) -> Position | None:
    """The row that orders and bookings of this account and instrument wait for."""
    rows = Position.objects.select_for_update(of=("self",)).select_related("instrument", "account")
    return rows.filter(account=account, instrument=instrument).first()


def create_exit(
    position: Position,
    *,
    fraction: Fraction,
    origin: OrderOrigin,
    reason: str,
    now: datetime,
    asked_by: AskedBy = A_PERSON,
) -> Order:
    """`plan_exit` for a caller that holds the lock on `position` in its own transaction. Raises MasterOrderRefused."""
    if not settings.ORDERS_ALLOWED:
        raise MasterOrderRefused("orders_not_allowed", _NOT_ALLOWED)
    if not 0 < fraction <= 1:
        raise MasterOrderRefused("fraction", f"{fraction} is not a share above 0 and at most 1.")
    instrument = position.instrument
    if unsold.own_exits(position).filter(state__in=order_state.LIVE).exists():
        raise MasterOrderRefused("live_exit", f"An exit of {instrument.symbol} is already on its way.")
    bid = MarketPrice.objects.filter(instrument=instrument).values_list("bid", flat=True).first()
    quantity = master_sizing.size_exit(
        instrument.rules,
        managed=Quantity(position.managed),
        fraction=fraction,
        bid=Price(bid) if bid else None,
        free=unsold.free_after_refusal(position, now=now) if asked_by.until_sold else None,
    )
    if isinstance(quantity, PartTooSmall):
        raise MasterOrderRefused(quantity.code, f"{instrument.symbol}: {quantity.sentence}")
    position.exit_count += 1
    position.save(update_fields=["exit_count"])
    order = Order.objects.create(
        account_id=position.account_id,
        instrument=instrument,
        kind=OrderKind.EXIT,
        origin=origin,
        exit_number=position.exit_count,
        side=Side.SELL,
        quantity=quantity.value,
        reason=reason[:REASON_MAX],
        state=OrderState.READY,
        created_at=now,
        **asked_by.columns,
    )
    doorbell.ring(EXIT_TASK)
    doorbell.changed([position.account.user_id])
    return order


def wait_until_settled(
    order: Order, *, timeout_s: float = WAIT_S, sleep: Callable[[float], None] = time.sleep
) -> Order:
    """The order as it is once final, or a person's case, or after `timeout_s` seconds, whichever comes first."""
    for _ in range(max(1, int(timeout_s / POLL_S))):
        order.refresh_from_db()
        if order.state in SETTLED:
            break
        sleep(POLL_S)
    return order


def taker_fee(account: Account) -> Ratio:
    return Ratio(account.taker_fee) if account.taker_fee is not None else TAKER_FEE_DEFAULT


def _master() -> Account:
    account = master_account()
    if account is None:
        raise MasterOrderRefused("no_master", "There is no master account on this exchange yet: connect its key first.")
    return account


def require_positive(amount: Money | Quantity) -> None:
    """Raises MasterOrderRefused."""
    if not amount.value > 0:
        raise MasterOrderRefused("amount", f"An amount is above zero, not {amount}.")


def _sized(
    account: Account, instrument: Instrument, *, amount: Money | Quantity, ask: Price, now: datetime
) -> SizedEntry:
    """Raises MasterOrderRefused."""
    try:
        sized = master_sizing.size_entry(
            instrument.rules,
            amount=amount,
            ask=ask,
            max_slippage=Ratio(account.user.risk.max_slippage),
            fee=taker_fee(account),
            funds=_funds(account, now=now),
        )
    except AmountError:
        # Usable by itself, but not what it comes to at this price.
        raise MasterOrderRefused("amount", f"{instrument.symbol}: {amount} is more than can be ordered.") from None
    if isinstance(sized, TooSmall):
        raise MasterOrderRefused(sized.code, f"{instrument.symbol}: {sized.sentence}")
    return sized


def _refuse_second_entry_on_candle(account: Account, instrument: Instrument, entry: StrategyEntry) -> None:
    if EntryPlan.objects.filter(
        order__account=account, order__instrument=instrument, market_at=entry.market_at
    ).exists():
        raise MasterOrderRefused("same_candle", f"{instrument.symbol} was already entered on this candle.")


def _store_plan(order: Order, entry: StrategyEntry) -> None:
    EntryPlan.objects.create(
        order=order,
        strategy=entry.strategy,
        version=entry.version,
        parameters_hash=entry.parameters_hash,
        plan=entry.plan.as_json(),
        market_at=entry.market_at,
    )


def _funds(account: Account, *, now: datetime) -> Funds:
    """Equity and free cash as of now. Raises MasterOrderRefused when the balance is unknown."""
    worth = equity.worth_of([account], now=now)[account.pk]
    if worth.equity is None or worth.free_cash is None or worth.cash is None or worth.as_of is None:
        raise MasterOrderRefused("balance_unknown", _balance_sentence(account))
    return Funds(equity=worth.equity, free_cash=worth.free_cash)


def _balance_sentence(account: Account) -> str:
    error = f" Kraken says: {account.balances_error}" if account.balances_error else ""
    return f"The master's balance is not known at the moment, so nothing can be sized.{error}"


#: Of the same moment as positions and balances: a fill booked since the account was read would count twice or not at all.
_OF_THE_BALANCE = ("balances_as_of", "balances_error", "last_fill_at", "taker_fee")
_NOT_ALLOWED = "Orders are not allowed here: set LIVE_TRADING=true to trade on this exchange."
