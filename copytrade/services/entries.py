"""Copied entries: sized when claimed, with the account locked, then sent side by side (DESIGN section 3, Entry)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Subquery

from accounts.models import Credential
from copytrade.domain import admission
from copytrade.domain.reasons import Cap, SkipReason
from copytrade.domain.sizing import Sized, Skipped
from copytrade.models import CopyOrder, CopyStatus
from copytrade.services import deciding
from copytrade.services.deciding import Common, Follower
from copytrade.services.fan_out import BATCH, EXECUTE_TASK
from trading import doorbell
from trading.domain import venue_clock
from trading.domain.instrument import Side
from trading.domain.money import Money, Price, Ratio
from trading.domain.risk import BalanceSource, balance_source
from trading.models import Account, Lane, Order, OrderKind, OrderOrigin, Signal, SignalKind, Venue
from trading.selectors.equity import figures_of, worth_of
from trading.services import balances, bulk, halts, lanes, private, sending
from trading.services.clock import Clock
from trading.services.lanes import Locked, Purpose
from trading.services.sending import LIFE_LEFT_MIN, Outgoing

PENDING_MAX = 2_000
#: A bell that was lost is rung again well before the entry's life of ten seconds ends.
RING_AGAIN_AFTER = timedelta(seconds=2)
ONE = Ratio(Decimal(1))
TOO_LATE = "The copy could not be sent within ten seconds of the master's fill, and NIJA does not chase a price."


@dataclass(frozen=True, slots=True)
class _Claimed:
    """Orders committed as SENDING, copies whose account has to be read first, and ids of those whose account was in use."""

    outgoing: list[Outgoing]
    unready: list[CopyOrder]
    busy: list[int]


def sweep(*, clock: Clock) -> int:
    """Expire what is too late and ring again for what has waited a while; how many of these there are.

    The bell of a younger one is still in the queue: rung again every second, a large fan-out would stand in its own way.
    """
    now = clock.now()
    pending = CopyOrder.objects.filter(kind=SignalKind.ENTRY, status=CopyStatus.PENDING).order_by("pk")
    _miss_late(pending.values_list("pk", flat=True)[:PENDING_MAX], now=now)
    older = pending.filter(created_at__lte=now - RING_AGAIN_AFTER)
    waiting = list(older.values_list("pk", flat=True)[:PENDING_MAX])
    for start in range(0, len(waiting), BATCH):
        doorbell.ring(EXECUTE_TASK, waiting[start : start + BATCH])
    return len(waiting)


def execute(copy_ids: Collection[int], *, clock: Clock) -> int:
    """Size, claim and send the entries among these copies that still wait; how many were sent.

    Whose balance is stale or whose lane must be fenced first waits for no answer of the others, nor they for his: he is rung
    for again, and read once none is left that can be sent at once.
    """
    if not copy_ids:
        return 0
    claimed = _claim_and_send(copy_ids, freshened=False, clock=clock)
    if claimed.unready and not claimed.outgoing:
        _freshen([copy.account_id for copy in claimed.unready], clock=clock)
        claimed = _claim_and_send([copy.pk for copy in claimed.unready], freshened=True, clock=clock)
    return len(claimed.outgoing)


def _claim_and_send(copy_ids: Collection[int], *, freshened: bool, clock: Clock) -> _Claimed:
    """What is claimed can be written at once; the rest is rung for when its lane or a sender may be free."""
    with private.seats(len(copy_ids)) as free:
        now, later = list(copy_ids)[:free], list(copy_ids)[free:]
        claimed = _claim(now, freshened=freshened, clock=clock)
        sending.transmit(claimed.outgoing, clock=clock)
    if claimed.outgoing and (claimed.busy or later):
        doorbell.ring(EXECUTE_TASK, [*claimed.busy, *later])
    return claimed


def _miss_late(copy_ids: Collection[int], *, now: datetime) -> None:
    late = CopyOrder.objects.filter(
        pk__in=list(copy_ids), status=CopyStatus.PENDING, expires_at__lt=now + LIFE_LEFT_MIN
    )
    with transaction.atomic(durable=True):
        # In one order with everybody else who locks several; what a claim holds is its own business.
        locked = list(late.select_for_update(skip_locked=True).order_by("pk").values_list("pk", flat=True))
        CopyOrder.objects.filter(pk__in=locked).update(
            status=CopyStatus.MISSED, reason=SkipReason.TOO_LATE.value, sentence=TOO_LATE, decided_at=now
        )


def _freshen(account_ids: Collection[int], *, clock: Clock) -> None:
    """Lanes of lost leases are made usable; balances that are not fresh are read now."""
    accounts = list(Account.objects.filter(pk__in=account_ids).order_by("pk"))
    private.fence([key.pk for key in lanes.active_keys(accounts).values()], clock=clock)
    now = clock.now()
    stale = [
        account
        for account in accounts
        if balance_source(as_of=account.balances_as_of, last_fill_at=account.last_fill_at, now=now)
        is not BalanceSource.LIVE
    ]
    if stale:
        balances.refresh(stale, clock=clock, purpose=Purpose.ENTRY)


def _claim(copy_ids: Collection[int], *, freshened: bool, clock: Clock) -> _Claimed:
    """Decide on every copy whose account can be locked, and commit the orders as SENDING in the same transaction.

    `freshened`: what could be read was read a moment ago, so that a cached balance may size an entry.
    """
    now = clock.now()
    outgoing: list[Outgoing] = []
    with transaction.atomic(durable=True):
        halted = halts.entries_stopped_shared()
        copies, late = _waiting(copy_ids, now=now)
        offset_ms, measured_at = _venue_clock(copies)
        # One entry of an account at a time: the next one is sized once this one's cash is reserved.
        first = {copy.account_id: copy for copy in reversed(copies)}
        followers = _followers(first, now=now)
        problem = venue_clock.problem(offset_ms=offset_ms, measured_at=measured_at, now=now) or ""
        common = Common(halted=halted, clock_problem=problem, master_out=deciding.masters_gone(copies), now=now)
        decided, unready = list(late), list[CopyOrder]()
        sized: dict[int, Sized] = {}
        shared = clock.shared()
        for account_id, follower in followers.items():
            copy = first[account_id]
            refused = admission.refusal(deciding.situation(copy, follower, common))
            if refused is None and not freshened and not follower.is_ready(at=shared):
                unready.append(copy)
                continue
            decision = refused or deciding.size(copy, follower)
            _trace(copy, follower, decision, now=now)
            if isinstance(decision, Sized):
                sized[account_id] = decision
            else:
                decided.append(copy)
        keys = {follower.key.pk: account_id for account_id, follower in followers.items() if follower.key}
        locked = [follower.lane for account_id, follower in followers.items() if account_id in sized and follower.lane]
        for key, grant in lanes.take(locked, purpose=Purpose.ENTRY, cost=0, clock=clock).items():
            copy, follower = first[keys[key]], followers[keys[key]]
            order = _order(copy, follower, sized[keys[key]], now=now)
            sending.stamp(order, grant, now=now, offset=timedelta(milliseconds=offset_ms or 0))
            outgoing.append(Outgoing(order=order, grant=grant))
        bulk.insert_each([item.order for item in outgoing])
        _save([*decided, *(_ordered(first[item.order.account_id], item.order, now=now) for item in outgoing)])
        if outgoing and unready:
            doorbell.ring(EXECUTE_TASK, [copy.pk for copy in unready])
        doorbell.changed([f.account.user_id for f in followers.values()])
    settled = {copy.pk for copy in [*decided, *unready, *(first[item.order.account_id] for item in outgoing)]}
    private.open_keys([followers[item.order.account_id].key for item in outgoing])  # type: ignore[misc]
    return _Claimed(outgoing, unready, busy=[copy.pk for copy in copies if copy.pk not in settled])


def _waiting(copy_ids: Collection[int], *, now: datetime) -> tuple[list[CopyOrder], list[CopyOrder]]:
    """Those of these copies that still wait, locked: the ones in time, and the ones that are MISSED by now."""
    same_order = Signal.objects.filter(order=OuterRef("signal__order")).exclude(pk=OuterRef("signal"))
    later_exit = Signal.objects.filter(
        account=OuterRef("signal__account"),
        instrument=OuterRef("signal__instrument"),
        sequence__gt=OuterRef("signal__sequence"),
        kind=SignalKind.EXIT,
    )
    rows = CopyOrder.objects.select_for_update(skip_locked=True, of=("self",)).select_related("signal__instrument")
    waiting = rows.filter(pk__in=copy_ids, kind=SignalKind.ENTRY, status=CopyStatus.PENDING)
    venue = Venue.objects.filter(pk=settings.VENUE)
    told = {name: Subquery(venue.values(name)) for name in ("offset_ms", "offset_at")}
    copies: list[CopyOrder] = list(
        waiting.annotate(has_siblings=Exists(same_order), exit_follows=Exists(later_exit), **told).order_by("pk")[
            :BATCH
        ]
    )
    in_time, late = list[CopyOrder](), list[CopyOrder]()
    for copy in copies:
        if copy.expires_at is not None and copy.expires_at < now + LIFE_LEFT_MIN:
            copy.status, copy.reason, copy.sentence = CopyStatus.MISSED, SkipReason.TOO_LATE.value, TOO_LATE
            copy.decided_at = now
            late.append(copy)
        else:
            in_time.append(copy)
    return in_time, late


def _venue_clock(copies: Sequence[CopyOrder]) -> tuple[int | None, datetime | None]:
    """Kraken's clock before ours, in milliseconds, and when that was measured, as they were read with the copies."""
    if not copies:
        return None, None
    return copies[0].offset_ms, copies[0].offset_at  # type: ignore[attr-defined]


def _followers(first: Mapping[int, CopyOrder], *, now: datetime) -> dict[int, Follower]:
    """Everything about the accounts of these copies, their rows locked, in a fixed number of queries.

    An account whose lane or settings somebody else holds at this moment is absent.
    """
    if not first:
        return {}
    locked = _locked(list(first))
    accounts = [account for account, _ in locked]
    figures = figures_of([account.pk for account in accounts])
    worths = worth_of(accounts, now=now, figures=figures)
    taken: dict[int, Money] = defaultdict(Money.zero)
    split = {copy.signal.order_id for copy in first.values() if copy.has_siblings}  # type: ignore[attr-defined]
    if split:
        earlier = CopyOrder.objects.filter(
            account_id__in=figures, signal__order_id__in=split, status=CopyStatus.ORDERED, kind=SignalKind.ENTRY
        ).select_related("order", "signal")
        for copy in earlier:
            if copy.signal.order_id == first[copy.account_id].signal.order_id:
                taken[copy.account_id] += deciding.cost_so_far(copy)
    return {
        account.pk: Follower(
            account=account,
            lane=lane,
            worth=worths[account.pk],
            taken=taken[account.pk],
            open_instruments=figures[account.pk].open_instruments,
        )
        for account, lane in locked
    }


def _locked(account_ids: Collection[int]) -> list[tuple[Account, Locked | None]]:
    """Accounts, their owners' settings, keys and lanes, locked together: the database hands out a locked row as it is then,
    so that a stop of the account or a disconnected key that committed a moment ago is seen."""
    with_keys = Lane.objects.filter(
        credential__status=Credential.Status.ACTIVE,
        credential__user__trading_account__in=account_ids,
        credential__user__risk__isnull=False,
    ).select_related("credential__user__risk", "credential__user__trading_account")
    also = ("credential", "credential__user__risk", "credential__user__trading_account")
    found: list[tuple[Account, Locked | None]] = [
        (row.lane.credential.user.trading_account, row)
        for row in lanes.lock(with_keys, purpose=Purpose.ENTRY, also=also)
    ]
    absent = set(account_ids) - {account.pk for account, _ in found}
    if absent:
        keyed = Credential.objects.filter(user=OuterRef("user"), status=Credential.Status.ACTIVE)
        keyless = Account.objects.select_for_update(skip_locked=True, of=("self",)).select_related("user__risk")
        found += [(account, None) for account in keyless.filter(~Exists(keyed), pk__in=absent).order_by("pk")]
    return found


def _trace(copy: CopyOrder, follower: Follower, decision: Sized | Skipped, *, now: datetime) -> None:
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


def _order(copy: CopyOrder, follower: Follower, sized: Sized, *, now: datetime) -> Order:
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


def _ordered(copy: CopyOrder, order: Order, *, now: datetime) -> CopyOrder:
    copy.order, copy.status, copy.decided_at = order, CopyStatus.ORDERED, now
    copy.cap = copy.cap or Cap.NONE.value
    return copy


def _save(copies: Sequence[CopyOrder]) -> None:
    fields = ["status", "reason", "sentence", "order", "equity", "equity_as_of", "equity_source"]
    bulk.update_each(copies, [*fields, "proportional", "notional", "cap", "decided_at"])
