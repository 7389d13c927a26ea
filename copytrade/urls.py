"""Pages of followers and operators."""

from __future__ import annotations

from django.urls import path

from copytrade.views import accounts, attention, follower, leaving, operator, positions, stop, strategy

urlpatterns = [
    path("dashboard/", follower.dashboard, name="dashboard"),
    path("history/", follower.history, name="history"),
    path("copies/<int:copy_id>/", follower.copy, name="copy"),
    path("positions/<str:symbol>/", positions.own, name="position"),
    path("positions/<str:symbol>/candles/", positions.candles, name="position_candles"),
    path("stop/", stop.own, name="stop"),
    path("leave/", leaving.page, name="leave"),
    path("leave/sell/", leaving.sell, name="leave_sell"),
    path("leave/hand-over/", leaving.hand_over, name="leave_hand_over"),
    path("operator/", operator.overview, name="operator"),
    path("operator/followers/", operator.followers, name="operator_followers"),
    path("operator/accounts/<int:account_id>/positions/<str:symbol>/", positions.of_account, name="operator_position"),
    path("operator/strategy/", strategy.page, name="operator_strategy"),
    path("operator/strategy/backtests/<str:name>/", strategy.report, name="operator_backtest"),
    path("operator/signals/", operator.signals, name="operator_signals"),
    path("operator/signals/<int:signal_id>/", operator.signal, name="operator_signal"),
    path("operator/stop/", stop.platform, name="operator_stop"),
    path("operator/close/", accounts.close_everybody, name="operator_close"),
    path("operator/accounts/<int:account_id>/", accounts.page, name="operator_account"),
    path("operator/accounts/<int:account_id>/lift/", accounts.lift, name="operator_lift"),
    path("operator/accounts/<int:account_id>/close/", accounts.close, name="operator_close_account"),
    path("operator/alerts/", attention.alerts, name="operator_alerts"),
    path("operator/alerts/<int:event_id>/", attention.alert, name="operator_alert"),
    path("operator/books/", attention.books, name="operator_books"),
    path("operator/books/check/", attention.check_books, name="operator_check_books"),
    path("operator/books/<int:inspection_id>/", attention.books, name="operator_inspection"),
    path("operator/orders/<int:order_id>/", attention.order, name="operator_order"),
]
