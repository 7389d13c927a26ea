"""A position's page: the market with this account's fills and the master's levels on it, and the same as tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseBase, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_safe

from copytrade.selectors import position as selectors
from copytrade.selectors import standing
from copytrade.selectors.position import PositionView
from copytrade.views import exports
from copytrade.views.access import member, operator, reader, wants_csv, whole_number
from trading.models import Account, Instrument
from trading.selectors import charts
from trading.selectors.charts import Window
from trading.services.clock import SYSTEM

#: A little longer than candles are kept and charts reach back.
SPAN_MAX = timedelta(days=31)
BARS_MAX = 3 * charts.BARS_MAX


@member
@require_safe
def own(request: HttpRequest, symbol: str) -> HttpResponseBase:
    """The reader's own position in one instrument."""
    user = reader(request)
    account, _ = standing.of_user(user, now=SYSTEM.now())
    if account is None:
        return redirect("dashboard")
    return _page(request, account, _instrument(symbol))


@operator
@require_safe
def of_account(request: HttpRequest, account_id: int, symbol: str) -> HttpResponse:
    """Anybody's position, for operators."""
    account = Account.objects.filter(pk=account_id, venue=settings.VENUE).select_related("user").first()
    if account is None:
        raise Http404
    return _page(request, account, _instrument(symbol))


@member
@require_safe
def candles(request: HttpRequest, symbol: str) -> HttpResponse:
    """Bars of one instrument for nija/candles.js: market data, the same for every reader. 400 for another question."""
    instrument = _instrument(symbol)
    window = _asked(request, now=SYSTEM.now())
    if window is None:
        return HttpResponseBadRequest("from, until (unix seconds) and bar (minutes) name a window of at most a month")
    bars = [[at, *map(float, prices)] for at, *prices in charts.bars(instrument, window)]
    return JsonResponse({"bars": bars})


def _instrument(symbol: str) -> Instrument:
    found = selectors.instrument(symbol, venue=settings.VENUE)
    if found is None:
        raise Http404
    return found


def _asked(request: HttpRequest, *, now: datetime) -> Window | None:
    since, until = whole_number(request.GET.get("from")), whole_number(request.GET.get("until"))
    minutes = whole_number(request.GET.get("bar"))
    if since is None or minutes is None or not charts.is_bar_length(minutes):
        return None
    end = until if until is not None else int(now.timestamp())
    if not end - SPAN_MAX.total_seconds() <= since <= end <= now.timestamp() + SPAN_MAX.total_seconds():
        return None
    if (end - since) / 60 / minutes > BARS_MAX:
        return None
    begins = datetime.fromtimestamp(since, UTC)
    return Window(begins, None if until is None else datetime.fromtimestamp(until, UTC), minutes)


def _page(request: HttpRequest, account: Account, instrument: Instrument) -> HttpResponse:
    user, now = reader(request), SYSTEM.now()
    view = selectors.read(account, instrument, wanted_range=request.GET.get("range", ""), now=now)
    if wants_csv(request):
        fills = selectors.fills_of(account, instrument, view.window)[: exports.ROWS_MAX].iterator(chunk_size=500)
        lines = (exports.of_fill(fill) for fill in fills)
        return exports.as_csv(lines, columns=exports.FILL_COLUMNS, name=f"nija-fills-{instrument.symbol}")
    ranges = [(name, name) for name in selectors.RANGES]
    if view.trip is not None:
        ranges.insert(0, (selectors.OPENED, "since opened" if view.held is not None else "last position"))
    context = {
        "now": now,
        "view": view,
        "own": account.user_id == user.pk,
        "ranges": ranges,
        "export_max": exports.ROWS_MAX,
        "candles_url": _candles_url(view),
        "drawn": _drawn(view),
        "has_candles": charts.has_bars(instrument, view.window),
    }
    return render(request, "copytrade/position.html", context)


def _candles_url(view: PositionView) -> str:
    window = view.window
    asked = {"from": int(window.since.timestamp()), "bar": window.bar_min}
    if window.until is not None:
        asked["until"] = int(window.until.timestamp())
    return f"{reverse('position_candles', args=[view.instrument.symbol])}?{urlencode(asked)}"


def _drawn(view: PositionView) -> dict[str, Any]:
    """Marks and lines for nija/candles.js. Floats are for drawing; the texts and the tables have every digit."""
    lines = [
        {"price": float(level.price), "label": level.label, "tone": level.key, "hit": level.hit}
        for level in view.levels
    ]
    if view.average_cost is not None:
        lines.append(_line(view.average_cost, "Average cost", "Cost", tone="cost"))
    if view.held is not None and view.price is not None:
        lines.append(_line(view.price.bid, "Price now", "Now", tone="now"))
    fills = [
        {
            "time": int(row.fill.executed_at.timestamp()),
            "buys": row.buys,
            "quantity": format(row.fill.quantity, "f"),
            "price": format(row.fill.price, "f"),
            "order": row.fill.order.venue_order_id,
        }
        for row in reversed(view.fills)
    ]
    return {
        "base": view.base,
        "decimals": view.instrument.price_decimals,
        "step": float(view.instrument.tick_size),
        "bar": view.window.bar_min * 60,
        "fills": fills,
        "lines": lines,
    }


def _line(price: Decimal, label: str, short: str, *, tone: str, hit: bool = False) -> dict[str, Any]:
    """`short` is the label where there is little room."""
    return {"price": float(price), "label": label, "short": short, "tone": tone, "hit": hit}
