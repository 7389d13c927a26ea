"""Exit obligations: computed again from the books at every look, planned one live exit at a time.

This path reads no cap, no entry block, no stop, no pause and no plan or payment state (DESIGN section 3).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import takewhile

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from copytrade.domain import obligations
from copytrade.domain.obligations import Obligation, Standing, Step
from copytrade.domain.reasons import SkipReason
from copytrade.models import CloseInstruction, CopyOrder, CopyStatus
from trading import doorbell
from trading.domain import order_state
from trading.domain.instrument import Side
from trading.domain.money import Price, Quantity
from trading.domain.order_state import OrderState
from trading.models import (
    Account,
    Adjustment,
    MarketPrice,
    Order,
    OrderKind,
    OrderOrigin,
    Position,
    Role,
    Signal,
    SignalKind,
)
from trading.services import alerts, balances
from trading.services.clock import Clock

BATCH = 50
POSITIONS_MAX = 5_000
SEND_TASK = "trading.tasks.send_exits"
#: After an exit that Kraken did not take, this long passes before the next: its cause may need a moment to go.
AGAIN_AFTER = timedelta(seconds=3)
AGAIN_MAX = timedelta(seconds=30)
FAILURES_MATTER_FOR = timedelta(minutes=5)
FAILURES_TOLD = 5

_SENTENCES = {
    Standing.WAITING_MIN: (
        SkipReason.WAITING_MIN,
        "What is owed is below Kraken's minimum; it is sold together with the master's next sale.",
    ),
    Standing.DUST: (
        SkipReason.DUST,
        "What is left is below Kraken's minimum and cannot be sold; it stays in your account.",
    ),
}
NOTHING_OWED = "You had sold your share of this already, or it is less than the smallest step Kraken trades in."
NOTHING = "You held nothing bought by copying when this was due, so there was nothing to sell."
CLOSE_ASKED = "You asked to sell everything"


@dataclass(frozen=True, slots=True)
class _Books:
    """What obligations are computed from, for a batch of positions, by (account, instrument) or instrument."""

    signals: Mapping[int, Sequence[Signal]]
    bought: Mapping[tuple[int, int], Mapping[int, Quantity]]
    adjustments: Mapping[tuple[int, int], Sequence[Adjustment]]
    closes: Mapping[tuple[int, int], Sequence[CloseInstruction]]
    bids: Mapping[int, Decimal]
    available: Mapping[int, Mapping[str, Decimal]]

    def closes_now(self, position: Position) -> list[CloseInstruction]:
        """The owner's instructions since this position was opened."""
        opened = position.opened_at
        given = self.closes.get((position.account_id, position.instrument_id), ())
        return [close for close in given if opened is None or close.created_at >= opened]


def plan_due(*, clock: Clock) -> int:
    """Plan an exit for every follower who owes one and has none under way; how many were planned."""
    ids = list(_owing_candidates().values_list("pk", flat=True)[:POSITIONS_MAX])
    planned = sum(_plan_batch(ids[start : start + BATCH], clock=clock) for start in range(0, len(ids), BATCH))
    _settle_empty(clock.now())
    return planned


def close_all(account: Account, *, actor: str, clock: Clock) -> int:
    """The owner asks to sell everything managed, whatever the master does; of how many positions."""
    now = clock.now()
    with transaction.atomic(durable=True):
        positions = Position.objects.select_for_update().filter(account=account, is_open=True)
        instructions = [
            CloseInstruction(
                account=account,
                instrument_id=position.instrument_id,
                after_sequence=balances.latest_sequence(position.instrument_id),
                actor=actor,
                created_at=now,
            )
            for position in positions
        ]
        CloseInstruction.objects.bulk_create(instructions)
        doorbell.executions_booked()
    return len(instructions)


def _owing_candidates() -> QuerySet[Position]:
    """Open positions of followers that something after their first entry may have asked to sell."""
    sold = _fanned_out().filter(
        kind=SignalKind.EXIT, instrument=OuterRef("instrument"), sequence__gt=OuterRef("opened_sequence")
    )
    asked = CloseInstruction.objects.filter(
        account=OuterRef("account"), instrument=OuterRef("instrument"), created_at__gte=OuterRef("opened_at")
    )
    live = Order.objects.filter(
        account=OuterRef("account"),
        instrument=OuterRef("instrument"),
        kind=OrderKind.EXIT,
        state__in=order_state.LIVE,
    )
    followers = Position.objects.filter(is_open=True, account__role=Role.FOLLOWER, account__venue=settings.VENUE)
    return followers.filter(Q(Exists(sold)) | Q(Exists(asked))).exclude(Exists(live)).order_by("pk")


def _fanned_out() -> QuerySet[Signal]:
    """Signals whose copies are written: an exit planned before its copy would be a sale that no outcome tells of."""
    return Signal.objects.filter(fan_out__isnull=False)


def _plan_batch(position_ids: Sequence[int], *, clock: Clock) -> int:
    now = clock.now()
    with transaction.atomic(durable=True):
        locked = Position.objects.select_for_update(of=("self",), skip_locked=True).select_related(
            "instrument", "account"
        )
        positions = _without_live_exit(locked.filter(pk__in=position_ids, is_open=True).order_by("pk"))
        resting = _resting(positions, now=now)
        books = _read_books(positions, now=now)
        unsettled = _with_pending_exits(positions)
        orders: list[Order] = []
        nothing: list[Position] = []
        for position in positions:
            result = _obligation(position, books)
            key = (position.account_id, position.instrument_id)
            if result.standing is Standing.OWED and key not in resting:
                reason = CLOSE_ASKED if books.closes_now(position) else "The master sold"
                orders.append(_exit_order(position, result, reason=reason, now=now))
            elif result.standing in _SENTENCES and key in unsettled:
                _note_waiting(position, result.standing, now=now)
            elif result.standing is Standing.NOTHING and key in unsettled:
                nothing.append(position)
        Order.objects.bulk_create(orders)
        Position.objects.bulk_update([p for p in positions if _planned(p, orders)], ["exit_count"])
        for order in orders:
            _link(order, now=now)
        _note_nothing(nothing, now=now)
        if orders:
            doorbell.ring(SEND_TASK)
            doorbell.changed([position.account.user_id for position in positions])
    return len(orders)


def _without_live_exit(rows: QuerySet[Position]) -> list[Position]:
    """Looked at again under the positions' locks."""
    positions = list(rows)
    live = set(
        Order.objects.filter(
            account_id__in={p.account_id for p in positions}, kind=OrderKind.EXIT, state__in=order_state.LIVE
        ).values_list("account_id", "instrument_id")
    )
    return [p for p in positions if (p.account_id, p.instrument_id) not in live]


def _resting(positions: Sequence[Position], *, now: datetime) -> set[tuple[int, int]]:
    """Where the last exit sold nothing a moment ago: each one that fails again doubles the wait, and several are told."""
    recent = Order.objects.filter(
        account_id__in={p.account_id for p in positions},
        instrument_id__in={p.instrument_id for p in positions},
        kind=OrderKind.EXIT,
        closed_at__gt=now - FAILURES_MATTER_FOR,
    )
    by_position: dict[tuple[int, int], list[Order]] = defaultdict(list)
    for order in recent.order_by("-exit_number"):
        by_position[order.account_id, order.instrument_id].append(order)
    resting = set()
    for key, orders in by_position.items():
        failed = list(takewhile(lambda order: not order.filled, orders))
        if len(failed) >= FAILURES_TOLD:
            alerts.raise_once(failed[0], f"{len(failed)} sales in a row sold nothing: {failed[0].refusal}", now=now)
        if failed and failed[0].closed_at is not None:
            wait = min(AGAIN_MAX, AGAIN_AFTER * 2 ** (len(failed) - 1))
            if failed[0].closed_at + wait > now:
                resting.add(key)
    return resting


def _read_books(positions: Sequence[Position], *, now: datetime) -> _Books:
    accounts = {p.account_id for p in positions}
    instruments = {p.instrument_id for p in positions}
    first = min((p.opened_sequence or 0 for p in positions), default=0)
    signals: dict[int, list[Signal]] = defaultdict(list)
    for signal in _fanned_out().filter(instrument_id__in=instruments, sequence__gte=first):
        signals[signal.instrument_id].append(signal)
    bought: dict[tuple[int, int], dict[int, Quantity]] = defaultdict(dict)
    entries = Order.objects.filter(
        account_id__in=accounts, instrument_id__in=instruments, kind=OrderKind.ENTRY, signal__sequence__gte=first
    )
    for account_id, instrument_id, sequence, filled in entries.values_list(
        "account_id", "instrument_id", "signal__sequence", "filled"
    ):
        bought[account_id, instrument_id][sequence] = Quantity(filled)
    adjustments: dict[tuple[int, int], list[Adjustment]] = defaultdict(list)
    for row in Adjustment.objects.filter(account_id__in=accounts, instrument_id__in=instruments):
        adjustments[row.account_id, row.instrument_id].append(row)
    closes: dict[tuple[int, int], list[CloseInstruction]] = defaultdict(list)
    for close in CloseInstruction.objects.filter(account_id__in=accounts, instrument_id__in=instruments):
        closes[close.account_id, close.instrument_id].append(close)
    bids = dict(MarketPrice.objects.filter(instrument_id__in=instruments).values_list("instrument_id", "bid"))
    return _Books(signals, bought, adjustments, closes, bids, balances.available(sorted(accounts), now=now))


def _obligation(position: Position, books: _Books) -> Obligation:
    bid = books.bids.get(position.instrument_id)
    held = books.available.get(position.account_id)
    instrument = position.instrument.rules
    return obligations.obligation(
        managed=Quantity(position.managed),
        steps=_steps(position, books),
        in_exits=Quantity.zero(),
        available=None if held is None else Quantity(_there(position, held)),
        instrument=instrument,
        price=None if bid is None else Price(bid),
    )


def _there(position: Position, held: Mapping[str, Decimal]) -> Decimal:
    return sum((held.get(name, Decimal(0)) for name in balances.base_names(position.instrument)), Decimal(0))


def _steps(position: Position, books: _Books) -> list[Step]:
    key = (position.account_id, position.instrument_id)
    since = position.opened_sequence or 0
    steps: list[Step] = []
    for signal in books.signals.get(position.instrument_id, ()):
        if signal.sequence < since:
            continue
        if signal.kind == SignalKind.EXIT:
            steps.append(obligations.exit_(sequence=signal.sequence, closed_fraction=signal.closed_fraction))
        elif signal.sequence in books.bought.get(key, {}):
            steps.append(obligations.entry(sequence=signal.sequence, bought=books.bought[key][signal.sequence]))
    opened = position.opened_at
    for row in books.adjustments.get(key, ()):
        if opened is None or row.created_at >= opened:
            before, after = Quantity(row.managed_before), Quantity(row.managed_after)
            steps.append(
                obligations.adjustment(after_sequence=row.after_sequence, number=row.pk, before=before, after=after)
            )
    closes = books.closes_now(position)
    return steps + [obligations.close_all(after_sequence=c.after_sequence, number=c.pk) for c in closes]


def _exit_order(position: Position, result: Obligation, *, reason: str, now: datetime) -> Order:
    position.exit_count += 1
    return Order(
        account=position.account,
        instrument=position.instrument,
        kind=OrderKind.EXIT,
        origin=OrderOrigin.COPY,
        exit_number=position.exit_count,
        side=Side.SELL,
        quantity=result.sell.value,
        reason=reason,
        state=OrderState.READY,
        created_at=now,
    )


def _planned(position: Position, orders: Sequence[Order]) -> bool:
    return any(o.account_id == position.account_id and o.instrument_id == position.instrument_id for o in orders)


def _link(order: Order, *, now: datetime) -> None:
    """The exit copies that this order serves: those still waiting, and those whose earlier order sold nothing."""
    mine = CopyOrder.objects.filter(
        account_id=order.account_id, signal__instrument_id=order.instrument_id, kind=SignalKind.EXIT
    )
    unserved = (
        Q(status=CopyStatus.PENDING)
        | Q(status=CopyStatus.SKIPPED, reason__in=(SkipReason.WAITING_MIN.value, SkipReason.DUST.value))
        | Q(order__state__in=(OrderState.REJECTED, OrderState.NOT_PLACED))
    )
    ids = list(mine.filter(unserved).values_list("pk", flat=True))
    CopyOrder.objects.filter(pk__in=ids).update(
        order=order, status=CopyStatus.ORDERED, reason="", sentence="", decided_at=now
    )


def _with_pending_exits(positions: Sequence[Position]) -> set[tuple[int, int]]:
    pending = CopyOrder.objects.filter(
        account_id__in={p.account_id for p in positions}, kind=SignalKind.EXIT, status=CopyStatus.PENDING
    )
    return set(pending.values_list("account_id", "signal__instrument_id"))


def _note_waiting(position: Position, standing: Standing, *, now: datetime) -> None:
    reason, sentence = _SENTENCES[standing]
    CopyOrder.objects.filter(
        account_id=position.account_id,
        signal__instrument_id=position.instrument_id,
        kind=SignalKind.EXIT,
        status=CopyStatus.PENDING,
    ).update(status=CopyStatus.SKIPPED, reason=reason.value, sentence=sentence, decided_at=now)


def _note_nothing(positions: Sequence[Position], *, now: datetime) -> None:
    """Nothing is owed and nothing can come any more: the exit copies that waited get their outcome."""
    coming = Order.objects.filter(
        account=OuterRef("account"),
        instrument=OuterRef("signal__instrument"),
        kind=OrderKind.ENTRY,
        state__in=order_state.LIVE,
    )
    keys = {(p.account_id, p.instrument_id) for p in positions}
    waiting = CopyOrder.objects.filter(
        account_id__in={p.account_id for p in positions}, kind=SignalKind.EXIT, status=CopyStatus.PENDING
    ).exclude(Exists(coming))
    ids = [
        copy_id
        for copy_id, account_id, instrument_id in waiting.values_list("pk", "account_id", "signal__instrument_id")
        if (account_id, instrument_id) in keys
    ]
    CopyOrder.objects.filter(pk__in=ids).update(
        status=CopyStatus.SKIPPED, reason=SkipReason.NOTHING_TO_SELL.value, sentence=NOTHING_OWED, decided_at=now
    )


def _settle_empty(now: datetime) -> None:
    """Exit copies of followers whose entry came to nothing get their outcome."""
    waiting = CopyOrder.objects.filter(kind=SignalKind.EXIT, status=CopyStatus.PENDING)
    held = Position.objects.filter(account=OuterRef("account"), instrument=OuterRef("signal__instrument"), is_open=True)
    coming = Order.objects.filter(
        account=OuterRef("account"), instrument=OuterRef("signal__instrument"), state__in=order_state.LIVE
    )
    pending = CopyOrder.objects.filter(
        account=OuterRef("account"),
        signal__instrument=OuterRef("signal__instrument"),
        kind=SignalKind.ENTRY,
        status=CopyStatus.PENDING,
    )
    empty = waiting.exclude(Exists(held)).exclude(Exists(coming)).exclude(Exists(pending))
    ids = list(empty.values_list("pk", flat=True)[:POSITIONS_MAX])
    CopyOrder.objects.filter(pk__in=ids, status=CopyStatus.PENDING).update(
        status=CopyStatus.SKIPPED, reason=SkipReason.NOTHING_TO_SELL.value, sentence=NOTHING, decided_at=now
    )
