"""What surrounds every page: the navigation, and the copying state with its stop button."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django import template
from django.http import HttpRequest
from django.urls import Resolver404, resolve, reverse
from django.utils import timezone

from accounts.models import User
from copytrade.selectors import standing
from copytrade.selectors.standing import StandingKey

register = template.Library()


@dataclass(frozen=True, slots=True)
class Entry:
    """One place in the navigation; `icon` names a symbol in components/icon.html."""

    path: str
    label: str
    icon: str
    staff_only: bool = False


ENTRIES = (
    Entry("/operator/", "Operator", "operator", staff_only=True),
    Entry("/operator/strategy/", "Strategy", "strategy", staff_only=True),
    Entry("/dashboard/", "Dashboard", "dashboard"),
    Entry("/history/", "History", "history"),
    Entry("/settings/risk/", "Risk", "risk"),
    Entry("/kraken/", "Kraken", "key"),
    Entry("/settings/account/", "Account", "account"),
)


def _exists(path: str) -> bool:
    try:
        resolve(path)
    except Resolver404:
        return False
    return True


@register.inclusion_tag("components/nav.html", takes_context=True)
def navigation(context: dict[str, Any]) -> dict[str, Any]:
    """The entries this reader may open; the current one is the longest that begins the address."""
    request: HttpRequest | None = context.get("request")
    if request is None:
        return {"entries": [], "current": ""}
    staff = bool(getattr(request.user, "is_staff", False))
    entries = [entry for entry in ENTRIES if (staff or not entry.staff_only) and _exists(entry.path)]
    current = max((e.path for e in entries if request.path.startswith(e.path)), key=len, default="")
    return {"entries": entries, "current": current}


@dataclass(frozen=True, slots=True)
class HeaderState:
    """The state in the header and what its button does: stop, resume, or nothing to press."""

    key: str
    word: str
    path: str
    button: str


@register.inclusion_tag("components/copying_state.html", takes_context=True)
def copying_state(context: dict[str, Any]) -> dict[str, HeaderState | None]:
    """The reader's copying state in the header, with the way to stop it. Operators see the platform's."""
    request: HttpRequest | None = context.get("request")
    user = getattr(request, "user", None)
    if not isinstance(user, User):
        return {"header": None}
    return {"header": _platform_state() if user.is_staff else _own_state(user, timezone.now())}


def _platform_state() -> HeaderState:
    platform = standing.platform()
    if platform.stopped_at is not None:
        return HeaderState("stopped", "Entries stopped", reverse("operator_stop"), "resume")
    if platform.entries_blocked:
        return HeaderState("stopped", "Entries blocked", "", "")
    return HeaderState("running", "Entries on", reverse("operator_stop"), "stop")


def _own_state(user: User, now: datetime) -> HeaderState:
    account, current = standing.of_user(user, now=now)
    if account is None or current.key in {StandingKey.NOT_CONNECTED, StandingKey.MASTER}:
        word = "Master" if current.key is StandingKey.MASTER else "Not connected"
        return HeaderState(current.key.value, word, "", "")
    if current.own:
        return HeaderState(current.key.value, "", reverse("stop"), "resume")
    return HeaderState(current.key.value, "", reverse("stop"), "stop")
