"""The operator's page of the master's strategy, and the reports of its backtests."""

from __future__ import annotations

from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from copytrade.selectors import strategy as selectors
from copytrade.views import exports
from copytrade.views.access import operator, plain_text, wants_csv, whole_number
from trading.selectors import backtests
from trading.services.clock import SYSTEM


@operator
@require_safe
def page(request: HttpRequest) -> HttpResponse:
    asked = selectors.wanted(pair=plain_text(request.GET.get("pair", "")), veto=plain_text(request.GET.get("veto", "")))
    before = whole_number(request.GET.get("before"))
    if wants_csv(request):
        found = selectors.candidates(asked, before=before)[: exports.ROWS_MAX].iterator(chunk_size=500)
        lines = (exports.of_candidate(candidate) for candidate in found)
        return exports.as_csv(lines, columns=exports.CANDIDATE_COLUMNS, name="nija-cycles")
    rows, following = selectors.cycles(asked, before=before)
    context = {
        "now": SYSTEM.now(),
        "view": selectors.view(),
        "asked": asked,
        "pairs": selectors.pairs(),
        "cycles": rows,
        "query": urlencode({name: value for name, value in (("pair", asked.pair), ("veto", asked.veto)) if value}),
        "following": following,
        "first": "before" not in request.GET,
        "before": before,
        "export_max": exports.ROWS_MAX,
    }
    return render(request, "copytrade/strategy.html", context)


@operator
@require_safe
def report(_request: HttpRequest, name: str) -> HttpResponse:
    """A backtest's own page, as it was written, under a policy that lets nothing else run."""
    found = backtests.report(name)
    if found is None:
        raise Http404
    body, policy = found
    response = HttpResponse(body, content_type="text/html; charset=utf-8")
    response["Content-Security-Policy"] = policy
    response["X-Content-Type-Options"] = "nosniff"
    return response
