"""Booking: what Kraken executed, each trade once, folded into positions under their lock."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q

from trading import doorbell
from trading.domain import position as fold
from trading.domain.instrument import Side
from trading.domain.money import Money, Quantity
from trading.domain.order_state import FINAL, OUTSTANDING, OrderEvent, OrderState
from trading.domain.position import PositionState
from trading.kraken.endpoints import QUERY_ORDERS, QUERY_ORDERS_MAX, QUERY_TRADES, QUERY_TRADES_MAX, PrivateClient
from trading.kraken.errors import KrakenError
from trading.kraken.values import VenueOrder, VenueStatus, VenueTrade
from trading.models import Account, Adjustment, Execution, Order, OrderOrigin, Position, Role
from trading.services import alerts, lanes, orders, private, signals
from trading.services.clock import Clock
from trading.services.lanes import Purpose

BATCH_MAX = 200
AT_VENUE = (OrderState.ACKED, OrderState.PARTIAL)
#: A young order is asked for often, a resting one less often.
ASK_AGAIN = timedelta(seconds=1)
ASK_AGAIN_LATER = timedelta(seconds=5)
YOUNG_FOR = timedelta(seconds=15)
#: Those outside NIJA are looked at by `outside.look`; this finishes what it could not.
ASK_OUTSIDE_AGAIN = timedelta(seconds=15)
#: Kraken's list of a final order's trades is whole by then, though reads may lag.
LISTED_AFTER = timedelta(seconds=10)
#: Final at Kraken, yet its executions do not add up: told after this long.
ALERT_AFTER = timedelta(seconds=60)
#: An order of ours may still change what is managed. A person's case (MANUAL) is not waited for.
UNDER_WAY = (OUTSTANDING | {OrderState.READY}) - {OrderState.MANUAL}
#: Finer than any price or fee: what of a trade is booked in part needs no more digits.
PART_STEP = Decimal("1e-12")

_FINAL_EVENTS = {
    VenueStatus.CLOSED: OrderEvent.CLOSED,
    VenueStatus.CANCELED: OrderEvent.CANCELED,
    VenueStatus.EXPIRED: OrderEvent.EXPIRED,
}


@dataclass(frozen=True, slots=True)
class Report:
    """What Kraken says of one of our orders, with the executions we have not booked yet."""

    order_id: int
    venue: VenueOrder
    trades: tuple[VenueTrade, ...]


def book_due(*, clock: Clock) -> int:
    """Ask for every order that is at Kraken and was not asked for a while; how many were booked."""
    now = clock.now()
    young = Q(sent_at__gt=now - YOUNG_FOR) & Q(booking_tried_at__lt=now - ASK_AGAIN)
    old = Q(booking_tried_at__lt=now - ASK_AGAIN_LATER)
    at_venue = Order.objects.filter(state__in=AT_VENUE, account__venue=settings.VENUE)
    outside = Q(origin=OrderOrigin.OUTSIDE)
    waiting = (~outside & (young | old)) | (outside & Q(booking_tried_at__lt=now - ASK_OUTSIDE_AGAIN))
    due = at_venue.filter(waiting | Q(booking_tried_at__isnull=True)).order_by("booking_tried_at", "pk")
    return book(list(due.values_list("pk", flat=True)[:BATCH_MAX]), clock=clock)


def book(order_ids: Collection[int], *, clock: Clock) -> int:
    """Ask Kraken what became of these orders and book it; orders that are not at Kraken are passed over.

    One question tells all of an account's orders for the same points of its key's budget, so all of them are asked for.
    """
    if not order_ids:
        return 0
    wanted = Order.objects.filter(pk__in=order_ids, state__in=AT_VENUE)
    ours = Q(account__in=wanted.values("account")) & ~Q(origin=OrderOrigin.OUTSIDE)
    found = Order.objects.filter(ours | Q(pk__in=order_ids), state__in=AT_VENUE).select_related("account")
    by_account: dict[int, list[Order]] = defaultdict(list)
    for order in found.order_by(F("booking_tried_at").asc(nulls_first=True), "pk"):
        if len(by_account[order.account_id]) < QUERY_ORDERS_MAX:
            by_account[order.account_id].append(order)
    if not by_account:
        return 0
    Order.objects.filter(pk__in=[o.pk for rows in by_account.values() for o in rows]).update(
        booking_tried_at=clock.now()
    )
    reports = _ask(by_account, clock=clock)
    for report in reports:
        book_report(report, now=clock.now())
    return len(reports)


def _ask(by_account: dict[int, list[Order]], *, clock: Clock) -> list[Report]:
    """Two rounds over all accounts side by side: their orders, then the executions we lack."""
    keys = lanes.active_keys({o.account.pk: o.account for rows in by_account.values() for o in rows}.values())
    account_of = {key.pk: account_id for account_id, key in keys.items()}
    queries: dict[uuid.UUID, private.Request[dict[str, VenueOrder]]] = {
        key: partial(_query_orders, [o.venue_order_id for o in by_account[account_id]])
        for key, account_id in account_of.items()
    }
    both = QUERY_ORDERS.cost + QUERY_TRADES.cost
    answers = private.call_each(queries, purpose=Purpose.BOOKING, cost=QUERY_ORDERS.cost, clock=clock, room=both)
    told = {account_of[key]: answer for key, answer in answers.items() if not isinstance(answer, KrakenError)}
    # Nobody was asked for these: they come again at once, not after the pause of those that were.
    passed_over = [o.pk for key, account_id in account_of.items() if key not in answers for o in by_account[account_id]]
    Order.objects.filter(pk__in=passed_over).update(booking_tried_at=clock.now() - ASK_AGAIN_LATER + ASK_AGAIN)
    known = set(
        Execution.objects.filter(
            account_id__in=told, order__in=[o.pk for rows in by_account.values() for o in rows]
        ).values_list("account_id", "trade_id")
    )
    wanted: dict[uuid.UUID, list[str]] = {}
    for account_id, venue_orders in told.items():
        ids = [t for v in venue_orders.values() for t in v.trade_ids if (account_id, t) not in known]
        if ids:
            wanted[keys[account_id].pk] = ids[:QUERY_TRADES_MAX]
    trades = private.call_each(
        {key: partial(_query_trades, ids) for key, ids in wanted.items()},
        purpose=Purpose.BOOKING,
        cost=QUERY_TRADES.cost,
        clock=clock,
    )
    reports = []
    for account_id, venue_orders in told.items():
        answer = trades.get(keys[account_id].pk, {})
        mine = {} if isinstance(answer, KrakenError) else answer
        for order in by_account[account_id]:
            venue = venue_orders.get(order.venue_order_id)
            if venue is not None:
                own = tuple(t for t in mine.values() if t.order_txid == order.venue_order_id)
                reports.append(Report(order_id=order.pk, venue=venue, trades=own))
    return reports


async def _query_orders(txids: Sequence[str], kraken: PrivateClient, nonce: int) -> dict[str, VenueOrder]:
    return await kraken.query_orders(txids, nonce=nonce)


async def _query_trades(trade_ids: Sequence[str], kraken: PrivateClient, nonce: int) -> dict[str, VenueTrade]:
    return await kraken.query_trades(trade_ids, nonce=nonce)


def book_report(report: Report, *, now: datetime) -> bool:
    """Executions, position, order and signal change together or not at all. False: it could not be booked now."""
    order = Order.objects.select_related("account", "instrument", "signal").get(pk=report.order_id)
    with transaction.atomic(durable=True):
        position = lock_position(order.account, order.instrument_id, now=now)
        order.refresh_from_db(fields=["state", "filled", "filled_notional", "fee", "venue_status"])
        if order.state in FINAL:
            return True
        if _is_outside_sale(order) and is_busy(order.account_id, order.instrument_id):
            return False
        if order.account.role == Role.MASTER:
            signals.emit_owing(position, besides=order, now=now)
        fresh = _fresh(order, report.trades)
        booked = _fold(position, order, fresh, now=now) if fresh else 0
        if booked is None:
            return False
        _move(order, report, fresh=bool(booked), now=now)
        if order.account.role == Role.MASTER:
            signals.emit_if_due(order, position, now=now)
        if booked:
            Account.objects.filter(pk=order.account_id).update(last_fill_at=now)
        if booked or order.state in FINAL:
            doorbell.executions_booked()
            doorbell.changed([order.account.user_id])
    return True


def is_busy(account_id: int, instrument_id: int) -> bool:
    """Whether an order of NIJA's own may be about to change what is managed: whose coins a sale outside took is not
    known before."""
    ours = Order.objects.filter(account_id=account_id, instrument_id=instrument_id, state__in=UNDER_WAY)
    return ours.exclude(origin=OrderOrigin.OUTSIDE).exists()


def managed_part(trade: VenueTrade, *, account_id: int, instrument_id: int, managed: Quantity) -> VenueTrade | None:
    """What a sale outside NIJA took of the `managed` quantity, cost and fee in proportion; None: only the owner's own."""
    books = {"account_id": account_id, "instrument_id": instrument_id}
    bought = Execution.objects.filter(**books, side=Side.BUY, executed_at__gt=trade.at)
    taken = Adjustment.objects.filter(**books, created_at__gte=trade.at)
    part = fold.managed_share(
        trade.quantity,
        managed=managed,
        bought_since=sum((Quantity(e.quantity) for e in bought), Quantity.zero()),
        taken_since=sum((Quantity(a.managed_before - a.managed_after) for a in taken), Quantity.zero()),
    )
    if part == trade.quantity:
        return trade
    share = part.per(trade.quantity)
    cost, fee = ((money * share).value.quantize(PART_STEP) for money in (trade.cost, trade.fee))
    return replace(trade, quantity=part, cost=Money(cost), fee=Money(fee)) if part else None


def lock_position(account: Account, instrument_id: int, *, now: datetime) -> Position:
    """The position's row, made when there is none yet, locked until the transaction ends."""
    Position.objects.get_or_create(account=account, instrument_id=instrument_id, defaults={"updated_at": now})
    return Position.objects.select_for_update(of=("self",)).get(account=account, instrument_id=instrument_id)


def state_of(position: Position) -> PositionState:
    return PositionState(
        managed=Quantity(position.managed),
        cost=Money(position.cost),
        realised=Money(position.realised),
        fees=Money(position.fees),
    )


def store(position: Position, state: PositionState, *, now: datetime) -> None:
    """Write a fold's result back; a position opens and closes as its managed quantity leaves and reaches zero."""
    position.managed, position.cost = state.managed.value, state.cost.value
    position.realised, position.fees = state.realised.value, state.fees.value
    is_open = bool(state.managed)
    if is_open and not position.is_open:
        position.opened_at = now
    if not is_open:
        position.opened_sequence = None
    position.is_open, position.updated_at = is_open, now
    position.save()


def _is_outside_sale(order: Order) -> bool:
    return order.origin == OrderOrigin.OUTSIDE and order.side == Side.SELL


def _fresh(order: Order, trades: Sequence[VenueTrade]) -> list[VenueTrade]:
    known = set(
        Execution.objects.filter(
            account_id=order.account_id, trade_id__in=[trade.trade_id for trade in trades]
        ).values_list("trade_id", flat=True)
    )
    mine = [t for t in trades if order.origin != OrderOrigin.OUTSIDE or t.at >= order.account.created_at]
    return sorted((t for t in mine if t.trade_id not in known), key=lambda trade: (trade.at, trade.trade_id))


def _fold(position: Position, order: Order, trades: Sequence[VenueTrade], *, now: datetime) -> int | None:
    """Book executions into the position, how many; None when they cannot be explained and the account is held instead."""
    state = state_of(position)
    change = fold.bought if order.side == Side.BUY else fold.sold
    rows = []
    for trade in trades:
        if trade.side != order.side or trade.pair_id != order.instrument.pair_id:
            alerts.hold(order.account, f"Execution {trade.trade_id} does not match its order", order=order, now=now)
            return None
        part: VenueTrade | None = trade
        if _is_outside_sale(order):
            place = {"account_id": order.account_id, "instrument_id": order.instrument_id}
            part = managed_part(trade, managed=state.managed, **place)
        if part is None:
            continue
        try:
            state = change(state, quantity=part.quantity, notional=part.cost, fee=part.fee)
        except fold.OverSold as error:
            alerts.hold(order.account, f"Execution {trade.trade_id}: {error}", order=order, now=now)
            return None
        rows.append(_execution(order, part, now=now))
    if not rows:
        return 0
    if order.side == Side.BUY and order.signal is not None:
        first = order.signal.sequence
        position.opened_sequence = min(first, position.opened_sequence or first)
    Execution.objects.bulk_create(rows)
    store(position, state, now=now)
    return len(rows)


def _execution(order: Order, trade: VenueTrade, *, now: datetime) -> Execution:
    return Execution(
        account_id=order.account_id,
        instrument_id=order.instrument_id,
        order=order,
        trade_id=trade.trade_id,
        side=trade.side.value,
        quantity=trade.quantity.value,
        price=trade.price.value,
        notional=trade.cost.value,
        fee=trade.fee.value,
        maker=bool(trade.maker),
        executed_at=trade.at,
        booked_at=now,
    )


def _move(order: Order, report: Report, *, fresh: bool, now: datetime) -> None:
    """Final only when Kraken's status is final and everything executed is booked; otherwise it waits, and is told."""
    venue = report.venue
    booked = list(Execution.objects.filter(order=order))
    filled = sum((Quantity(e.quantity) for e in booked), Quantity.zero())
    figures = {
        "filled": filled.value,
        "filled_notional": sum((Money(e.notional) for e in booked), Money.zero()).value,
        "fee": sum((Money(e.fee) for e in booked), Money.zero()).value,
        "venue_status": venue.raw_status[:12],
    }
    if fresh:
        figures["booked_at"] = now
    seen = {e.trade_id for e in booked} | {trade.trade_id for trade in report.trades}
    complete = venue.is_final and (filled == venue.executed or _rest_is_own(order, venue, seen=seen, now=now))
    if complete:
        reason = {} if filled or not venue.reason else {"refusal": venue.reason[:300]}
        orders.move_one(order.pk, _FINAL_EVENTS[venue.status], closed_at=now, **figures, **reason)
    elif filled:
        orders.move_one(order.pk, OrderEvent.FILLED_PART, **figures)
    since = order.sent_at or order.created_at
    if not complete and venue.is_final and since < now - ALERT_AFTER:
        alerts.raise_once(order, "unbooked", "Kraken calls it final, but its executions do not add up", now=now)
    order.refresh_from_db(fields=["state", "filled", "filled_notional", "fee"])


def _rest_is_own(order: Order, venue: VenueOrder, *, seen: Collection[str], now: datetime) -> bool:
    """Of an order outside NIJA: what Kraken lists, was looked at and is not booked, was the owner's own business."""
    if order.origin != OrderOrigin.OUTSIDE or venue.closed_at is None or not venue.trade_ids:
        return False
    return venue.closed_at <= now - LISTED_AFTER and set(venue.trade_ids) <= set(seen)
