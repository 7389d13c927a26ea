"""Addresses below /api/v1/. A slash at the end may be left out."""

from __future__ import annotations

from django.urls import re_path

from copytrade.api.copies import CopiesView, CopyView
from copytrade.api.signals import SignalsView

urlpatterns = [
    re_path(r"^signals/?$", SignalsView.as_view(), name="api-signals"),
    re_path(r"^copies/?$", CopiesView.as_view(), name="api-copies"),
    re_path(r"^copies/(?P<copy_id>[0-9]+)/?$", CopyView.as_view(), name="api-copy"),
]
