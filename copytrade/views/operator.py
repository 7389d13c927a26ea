"""The operator's pages: the fleet, its followers, one signal."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from copytrade.selectors import operator as selectors
from copytrade.selectors.copies import OUTCOMES, CopyRow
from copytrade.views import exports
from copytrade.views.access import operator, plain_text, whole_number
from trading.services.clock import SYSTEM

#: The longest e-mail address.
SEARCH_MAX = 254


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
    asked = request.GET.get("outcome", "")
    outcome = asked if asked in OUTCOMES else ""
    search = plain_text(request.GET.get("search", ""))[:SEARCH_MAX]
    found = selectors.signal_copies(signal_id, outcome=outcome, search=search)
    if request.GET.get("format") == "csv":
        lines = (exports.of_signal(CopyRow(copy)) for copy in found[: exports.ROWS_MAX].iterator(chunk_size=500))
        return exports.as_csv(lines, columns=exports.SIGNAL_COLUMNS, name=f"nija-signal-{signal_id}")
    copies, following = selectors.signal_page(found, after=whole_number(request.GET.get("after")))
    query = request.GET.copy()
    query.pop("after", None)
    context = {
        "now": SYSTEM.now(),
        "row": row,
        "copies": copies,
        "outcome": outcome,
        "search": search,
        "outcomes": [(key, word) for key, (word, _) in OUTCOMES.items()],
        "query": query.urlencode(),
        "following": following,
        "first": "after" not in request.GET,
    }
    return render(request, "copytrade/signal.html", context)
