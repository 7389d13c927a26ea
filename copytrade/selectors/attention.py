"""What waits for an operator: open alerts, the last checks of the books, and whether money is safe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from django.conf import settings
from django.db.models import QuerySet

from copytrade.selectors import obligations
from copytrade.selectors.obligations import Owed
from trading.domain.money import Quantity
from trading.domain.order_state import OrderState
from trading.models import (
    Account,
    Event,
    EventKind,
    Inspection,
    InspectionKind,
    MarketPrice,
    Order,
    Position,
    Role,
    Signal,
    SignalKind,
)

PAGE = 50
CHECKS = 20
#: An exit that is this old and still owed is named as overdue (invariant I8 gives thirty seconds).
OVERDUE_AFTER = timedelta(seconds=30)
#: A check of the books older than this says nothing about now.
BOOKS_OLD_AFTER = timedelta(minutes=30)
KINDS = (EventKind.ALERT, EventKind.HELD)

#: What to do, by the first word of an alert's subject; docs/operations.md says more.
ADVICE = {
    "exit": "NIJA goes on trying to sell. Look at the account: is its key in order, does it hold the coins, does Kraken "
    "trade the pair? If it cannot be sold, the owner can sell at Kraken, which NIJA notices.",
    "unsold": "NIJA goes on trying as long as the strategy or a close asks for it. Look at the reason: orders of the master at Kraken "
    "may hold the coins, or the key may lack a right. The followers' copies can be closed without him.",
    "order": "NIJA goes on asking Kraken and settles it as soon as Kraken tells. Look at the order's page.",
    "order:unsent": "Nothing of it is at Kraken. Look at the account: has it a key in order, and is the exits' worker running?",
    "order:unsold": "Kraken refuses what is sold, each time for the reason told. Look at the account: does it hold the coins, is its "
    "key in order, does Kraken trade the pair? NIJA goes on trying.",
    "executed": "It was taken for never placed and is at Kraken after all. Its account is held: compare its executions, then "
    "lift the hold.",
    "manual": "Look the order up at Kraken, then say on its page whether it exists. Kraken is asked before anything changes, "
    "if the account has a key.",
    "books": "Nothing was changed. Stop entries if more than one account is concerned, look at the account's events and at "
    "Kraken, and only then correct a row. The next clean check ends this alert.",
    "key": "The owner has been told by mail. Nothing new is bought for them until the key is replaced or in order again.",
    "breaker": "Look at the errors of the last copied entries below their signal. When the cause is gone, resume entries.",
    "held": "Compare the account's executions with Kraken's. When all is explained, lift the hold on the account's page.",
    "queue": "Look at the process's log and end the process; its manager starts it again. Nothing is lost by that.",
}
NO_ADVICE = "Look at it, and resolve it with a note when you know what it was."


class BooksState(StrEnum):
    NONE = "none"
    GREEN = "green"
    NOT_COMPARED = "not_compared"
    WRONG = "wrong"
    OLD = "old"


@dataclass(frozen=True, slots=True)
class Books:
    """The last finished check. `wrong` rows contradict; so many accounts were `not_compared` with Kraken."""

    state: BooksState
    inspection: Inspection | None = None
    wrong: int = 0
    not_compared: int = 0

    @property
    def at(self) -> datetime | None:
        return None if self.inspection is None else self.inspection.finished_at


@dataclass(frozen=True, slots=True)
class Safety:
    """What would make money unsafe, counted."""

    unknown_orders: int
    manual_orders: int
    held_accounts: int
    exits_overdue: int
    alerts: int
    books: Books

    @property
    def calm(self) -> bool:
        """Nothing is known to be wrong."""
        counted = self.unknown_orders or self.manual_orders or self.held_accounts or self.exits_overdue or self.alerts
        return not counted and self.books.state is not BooksState.WRONG

    @property
    def safe(self) -> bool:
        """Nothing is wrong, and it was looked."""
        return self.calm and self.books.state is BooksState.GREEN


def safety(owed: Sequence[Owed], *, now: datetime) -> Safety:
    here = Order.objects.filter(account__venue=settings.VENUE)
    unsettled = Counter(here.filter(state__in=(OrderState.UNKNOWN, OrderState.MANUAL)).values_list("state", flat=True))
    overdue = {row.position.pk for row in owed if now - row.since > OVERDUE_AFTER} | _left_behind(now=now)
    return Safety(
        unknown_orders=unsettled[OrderState.UNKNOWN],
        manual_orders=unsettled[OrderState.MANUAL],
        held_accounts=Account.objects.filter(venue=settings.VENUE, held_at__isnull=False).count(),
        exits_overdue=len(overdue),
        alerts=Event.objects.filter(kind=EventKind.ALERT, resolved_at__isnull=True).count(),
        books=books(now=now),
    )


def owed() -> list[Owed]:
    return obligations.owed()


def _left_behind(*, now: datetime) -> set[int]:
    """Followers' sellable positions in instruments the master has left, half a minute after the master's last exit.

    Reckoned without signals, so that a missing one is no excuse.
    """
    held = Position.objects.filter(account__venue=settings.VENUE, is_open=True)
    masters = held.filter(account__role=Role.MASTER).values("instrument_id")
    left = list(
        held.filter(account__role=Role.FOLLOWER).exclude(instrument_id__in=masters).select_related("instrument")
    )
    instruments = {position.instrument_id for position in left}
    recent = set(
        Signal.objects.filter(
            instrument_id__in=instruments, kind=SignalKind.EXIT, created_at__gt=now - OVERDUE_AFTER
        ).values_list("instrument_id", flat=True)
    )
    prices = MarketPrice.objects.in_bulk(instruments, field_name="instrument_id")
    return {
        position.pk
        for position in left
        if position.instrument_id not in recent and _sellable(position, prices.get(position.instrument_id))
    }


def _sellable(position: Position, price: MarketPrice | None) -> bool:
    return price is None or position.instrument.rules.sellable(Quantity(position.managed), price.bid_price)


def books(*, now: datetime) -> Books:
    finished = checks().filter(finished_at__isnull=False).order_by("-finished_at").first()
    if finished is None or finished.finished_at is None:
        return Books(BooksState.NONE)
    missed = int(finished.report.get("not_compared_count", 0))
    wrong = sum(int(check.get("found", 0)) for check in finished.report.get("checks", ()))
    if wrong:
        state = BooksState.WRONG
    elif now - finished.finished_at > BOOKS_OLD_AFTER:
        state = BooksState.OLD
    else:
        state = BooksState.NOT_COMPARED if missed else BooksState.GREEN
    return Books(state, finished, wrong, missed)


def checks() -> QuerySet[Inspection]:
    return Inspection.objects.filter(kind=InspectionKind.BOOKS)


def last_checks() -> list[Inspection]:
    return list(checks().order_by("-asked_at", "-pk")[:CHECKS])


def told(report: dict[str, Any]) -> dict[str, Any]:
    """A report with the address of each account that it names, as `email`."""
    checks_made = report.get("checks", ())
    missed = report.get("not_compared", ())
    rows = [row for check in checks_made for row in check.get("findings", ())]
    ids = {row.get("account") for row in (*rows, *missed)} - {None}
    addresses = dict(Account.objects.filter(pk__in=ids).values_list("pk", "user__email"))

    def named(found: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**row, "email": addresses.get(row.get("account") or 0, "")} for row in found]

    return {
        **report,
        "checks": [{**check, "findings": named(check.get("findings", ()))} for check in checks_made],
        "not_compared": named(missed),
    }


def alerts() -> QuerySet[Event]:
    """All alerts, newest first."""
    return Event.objects.filter(kind__in=KINDS).select_related("account__user", "order__instrument").order_by("-pk")


def open_alerts() -> QuerySet[Event]:
    return alerts().filter(resolved_at__isnull=True)


def alerts_page(found: QuerySet[Event], *, before: int | None) -> tuple[list[Event], int | None]:
    """One page, and the id before which the next one begins."""
    rows = list((found.filter(pk__lt=before) if before is not None else found)[: PAGE + 1])
    return rows[:PAGE], rows[PAGE - 1].pk if len(rows) > PAGE else None


def advice(event: Event) -> str:
    word, _, rest = event.subject.partition(":")
    return ADVICE.get(f"{word}:{rest.partition(':')[2]}", ADVICE.get(word, NO_ADVICE))
