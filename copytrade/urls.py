"""Pages of followers and operators."""

from __future__ import annotations

from django.urls import path

from copytrade.views import follower, operator, stop

urlpatterns = [
    path("dashboard/", follower.dashboard, name="dashboard"),
    path("history/", follower.history, name="history"),
    path("copies/<int:copy_id>/", follower.copy, name="copy"),
    path("stop/", stop.own, name="stop"),
    path("operator/", operator.overview, name="operator"),
    path("operator/followers/", operator.followers, name="operator_followers"),
    path("operator/signals/<int:signal_id>/", operator.signal, name="operator_signal"),
    path("operator/stop/", stop.platform, name="operator_stop"),
]
