"""Who the user is, what they may risk, how their keys are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import AppConfig
from django.contrib import messages
from django.http import HttpRequest

if TYPE_CHECKING:
    from accounts.models import User


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = "Accounts"

    def ready(self) -> None:
        from allauth.account import signals

        for changed in (signals.password_changed, signals.password_reset, signals.password_set):
            changed.connect(_revoke_tokens, dispatch_uid=f"revoke tokens on {changed}")


def _revoke_tokens(request: HttpRequest, user: User, **_signal: Any) -> None:
    """Whoever knew the old password may have made tokens with it, which would outlive it by a year."""
    from accounts.services import tokens

    count = tokens.revoke_all(user)
    if count:
        noun, were = ("token", "was") if count == 1 else ("tokens", "were")
        messages.info(
            request,
            f"Your {count} REST {noun} {were} revoked with the old password. Create new ones on the page Account.",
        )
