"""Pages about one account's Kraken key."""

from __future__ import annotations

from django.urls import path

from trading.views import connect

urlpatterns = [
    path("kraken/", connect.connect, name="connect"),
    path("kraken/disconnect/", connect.disconnect, name="disconnect"),
]
