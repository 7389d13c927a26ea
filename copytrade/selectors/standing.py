"""Whether an account copies at this moment, and if not, why and since when."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from django.conf import settings
from django.db.models import Case, CharField, FilteredRelation, Q, Value, When

from accounts.models import Credential, RiskSettings, User
from accounts.models.risk import CopyState
from copytrade.selectors import wording
from trading.models import Account, Control, Role

#: A loss limit that lasts longer than this lasts until its owner resumes.
UNTIL_RESUMED_BEYOND = timedelta(days=3650)


class StandingKey(StrEnum):
    COPYING = "copying"
    STOPPED = "stopped"
    CLOSE_ONLY = "close_only"
    OFF = "off"
    ATTENTION = "attention"
    NOT_CONNECTED = "not_connected"
    MASTER = "master"


@dataclass(frozen=True, slots=True)
class Standing:
    """`reason` is a sentence, empty while copying. `own` is a stop or limit that the account's owner can lift."""

    key: StandingKey
    reason: str = ""
    since: datetime | None = None
    own: bool = False

    @property
    def enters(self) -> bool:
        return self.key in {StandingKey.COPYING, StandingKey.MASTER}

    @property
    def to_operators(self) -> Standing:
        """The same with a reason that speaks of the account's owner instead of to him."""
        return replace(self, reason=wording.to_operators(self.reason))


@dataclass(frozen=True, slots=True)
class Platform:
    """The operator's stop and the installation's settings, which hold for every account."""

    stopped_at: datetime | None
    reason: str
    changed_by: str

    @property
    def entries_blocked(self) -> str:
        """Why no account may enter, by configuration; empty when it may."""
        if not settings.ORDERS_ALLOWED:
            return "Orders are switched off on this installation: it reads and shows, and sends nothing."
        if settings.ENTRY_BLOCKING:
            return "This installation is configured to make no entries (ENTRY_BLOCKING)."
        return ""


def platform() -> Platform:
    row = Control.objects.filter(pk=Control.SINGLETON).first()
    if row is None:
        return Platform(None, "", "")
    return Platform(row.stopped_at, row.reason, row.changed_by)


def of_user(user: User, *, now: datetime) -> tuple[Account | None, Standing]:
    """The user's account on this venue and its standing: three queries."""
    account = Account.objects.filter(user=user, venue=settings.VENUE).select_related("user__risk").first()
    key = active_keys([user.pk]).get(user.pk)
    return account, judge(account, user.risk if account is None else account.user.risk, key, platform(), now=now)


def active_keys(user_ids: Collection[int]) -> dict[int, Credential]:
    rows = Credential.objects.filter(user_id__in=user_ids, status=Credential.Status.ACTIVE).defer("sealed")
    return {row.user_id: row for row in rows}


def active_key() -> FilteredRelation:
    """What `judged` knows as `key`: an account has at most one."""
    return FilteredRelation("user__credentials", condition=Q(user__credentials__status=Credential.Status.ACTIVE))


def judged(everybody: Platform, *, now: datetime) -> Case:
    """The key that `judge` would give a follower, in the database's words, so that ten thousand need not be loaded."""
    stopped, blocked = _all_if(everybody.stopped_at is not None), _all_if(bool(everybody.entries_blocked))
    independent = _all_if(settings.COPY_TRADING_MODE == "INDEPENDENT")
    return Case(
        When(key__pk__isnull=True, then=Value(StandingKey.NOT_CONNECTED)),
        When(Q(user__risk__stopped_at__isnull=False) | stopped, then=Value(StandingKey.STOPPED)),
        When(
            Q(held_at__isnull=False) | ~Q(key__entries_blocked_reason="") | blocked, then=Value(StandingKey.ATTENTION)
        ),
        When(user__risk__state=CopyState.OFF, then=Value(StandingKey.OFF)),
        When(
            Q(user__risk__state=CopyState.CLOSE_ONLY) | Q(user__risk__close_only_until__gt=now) | independent,
            then=Value(StandingKey.CLOSE_ONLY),
        ),
        default=Value(StandingKey.COPYING),
        output_field=CharField(),
    )


def _all_if(condition: bool) -> Q:
    """Every account, or none."""
    return Q(pk__isnull=not condition)


def judge(
    account: Account | None, risk: RiskSettings, key: Credential | None, everybody: Platform, *, now: datetime
) -> Standing:
    """The first thing that keeps entries from being copied, the owner's own decision before anybody else's."""
    if account is None or key is None:
        return Standing(StandingKey.NOT_CONNECTED, "No Kraken key is connected, so nothing is copied.")
    if account.role == Role.MASTER:
        return _master(account, risk, key, everybody, now=now)
    if risk.stopped_at is not None:
        return Standing(StandingKey.STOPPED, "Stopped by you.", risk.stopped_at, own=True)
    if everybody.stopped_at is not None:
        why = f": {everybody.reason}" if everybody.reason else ""
        told = wording.ended(f"The operator stopped entries for everybody{why}")
        return Standing(StandingKey.STOPPED, told, everybody.stopped_at)
    problem = _problem(account, key) or everybody.entries_blocked
    if problem:
        return Standing(StandingKey.ATTENTION, problem, account.held_at)
    return _by_settings(risk, now=now)


def _master(account: Account, risk: RiskSettings, key: Credential, everybody: Platform, *, now: datetime) -> Standing:
    if everybody.stopped_at is not None:
        return Standing(StandingKey.STOPPED, "Entries are stopped for everybody.", everybody.stopped_at)
    problem = _problem(account, key) or everybody.entries_blocked
    if problem:
        return Standing(StandingKey.ATTENTION, problem, account.held_at)
    if risk.stopped_at is not None:
        return Standing(StandingKey.STOPPED, "Stopped by you: the master buys nothing.", risk.stopped_at, own=True)
    return _own_settings(risk, now=now) or Standing(StandingKey.MASTER)


def _problem(account: Account, key: Credential) -> str:
    if account.held_at is not None:
        return wording.ended(f"Entries wait for a person to look: {account.held_reason}")
    return key.entries_blocked_reason


def _by_settings(risk: RiskSettings, *, now: datetime) -> Standing:
    own = _own_settings(risk, now=now)
    if own is not None:
        return own
    if settings.COPY_TRADING_MODE == "INDEPENDENT":
        return Standing(StandingKey.CLOSE_ONLY, "This installation copies exits only (COPY_TRADING_MODE=INDEPENDENT).")
    return Standing(StandingKey.COPYING)


def _own_settings(risk: RiskSettings, *, now: datetime) -> Standing | None:
    """What its owner's settings or a tripped limit keep an account from."""
    if risk.state == CopyState.OFF:
        return Standing(StandingKey.OFF, "Copying is switched off in your risk settings.")
    if risk.state == CopyState.CLOSE_ONLY:
        return Standing(StandingKey.CLOSE_ONLY, "Your risk settings say close only: exits are copied, entries are not.")
    if risk.close_only_until is not None and risk.close_only_until > now:
        until = (
            "until you resume"
            if risk.close_only_until - now > UNTIL_RESUMED_BEYOND
            else f"until {risk.close_only_until:%d %b %H:%M} UTC"
        )
        reason = risk.close_only_reason.rstrip(".") or "A loss limit was reached"
        return Standing(StandingKey.CLOSE_ONLY, f"{reason}. Exits only {until}.", own=True)
    return None
