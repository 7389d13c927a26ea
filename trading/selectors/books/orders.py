"""What can be read off order rows and their executions: I1, I3, I11, I13, I15. One pass over both tables."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db.models import Count

from trading.domain import order_state
from trading.domain.money import plain
from trading.domain.order_state import OrderState
from trading.models import Event, Execution, Order, OrderKind, OrderOrigin, Venue
from trading.selectors.books.reading import CHUNK, QUIET, SKEW, together
from trading.selectors.books.report import Check

#: States of an order that was never claimed for sending.
UNSENT = frozenset({OrderState.PLANNED, OrderState.READY, OrderState.SKIPPED, OrderState.MISSED})
#: Kraken named these orders.
AT_KRAKEN = frozenset(
    {OrderState.ACKED, OrderState.PARTIAL, OrderState.FILLED, OrderState.CANCELED, OrderState.EXPIRED}
)
#: A lane is leased for 12 s; whoever finds a lost one needs a moment.
SENDING_MAX = timedelta(seconds=12) + QUIET
#: Alerts come after a minute.
UNTOLD_MAX = timedelta(seconds=60) + QUIET
#: Kraken's keys and secrets are base64 of 56 and 88 characters; a hash in hexadecimal has only lower case letters.
_KEY_LIKE = re.compile(r"(?=[^A-Z]*[A-Z])[A-Za-z0-9+/]{54,}={0,2}")

_ORDER = [
    "pk",
    "account_id",
    "instrument_id",
    "kind",
    "origin",
    "state",
    "side",
    "quantity",
    "filled",
    "filled_notional",
    "fee",
    "nonce",
    "lane_id",
    "lane_epoch",
    "deadline",
    "expires_at",
    "created_at",
    "sent_at",
    "answered_at",
    "closed_at",
    "unknown_at",
    "alerted_at",
    "venue_order_id",
    "refusal",
    "reason",
]
_EXECUTION = ["pk", "order_id", "account_id", "instrument_id", "side", "quantity", "notional", "fee"]


def checks(*, now: datetime) -> list[Check]:
    shape = Check("I3", "no order was sent before its row said so; states and instants agree", "orders")
    sums = Check("I11", "each trade is booked once, and orders are the sum of their executions", "orders")
    waiting = Check("I15", "nothing waits longer than it may without an alert", "orders")
    texts = Check("I13", "no text of an order or event looks like a key", "texts")
    healthy = not Venue.objects.filter(pk=settings.VENUE, failing_since__isnull=False).exists()
    if not healthy:
        waiting.note = "left out: Kraken does not answer"
    for order, executions in _with_executions():
        for check in (shape, sums):
            check.looked_at += 1
        for sentence in _misshapen(order):
            shape.tell(sentence, account=order.account_id, row=f"order {order.pk}")
        for sentence in _sums(order, executions):
            sums.tell(sentence, account=order.account_id, row=f"order {order.pk}")
        if healthy and order.state in order_state.LIVE:
            waiting.looked_at += 1
            overdue = _overdue(order, now=now)
            if overdue:
                waiting.tell(overdue, account=order.account_id, row=f"order {order.pk}")
        _read(f"{order.refusal} {order.reason}", texts, account=order.account_id, row=f"order {order.pk}")
    for event in Event.objects.order_by("pk").values_list("pk", "account_id", "message").iterator(CHUNK):
        _read(event[2], texts, account=event[1], row=f"event {event[0]}")
    _trades_once(sums)
    return [_live_exits(), shape, sums, waiting, texts]


def _with_executions() -> Iterator[tuple[Any, Sequence[Any]]]:
    orders = Order.objects.order_by("pk").values_list(*_ORDER, named=True).iterator(CHUNK)
    executions = Execution.objects.order_by("order_id", "pk").values_list(*_EXECUTION, named=True).iterator(CHUNK)
    for _, (found, booked) in together((orders, lambda row: row.pk), (executions, lambda row: row.order_id)):
        for order in found:
            yield order, booked


def _live_exits() -> Check:
    """A constraint of the database says the same; a restored or repaired one may have lost it."""
    check = Check("I1", "at most one live exit per account and instrument", "live exits")
    live = Order.objects.filter(kind=OrderKind.EXIT, state__in=order_state.LIVE).exclude(origin=OrderOrigin.OUTSIDE)
    check.looked_at = live.count()
    twice = live.order_by().values("account_id", "instrument_id").annotate(n=Count("pk")).filter(n__gt=1)
    for row in twice.iterator(CHUNK):
        place = f"instrument {row['instrument_id']}"
        check.tell(f"{row['n']} exits are under way at once", account=row["account_id"], row=place)
    return check


def _misshapen(order: Any) -> Iterator[str]:
    state = OrderState(order.state)
    sent = {"nonce": order.nonce, "an instant of sending": order.sent_at, "a lane's epoch": order.lane_epoch}
    if state in UNSENT:
        has = [name for name, value in sent.items() if value is not None]
        if order.venue_order_id:
            has.append("an order id of Kraken")
        if has:
            yield f"it is {state.value} and was never sent, yet it has {_and(has)}"
    elif order.origin != OrderOrigin.OUTSIDE:
        lacks = [name for name, value in sent.items() if value is None]
        lacks += ["a deadline"] if order.deadline is None else []
        if lacks:
            yield f"it is {state.value} without {_and(lacks)}"
    if state in AT_KRAKEN and not order.venue_order_id:
        yield f"it is {state.value} without an order id of Kraken"
    if state is OrderState.UNKNOWN and order.unknown_at is None:
        yield "its outcome is unknown, but not since when"
    if (state in order_state.FINAL) != (order.closed_at is not None):
        yield "it is final without an instant" if order.closed_at is None else "it is closed, but not final"
    yield from _out_of_order(order)


def _out_of_order(order: Any) -> Iterator[str]:
    instants = [
        (name, at)
        for name, at in (
            ("made", order.created_at),
            ("sent", order.sent_at),
            ("answered", order.answered_at),
            ("closed", order.closed_at),
        )
        if at is not None
    ]
    for (before, earlier), (after, later) in itertools.pairwise(instants):
        if later < earlier - SKEW:
            yield f"it was {after} at {later:%H:%M:%S}, before it was {before} at {earlier:%H:%M:%S}"


def _sums(order: Any, executions: Sequence[Any]) -> Iterator[str]:
    for word, stored, booked in (
        ("filled", order.filled, sum((e.quantity for e in executions), Decimal(0))),
        ("filled notional", order.filled_notional, sum((e.notional for e in executions), Decimal(0))),
        ("fee", order.fee, sum((e.fee for e in executions), Decimal(0))),
    ):
        if stored != booked:
            yield f"its {word} is {plain(stored)}, its executions make {plain(booked)}"
    for execution in executions:
        same = (execution.account_id, execution.instrument_id, execution.side)
        if same != (order.account_id, order.instrument_id, order.side):
            yield f"execution {execution.pk} is of another account, instrument or side"


def _trades_once(check: Check) -> None:
    twice = Execution.objects.order_by().values("account_id", "trade_id").annotate(n=Count("pk")).filter(n__gt=1)
    for row in twice.iterator(CHUNK):
        check.tell(f"it is booked {row['n']} times", account=row["account_id"], row=f"trade {row['trade_id']}")


def _overdue(order: Any, *, now: datetime) -> str:
    if order.alerted_at is not None or order.origin == OrderOrigin.OUTSIDE:
        return ""
    state = OrderState(order.state)
    if state is OrderState.SENDING and order.sent_at is not None and order.sent_at < now - SENDING_MAX:
        return f"it has been on its way since {order.sent_at:%H:%M:%S}"
    if state is OrderState.READY and order.expires_at is not None and order.expires_at < now - QUIET:
        return f"it still waits, though its time ended at {order.expires_at:%H:%M:%S}"
    if state is OrderState.MANUAL:
        return "a person has to look, and nobody was told"
    since = order.unknown_at or order.sent_at or order.created_at
    if state is not OrderState.SENDING and order.expires_at is None and since < now - UNTOLD_MAX:
        return f"it has been {state.value} since {since:%H:%M:%S}, and nobody was told"
    if state in (OrderState.UNKNOWN, OrderState.ACKED, OrderState.PARTIAL) and since < now - UNTOLD_MAX:
        return f"it has been {state.value} since {since:%H:%M:%S}, and nobody was told"
    return ""


def _read(text: str, check: Check, *, account: int | None, row: str) -> None:
    check.looked_at += 1
    if len(text) >= 54 and _KEY_LIKE.search(text):
        check.tell("its text holds something that looks like a key; it is not repeated here", account=account, row=row)


def _and(words: Sequence[str]) -> str:
    return " and ".join(words)
