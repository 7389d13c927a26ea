"""Copied entries: sized when claimed, with the account locked, then sent side by side (DESIGN section 3, Entry)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.db import transaction

from accounts.models import Credential
from copytrade.domain import admission
from copytrade.domain.admission import Situation
from copytrade.domain.reasons import Cap, SkipReason
from copytrade.domain.sizing import FollowerFunds, Limits, MasterEntry, Sized, Skipped, size_entry
from copytrade.models import CopyOrder, CopyStatus
from copytrade.services.fan_out import BATCH, EXECUTE_TASK
from trading import doorbell
from trading.domain import order_state
from trading.domain.instrument import Side
from trading.domain.money import Money, Price, Ratio
from trading.domain.risk import BalanceSource
from trading.models import Account, Order, OrderKind, OrderOrigin, Position, Signal, SignalKind
from trading.selectors.equity import Worth, worth_of
from trading.services import balances, bulk, halts, lanes, market, private, sending
from trading.services.clock import Clock
from trading.services.lanes import Purpose
from trading.services.sending import LIFE_LEFT_MIN, Outgoing

PENDING_MAX = 2_000
#: What we assume of an account whose own fees Kraken has not told yet: the entry tier's taker fee.
TAKER_FEE_UNTOLD = Ratio(Decimal("0.008"))
ONE = Ratio(Decimal(1))
#: A daily loss limit closes entries no longer than this; what is closed for longer waits for its owner.
DAY = timedelta(days=1)
TOO_LATE = "The copy could not be sent within ten seconds of the master's fill, and NIJA does not chase a price."


@dataclass(frozen=True, slots=True)
class _Common:
    """What is the same for all copies of one claim."""

    halted: str
    clock_problem: str
    master_out: frozenset[int]
    now: datetime


@dataclass(frozen=True, slots=True)
class _Follower:
    account: Account
    key: Credential | None
    worth: Worth
    taken: Money
    open_instruments: frozenset[int]


def sweep(*, clock: Clock) -> int:
    """Expire what is too late and ring again for what still waits; how many wait."""
    now = clock.now()
    pending = CopyOrder.objects.filter(kind=SignalKind.ENTRY, status=CopyStatus.PENDING).order_by("pk")
    _miss_late(pending.values_list("pk", flat=True)[:PENDING_MAX], now=now)
    waiting = list(pending.values_list("pk", flat=True)[:PENDING_MAX])
    for start in range(0, len(waiting), BATCH):
        doorbell.ring(EXECUTE_TASK, waiting[start : start + BATCH])
    return len(waiting)


def execute(copy_ids: Collection[int], *, clock: Clock) -> int:
    """Size, claim and send the entries among these copies that still wait; how many were sent."""
    if not copy_ids:
        return 0
    _miss_late(list(copy_ids), now=clock.now())
    waiting = CopyOrder.objects.filter(pk__in=copy_ids, kind=SignalKind.ENTRY, status=CopyStatus.PENDING)
    accounts = list(Account.objects.filter(copies__in=waiting).distinct())
    if not accounts:
        return 0
    _freshen(accounts, clock=clock)
    outgoing = _claim(list(copy_ids), clock=clock)
    sending.transmit(outgoing, clock=clock)
    return len(outgoing)


def _miss_late(copy_ids: Collection[int], *, now: datetime) -> None:
    late = CopyOrder.objects.filter(
        pk__in=list(copy_ids), status=CopyStatus.PENDING, expires_at__lt=now + LIFE_LEFT_MIN
    )
    late.update(status=CopyStatus.MISSED, reason=SkipReason.TOO_LATE.value, sentence=TOO_LATE, decided_at=now)


def _freshen(accounts: Sequence[Account], *, clock: Clock) -> None:
    """Lanes of lost leases are made usable; balances that are not fresh are read now."""
    private.fence([key.pk for key in lanes.active_keys(accounts).values()], clock=clock)
    worths = worth_of(accounts, now=clock.now())
    stale = [account for account in accounts if worths[account.pk].source is not BalanceSource.LIVE]
    if stale:
        balances.refresh(stale, clock=clock, purpose=Purpose.ENTRY)


def _claim(copy_ids: Sequence[int], *, clock: Clock) -> list[Outgoing]:
    """Decide on every copy whose account can be locked, and commit the orders as SENDING in the same transaction."""
    now = clock.now()
    with transaction.atomic(durable=True):
        halted = halts.entries_stopped_shared()
        rows = CopyOrder.objects.select_for_update(skip_locked=True, of=("self",))
        copies = list(
            rows.filter(
                pk__in=copy_ids, kind=SignalKind.ENTRY, status=CopyStatus.PENDING, expires_at__gte=now + LIFE_LEFT_MIN
            )
            .select_related("signal__instrument")
            .order_by("pk")
        )
        common = _Common(
            halted=halted,
            clock_problem=market.clock_problem(now=now) or "",
            master_out=_masters_gone({copy.signal for copy in copies}),
            now=now,
        )
        # One entry of an account at a time: the next one is sized once this one's cash is reserved.
        first = {copy.account_id: copy for copy in reversed(copies)}
        followers = _followers(first, now=now)
        sized: dict[int, Sized] = {}
        for account_id, follower in followers.items():
            decision = _decide(first[account_id], follower, common)
            _trace(first[account_id], follower, decision, now=now)
            if isinstance(decision, Sized):
                sized[account_id] = decision
        keys = {followers[account_id].key.pk: account_id for account_id in sized}  # type: ignore[union-attr]
        grants = lanes.claim(list(keys), purpose=Purpose.ENTRY, cost=0, clock=clock)
        outgoing = []
        for key, grant in grants.items():
            copy = first[keys[key]]
            order = _order(copy, followers[keys[key]], sized[keys[key]], now=now)
            sending.stamp(order, grant, now=now)
            outgoing.append(Outgoing(order=order, grant=grant))
        Order.objects.bulk_create([item.order for item in outgoing])
        sent = {item.order.account_id: item.order for item in outgoing}
        decided = [_settle(copy, sent.get(account_id), now=now) for account_id, copy in first.items()]
        _save([copy for copy in decided if copy is not None])
        doorbell.changed([f.account.user_id for f in followers.values()])
    return outgoing


def _followers(first: Mapping[int, CopyOrder], *, now: datetime) -> dict[int, _Follower]:
    """Everything about the accounts of these copies, their rows locked, in a fixed number of queries."""
    locked = Account.objects.select_for_update(skip_locked=True).filter(pk__in=first).order_by("pk")
    ids = list(locked.values_list("pk", flat=True))
    # Read once the rows are locked: a stop of the account that committed a moment ago must be seen.
    accounts = list(Account.objects.filter(pk__in=ids).select_related("user__risk").order_by("pk"))
    keys, worths = lanes.active_keys(accounts), worth_of(accounts, now=now)
    open_instruments: dict[int, set[int]] = defaultdict(set)
    for account_id, instrument_id in Position.objects.filter(account_id__in=ids, is_open=True).values_list(
        "account_id", "instrument_id"
    ):
        open_instruments[account_id].add(instrument_id)
    under_way = Order.objects.filter(account_id__in=ids, kind=OrderKind.ENTRY, state__in=order_state.OUTSTANDING)
    for account_id, instrument_id in under_way.values_list("account_id", "instrument_id"):
        open_instruments[account_id].add(instrument_id)
    taken: dict[int, Money] = defaultdict(Money.zero)
    master_orders = {copy.signal.order_id for copy in first.values()}
    earlier = CopyOrder.objects.filter(
        account_id__in=ids, signal__order_id__in=master_orders, status=CopyStatus.ORDERED, kind=SignalKind.ENTRY
    ).select_related("order", "signal")
    for copy in earlier:
        if copy.signal.order_id == first[copy.account_id].signal.order_id:
            taken[copy.account_id] += _cost_so_far(copy)
    return {
        account.pk: _Follower(
            account=account,
            key=keys.get(account.pk),
            worth=worths[account.pk],
            taken=taken[account.pk],
            open_instruments=frozenset(open_instruments[account.pk]),
        )
        for account in accounts
    }


def _cost_so_far(copy: CopyOrder) -> Money:
    """At the signal price: what has filled of a final order, all of one that may still fill."""
    order = copy.order
    if order is not None and order.state in order_state.FINAL:
        return Money(order.filled * copy.signal.price)
    return Money(copy.notional or Decimal(0))


def _decide(copy: CopyOrder, follower: _Follower, common: _Common) -> Sized | Skipped:
    refused = admission.refusal(_situation(copy, follower, common))
    if refused is not None:
        return refused
    worth, signal = follower.worth, copy.signal
    if worth.equity is None or worth.free_cash is None:
        return Skipped(SkipReason.BALANCE_UNKNOWN, _unknown_balance(follower.account))
    risk = follower.account.user.risk
    assert signal.master_equity is not None, "an entry signal carries the master's equity"
    return size_entry(
        MasterEntry(Money(signal.notional), Money(signal.master_equity), Price(signal.price)),
        FollowerFunds(equity=worth.equity, free_cash=worth.free_cash, already_taken=follower.taken),
        Limits(
            multiplier=Ratio(risk.multiplier),
            max_risk=Ratio(risk.max_risk),
            max_slippage=Ratio(risk.max_slippage),
            taker_fee=TAKER_FEE_UNTOLD if follower.account.taker_fee is None else Ratio(follower.account.taker_fee),
        ),
        instrument=signal.instrument.rules,
    )


def _situation(copy: CopyOrder, follower: _Follower, common: _Common) -> Situation:
    account, instrument = follower.account, copy.signal.instrument
    risk = account.user.risk
    closed_until = risk.close_only_until
    close_only = closed_until is not None and closed_until > common.now
    return Situation(
        symbol=instrument.symbol,
        halted=common.halted,
        orders_allowed=settings.ORDERS_ALLOWED,
        clock_problem=common.clock_problem,
        stopped=risk.stopped_at is not None,
        state=risk.state,
        close_only_reason=(risk.close_only_reason or "A loss limit was reached") if close_only else "",
        until_resumed=closed_until is not None and closed_until > common.now + DAY,
        held=account.held_reason if account.held_at is not None else "",
        has_key=follower.key is not None,
        key_problem=follower.key.entries_blocked_reason if follower.key is not None else "",
        tradable=instrument.tradable,
        permits_symbol=risk.permits(instrument.symbol),
        master_already_out=copy.signal_id in common.master_out,
        open_positions=len(follower.open_instruments),
        max_open_positions=risk.max_open_positions,
        already_open=instrument.pk in follower.open_instruments,
    )


def _masters_gone(signals: Collection[Signal]) -> frozenset[int]:
    """Signals after which the master has sold the whole again: copying the entry would only cost fees."""
    gone = set()
    for signal in signals:
        later = Signal.objects.filter(
            account_id=signal.account_id,
            instrument_id=signal.instrument_id,
            sequence__gt=signal.sequence,
            kind=SignalKind.EXIT,
        )
        if any(exit_signal.closed_fraction == 1 for exit_signal in later):
            gone.add(signal.pk)
    return frozenset(gone)


def _unknown_balance(account: Account) -> str:
    if account.balances_failing_since is not None:
        return f"Your balance has been unknown since {account.balances_failing_since:%H:%M} UTC: Kraken did not answer."
    return "Your balance was not known when this copy was due."


def _trace(copy: CopyOrder, follower: _Follower, decision: Sized | Skipped, *, now: datetime) -> None:
    """How the decision came about, for the copy's page."""
    worth = follower.worth
    copy.equity = worth.equity.value if worth.equity is not None else None
    copy.equity_as_of, copy.equity_source = worth.as_of, worth.source.value
    copy.proportional = decision.proportional.value if decision.proportional is not None else None
    copy.notional = decision.notional.value if decision.notional is not None else None
    copy.cap = decision.cap.value
    if isinstance(decision, Skipped):
        copy.status, copy.reason, copy.decided_at = CopyStatus.SKIPPED, decision.reason.value, now
        copy.sentence = decision.sentence[:300]


def _order(copy: CopyOrder, follower: _Follower, sized: Sized, *, now: datetime) -> Order:
    signal = copy.signal
    allowed = Price(signal.price) * (ONE + Ratio(follower.account.user.risk.max_slippage))
    return Order(
        account=follower.account,
        instrument=signal.instrument,
        kind=OrderKind.ENTRY,
        origin=OrderOrigin.COPY,
        signal=signal,
        side=Side.BUY,
        quantity=sized.quantity.value,
        limit_price=signal.instrument.rules.limit_price(allowed, Side.BUY).value,
        reason=signal.reason,
        strategy=signal.strategy,
        strategy_version=signal.strategy_version,
        parameters_hash=signal.parameters_hash,
        equity_before=follower.worth.equity.value if follower.worth.equity is not None else None,
        expires_at=copy.expires_at,
        created_at=now,
    )


def _settle(copy: CopyOrder, order: Order | None, *, now: datetime) -> CopyOrder | None:
    """The copy as it is to be stored; None while its lane was busy and it goes on waiting."""
    if order is not None:
        copy.order, copy.status, copy.decided_at = order, CopyStatus.ORDERED, now
        copy.cap = copy.cap or Cap.NONE.value
        return copy
    return copy if copy.status == CopyStatus.SKIPPED else None


def _save(copies: Sequence[CopyOrder]) -> None:
    fields = ["status", "reason", "sentence", "order", "equity", "equity_as_of", "equity_source"]
    bulk.update_each(copies, [*fields, "proportional", "notional", "cap", "decided_at"])
