"""The REST API, its description, and a page to try it."""

from __future__ import annotations

from django.urls import include, path, re_path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from nija import views

urlpatterns = [
    path("", include("accounts.api.urls")),
    path("", include("trading.api.urls")),
    path("", include("copytrade.api.urls")),
    re_path(r"^schema/?$", SpectacularAPIView.as_view(), name="api-schema"),
    # The package's own template has an inline style, which the Content Security Policy refuses.
    re_path(
        r"^docs/?$",
        SpectacularSwaggerSplitView.as_view(url_name="api-schema", template_name="nija/api_docs.html"),
        name="api-docs",
    ),
    re_path("", views.api_not_found),
]
