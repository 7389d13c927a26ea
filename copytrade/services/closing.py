"""Closing all positions: the second, separately confirmed action of a stop. Sells what is managed and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, Subquery

from copytrade.models import CloseInstruction, CopyOrder, CopyStatus
from copytrade.selectors import standing
from copytrade.services import exits
from trading import doorbell
from trading.domain import order_state
from trading.domain.instrument import Side
from trading.models import (
    Account,
    Event,
    EventKind,
    Execution,
    Order,
    OrderKind,
    OrderOrigin,
    Position,
    Role,
    SignalKind,
)
from trading.services import master_orders, unsold
from trading.services.clock import Clock
from trading.services.master_orders import AskedBy, MasterOrderRefused

REASON = "All positions were closed by hand"
ACCOUNTS_MAX = 100_000
UNTIL_SOLD = AskedBy("", "", "", until_sold=True)


class ClosingRefused(Exception):
    """Nothing was asked to be sold; the text is a sentence for whoever asked."""


@dataclass(frozen=True, slots=True)
class ClosingReport:
    """How many positions are being sold, of how many accounts, and what could not be asked for."""

    positions: int
    accounts: int
    refused: tuple[str, ...] = ()


def close_account(account: Account, *, actor: str, clock: Clock) -> ClosingReport:
    """Sell everything managed of one account. The master's sales are copied like any other of his."""
    if account.role == Role.MASTER:
        report = _close_master(account, actor=actor, clock=clock)
    else:
        count = exits.close_all(account, actor=actor, clock=clock)
        report = ClosingReport(count, 1 if count else 0)
    _note(report, account, actor=actor, clock=clock)
    return report


def close_everybody(*, actor: str, clock: Clock) -> ClosingReport:
    """Sell everything managed of every follower and of the master. Raises ClosingRefused while entries are not stopped.

    Followers first: they sell at once and do not wait for the master's fills.
    """
    if standing.platform().stopped_at is None:
        raise ClosingRefused("Stop entries first: while they are on, what is sold now may be bought again.")
    here = Account.objects.filter(venue=settings.VENUE).order_by("pk")
    holding = here.filter(pk__in=Position.objects.filter(is_open=True).values("account"))
    entries = Order.objects.filter(kind=OrderKind.ENTRY, state__in=order_state.LIVE)
    waiting = CopyOrder.objects.filter(kind=SignalKind.ENTRY, status=CopyStatus.PENDING)
    buying = here.filter(Q(pk__in=entries.values("account")) | Q(pk__in=waiting.values("account")))
    reports = []
    for follower in (holding | buying).filter(role=Role.FOLLOWER)[:ACCOUNTS_MAX]:
        count = exits.close_all(follower, actor=actor, clock=clock)
        reports.append(ClosingReport(count, 1 if count else 0))
    for master in (holding | buying).filter(role=Role.MASTER):
        reports.append(_close_master(master, actor=actor, clock=clock))
    report = ClosingReport(
        positions=sum(one.positions for one in reports),
        accounts=sum(one.accounts for one in reports),
        refused=tuple(sentence for one in reports for sentence in one.refused),
    )
    _note(report, None, actor=actor, clock=clock)
    return report


def close_master_on(*, clock: Clock) -> int:
    """Sell what the master was asked to close and could not be sold at once: a sale was under way, came to nothing, or an entry
    filled only now. How many sales were planned."""
    master = master_orders.master_account()
    return 0 if master is None else _sell_on(master, clock=clock)[0]


def _close_master(account: Account, *, actor: str, clock: Clock) -> ClosingReport:
    count = exits.close_all(account, actor=actor, clock=clock)
    _, refused = _sell_on(account, clock=clock)
    sold = count - len(refused)
    return ClosingReport(sold, 1 if sold else 0, tuple(refused))


def _sell_on(account: Account, *, clock: Clock) -> tuple[int, list[str]]:
    """(sales planned, why others cannot be made), of the positions that a close instruction wants sold whole."""
    planned, refused = 0, []
    for position, asked_at in _asked_to_close(account):
        with transaction.atomic(durable=True):
            locked = master_orders.lock_position(account, position.instrument)
            if locked is None or not locked.is_open or not unsold.may_try(locked, now=clock.now()):
                continue
            to_sell = locked.managed - _bought_since(locked, asked_at)
            if to_sell <= 0:
                continue
            try:
                master_orders.create_exit(
                    locked,
                    fraction=Fraction(to_sell) / Fraction(locked.managed),
                    origin=OrderOrigin.MANUAL,
                    reason=REASON,
                    now=clock.now(),
                    asked_by=UNTIL_SOLD,
                )
                planned += 1
            except MasterOrderRefused as refusal:
                refused.append(refusal.sentence)
    return planned, refused


def _asked_to_close(account: Account) -> list[tuple[Position, datetime]]:
    """Positions that somebody wanted sold whole, and when, unless all of them was bought since."""
    asked = CloseInstruction.objects.filter(account=account, instrument=OuterRef("instrument"))
    newest = asked.order_by("-created_at").values("created_at")[:1]
    held = Position.objects.filter(account=account, is_open=True).select_related("instrument").order_by("pk")
    bought = Execution.objects.filter(
        account=account, instrument=OuterRef("instrument"), round_trip=OuterRef("round_trip"), side=Side.BUY
    )
    since = _since(OuterRef("asked_at"))
    anew = Exists(bought.filter(since)) & ~Exists(bought.exclude(since))
    wanted = held.annotate(asked_at=Subquery(newest)).filter(asked_at__isnull=False).exclude(anew)
    return [(position, position.asked_at) for position in wanted]


def _bought_since(position: Position, asked_at: datetime) -> Decimal:
    """In the round trip under way; it is kept."""
    bought = Execution.objects.filter(
        account=position.account_id, instrument=position.instrument_id, round_trip=position.round_trip, side=Side.BUY
    )
    return sum(bought.filter(_since(asked_at)).values_list("quantity", flat=True), Decimal(0))


def _since(asked_at: datetime | OuterRef) -> Q:
    """Purchases after somebody asked. What an order of ours buys was decided when it was ordered; what was bought on Kraken's own
    page is known by when Kraken executed it, since it is found later."""
    elsewhere = Q(order__origin=OrderOrigin.OUTSIDE)
    return elsewhere & Q(executed_at__gt=asked_at) | ~elsewhere & Q(order__created_at__gt=asked_at)


def _note(report: ClosingReport, account: Account | None, *, actor: str, clock: Clock) -> None:
    whose = "" if account is not None else f" of {report.accounts} accounts"
    noun = "position is" if report.positions == 1 else "positions are"
    message = " ".join([f"{report.positions} open {noun} being sold{whose}.", *report.refused])
    Event.objects.create(at=clock.now(), kind=EventKind.CLOSE_ALL, account=account, actor=actor, message=message[:500])
    doorbell.changed([] if account is None else [account.user_id])
