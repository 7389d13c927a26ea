"""A follower's two ways out of what was copied: have it sold, or take it over."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from copytrade.selectors import follower, standing
from copytrade.services import closing, release
from copytrade.services.release import ReleaseRefused
from copytrade.views.access import member, reader
from trading.models import Account, Role
from trading.services.clock import SYSTEM

PHRASE = "sell everything"


@member
@require_http_methods(["GET", "HEAD"])
def page(request: HttpRequest) -> HttpResponseBase:
    account = _own(request)
    if account is None:
        return redirect("dashboard")
    now = SYSTEM.now()
    _, current = standing.of_user(reader(request), now=now)
    positions = follower.open_positions(account, now=now)
    context = {"now": now, "positions": positions, "standing": current, "phrase": PHRASE}
    return render(request, "copytrade/leave.html", context)


@member
@require_POST
def sell(request: HttpRequest) -> HttpResponseBase:
    account = _own(request)
    if account is None:
        return redirect("dashboard")
    if " ".join(request.POST.get("phrase", "").lower().split()) != PHRASE:
        messages.error(request, f"Nothing was sold. Type “{PHRASE}” to confirm.")
        return redirect("leave")
    report = closing.close_account(account, actor=reader(request).email, clock=SYSTEM)
    if report.positions:
        noun = "1 position is" if report.positions == 1 else f"{report.positions} positions are"
        messages.success(request, f"{noun} being sold at the market. Coins of your own are not touched.")
    else:
        messages.info(request, "No copied position was open, so nothing is sold.")
    return redirect("dashboard")


@member
@require_POST
def hand_over(request: HttpRequest) -> HttpResponseBase:
    account = _own(request)
    if account is None:
        return redirect("dashboard")
    try:
        report = release.release_all(account, actor=reader(request).email, clock=SYSTEM)
    except ReleaseRefused as refusal:
        messages.error(request, str(refusal))
        return redirect("dashboard")
    if report.released:
        messages.success(request, f"{', '.join(report.released)}: yours now. NIJA will not sell what it handed over.")
    for sentence in report.refused:
        messages.error(request, f"Not handed over: {sentence}")
    if not report.released and not report.refused:
        messages.info(request, "No copied position was open, so there is nothing to hand over.")
    return redirect("dashboard" if not report.refused else "leave")


def _own(request: HttpRequest) -> Account | None:
    """The reader's account; a follower's only, for what the master holds is what others copy."""
    account, _ = standing.of_user(reader(request), now=SYSTEM.now())
    if account is None:
        messages.info(request, "No Kraken account is connected, so nothing is held here.")
    elif account.role == Role.MASTER:
        messages.info(request, "This is the master's account; its positions are closed on the operator's pages.")
        return None
    return account
