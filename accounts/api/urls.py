"""Addresses below /api/v1/."""

from __future__ import annotations

from django.urls import re_path

from accounts.api.views import MeView, RiskView

urlpatterns = [
    re_path(r"^me/?$", MeView.as_view(), name="api-me"),
    re_path(r"^settings/risk/?$", RiskView.as_view(), name="api-risk"),
]
