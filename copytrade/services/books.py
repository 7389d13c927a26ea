"""Checking the books: every invariant that can be a query, and what Kraken holds against what is written here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta

from copytrade.selectors import books as copied
from trading.models import Inspection, InspectionKind
from trading.selectors import books as traded
from trading.selectors.books import BooksReport, Check, Finding
from trading.services import alerts, comparison, inspections
from trading.services.alerts import Alarm
from trading.services.clock import Clock
from trading.services.comparison import Comparison
from trading.services.venue_reading import Patience

#: How long a check waits, in all, for keys that are busy or out of rate budget.
PATIENCE_S = 60.0
#: A finding counts when it is still there after this: what was under way at the first look has come to rest.
SECOND_LOOK_AFTER_S = 35.0
#: The check repeats by itself this often, and not so soon after another one.
EVERY = timedelta(minutes=10)
NOT_AFTER = timedelta(minutes=5)
#: A check that has not ended after this was lost with its worker.
LOST_AFTER = timedelta(minutes=10)
ASKED_BY = "every 10 minutes"
SUBJECT = "books:"
#: Findings that become alerts of their own; one more counts the rest.
ALERTS_MAX = 20


def check(*, clock: Clock, sleep: Callable[[float], None] = time.sleep, patience_s: float = PATIENCE_S) -> BooksReport:
    """Look at everything. Runs where keys can be opened; private calls keep to the keys' rate budgets.

    `sleep` waits for lanes and budgets, up to `patience_s` in all, and once before the second look that every finding must
    survive; with an injected clock pass what moves it (`world.move`). What is younger than half a minute is left out.
    """
    patience = Patience(left_s=patience_s, sleep=sleep)
    local, kraken = _local(clock=clock), comparison.compare(patience=patience, clock=clock)
    doubtful = {finding.account for made in kraken.checks for finding in made.findings if finding.account is not None}
    if doubtful or any(made.found for made in local):
        sleep(SECOND_LOOK_AFTER_S)
        if any(made.found for made in local):
            local = _standing(local, _local(clock=clock))
        if doubtful:
            again = comparison.compare(patience=patience, clock=clock, only=doubtful)
            _keep_standing(kraken, again)
    checks = sorted([*local, *kraken.checks], key=lambda made: made.place)
    return BooksReport(checks=tuple(checks), not_compared=tuple(kraken.not_compared), since=kraken.since)


def inspect(inspection_id: int, *, clock: Clock, sleep: Callable[[float], None] = time.sleep) -> Inspection | None:
    """Answer one question of the kind BOOKS; None when somebody else does."""
    inspection = inspections.start(inspection_id, InspectionKind.BOOKS, clock=clock)
    if inspection is None:
        return None
    report = check(clock=clock, sleep=sleep)
    inspections.finish(inspection, findings_count=report.count, report=report.as_json(), clock=clock)
    _tell(report, clock=clock)
    return inspection


def ask_due(*, clock: Clock) -> Inspection | None:
    """Ask for the repeated check when it is due, and forget old answers."""
    inspections.prune(clock=clock)
    asked = Inspection.objects.filter(kind=InspectionKind.BOOKS)
    now = clock.now()
    if asked.filter(asked_by=ASKED_BY, asked_at__gt=now - EVERY).exists():
        return None
    return ask(asked_by=ASKED_BY, clock=clock, not_after=NOT_AFTER)


def ask(*, asked_by: str, clock: Clock, not_after: timedelta = timedelta(0)) -> Inspection | None:
    """Ask for a check unless one is under way, or ended less than `not_after` ago."""
    if inspections.is_asked(InspectionKind.BOOKS, within=LOST_AFTER, clock=clock):
        return None
    if Inspection.objects.filter(kind=InspectionKind.BOOKS, finished_at__gt=clock.now() - not_after).exists():
        return None
    return inspections.ask(InspectionKind.BOOKS, asked_by=asked_by, clock=clock)


def _tell(report: BooksReport, *, clock: Clock) -> None:
    """One alert for each row that contradicts, once; it passes when a later check no longer finds it."""
    found = report.findings
    told = {_subject(finding): _alarm(finding) for finding in found[:ALERTS_MAX]}
    more = sum(made.found for made in report.checks) - len(found[:ALERTS_MAX])
    if more > 0:
        told[f"{SUBJECT}more"] = Alarm(f"The books contradict themselves in {more} more rows; see the check's page")
    unseen = set(_unseen(report)) if len(found) <= ALERTS_MAX else set(_told())
    alerts.keep_to(SUBJECT, told, now=clock.now(), besides=unseen)


def _unseen(report: BooksReport) -> Iterator[str]:
    """What was told of accounts or rows that could not be compared now: nothing clears them."""
    accounts = {missed.account for missed in report.not_compared}
    for subject, account in alerts.standing(SUBJECT).values_list("subject", "account_id"):
        since = report.since.get(account)
        if account in accounts or (since is not None and not comparison.reaches(since, subject.rpartition(":")[2])):
            yield subject


def _told() -> Sequence[str]:
    return list(alerts.standing(SUBJECT).values_list("subject", flat=True))


def _subject(finding: Finding) -> str:
    return f"{SUBJECT}{finding.invariant}:{finding.account}:{finding.row}"[:120]


def _alarm(finding: Finding) -> Alarm:
    return Alarm(f"The books contradict {finding.invariant}, {finding.row}: {finding.sentence}", finding.account)


def _local(*, clock: Clock) -> list[Check]:
    with traded.one_moment():
        now = clock.now()
        return [*traded.checks(now=now), *copied.checks(now=now)]


def _standing(first: Sequence[Check], second: Sequence[Check]) -> list[Check]:
    """The second look's findings, as far as the first had them too."""
    for before, after in zip(first, second, strict=True):
        after.keep(before)
    return list(second)


def _keep_standing(first: Comparison, second: Comparison) -> None:
    """What the second look at some accounts confirms; what it could not look at again stays as it is."""
    unseen = {missed.account for missed in second.not_compared}

    def was_seen(finding: Finding) -> bool:
        since = None if finding.account is None else second.since.get(finding.account)
        return finding.account not in unseen and (since is None or comparison.reaches(since, finding.row))

    for before, after in zip(first.checks, second.checks, strict=True):
        before.confirm(after, was_seen=was_seen)
