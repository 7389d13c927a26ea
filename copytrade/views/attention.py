"""Operators' pages about what may be wrong: alerts, checks of the books, an order whose outcome nobody could prove."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from copytrade.selectors import account as accounts
from copytrade.selectors import attention
from copytrade.services import books as checking
from copytrade.views import exports
from copytrade.views.access import operator, plain_text, reader, wants_csv, whole_number
from trading.domain.order_state import OrderState
from trading.models import Inspection
from trading.services import alerts as alerting
from trading.services import undecided
from trading.services.clock import SYSTEM
from trading.services.undecided import Verdict

NOTE_MAX = 300
TXID_MAX = 24


def note_of(request: HttpRequest) -> str:
    return plain_text(request.POST.get("note", ""))[:NOTE_MAX]


@operator
@require_safe
def alerts(request: HttpRequest) -> HttpResponse:
    everything = request.GET.get("show") == "all"
    found = attention.alerts() if everything else attention.open_alerts()
    if wants_csv(request):
        lines = (exports.of_alert(event) for event in found[: exports.ROWS_MAX].iterator(chunk_size=500))
        return exports.as_csv(lines, columns=exports.ALERT_COLUMNS, name="nija-alerts")
    rows, following = attention.alerts_page(found, before=whole_number(request.GET.get("before")))
    context = {
        "now": SYSTEM.now(),
        "rows": rows,
        "everything": everything,
        "query": "show=all" if everything else "",
        "export_max": exports.ROWS_MAX,
        "following": following,
        "first": "before" not in request.GET,
    }
    return render(request, "copytrade/operator_alerts.html", context)


@operator
@require_http_methods(["GET", "HEAD", "POST"])
def alert(request: HttpRequest, event_id: int) -> HttpResponseBase:
    """One alert with what to do about it, and the form that resolves it."""
    event = attention.alerts().filter(pk=event_id).first()
    if event is None:
        raise Http404
    if request.method == "POST":
        if alerting.resolve(event.pk, actor=reader(request).email, note=note_of(request), clock=SYSTEM):
            messages.success(request, "The alert is resolved. Nothing else was changed by that.")
        else:
            messages.info(request, "The alert had been resolved already.")
        return redirect("operator_alerts")
    context = {"now": SYSTEM.now(), "event": event, "advice": attention.advice(event), "note_max": NOTE_MAX}
    return render(request, "copytrade/operator_alert.html", context)


@operator
@require_safe
def books(request: HttpRequest, inspection_id: int | None = None) -> HttpResponse:
    """The last checks, and of one of them every line and every row that contradicts."""
    now, last = SYSTEM.now(), attention.last_checks()
    shown = _shown(last, inspection_id)
    context = {
        "now": now,
        "books": attention.books(now=now),
        "checks": last,
        "shown": shown,
        "report": attention.told(shown.report) if shown is not None and shown.finished_at is not None else None,
        "running": any(check.finished_at is None and now - check.asked_at < checking.LOST_AFTER for check in last),
        "lost_before": now - checking.LOST_AFTER,
    }
    return render(request, "copytrade/operator_books.html", context)


def _shown(last: list[Inspection], inspection_id: int | None) -> Inspection | None:
    if inspection_id is None:
        return next((check for check in last if check.finished_at is not None), None)
    found = attention.checks().filter(pk=inspection_id).first()
    if found is None:
        raise Http404
    return found


@operator
@require_POST
def check_books(request: HttpRequest) -> HttpResponseBase:
    if checking.ask(asked_by=reader(request).email, clock=SYSTEM) is None:
        messages.info(request, "A check is under way already; its result appears here.")
    else:
        messages.success(request, "The check has been asked for. It takes some seconds, with findings about a minute.")
    return redirect("operator_books")


@operator
@require_http_methods(["GET", "HEAD", "POST"])
def order(request: HttpRequest, order_id: int) -> HttpResponseBase:
    """One order, and the decision about it when its outcome could not be proved."""
    found = accounts.order(order_id)
    if found is None:
        raise Http404
    undecided_now = found.state == OrderState.MANUAL
    asked = accounts.decisions(found)
    waiting = any(one.finished_at is None and SYSTEM.now() - one.asked_at < checking.LOST_AFTER for one in asked)
    if request.method == "POST":
        if not undecided_now or waiting:
            messages.info(
                request, "There is nothing to decide now: the order is settled, or a decision is being checked."
            )
            return redirect("operator_order", order_id)
        verdict = Verdict.EXISTS if request.POST.get("verdict") == Verdict.EXISTS else Verdict.ABSENT
        txid = plain_text(request.POST.get("txid", ""))[:TXID_MAX]
        if verdict is Verdict.EXISTS and not txid:
            messages.error(request, "Write the order id that Kraken shows for it.")
            return redirect("operator_order", order_id)
        undecided.ask(found, verdict, txid=txid, actor=reader(request).email, clock=SYSTEM)
        doing = "held against Kraken" if undecided.has_key(found) else "carried out"
        messages.success(request, f"Your decision is being {doing}; what came of it appears below.")
        return redirect("operator_order", order_id)
    context = {
        "now": SYSTEM.now(),
        "order": found,
        "undecided": undecided_now,
        "decisions": asked,
        "waiting": waiting,
        "has_key": undecided.has_key(found),
        "txid_max": TXID_MAX,
    }
    return render(request, "copytrade/operator_order.html", context)
