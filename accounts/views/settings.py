"""Risk settings, and the account page with its REST tokens."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from accounts import selectors
from accounts.forms import RiskForm
from accounts.models import User
from accounts.services import risk as risk_service
from accounts.services import tokens


def reader(request: HttpRequest) -> User:
    """The logged-in user, typed. Views behind `login_required` only."""
    assert isinstance(request.user, User), "the view is not behind login_required"
    return request.user


@login_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def risk(request: HttpRequest) -> HttpResponse:
    user = reader(request)
    form = RiskForm(request.POST, label_suffix="") if request.method == "POST" else RiskForm.of(user.risk)
    if form.is_bound and form.is_valid():
        try:
            risk_service.change(user, form.changes(), seen=form.cleaned_data["seen"])
        except risk_service.RiskRefused as refusal:
            for name, sentences in refusal.problems.items():
                for sentence in sentences:
                    form.add_error(name if name in form.fields else None, sentence)
        else:
            messages.success(request, "Saved. The next entry is sized with these settings.")
            return redirect("risk")
    until = user.risk.close_only_until
    context = {
        "form": form,
        "risk": user.risk,
        "limit_reason": user.risk.close_only_reason if until is not None and until > timezone.now() else "",
        "open_positions": risk_service.open_positions(user),
    }
    return render(request, "accounts/risk.html", context)


@login_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def account(request: HttpRequest) -> HttpResponse:
    """A POST makes a REST token and answers with the page itself, because the token is shown once and kept nowhere."""
    if request.method != "POST":
        return _account_page(request)
    try:
        token = tokens.create(reader(request))
    except tokens.TokenRefused as error:
        messages.error(request, str(error))
        return redirect("account")
    return _account_page(request, new_token=token.token.reveal())


@login_required
@require_POST
def revoke_token(request: HttpRequest, key: str) -> HttpResponse:
    if not tokens.revoke(reader(request), key=key):
        raise Http404
    messages.success(request, f"The token {key}… no longer works.")
    return redirect("account")


def _account_page(request: HttpRequest, *, new_token: str = "") -> HttpResponse:
    user = reader(request)
    context = {
        "tokens": selectors.tokens(user),
        "new_token": new_token,
        "has_two_factor": selectors.has_two_factor(user),
        "has_password": user.has_usable_password(),
    }
    return render(request, "accounts/account.html", context)
