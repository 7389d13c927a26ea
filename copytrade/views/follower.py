"""A follower's pages: dashboard, history, one copy."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from copytrade.selectors import copies, follower
from copytrade.selectors.copies import CopyRow, HistoryFilter
from copytrade.selectors.standing import Standing
from copytrade.views import exports
from copytrade.views.access import HISTORY_RANGES, member, narrowed, plain_text, reader, wants_csv, whole_number
from trading.models import SignalKind
from trading.selectors import accounts
from trading.selectors.equity_curve import Curve
from trading.services.clock import SYSTEM

#: A client order id with its hyphens.
ORDER_ID_MAX = 36


@member
@require_safe
def dashboard(request: HttpRequest) -> HttpResponseBase:
    user, now = reader(request), SYSTEM.now()
    wanted = request.GET.get("range", "7d")
    points_range = wanted if wanted in follower.RANGES else "7d"
    board = follower.dashboard(user, points_range=points_range, now=now)
    if isinstance(board, Standing):
        if user.is_staff:
            return redirect("operator")
        return render(request, "copytrade/welcome.html", {"now": now, "standing": board})
    context = {
        "now": now,
        "board": board,
        "ranges": list(follower.RANGES),
        "points_range": points_range,
        "chart": chart(board.curve),
        "drawdown_chart": drawdown_chart(board.curve),
    }
    return render(request, "copytrade/dashboard.html", context)


def chart(curve: Curve) -> dict[str, Any]:
    """Points for nija/chart.js. Floats are for drawing only; the table beside it has the exact figures."""
    equity = [float(point.equity) for point in curve.points]
    series: list[dict[str, Any]] = [{"label": "Equity", "tone": "--accent", "fill": True, "values": equity}]
    for label, tone, sign in (("Paid in", "--positive", 1), ("Paid out", "--warning", -1)):
        marks = [point.moved is not None and point.moved * sign > 0 for point in curve.points]
        if any(marks):
            values = [value if marked else None for value, marked in zip(equity, marks, strict=True)]
            told = [float(abs(point.moved)) if point.moved is not None else None for point in curve.points]
            series.append({"label": label, "tone": tone, "marks": True, "values": values, "told": told})
    return {"t": _seconds(curve), "series": series}


def drawdown_chart(curve: Curve) -> dict[str, Any]:
    """How far profit was below its peak, in per cent, downwards."""
    values = [float(-point.drawdown * 100) for point in curve.points]
    series = [{"label": "Below the peak", "tone": "--negative", "fill": True, "values": values}]
    return {"t": _seconds(curve), "series": series, "unit": "%"}


def _seconds(curve: Curve) -> list[int]:
    return [int(point.at.timestamp()) for point in curve.points]


@member
@require_safe
def history(request: HttpRequest) -> HttpResponseBase:
    account_id, now = accounts.id_of(reader(request)), SYSTEM.now()
    wanted = _filter(request, now=now)
    found = copies.history(account_id, wanted)
    if wants_csv(request):
        lines = (exports.of_copy(CopyRow(copy)) for copy in found[: exports.ROWS_MAX].iterator(chunk_size=500))
        return exports.as_csv(lines, columns=exports.COPY_COLUMNS, name="nija-copies")
    rows, following = copies.page(found, before=whole_number(request.GET.get("before")))
    context = {
        "now": now,
        "rows": rows,
        "following": following,
        "first": "before" not in request.GET,
        "query": narrowed(request, cursor="before"),
        "wanted": wanted,
        "range": request.GET.get("range", "all"),
        "ranges": HISTORY_RANGES,
        "symbols": copies.symbols_of(account_id),
        "outcomes": [(key, word) for key, (word, _) in copies.OUTCOMES.items()],
        "export_max": exports.ROWS_MAX,
        "kinds": (("entry", "Buys"), ("exit", "Sales")),
    }
    return render(request, "copytrade/history.html", context)


def _filter(request: HttpRequest, *, now: datetime) -> HistoryFilter:
    """Anything unknown in the address asks for everything."""
    asked = request.GET
    span = HISTORY_RANGES.get(asked.get("range", ""))
    kind, outcome = asked.get("kind", ""), asked.get("outcome", "")
    return HistoryFilter(
        since=None if span is None else now - span,
        kind=kind if kind in SignalKind.values else "",
        outcome=outcome if outcome in copies.OUTCOMES else "",
        symbol=plain_text(asked.get("symbol", ""))[:24],
        order=plain_text(asked.get("order", ""))[:ORDER_ID_MAX],
    )


@member
@require_safe
def copy(request: HttpRequest, copy_id: int) -> HttpResponse:
    """One copy of the reader's own, step by step; operators may read everybody's."""
    user = reader(request)
    found = copies.visible_to(user).filter(pk=copy_id).first()
    if found is None:
        raise Http404
    row, own = CopyRow(found), found.account.user_id == user.pk
    sentence = row.sentence if own else row.to_operators
    context = {"now": SYSTEM.now(), "row": row, "own": own, "sentence": sentence}
    return render(request, "copytrade/copy.html", context)
