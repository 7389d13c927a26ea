"""Addresses of a user's own settings."""

from __future__ import annotations

from django.urls import path

from accounts.views import mail, settings

urlpatterns = [
    path("settings/risk/", settings.risk, name="risk"),
    path("settings/account/", settings.account, name="account"),
    path("settings/account/tokens/<slug:key>/revoke/", settings.revoke_token, name="revoke_token"),
    path("mail/", mail.kept, name="mail"),
]
