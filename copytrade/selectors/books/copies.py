"""Copies: I1 (one order each), I6 (within caps), I12 (every signal has an outcome for every follower)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db.models import Exists, OuterRef

from accounts.models.risk import MAX_RISK_CEILING
from copytrade.models import CopyOrder, CopyStatus, FanOut, SkipReason
from trading.domain import order_state
from trading.domain.money import plain
from trading.models import Account, Order, OrderKind, OrderOrigin, Position, Role, Signal, SignalKind
from trading.selectors.books import CHUNK, QUIET, Check, together

#: PostgreSQL keeps 18 decimals of a notional that was divided.
DIVIDED = Decimal("1e-9")
_REASONS = frozenset(SkipReason)

_COPY = [
    "pk",
    "signal_id",
    "account_id",
    "kind",
    "status",
    "reason",
    "sentence",
    "order_id",
    "signal__kind",
    "signal__instrument_id",
    "order__account_id",
    "order__instrument_id",
    "order__kind",
    "order__signal_id",
]
_ENTRY = [
    "pk",
    "account_id",
    "signal__order_id",
    "signal__price",
    "equity",
    "proportional",
    "notional",
    "order__quantity",
    "order__filled",
    "order__state",
]


def checks(*, now: datetime) -> list[Check]:
    return [_one_order_each(), _within_caps(), *_outcomes(now=now)]


def _one_order_each() -> Check:
    check = Check("I1", "entry copies and their orders belong together one to one", "entry orders")
    copied = CopyOrder.objects.filter(kind=SignalKind.ENTRY, order__isnull=False).order_by("order_id", "pk")
    copies = copied.values_list("pk", "order_id", "account_id", named=True).iterator(CHUNK)
    sent = Order.objects.filter(kind=OrderKind.ENTRY, origin=OrderOrigin.COPY).order_by("pk")
    orders = sent.values_list("pk", "account_id", named=True).iterator(CHUNK)
    for order_id, (found, made) in together((orders, lambda row: row.pk), (copies, lambda row: row.order_id)):
        check.looked_at += 1
        account = (found or made)[0].account_id
        if not found:
            check.tell("it is no copied entry, yet a copied entry names it", account=account, row=f"order {order_id}")
        elif len(made) != 1:
            sentence = f"{len(made) or 'no'} copies name it" if len(made) != 1 else ""
            check.tell(sentence, account=account, row=f"order {order_id}")
    return check


def _within_caps() -> Check:
    check = Check("I6", "no copied entry is above the caps it was sized with", "copied entries")
    copied = CopyOrder.objects.filter(kind=SignalKind.ENTRY, order__isnull=False)
    rows = copied.order_by("account_id", "signal__order_id", "signal__sequence").values_list(*_ENTRY, named=True)
    place, taken = None, Decimal(0)
    for copy in rows.iterator(CHUNK):
        check.looked_at += 1
        if (copy.account_id, copy.signal__order_id) != place:
            place, taken = (copy.account_id, copy.signal__order_id), Decimal(0)
        for sentence in _oversized(copy, taken):
            check.tell(sentence, account=copy.account_id, row=f"copy {copy.pk}")
        final = copy.order__state in order_state.FINAL
        taken += copy.order__filled * copy.signal__price if final else copy.notional or Decimal(0)
    return check


def _oversized(copy: Any, taken: Decimal) -> Iterator[str]:
    """Caps are measured at the signal price. The follower's own limit may have changed since; the ceiling never does."""
    if copy.notional is None or copy.equity is None or copy.proportional is None:
        yield "it was ordered, and how it was sized is not known"
        return
    ceiling = copy.equity * MAX_RISK_CEILING
    if copy.notional + taken > ceiling + DIVIDED:
        total = plain(copy.notional + taken)
        yield f"with what this trade had taken it makes ${total}, above {plain(MAX_RISK_CEILING * 100)} % of ${plain(copy.equity)}"
    if copy.notional > copy.proportional + DIVIDED:
        yield f"its notional ${plain(copy.notional)} is above the proportional ${plain(copy.proportional)}"
    ordered = copy.order__quantity * copy.signal__price
    if ordered > copy.notional + DIVIDED:
        yield f"its order is worth ${plain(ordered)} at the signal's price, above its notional ${plain(copy.notional)}"


def _outcomes(*, now: datetime) -> list[Check]:
    each = Check("I12", "every signal has one outcome for every follower of its time", "signals")
    told = Check("I12", "every outcome is an order, or a reason from the closed list in a sentence", "copies")
    joined = sorted(
        Account.objects.filter(role=Role.FOLLOWER, venue=settings.VENUE).values_list("created_at", flat=True)
    )
    signals = Signal.objects.filter(account__venue=settings.VENUE).order_by("pk")
    copies = CopyOrder.objects.order_by("signal_id", "pk").values_list(*_COPY, named=True).iterator(CHUNK)
    fanned = FanOut.objects.order_by("signal_id").values_list("signal_id", "claimed_at", "followers", named=True)
    streams = [
        (signals.values_list("pk", "account_id", "created_at", named=True).iterator(CHUNK), lambda row: row.pk),
        (fanned.iterator(CHUNK), lambda row: row.signal_id),
        (copies, lambda row: row.signal_id),
    ]
    for signal_id, (found, fan_outs, made) in together(*streams):
        each.looked_at += 1
        if found and not fan_outs:
            if found[0].created_at < now - QUIET:
                sentence = f"of {found[0].created_at:%H:%M:%S}, it was given to no follower"
                each.tell(sentence, account=found[0].account_id, row=f"signal {signal_id}")
        elif fan_outs:
            for sentence in _counted(fan_outs[0], len(made), joined):
                each.tell(sentence, account=None, row=f"signal {signal_id}")
        for copy in made:
            told.looked_at += 1
            for sentence in _misfit(copy):
                told.tell(sentence, account=copy.account_id, row=f"copy {copy.pk}")
    _overdue(told, now=now)
    return [each, told]


def _counted(fan_out: Any, copies: int, joined: Sequence[datetime]) -> Iterator[str]:
    if copies != fan_out.followers:
        yield f"{fan_out.followers} followers were to get it, {copies} have an outcome"
    # Who signed up in these seconds may or may not have been there.
    least = bisect_left(joined, fan_out.claimed_at - QUIET)
    most = bisect_right(joined, fan_out.claimed_at + QUIET)
    if not least <= fan_out.followers <= most:
        yield f"{fan_out.followers} followers were to get it, {least} had signed up by then"


def _misfit(copy: Any) -> Iterator[str]:
    if copy.kind != copy.signal__kind:
        yield f"it is an {copy.kind} of an {copy.signal__kind} signal"
    if copy.status == CopyStatus.ORDERED:
        if copy.order_id is None:
            yield "it is ordered and names no order"
            return
        place = (copy.order__account_id, copy.order__instrument_id, copy.order__kind)
        if place != (copy.account_id, copy.signal__instrument_id, copy.kind):
            yield f"its order {copy.order_id} is of another account, instrument or kind"
        elif copy.kind == SignalKind.ENTRY and copy.order__signal_id != copy.signal_id:
            yield f"its order {copy.order_id} is of another signal"
    elif copy.status in (CopyStatus.SKIPPED, CopyStatus.MISSED):
        if copy.reason not in _REASONS:
            yield f"it is {copy.status} for a reason that is not in the list: {copy.reason or 'none'}"
        if not copy.sentence:
            yield f"it is {copy.status} without a sentence"
        if copy.order_id is not None and copy.kind == SignalKind.ENTRY:
            yield f"it is {copy.status} and names order {copy.order_id}"


def _overdue(check: Check, *, now: datetime) -> None:
    """Copies that still wait although nothing they wait for is left."""
    waiting = CopyOrder.objects.filter(status=CopyStatus.PENDING)
    late = waiting.filter(kind=SignalKind.ENTRY, expires_at__lt=now - QUIET)
    place = {"account": OuterRef("account"), "instrument": OuterRef("signal__instrument")}
    held = Position.objects.filter(**place, is_open=True)
    live = Order.objects.filter(**place, state__in=order_state.LIVE)
    idle = waiting.filter(kind=SignalKind.EXIT, created_at__lt=now - QUIET).exclude(Exists(held) | Exists(live))
    for rows in (late, idle):
        for pk, account_id in rows.order_by("pk").values_list("pk", "account_id").iterator(CHUNK):
            check.tell("it still waits, and nothing it could wait for is left", account=account_id, row=f"copy {pk}")
