"""Closing all positions: the second, separately confirmed action of a stop. Sells what is managed and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from django.conf import settings
from django.db.models import Q

from copytrade.models import CopyOrder, CopyStatus
from copytrade.selectors import standing
from copytrade.services import exits
from trading import doorbell
from trading.domain import order_state
from trading.models import Account, Event, EventKind, Order, OrderKind, OrderOrigin, Position, Role, SignalKind
from trading.services import master_orders
from trading.services.clock import Clock
from trading.services.master_orders import MasterOrderRefused

REASON = "All positions were closed by hand"
ACCOUNTS_MAX = 100_000


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
        report = _close_master(account, clock=clock)
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
    for master in holding.filter(role=Role.MASTER):
        reports.append(_close_master(master, clock=clock))
    report = ClosingReport(
        positions=sum(one.positions for one in reports),
        accounts=sum(one.accounts for one in reports),
        refused=tuple(sentence for one in reports for sentence in one.refused),
    )
    _note(report, None, actor=actor, clock=clock)
    return report


def _close_master(account: Account, *, clock: Clock) -> ClosingReport:
    held = list(Position.objects.filter(account=account, is_open=True).select_related("instrument").order_by("pk"))
    refused = []
    for position in held:
        try:
            master_orders.plan_exit(
                instrument=position.instrument,
                fraction=Fraction(1),
                origin=OrderOrigin.MANUAL,
                reason=REASON,
                clock=clock,
            )
        except MasterOrderRefused as refusal:
            refused.append(refusal.sentence)
    sold = len(held) - len(refused)
    return ClosingReport(sold, 1 if sold else 0, tuple(refused))


def _note(report: ClosingReport, account: Account | None, *, actor: str, clock: Clock) -> None:
    whose = "" if account is not None else f" of {report.accounts} accounts"
    noun = "position is" if report.positions == 1 else "positions are"
    message = " ".join([f"{report.positions} open {noun} being sold{whose}.", *report.refused])
    Event.objects.create(at=clock.now(), kind=EventKind.CLOSE_ALL, account=account, actor=actor, message=message[:500])
    doorbell.changed([] if account is None else [account.user_id])
