"""What surrounds every page: the navigation, and the copying state with its stop button."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django import template
from django.http import HttpRequest
from django.urls import Resolver404, resolve

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


@register.inclusion_tag("components/copying_state.html", takes_context=True)
def copying_state(context: dict[str, Any]) -> dict[str, Any]:
    """The reader's copying state in the header, with the way to stop it."""
    request: HttpRequest | None = context.get("request")
    staff = bool(request and getattr(request.user, "is_staff", False))
    path = "/operator/stop/" if staff else "/stop/"
    return {"staff": staff, "stop_path": path if _exists(path) else "", "header": None}
