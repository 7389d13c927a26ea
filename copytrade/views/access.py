"""Who may see a page, and the instant it is made for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import update_wrapper
from typing import Concatenate, ParamSpec

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from django.views.decorators.cache import never_cache

from accounts.models import User

#: The spans that lists can be narrowed to.
HISTORY_RANGES = {"1d": timedelta(days=1), "7d": timedelta(days=7), "30d": timedelta(days=30)}
P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


def reader(request: HttpRequest) -> User:
    """The logged-in user, typed. Views behind `member` or `operator` only."""
    assert isinstance(request.user, User), "the view is not behind a log-in"
    return request.user


def member(view: View[P]) -> View[P]:
    """Pages of somebody logged in; browsers keep no copy of them."""
    return login_required(never_cache(view))


def operator(view: View[P]) -> View[P]:
    """Pages for operators; others are told that they are not for them."""

    def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if not reader(request).is_staff:
            raise PermissionDenied
        return view(request, *args, **kwargs)

    update_wrapper(guarded, view)
    return member(guarded)


def whole_number(text: str | None) -> int | None:
    """A cursor from the address, or None for anything else."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else None


def narrowed(request: HttpRequest, *, cursor: str) -> str:
    """What a page was narrowed to, as the query of its other pages and of its export."""
    query = request.GET.copy()
    query.pop(cursor, None)
    return query.urlencode()


def wants_csv(request: HttpRequest) -> bool:
    return request.GET.get("format") == "csv"


def plain_text(text: str) -> str:
    """A word from the address; PostgreSQL takes no NUL in a text, and nothing we look for has one."""
    return text.replace("\x00", "").strip()
