"""Every address NIJA answers."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from nija import health, live, views

urlpatterns = [
    path("", views.landing, name="landing"),
    path("live/", live.live, name="live"),
    path("favicon.ico", views.favicon),
    path("", include("accounts.urls")),
    path("", include("trading.urls")),
    path("", include("copytrade.urls")),
    path("api/v1/", include("nija.api_urls")),
    path("health/", health.health),
    path("accounts/", include("allauth.urls")),
    path("admin/", admin.site.urls),
]

handler500 = "nija.views.server_error"
