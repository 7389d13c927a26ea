"""A follower's pages: dashboard, history, one copy."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from copytrade.models import CopyStatus
from copytrade.selectors import copies, follower
from copytrade.selectors.copies import CopyRow, HistoryFilter
from copytrade.selectors.standing import Standing
from copytrade.views.access import member, reader, whole_number
from trading.models import SignalKind
from trading.services.clock import SYSTEM

EXPORT_MAX = 10_000
HISTORY_RANGES = {"1d": timedelta(days=1), "7d": timedelta(days=7), "30d": timedelta(days=30)}
COLUMNS = (
    "id",
    "time",
    "symbol",
    "side",
    "outcome",
    "reason",
    "filled_quantity",
    "average_price",
    "notional",
    "fee",
    "order_id",
)


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
        "chart": chart(board.points),
    }
    return render(request, "copytrade/dashboard.html", context)


def chart(points: Sequence[tuple[datetime, Decimal, Decimal]]) -> dict[str, Any]:
    """Points for nija/chart.js. Floats are for drawing only; the table beside it has the exact figures."""
    return {
        "t": [int(at.timestamp()) for at, _, _ in points],
        "series": [
            {"label": "Equity", "tone": "--accent", "fill": True, "values": [float(equity) for _, equity, _ in points]}
        ],
    }


@member
@require_safe
def history(request: HttpRequest) -> HttpResponseBase:
    user, now = reader(request), SYSTEM.now()
    wanted = _filter(request, now=now)
    found = copies.history(user, wanted)
    if request.GET.get("format") == "csv":
        return _export(CopyRow(copy) for copy in found[:EXPORT_MAX].iterator(chunk_size=500))
    rows, following = copies.page(found, before=whole_number(request.GET.get("before")))
    query = request.GET.copy()
    query.pop("before", None)
    context = {
        "now": now,
        "rows": rows,
        "following": following,
        "first": "before" not in request.GET,
        "query": query.urlencode(),
        "wanted": wanted,
        "range": request.GET.get("range", "all"),
        "ranges": HISTORY_RANGES,
        "symbols": copies.symbols_of(user),
        "statuses": CopyStatus.choices,
        "kinds": (("entry", "Buys"), ("exit", "Sales")),
    }
    return render(request, "copytrade/history.html", context)


def _filter(request: HttpRequest, *, now: datetime) -> HistoryFilter:
    """Anything unknown in the address asks for everything."""
    asked = request.GET
    span = HISTORY_RANGES.get(asked.get("range", ""))
    kind, status = asked.get("kind", ""), asked.get("status", "")
    return HistoryFilter(
        since=None if span is None else now - span,
        kind=kind if kind in SignalKind.values else "",
        status=status if status in CopyStatus.values else "",
        symbol=asked.get("symbol", "")[:24],
    )


class _Line:
    """What csv.writer writes to: it hands the line back."""

    def write(self, text: str) -> str:
        return text


def _export(rows: Iterator[CopyRow]) -> HttpResponse:
    lines = csv.writer(_Line())
    body = [lines.writerow(COLUMNS), *(lines.writerow(_cells(row)) for row in rows)]
    response = HttpResponse("".join(body), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="nija-copies.csv"'
    return response


def _cells(row: CopyRow) -> list[Any]:
    order = row.order
    return [
        row.copy.pk,
        row.copy.created_at.isoformat(),
        row.instrument.symbol,
        row.side.value,
        row.outcome,
        row.sentence,
        order.filled if order else "",
        row.price if row.price is not None else "",
        order.filled_notional if order else "",
        order.fee if order else "",
        order.venue_order_id if order else "",
    ]


@member
@require_safe
def copy(request: HttpRequest, copy_id: int) -> HttpResponse:
    """One copy of the reader's own, step by step; operators may read everybody's."""
    user = reader(request)
    found = copies.visible_to(user).filter(pk=copy_id).first()
    if found is None:
        raise Http404
    context = {"now": SYSTEM.now(), "row": CopyRow(found), "own": found.account.user_id == user.pk}
    return render(request, "copytrade/copy.html", context)
