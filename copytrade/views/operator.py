"""The operator's pages: the fleet, its followers, one signal."""

from __future__ import annotations

from itertools import islice

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from copytrade.selectors import operator as selectors
from copytrade.selectors.copies import OUTCOMES, CopyRow
from copytrade.selectors.standing import StandingKey
from copytrade.views import exports
from copytrade.views.access import HISTORY_RANGES, narrowed, operator, plain_text, wants_csv, whole_number
from trading.models import SignalKind
from trading.services.clock import SYSTEM

#: The longest e-mail address.
SEARCH_MAX = 254
#: What followers can be narrowed to, in the order of the choice.
FOLLOWER_STATES = tuple(key for key in StandingKey if key is not StandingKey.MASTER)


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
    asked, search = request.GET.get("state", ""), plain_text(request.GET.get("search", ""))[:SEARCH_MAX]
    state = asked if asked in FOLLOWER_STATES else ""
    found = selectors.followers(state=state, search=search, now=now)
    if wants_csv(request):
        rows = islice(selectors.each_follower(found, now=now), exports.ROWS_MAX)
        lines = (exports.of_follower(row) for row in rows)
        return exports.as_csv(lines, columns=exports.FOLLOWER_COLUMNS, name="nija-followers")
    page, following = selectors.followers_page(found, after=whole_number(request.GET.get("after")), now=now)
    context = {
        "now": now,
        "rows": page,
        "following": following,
        "first": "after" not in request.GET,
        "state": state,
        "search": search,
        "states": FOLLOWER_STATES,
        "export_max": exports.ROWS_MAX,
        "query": narrowed(request, cursor="after"),
    }
    return render(request, "copytrade/followers.html", context)


@operator
@require_safe
def signals(request: HttpRequest) -> HttpResponse:
    """Everything the master did; anything unknown in the address asks for all of it."""
    now, asked = SYSTEM.now(), request.GET
    span, kind = HISTORY_RANGES.get(asked.get("range", "")), asked.get("kind", "")
    wanted = selectors.SignalsFilter(
        since=None if span is None else now - span,
        kind=kind if kind in SignalKind.values else "",
        symbol=plain_text(asked.get("symbol", ""))[:24],
    )
    found = selectors.signals(wanted)
    if wants_csv(request):
        lines = (exports.of_signal(row) for row in islice(selectors.each_signal(found), exports.SIGNALS_MAX))
        return exports.as_csv(lines, columns=exports.SIGNAL_COLUMNS, name="nija-signals")
    rows, following = selectors.signals_page(found, before=whole_number(asked.get("before")))
    context = {
        "now": now,
        "rows": rows,
        "following": following,
        "first": "before" not in asked,
        "wanted": wanted,
        "range": asked.get("range", "all"),
        "ranges": HISTORY_RANGES,
        "symbols": selectors.signalled_symbols(),
        "export_max": exports.SIGNALS_MAX,
        "query": narrowed(request, cursor="before"),
    }
    return render(request, "copytrade/signals.html", context)


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
    if wants_csv(request):
        lines = (exports.of_outcome(CopyRow(copy)) for copy in found[: exports.ROWS_MAX].iterator(chunk_size=500))
        return exports.as_csv(lines, columns=exports.OUTCOME_COLUMNS, name=f"nija-signal-{signal_id}")
    copies, following = selectors.signal_page(found, after=whole_number(request.GET.get("after")))
    context = {
        "now": SYSTEM.now(),
        "row": row,
        "copies": copies,
        "outcome": outcome,
        "search": search,
        "outcomes": [(key, word) for key, (word, _) in OUTCOMES.items()],
        "query": narrowed(request, cursor="after"),
        "following": following,
        "first": "after" not in request.GET,
    }
    return render(request, "copytrade/signal.html", context)
