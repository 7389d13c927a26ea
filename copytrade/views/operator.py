"""The operator's pages: the fleet, its followers, one signal."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from copytrade.selectors import operator as selectors
from copytrade.views.access import operator, whole_number
from trading.services.clock import SYSTEM


@operator
@require_safe
def overview(request: HttpRequest) -> HttpResponse:
    now = SYSTEM.now()
    context = {"now": now, "view": selectors.overview(now=now), "positions_max": selectors.MASTER_POSITIONS_MAX}
    return render(request, "copytrade/operator.html", context)


@operator
@require_safe
def followers(request: HttpRequest) -> HttpResponse:
    now = SYSTEM.now()
    rows, following = selectors.followers_page(after=whole_number(request.GET.get("after")), now=now)
    context = {"now": now, "rows": rows, "following": following, "first": "after" not in request.GET}
    return render(request, "copytrade/followers.html", context)


@operator
@require_safe
def signal(request: HttpRequest, signal_id: int) -> HttpResponse:
    row = selectors.signal(signal_id)
    if row is None:
        raise Http404
    copies, following = selectors.signal_copies(signal_id, after=whole_number(request.GET.get("after")))
    context = {
        "now": SYSTEM.now(),
        "row": row,
        "copies": copies,
        "following": following,
        "first": "after" not in request.GET,
    }
    return render(request, "copytrade/signal.html", context)
