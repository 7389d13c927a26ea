"""Sending orders: the intent is committed first, each order is written at most once, outcomes are kept as they arrive."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, Subquery

from accounts.models import Credential
from trading import doorbell
from trading.domain.instrument import Side
from trading.domain.money import Price, Quantity
from trading.domain.order_state import OrderEvent, OrderState
from trading.kraken.endpoints import AddOrder, OrderType, PrivateClient, TimeInForce
from trading.kraken.errors import CredentialsRefused, KrakenError, NotPlaced, OutcomeUnknown, Unavailable
from trading.kraken.senders import Batch, Ended
from trading.models import Account, Control, Order, OrderKind, OrderOrigin
from trading.services import alerts, booking, halts, lanes, market, orders, private
from trading.services.clock import Clock
from trading.services.lanes import Grant, Purpose

BATCH_MAX = private.SENDERS
READY_MAX = 2_000
EXIT_ALERT_AFTER = timedelta(seconds=60)
#: An entry is claimed only while this much of its life is left (Kraken wants a deadline at least 2 s ahead).
LIFE_LEFT_MIN = timedelta(seconds=2.5)
DEADLINE = timedelta(seconds=5)
#: Answers that come within so long are kept together, and as often the sending thread looks whether entries were stopped while
#: some of them are not written yet.
TOGETHER_S = 0.15
#: Why NIJA itself did not write an order: nothing that the exchange did.
STOPPED = "Entries were stopped before it was written"
TURN_TOO_LATE = "Its turn came too late"
LIFE_OVER = "Its time to live ended before it was written"
UNWRITTEN_BY_US = frozenset({STOPPED, TURN_TOO_LATE, LIFE_OVER})

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An order in SENDING, committed, and the lane it may use for one request."""

    order: Order
    grant: Grant


@dataclass(frozen=True, slots=True)
class _NeverWritten:
    reason: str


def stamp(order: Order, grant: Grant, *, now: datetime, offset: timedelta) -> None:
    """Make `order` the intent that is about to be committed: SENDING, with nonce, lane, epoch and deadline.

    `offset`: Kraken's clock minus ours.
    """
    order.state = OrderState.SENDING
    order.nonce, order.lane_id, order.lane_epoch = grant.nonce, grant.lane_id, grant.epoch
    order.sent_at, order.sent_offset_ms = now, round(offset / timedelta(milliseconds=1))
    order.deadline = now + DEADLINE if order.expires_at is None else min(now + DEADLINE, order.expires_at)


def send_ready(kind: OrderKind, *, clock: Clock) -> int:
    """Send orders that are READY: the master's entries, everybody's exits. Returns how many were written or tried."""
    if not settings.ORDERS_ALLOWED:
        return 0
    waiting = Order.objects.filter(kind=kind, state=OrderState.READY, account__venue=settings.VENUE)
    sendable = waiting.filter(account__user__credentials__status=Credential.Status.ACTIVE).order_by("pk")
    ids = list(sendable.values_list("pk", flat=True)[:READY_MAX])
    sent = 0
    for start in range(0, len(ids), BATCH_MAX):
        batch = ids[start : start + BATCH_MAX]
        keys = lanes.active_keys(Account.objects.filter(orders__in=batch).distinct())
        private.fence([key.pk for key in keys.values()], clock=clock)
        with transaction.atomic(durable=True):
            outgoing = _claim_ready(batch, keys, kind=kind, clock=clock)
        transmit(outgoing, clock=clock)
        sent += len(outgoing)
    return sent


def tell_slow_exits(*, now: datetime) -> None:
    """An exit that cannot be sent, for want of a key or of permission, or that Kraken does not finish, needs a person."""
    slow = Order.objects.filter(
        kind=OrderKind.EXIT,
        state__in=(OrderState.READY, OrderState.ACKED, OrderState.PARTIAL),
        account__venue=settings.VENUE,
        created_at__lt=now - EXIT_ALERT_AFTER,
    ).exclude(origin=OrderOrigin.OUTSIDE)
    told = []
    for order in slow.order_by("pk")[:READY_MAX]:
        cause, waits = (
            ("unsent", "could not be sent") if order.state == OrderState.READY else ("open", "is not finished")
        )
        told.append((order, cause, f"This sale {waits} for a minute"))
    alerts.raise_each(told, now=now)


def _claim_ready(
    ids: Sequence[int], keys: Mapping[int, Credential], *, kind: OrderKind, clock: Clock
) -> list[Outgoing]:
    now = clock.now()
    if kind is OrderKind.ENTRY and not _entries_may_go(ids, keys, now=now):
        return []
    ready = Order.objects.select_for_update(skip_locked=True, of=("self",)).select_related("instrument", "account")
    first_per_account: dict[int, Order] = {}
    for order in ready.filter(pk__in=ids, state=OrderState.READY).order_by("pk"):
        if order.account_id in keys:
            first_per_account.setdefault(order.account_id, order)
    wanted = {keys[account_id].pk: order for account_id, order in first_per_account.items()}
    purpose = Purpose.EXIT if kind is OrderKind.EXIT else Purpose.ENTRY
    grants = lanes.claim(list(wanted), purpose=purpose, cost=0, clock=clock)
    outgoing = [Outgoing(order=wanted[key], grant=grant) for key, grant in grants.items()]
    offset = market.kraken_now(clock) - clock.now()
    for item in outgoing:
        stamp(item.order, item.grant, now=now, offset=offset)
    fields = ["nonce", "lane", "lane_epoch", "sent_at", "sent_offset_ms", "deadline"]
    orders.move_every([item.order for item in outgoing], OrderEvent.SEND, fields=fields)
    return outgoing


def _entries_may_go(ids: Sequence[int], keys: Mapping[int, Credential], *, now: datetime) -> bool:
    """Refuse what a stop, a limit, a hold, a key or the clock forbids and what is too late; whether anything can be left."""
    refusal = halts.entries_stopped_shared() or market.clock_problem(now=now)
    if refusal:
        orders.move(ids, OrderEvent.SKIP, refusal=refusal[:300], closed_at=now)
        return False
    # The accounts' rows are what the stop of an account waits for; their settings are read once they are locked.
    theirs = Order.objects.filter(pk__in=ids).values("account_id")
    locked = Account.objects.select_for_update().filter(pk__in=theirs).order_by("pk").values_list("pk", flat=True)
    active = Credential.objects.filter(user=OuterRef("user"), status=Credential.Status.ACTIVE)
    accounts = Account.objects.filter(pk__in=list(locked)).select_related("user__risk")
    for account in accounts.annotate(key=Subquery(active.values("pk")[:1])):
        why = _why_not(account, keys.get(account.pk), now=now)
        if not why:
            continue
        mine = Order.objects.filter(pk__in=ids, account=account).values_list("pk", flat=True)
        orders.move(list(mine), OrderEvent.SKIP, refusal=why[:300], closed_at=now)
    late = Order.objects.filter(pk__in=ids, expires_at__lt=now + LIFE_LEFT_MIN).values_list("pk", flat=True)
    orders.move(list(late), OrderEvent.MISS, refusal="Too late to be sent", closed_at=now)
    return True


def _why_not(account: Account, key: Credential | None, *, now: datetime) -> str:
    """Why this account may open nothing; empty when it may."""
    if account.held_at is not None:
        return f"The account is held: {account.held_reason}"
    if account.user.risk.stopped_at is not None:
        return "The account is stopped"
    if key is None or account.key != key.pk:  # type: ignore[attr-defined]
        return "The Kraken key was disconnected or replaced at this moment"
    return account.user.risk.closed(now=now) or key.entries_blocked_reason


def transmit(outgoing: Collection[Outgoing], *, clock: Clock) -> None:
    """Write these orders side by side; as answers arrive, keep what they mean and give their lanes back.

    What Kraken took is booked by others, who are rung: neither the rest of this batch nor the next one waits for that. Call
    outside any transaction, after the one that committed SENDING.
    """
    if not outgoing:
        return
    stops = _Stops([item.order.account_id for item in outgoing if item.order.kind == OrderKind.ENTRY])
    batch: Batch[Outgoing, str] = private.senders().batch()
    held = {item.grant.credential_id: item.grant for item in outgoing}
    outcomes: dict[uuid.UUID, object] = {}
    try:
        stops.look()
        unopened: list[tuple[Outgoing, object]] = []
        works = {}
        private.open_all([item.grant.credential_id for item in outgoing])
        for item in outgoing:
            try:
                kraken = private.client(item.grant.credential_id)
            except CredentialsRefused as error:
                unopened.append((item, error))
                continue
            works[item] = partial(_write, item, kraken, stops=stops, clock=clock)
        batch.begin(works)
        _settle(unopened, held, clock=clock)
        while batch.pending:
            answers = [(item, _answer(ended)) for item, ended in batch.wait(TOGETHER_S)]
            outcomes |= {item.grant.credential_id: answer for item, answer in answers}
            _settle(answers, held, clock=clock)
            if batch.pending:
                stops.look()
    finally:
        # A lane is given back only when its request is over, whatever went wrong here.
        batch.wait_for_all()
        lanes.release(list(held.values()), outcomes, clock=clock)


def _settle(answers: Sequence[tuple[Outgoing, object]], held: dict[uuid.UUID, Grant], *, clock: Clock) -> None:
    """Commit what these answers mean, give back their lanes, which are no longer among those `held`, ask for the bookings of
    what Kraken took, and have open pages look again."""
    if not answers:
        return
    _keep(answers, now=clock.now())
    outcomes = {item.grant.credential_id: answer for item, answer in answers}
    lanes.release([item.grant for item, _ in answers], outcomes, clock=clock)
    for key in outcomes:
        del held[key]
    booking.ring([item.order.pk for item, answer in answers if isinstance(answer, str)])
    doorbell.changed({item.order.account.user_id for item, _ in answers})


class _Stops:
    """Whose entries may no longer be written; the sending thread looks, senders read and tell whose turn it was."""

    def __init__(self, account_ids: Collection[int]) -> None:
        self._unwritten = set(account_ids)
        self._stopped: frozenset[int] = frozenset()

    def look(self) -> None:
        if not self._unwritten:
            return
        everybody = Control.objects.filter(pk=Control.SINGLETON, stopped_at__isnull=False)
        theirs = Account.objects.filter(pk__in=tuple(self._unwritten))
        stopped = theirs.filter(Q(user__risk__stopped_at__isnull=False) | Exists(everybody))
        self._stopped |= frozenset(stopped.values_list("pk", flat=True))

    def covers(self, order: Order) -> bool:
        """Asked once for each order, when its turn has come."""
        if order.kind != OrderKind.ENTRY:
            return False
        self._unwritten.discard(order.account_id)
        return order.account_id in self._stopped


def _look_again(item: Outgoing, stops: _Stops, clock: Clock) -> None:
    """Right before its bytes leave, whatever it waited for until then. Raises _Unwritten."""
    order = item.order
    if stops.covers(order):
        raise _Unwritten(STOPPED)
    if clock.uptime() > item.grant.write_until:
        raise _Unwritten(TURN_TOO_LATE)
    if order.expires_at is not None and clock.now() > order.expires_at:
        raise _Unwritten(LIFE_OVER)


async def _write(item: Outgoing, kraken: PrivateClient, *, stops: _Stops, clock: Clock) -> str:
    """Runs among the senders: one request, no database. Returns the txid; raises KrakenError or _Unwritten."""
    order = item.order
    offset = timedelta(milliseconds=order.sent_offset_ms)
    request = AddOrder(
        altname=order.instrument.altname,
        side=Side(order.side),
        ordertype=OrderType.MARKET if order.limit_price is None else OrderType.LIMIT,
        quantity=Quantity(order.quantity),
        price=None if order.limit_price is None else Price(order.limit_price),
        timeinforce=None if order.limit_price is None else TimeInForce.IMMEDIATE_OR_CANCEL,
        cl_ord_id=str(order.client_order_id),
        deadline=None if order.deadline is None else order.deadline + offset,
    )
    look = partial(_look_again, item, stops, clock)
    placed = await kraken.looking(look).add_order(request, nonce=item.grant.nonce)
    if not placed.txid:
        raise OutcomeUnknown("Kraken took the order without naming it")
    return placed.txid


class _Unwritten(Exception):
    """Certainly no byte of this order left."""


def _answer(ended: Ended[str]) -> object:
    """The txid, a KrakenError, or _NeverWritten."""
    try:
        return ended.result()
    except (_Unwritten, Unavailable) as error:
        return _NeverWritten(str(error))
    except KrakenError as error:
        return error
    except Exception:
        # Our own mistake, perhaps after the bytes left: nothing is proved.
        logger.exception("sending an order failed in our own code")
        return OutcomeUnknown("an internal error while sending")


def _keep(answers: Sequence[tuple[Outgoing, object]], *, now: datetime) -> None:
    """Commit what these answers mean, in a few statements whatever their number."""
    acknowledged, refused, unwritten, lost = [], [], [], []
    for item, answer in answers:
        order = item.order
        order.answered_at = now
        if isinstance(answer, str):
            order.venue_order_id = answer
            acknowledged.append(order)
        elif isinstance(answer, _NeverWritten):
            order.refusal, order.closed_at = answer.reason[:300], now
            unwritten.append(order)
        elif isinstance(answer, NotPlaced):
            order.refusal, order.closed_at = str(answer)[:300], now
            refused.append(order)
            if isinstance(answer, CredentialsRefused):
                doorbell.ring("trading.tasks.recheck_credential", str(item.grant.credential_id))
        else:
            order.refusal, order.unknown_at = str(answer)[:300], now
            lost.append(order)
    with transaction.atomic(durable=True):
        orders.move_each(acknowledged, OrderEvent.ACKNOWLEDGED, fields=["venue_order_id", "answered_at"])
        orders.move_each(refused, OrderEvent.REFUSED, fields=["refusal", "closed_at", "answered_at"])
        orders.move_each(unwritten, OrderEvent.NEVER_WRITTEN, fields=["refusal", "closed_at"])
        orders.move_each(lost, OrderEvent.LOST, fields=["refusal", "unknown_at"])
