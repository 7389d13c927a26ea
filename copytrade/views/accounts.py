"""An operator's page of one account, lifting its hold, and closing positions of one account or of everybody."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from copytrade.selectors import account as selectors
from copytrade.selectors import operator as fleet
from copytrade.selectors import standing
from copytrade.services import closing
from copytrade.services.closing import ClosingRefused, ClosingReport
from copytrade.views.access import operator, reader
from copytrade.views.attention import NOTE_MAX, note_of
from trading.models import Account
from trading.services import alerts
from trading.services.clock import SYSTEM

#: What has to be typed before anything is sold.
PHRASE = "close all positions"
PHRASE_WRONG = f"Nothing was sold. Type “{PHRASE}” to confirm."


@operator
@require_safe
def page(request: HttpRequest, account_id: int) -> HttpResponse:
    now = SYSTEM.now()
    return render(
        request, "copytrade/operator_account.html", {"now": now, "view": selectors.read(_account(account_id), now=now)}
    )


@operator
@require_http_methods(["GET", "HEAD", "POST"])
def lift(request: HttpRequest, account_id: int) -> HttpResponseBase:
    """What lifting a hold does, and the form that does it."""
    account = _account(account_id)
    if request.method == "POST":
        if alerts.lift(account, actor=reader(request).email, note=note_of(request), clock=SYSTEM):
            messages.success(request, f"The hold of {account.user.email} is lifted. The next entry is copied again.")
        else:
            messages.info(request, "The account was not held.")
        return redirect("operator_account", account_id)
    if account.held_at is None:
        messages.info(request, "The account is not held.")
        return redirect("operator_account", account_id)
    context = {"now": SYSTEM.now(), "account": account, "note_max": NOTE_MAX}
    return render(request, "copytrade/operator_lift.html", context)


@operator
@require_http_methods(["GET", "HEAD", "POST"])
def close(request: HttpRequest, account_id: int) -> HttpResponseBase:
    """What closing all positions of one account does, and the form that does it."""
    account = _account(account_id)
    if request.method == "POST":
        if not phrase_typed(request, PHRASE):
            messages.error(request, PHRASE_WRONG)
            return redirect("operator_close_account", account_id)
        report = closing.close_account(account, actor=reader(request).email, clock=SYSTEM)
        _tell(request, report)
        return redirect("operator_account", account_id)
    now = SYSTEM.now()
    context = {"now": now, "view": selectors.read(account, now=now), "phrase": PHRASE, "size": fleet.size()}
    return render(request, "copytrade/operator_close.html", context)


@operator
@require_http_methods(["GET", "HEAD", "POST"])
def close_everybody(request: HttpRequest) -> HttpResponseBase:
    """What closing everybody's positions does, and the form that does it."""
    if request.method == "POST":
        if not phrase_typed(request, PHRASE):
            messages.error(request, PHRASE_WRONG)
            return redirect("operator_close")
        try:
            _tell(request, closing.close_everybody(actor=reader(request).email, clock=SYSTEM))
        except ClosingRefused as refusal:
            messages.error(request, str(refusal))
            return redirect("operator_close")
        return redirect("operator")
    context = {"now": SYSTEM.now(), "size": fleet.size(), "platform": standing.platform(), "phrase": PHRASE}
    return render(request, "copytrade/operator_close_all.html", context)


def phrase_typed(request: HttpRequest, phrase: str) -> bool:
    return " ".join(request.POST.get("phrase", "").lower().split()) == phrase


def _tell(request: HttpRequest, report: ClosingReport) -> None:
    count = report.positions
    if count:
        noun, them = ("1 position is", "it is") if count == 1 else (f"{count} positions are", "they are")
        messages.success(
            request, f"{noun} being sold at the market; {them} gone from here as soon as Kraken has filled."
        )
    elif not report.refused:
        messages.info(request, "No position was open, so nothing is sold.")
    for sentence in report.refused:
        messages.error(request, sentence)


def _account(account_id: int) -> Account:
    account = selectors.find(account_id)
    if account is None:
        raise Http404
    return account
