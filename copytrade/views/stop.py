"""The two stop buttons: of one follower, and of the operator for everybody."""

from __future__ import annotations

from datetime import datetime

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from accounts.models import User
from copytrade.selectors import operator as fleet
from copytrade.selectors import standing
from copytrade.views.access import member, operator, plain_text, reader
from trading.models import Position
from trading.services import halts
from trading.services.clock import SYSTEM
from trading.services.halts import StopReport

REASON_MAX = 200
#: Shown to everybody, so it names nobody; who stopped stands in the events.
NO_REASON = "no reason was given"
OWN_REASON = "stopped on the page"


@member
@require_http_methods(["GET", "HEAD", "POST"])
def own(request: HttpRequest) -> HttpResponseBase:
    """What stopping does for the reader's own account, and the button that does it."""
    user = reader(request)
    account, current = standing.of_user(user, now=SYSTEM.now())
    if account is None:
        messages.info(request, "There is nothing to stop: no Kraken key is connected, so nothing is copied.")
        return redirect("dashboard")
    if request.method == "POST":
        if request.POST.get("action") == "resume":
            closed_until = account.user.risk.close_only_until
            halts.resume_account(account, actor=user.email, clock=SYSTEM)
            messages.success(request, _resumed(user, closed_until, now=SYSTEM.now()))
        else:
            report = halts.stop_account(account, actor=user.email, reason=OWN_REASON, clock=SYSTEM)
            messages.success(request, f"Copying is stopped: {_met(report)}")
        return redirect("dashboard")
    context = {
        "now": SYSTEM.now(),
        "standing": current,
        "open_positions": Position.objects.filter(account=account, is_open=True).count(),
    }
    return render(request, "copytrade/stop.html", context)


@operator
@require_http_methods(["GET", "HEAD", "POST"])
def platform(request: HttpRequest) -> HttpResponse:
    """What stopping everybody does, and the button that does it."""
    user = reader(request)
    if request.method == "POST":
        if request.POST.get("action") == "resume":
            halts.resume_platform(actor=user.email, clock=SYSTEM)
            messages.success(request, "Entries have resumed for every follower that has not stopped on their own.")
        else:
            reason = plain_text(request.POST.get("reason", ""))[:REASON_MAX] or NO_REASON
            report = halts.stop_platform(actor=user.email, reason=reason, clock=SYSTEM)
            messages.success(request, f"Entries are stopped for {_people(report.followers)}: {_met(report)}")
        return redirect("operator")
    now = SYSTEM.now()
    context = {"now": now, "platform": standing.platform(), "size": fleet.size(), "reason_max": REASON_MAX}
    return render(request, "copytrade/operator_stop.html", context)


def _resumed(user: User, closed_until: datetime | None, *, now: datetime) -> str:
    _, current = standing.of_user(user, now=now)
    if not current.enters:
        return f"Your own stop is lifted, but no entry is copied yet. {current.reason}"
    if closed_until is not None and now < closed_until < now + standing.UNTIL_RESUMED_BEYOND:
        return (
            "Copying has resumed. Today's loss still counts: unless you raise the daily loss limit in your risk settings, entries "
            "are closed again within a minute."
        )
    return "Copying has resumed. The next entry of the master is copied."


def _met(report: StopReport) -> str:
    """What was already on its way, and what stays."""
    if report.already_sent == 0:
        sent = "no entry was on its way."
    elif report.already_sent == 1:
        sent = "1 entry had already left for Kraken; it is sold again when the master sells."
    else:
        sent = f"{report.already_sent} entries had already left for Kraken; they are sold again when the master sells."
    if report.open_positions == 0:
        return sent
    noun = "position stays" if report.open_positions == 1 else "positions stay"
    return f"{sent} {report.open_positions} open {noun}, and the exits still run."


def _people(count: int) -> str:
    return "1 follower" if count == 1 else f"{count} followers"
