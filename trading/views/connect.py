"""Connecting, replacing and disconnecting a Kraken key."""

from __future__ import annotations

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_http_methods, require_POST

from accounts import selectors as accounts_selectors
from accounts.models import User
from accounts.services import credentials
from trading.domain import key_policy
from trading.models import Account, Role
from trading.services import intake
from trading.services.clock import SYSTEM


class _NotShownAgain(forms.PasswordInput):
    """Read while it is typed, and not sent back: what was pasted here may be the secret."""

    input_type = "text"


class KeyForm(forms.Form):
    api_key = forms.CharField(
        label="API key",
        help_text="The shorter of the two texts, as Kraken shows it when the key is created.",
        max_length=200,
        widget=_NotShownAgain(attrs={"autocomplete": "off", "spellcheck": "false", "class": "mono"}),
        error_messages={"required": "Paste the API key."},
    )
    api_secret = forms.CharField(
        label="Private key (API secret)",
        help_text="The longer one, about 88 characters. Kraken shows it once.",
        max_length=600,
        widget=forms.PasswordInput(attrs={"autocomplete": "off", "spellcheck": "false", "class": "mono"}),
        error_messages={"required": "Paste the private key."},
    )
    role = forms.ChoiceField(
        label="This account is",
        choices=[
            (Role.FOLLOWER, "a follower: it copies the master"),
            (Role.MASTER, "the master: its trades are copied"),
        ],
        initial=Role.FOLLOWER,
        widget=forms.RadioSelect,
        required=False,
    )

    def __init__(self, data: QueryDict | None = None, *, may_be_master: bool = False) -> None:
        super().__init__(data, label_suffix="")
        if not may_be_master:
            del self.fields["role"]


@login_required
@never_cache
@sensitive_post_parameters("api_key", "api_secret")
@sensitive_variables("form")
@require_http_methods(["GET", "HEAD", "POST"])
def connect(request: HttpRequest) -> HttpResponse:
    user = _reader(request)
    form = KeyForm(request.POST if request.method == "POST" else None, may_be_master=_may_be_master(user))
    if form.is_bound and form.is_valid():
        try:
            intake.submit(
                user,
                api_key=form.cleaned_data["api_key"],
                api_secret=form.cleaned_data["api_secret"],
                role=form.cleaned_data.get("role") or Role.FOLLOWER,
                clock=SYSTEM,
            )
        except credentials.KeyRefused as refusal:
            form.add_error(None, str(refusal))
        else:
            return redirect("connect")
    context = {
        "form": form,
        "active": accounts_selectors.active_credential(user),
        "pending": accounts_selectors.pending_credential(user),
        "check": accounts_selectors.latest_key_check(user),
        "account": Account.objects.filter(user=user).first(),
        "required": key_policy.REQUIRED.values(),
        "forbidden": key_policy.FORBIDDEN.values(),
        "disconnect_refusal": intake.disconnect_refusal(user),
        "exchange": settings.KRAKEN_API_URL,
    }
    return render(request, "trading/connect.html", context)


@login_required
@require_POST
def disconnect(request: HttpRequest) -> HttpResponse:
    refusal = intake.disconnect(_reader(request), clock=SYSTEM)
    if refusal:
        messages.error(request, refusal)
    else:
        messages.success(request, "The key is disconnected and its stored copy destroyed. Delete it at Kraken as well.")
    return redirect("connect")


def _may_be_master(user: User) -> bool:
    """Operators connect the master's key; there is exactly one."""
    if not user.is_staff or Account.objects.filter(user=user).exists():
        return False
    return not Account.objects.filter(venue=settings.VENUE, role=Role.MASTER).exists()


def _reader(request: HttpRequest) -> User:
    assert isinstance(request.user, User), "the view is not behind login_required"
    return request.user
