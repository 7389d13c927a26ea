"""Every address NIJA answers."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from nija import health

urlpatterns = [
    path("health/", health.health),
    path("accounts/", include("allauth.urls")),
    path("admin/", admin.site.urls),
]
