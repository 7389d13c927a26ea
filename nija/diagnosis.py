"""What works: the installation as this shell sees it, and every account as the execution process sees it at Kraken."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import redis
from django.conf import settings
from kombu.exceptions import OperationalError

from accounts.models import User
from copytrade.selectors import attention, standing
from copytrade.selectors.standing import Platform, Standing, StandingKey
from nija import health, processes
from nija.celery import app
from trading.models import Account, InspectionKind, Role, Schedule, StrategyCycle, Venue
from trading.services import cycles, inspections
from trading.services.clock import SYSTEM, Clock
from trading.services.diagnosis import Check, Verdict

TIMEOUT_S = 60.0
PING_S = 1.5
#: The exchange's clock is due every ten seconds, a cycle at the latest when its due time has passed.
CLOCK_LATE_AFTER = timedelta(seconds=45)
CYCLE_LATE_AFTER = timedelta(seconds=30)
ASKED_BY = "manage.py diagnose"
_BAD = (Verdict.FAILS, Verdict.UNKNOWN)


class CannotAsk(Exception):
    """Nothing was asked; the text is a sentence."""


@dataclass(frozen=True, slots=True)
class Block:
    """`title` is an address, or NIJA for the installation."""

    title: str
    checks: Sequence[Check]


@dataclass(frozen=True, slots=True)
class Waiting:
    """How the answer is awaited; tests pass a `sleep` that does the execution process's part."""

    timeout_s: float = TIMEOUT_S
    sleep: Callable[[float], None] = time.sleep
    ping: Callable[[], Iterable[str]] | None = None


def diagnose(emails: Sequence[str] = (), *, waiting: Waiting, clock: Clock = SYSTEM) -> Iterator[Block]:
    """The installation first, then each account; of these addresses, or all of them. Raises CannotAsk."""
    wanted = sorted({email.strip().lower() for email in emails})
    if not health.database_answers():
        raise CannotAsk("The database does not answer.")
    _refuse_unknown(wanted)
    rung = _timetable(now=clock.now())
    inspection = inspections.ask(InspectionKind.DIAGNOSIS, asked_by=ASKED_BY, clock=clock, question={"emails": wanted})
    redis_answers = health.redis_answers()
    if redis_answers:
        inspection = inspections.wait(inspection, timeout_s=waiting.timeout_s, sleep=waiting.sleep)
    answered = inspection.finished_at is not None
    report: dict[str, Any] = inspection.report if answered else {}
    exchange = [Check.from_json(found) for found in report.get("exchange", [])]
    yield Block(
        "NIJA",
        [
            Check("database", Verdict.OK, f"{settings.DATABASES['default']['ENGINE'].rsplit('.', 1)[1]} answers."),
            _redis(redis_answers),
            _execution(answered, begun=inspection.started_at is not None, timeout_s=waiting.timeout_s),
            *_others(redis_answers, ping=waiting.ping or _ping),
            rung,
            *exchange,
            *_state(now=clock.now()),
        ],
    )
    yield from _accounts(report, named=bool(wanted), now=clock.now())


def bad(blocks: Iterable[Block]) -> int:
    """How many checks fail or could not be made."""
    return sum(check.verdict in _BAD for block in blocks for check in block.checks)


def _refuse_unknown(emails: Sequence[str]) -> None:
    """Raises CannotAsk for the first address without an account here."""
    for email in emails:
        if not User.objects.filter(email=email).exists():
            raise CannotAsk(f"There is no user with the address {email}.")
        if not Account.objects.filter(user__email=email, venue=settings.VENUE).exists():
            raise CannotAsk(f"{email} has no Kraken account here: no key was connected yet.")


def _redis(answers: bool) -> Check:
    if answers:
        return Check("redis", Verdict.OK, "It answers.")
    return Check("redis", Verdict.FAILS, "It does not answer, so nobody can be asked.", "Look at REDIS_URL.")


def _execution(answered: bool, *, begun: bool, timeout_s: float) -> Check:
    if answered:
        return Check("execution", Verdict.OK, "The execution process answered.")
    if begun:
        sentence = f"The execution process began, but had not finished within {timeout_s:g} s."
        return Check("execution", Verdict.FAILS, sentence, "Give it more time with --timeout.")
    sentence = f"No execution process answered within {timeout_s:g} s: is NIJA running?"
    return Check("execution", Verdict.FAILS, sentence, "Start it with manage.py up; its log is execution.log.")


def _others(redis_answers: bool, *, ping: Callable[[], Iterable[str]]) -> Iterator[Check]:
    """The workers that take no part in the answer."""
    names = list(ping()) if redis_answers else []
    for process in processes.WORKER_QUEUES:
        if process == "execution":
            continue
        if any(name.startswith(process) for name in names):
            yield Check(process, Verdict.OK, f"The process {process} answers.")
        else:
            yield Check(
                process, Verdict.FAILS, f"No process {process} answers.", f"Start it; its log is {process}.log."
            )


def _ping() -> Iterable[str]:
    """Names of the workers that answer (`exits@host`)."""
    try:
        return [name for answer in app.control.ping(timeout=PING_S) or [] for name in answer]
    except (OperationalError, redis.RedisError, OSError):
        return []


def _timetable(*, now: datetime) -> Check:
    """Beat is seen by what it rings: the exchange's clock is measured every ten seconds, if the exchange answers."""
    venue = Venue.objects.filter(pk=settings.VENUE).first()
    help_text = "Look at the processes beat and worker."
    if venue is None or venue.offset_at is None:
        return Check("beat", Verdict.UNKNOWN, "Nothing was rung by the timetable yet.", help_text)
    age = now - venue.offset_at
    sentence = f"What the timetable does every 10 s was last done {age.total_seconds():.0f} s ago."
    if age < -CLOCK_LATE_AFTER:
        ahead = f"{-age.total_seconds():.0f} s from now: a clock was set back"
        return Check("beat", Verdict.FAILS, f"What the timetable does every 10 s was last done {ahead}.", help_text)
    if age <= CLOCK_LATE_AFTER:
        return Check("beat", Verdict.OK, sentence)
    if venue.failing_since is not None:
        return Check("beat", Verdict.UNKNOWN, "The exchange does not answer, which hides whether beat rings.")
    return Check("beat", Verdict.FAILS, sentence, help_text)


def _state(*, now: datetime) -> Iterator[Check]:
    """What people decided, and what waits for a person."""
    everybody = standing.platform()
    if not settings.ORDERS_ALLOWED:
        yield Check("orders", Verdict.OFF, everybody.entries_blocked, "Set LIVE_TRADING=true to send orders.")
    else:
        local = settings.VENUE_IS_LOCAL
        sentence = "Orders leave, for an exchange on this machine." if local else "LIVE_TRADING=true: orders leave."
        yield Check("orders", Verdict.OK, sentence)
    if settings.ENTRY_BLOCKING:
        yield Check("entries", Verdict.OFF, "ENTRY_BLOCKING=true blocks all entries.", "Unset it and restart.")
    elif everybody.stopped_at is not None:
        reason = f"{everybody.reason or 'no reason was given'}, {everybody.changed_by}"
        since = f"{everybody.stopped_at:%Y-%m-%d %H:%M} UTC"
        yield Check("entries", Verdict.OFF, f"Stopped since {since} ({reason}).", "manage.py resume_trading lifts it.")
    else:
        yield Check("entries", Verdict.OK, "Not stopped and not blocked.")
    mode = settings.COPY_TRADING_MODE
    if mode == "INDEPENDENT":
        yield Check("copying", Verdict.OFF, "COPY_TRADING_MODE=INDEPENDENT: entries are not copied, exits are.")
    else:
        yield Check("copying", Verdict.OK, f"COPY_TRADING_MODE={mode}.")
    safety = attention.safety(attention.owed(), now=now)
    counts = (
        f"{safety.unknown_orders} orders of unknown outcome, {safety.manual_orders} for a person, "
        f"{safety.held_accounts} accounts held, {safety.exits_overdue} exits overdue, {safety.alerts} open alerts."
    )
    verdict = Verdict.OK if safety.calm else Verdict.FAILS
    yield Check("safety", verdict, counts, "" if safety.calm else "The operator's page names them.")


def _accounts(report: dict[str, Any], *, named: bool, now: datetime) -> Iterator[Block]:
    found = {
        entry["account"]: [Check.from_json(row) for row in entry["checks"]] for entry in report.get("accounts", [])
    }
    without_key = report.get("without_key", [])
    shown = [*found, *(without_key if named else [])]
    accounts = Account.objects.filter(pk__in=shown).select_related("user__risk").order_by("pk")
    everybody = standing.platform()
    keys = standing.active_keys([account.user_id for account in accounts])
    for account in accounts:
        judged = standing.judge(account, account.user.risk, keys.get(account.user_id), everybody, now=now)
        checks = [*found.get(account.pk, []), _copying(account, judged, everybody)]
        if account.role == Role.MASTER:
            checks.append(_strategy(account, judged, now=now))
        yield Block(f"{account.user.email} ({account.role})", checks)
    rest = 0 if named else len(without_key)
    if rest:
        sentence = f"{rest} without a connected key {'was' if rest == 1 else 'were'} not asked."
        yield Block("Other accounts", [Check("key", Verdict.OFF, sentence)])
    if report.get("left_out"):
        sentence = f"{report['left_out']} more were left out."
        yield Block(
            "Other accounts", [Check("key", Verdict.UNKNOWN, sentence, "Name them: manage.py diagnose EMAIL …")]
        )


def _copying(account: Account, judged: Standing, everybody: Platform) -> Check:
    """Whether entries are copied to it, or made by it; what a person decided is off, anything else fails."""
    if judged.enters:
        role = "It is the master: it trades, and is copied." if account.role == Role.MASTER else "Entries and exits."
        return Check("copying", Verdict.OK, role)
    broken = {StandingKey.ATTENTION, StandingKey.NOT_CONNECTED}
    if judged.key in broken and judged.reason != everybody.entries_blocked:
        return Check("copying", Verdict.FAILS, judged.reason)
    if judged.own and judged.key is StandingKey.STOPPED:
        return Check("copying", Verdict.OFF, "Its owner stopped it; exits go on.")
    return Check("copying", Verdict.OFF, judged.to_operators.reason)


def _strategy(account: Account, judged: Standing, *, now: datetime) -> Check:
    """Whether the master's cycles run when they are due."""
    last = StrategyCycle.objects.filter(finished_at__isnull=False).order_by("-pk").first()
    due_at = Schedule.objects.filter(name=cycles.SCHEDULE).values_list("due_at", flat=True).first()
    if last is None or due_at is None:
        new = now - account.created_at <= CYCLE_LATE_AFTER
        verdict = Verdict.UNKNOWN if new else Verdict.FAILS
        return Check("strategy", verdict, "No cycle has run yet.", "Look at the processes beat and worker.")
    name = f"{last.strategy} {last.version}"
    ago = f"{(now - last.started_at).total_seconds():.0f} s ago"
    if now - due_at > CYCLE_LATE_AFTER:
        sentence = f"{name} ran last {ago}, and its next cycle is overdue."
        return Check("strategy", Verdict.FAILS, sentence, "Look at the processes beat and worker.")
    if last.problem:
        verdict = Verdict.FAILS if judged.enters else Verdict.OFF
        return Check("strategy", verdict, f"{name} ran its last cycle {ago} and could enter nothing: {last.problem}")
    return Check("strategy", Verdict.OK, f"{name} ran its last cycle {ago}.")
