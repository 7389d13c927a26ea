"""Addresses below /api/v1/."""

from __future__ import annotations

from django.urls import path

from accounts.api.views import MeView, RiskView

urlpatterns = [
    path("me/", MeView.as_view(), name="api-me"),
    path("settings/risk/", RiskView.as_view(), name="api-risk"),
]
