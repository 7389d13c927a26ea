"""Exit obligations: computed again from the books at every look, planned one live exit at a time.

This path reads no cap, no entry block, no stop, no pause and no plan or payment state (DESIGN section 3).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, IntegerField, OuterRef, Q, QuerySet
from django.db.models.functions import Mod

from copytrade.domain.obligations import Obligation, Standing
from copytrade.domain.reasons import SkipReason
from copytrade.models import CloseInstruction, CopyOrder, CopyStatus
from copytrade.selectors import obligations
from copytrade.selectors.obligations import Books
from copytrade.services.fan_out import CLOSED_BEFORE
from trading import doorbell
from trading.domain import order_state
from trading.domain.instrument import Side
from trading.domain.order_state import OrderState
from trading.models import (
    Account,
    Adjustment,
    Order,
    OrderKind,
    OrderOrigin,
    Position,
    Signal,
    SignalKind,
)
from trading.services import alerts, balances, bulk, unsold
from trading.services.clock import Clock

#: Their positions are locked together, and what is sold waits for no more than these, of which the first are few.
FIRST_BATCH, BATCH = 32, 250
COPIES_MAX = 5_000
#: In so many looks, a second apart, everybody is looked at again who may owe something, whatever was found before.
LOOKS_AGAIN = 60
SEND_TASK = "trading.tasks.send_exits"
FAILURES_TOLD = 5

NOTHING_OWED = "You had sold your share of this already, or it is less than the smallest step Kraken trades in."
NOTHING = "You held nothing bought by copying when this was due, so there was nothing to sell."
_SENTENCES = {
    Standing.NOTHING: (SkipReason.NOTHING_TO_SELL, NOTHING_OWED),
    Standing.WAITING_MIN: (
        SkipReason.WAITING_MIN,
        "What is owed is below Kraken's minimum; it is sold together with the master's next sale.",
    ),
    Standing.DUST: (
        SkipReason.DUST,
        "What is left is below Kraken's minimum and cannot be sold; it stays in your account.",
    ),
}
CLOSE_ASKED = "You asked to sell everything"


def plan_due(*, clock: Clock) -> int:
    """Plan an exit for every follower who owes one and has none under way; how many were planned."""
    planned = _plan(obligations.candidates(), clock=clock)
    _settle_empty(clock.now())
    return planned


def look_again(*, clock: Clock) -> int:
    """Look at a part of those who owed nothing or too little: prices move, and whatever went wrong heals; how many were planned.

    Each part has its own second of a minute, so that nothing need be kept.
    """
    turn = Mod(F("pk"), LOOKS_AGAIN, output_field=IntegerField())
    mine = obligations.candidates(anew=True).alias(turn=turn).filter(turn=int(clock.now().timestamp()) % LOOKS_AGAIN)
    return _plan(mine, clock=clock)


def _plan(candidates: QuerySet[Position], *, clock: Clock) -> int:
    """Where nothing may be sent nothing is planned: a sale that waited would be of what was owed long ago."""
    if not settings.ORDERS_ALLOWED:
        return 0
    ids = list(_without_live_exits(candidates).values_list("pk", flat=True))
    return sum(_plan_batch(part, clock=clock) for part in bulk.portions(ids, first=FIRST_BATCH, then=BATCH))


def close_all(account: Account, *, actor: str, clock: Clock) -> int:
    """The owner asks to sell everything managed, whatever the master does; of how many positions, coming ones included. What the
    master is asked to sell `closing` plans, what followers are is planned here.

    What an entry under way still buys is sold too, and an entry that waits is not begun any more.
    """
    now = clock.now()
    with transaction.atomic(durable=True):
        # An entry goes from a copy to an order to a position, and so do these: whatever moves on between two of them is met
        # again. A claim that holds one of the copies is waited for.
        waiting = CopyOrder.objects.filter(account=account, kind=SignalKind.ENTRY, status=CopyStatus.PENDING)
        locked = waiting.select_for_update().order_by("pk").values_list("pk", flat=True)
        CopyOrder.objects.filter(pk__in=list(locked)).update(
            status=CopyStatus.SKIPPED, reason=SkipReason.CLOSED_ALL.value, sentence=CLOSED_BEFORE, decided_at=now
        )
        orders = Order.objects.filter(account=account, kind=OrderKind.ENTRY, state__in=order_state.LIVE)
        coming = set(orders.values_list("instrument_id", flat=True))
        # In the order in which plans lock them, so that the two never wait for each other.
        positions = Position.objects.select_for_update().filter(account=account, is_open=True).order_by("pk")
        closed = sorted(coming | {position.instrument_id for position in positions})
        CloseInstruction.objects.bulk_create(
            CloseInstruction(
                account=account,
                instrument_id=instrument_id,
                after_sequence=balances.latest_sequence(instrument_id),
                actor=actor,
                created_at=now,
            )
            for instrument_id in closed
        )
        doorbell.executions_booked()
    return len(closed)


def _without_live_exits(candidates: QuerySet[Position]) -> QuerySet[Position]:
    live = Order.objects.filter(
        account=OuterRef("account"),
        instrument=OuterRef("instrument"),
        kind=OrderKind.EXIT,
        state__in=order_state.LIVE,
    )
    return candidates.exclude(Exists(live)).order_by("pk")


def _plan_batch(position_ids: Sequence[int], *, clock: Clock) -> int:
    now = clock.now()
    with transaction.atomic(durable=True):
        locked = Position.objects.select_for_update(of=("self",), skip_locked=True).select_related(
            "instrument", "account"
        )
        positions = _without_live_exit(locked.filter(pk__in=position_ids, is_open=True).order_by("pk"))
        resting = _resting(positions, now=now)
        positions = [p for p in positions if (p.account_id, p.instrument_id) not in resting]
        if not positions:
            return 0
        free = balances.available(sorted({p.account_id for p in positions}), now=now)
        books = obligations.read_books(positions)
        unsettled = _pending_exits(positions)
        orders: list[Order] = []
        settled: list[Position] = []
        outcomes: dict[Standing, list[int]] = defaultdict(list)
        for position in positions:
            result = obligations.of(
                position, books, available=balances.free_base(position.instrument, free.get(position.account_id))
            )
            key = (position.account_id, position.instrument_id)
            if result.standing is Standing.OWED:
                orders.append(_exit_order(position, result, answers=books.answered(position), now=now))
                continue
            outcomes[result.standing] += unsettled.get(key, [])
            # An exit copy without an outcome is looked at until it has one, and so is who owes what he cannot sell just now.
            through = books.settles(position)
            if through is not None and key not in unsettled and not _is_owed(position, books):
                position.settled_sequence = through
                settled.append(position)
        for standing, copy_ids in outcomes.items():
            _note(standing, copy_ids, now=now)
        bulk.update_each(settled, ["settled_sequence"])
        if orders:
            bulk.insert_each(orders)
            planned = {(order.account_id, order.instrument_id) for order in orders}
            bulk.update_each([p for p in positions if (p.account_id, p.instrument_id) in planned], ["exit_count"])
            opened = {(p.account_id, p.instrument_id): p.opened_sequence or 0 for p in positions}
            _link(orders, opened, now=now)
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
        closed_at__gt=now - unsold.FAILURES_MATTER_FOR,
    )
    by_position: dict[tuple[int, int], list[Order]] = defaultdict(list)
    for order in recent.order_by("-exit_number"):
        by_position[order.account_id, order.instrument_id].append(order)
    # What the owner sold by hand is why there was not enough; once that is booked, nothing is left to wait for.
    reduced = _reduced_at(positions, since=now - unsold.FAILURES_MATTER_FOR)
    resting = set()
    for key, orders in by_position.items():
        failed = unsold.failed_in_a_row(orders)
        if len(failed) >= FAILURES_TOLD:
            alerts.raise_once(
                failed[0], "unsold", f"{len(failed)} sales in a row sold nothing: {failed[0].refusal}", now=now
            )
        if failed and failed[0].closed_at is not None:
            wait = unsold.wait_after(len(failed))
            explained = key in reduced and reduced[key] >= failed[0].closed_at
            if failed[0].closed_at + wait > now and not explained:
                resting.add(key)
    return resting


def _reduced_at(positions: Sequence[Position], *, since: datetime) -> dict[tuple[int, int], datetime]:
    """When a position last became smaller by its owner's own hand."""
    rows = Adjustment.objects.filter(account_id__in={p.account_id for p in positions}, created_at__gt=since)
    return {(row.account_id, row.instrument_id): row.created_at for row in rows.order_by("created_at")}


def _is_owed(position: Position, books: Books) -> bool:
    """Whether it owes something worth an order, were all its coins free."""
    return obligations.of(position, books, available=None).standing is Standing.OWED


def _exit_order(position: Position, result: Obligation, *, answers: Signal | None, now: datetime) -> Order:
    """A sale may answer several of the master's exits; it names the strategy of the newest."""
    position.exit_count += 1
    return Order(
        account=position.account,
        instrument=position.instrument,
        kind=OrderKind.EXIT,
        origin=OrderOrigin.COPY,
        exit_number=position.exit_count,
        side=Side.SELL,
        quantity=result.sell.value,
        reason="The master sold" if answers is not None else CLOSE_ASKED,
        strategy=answers.strategy if answers is not None else "",
        strategy_version=answers.strategy_version if answers is not None else "",
        parameters_hash=answers.parameters_hash if answers is not None else "",
        state=OrderState.READY,
        created_at=now,
    )


def _link(orders: Sequence[Order], opened: Mapping[tuple[int, int], int], *, now: datetime) -> None:
    """The exit copies that these orders serve: those still waiting, and those whose earlier order sold nothing, of what was `opened`
    at this sequence. What an earlier round trip left unsold stays what it was."""
    serves = {(order.account_id, order.instrument_id): order for order in orders}
    unserved = (
        Q(status=CopyStatus.PENDING)
        | Q(status=CopyStatus.SKIPPED, reason__in=(SkipReason.WAITING_MIN.value, SkipReason.DUST.value))
        | Q(order__state__in=(OrderState.REJECTED, OrderState.NOT_PLACED))
    )
    theirs = CopyOrder.objects.filter(
        unserved,
        account_id__in={account_id for account_id, _ in serves},
        signal__instrument_id__in={instrument_id for _, instrument_id in serves},
        kind=SignalKind.EXIT,
    )
    linked = []
    for copy in theirs.select_related("signal"):
        order = serves.get((copy.account_id, copy.signal.instrument_id))
        if order is not None and copy.signal.sequence > opened[copy.account_id, copy.signal.instrument_id]:
            copy.order, copy.status, copy.reason, copy.sentence = order, CopyStatus.ORDERED, "", ""
            copy.decided_at = now
            linked.append(copy)
    bulk.update_each(linked, ["order", "status", "reason", "sentence", "decided_at"])


def _pending_exits(positions: Sequence[Position]) -> dict[tuple[int, int], list[int]]:
    """Ids of the exit copies without an outcome, by account and instrument."""
    pending = CopyOrder.objects.filter(
        account_id__in={p.account_id for p in positions}, kind=SignalKind.EXIT, status=CopyStatus.PENDING
    )
    found: dict[tuple[int, int], list[int]] = defaultdict(list)
    for copy_id, account_id, instrument_id in pending.values_list("pk", "account_id", "signal__instrument_id"):
        found[account_id, instrument_id].append(copy_id)
    return found


def _note(standing: Standing, copy_ids: Sequence[int], *, now: datetime) -> None:
    """Why these exit copies, which waited, are not carried out now."""
    if not copy_ids:
        return
    reason, sentence = _SENTENCES[standing]
    waiting = CopyOrder.objects.filter(pk__in=copy_ids, status=CopyStatus.PENDING)
    if standing is Standing.NOTHING:
        # What an entry under way still buys gets this exit, which waits for it.
        coming = Order.objects.filter(
            account=OuterRef("account"),
            instrument=OuterRef("signal__instrument"),
            kind=OrderKind.ENTRY,
            state__in=order_state.LIVE,
        )
        waiting = waiting.exclude(Exists(coming))
    waiting.update(status=CopyStatus.SKIPPED, reason=reason.value, sentence=sentence, decided_at=now)


def _settle_empty(now: datetime) -> None:
    """Exit copies of followers whose entry came to nothing get their outcome."""
    waiting = CopyOrder.objects.filter(kind=SignalKind.EXIT, status=CopyStatus.PENDING)
    if not waiting.exists():
        return
    # A position that a later entry opened has nothing to do with it, and would keep it waiting for the exit after that.
    held = Position.objects.filter(
        Q(opened_sequence__isnull=True) | Q(opened_sequence__lt=OuterRef("signal__sequence")),
        account=OuterRef("account"),
        instrument=OuterRef("signal__instrument"),
        is_open=True,
    )
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
    ids = list(empty.values_list("pk", flat=True)[:COPIES_MAX])
    CopyOrder.objects.filter(pk__in=ids, status=CopyStatus.PENDING).update(
        status=CopyStatus.SKIPPED, reason=SkipReason.NOTHING_TO_SELL.value, sentence=NOTHING, decided_at=now
    )
