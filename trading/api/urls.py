"""Addresses below /api/v1/. A slash at the end may be left out: a redirect would turn an emergency stop into a read."""

from __future__ import annotations

from django.urls import re_path

from trading.api.balances import BalancesView
from trading.api.credentials import CredentialsView
from trading.api.emergency_stop import EmergencyStopView
from trading.api.fills import FillsView
from trading.api.master_orders import MasterOrdersView
from trading.api.orders import OrdersView, OrderView
from trading.api.positions import PositionsView

UUID = "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"

urlpatterns = [
    re_path(r"^credentials/?$", CredentialsView.as_view(), name="api-credentials"),
    re_path(r"^balances/?$", BalancesView.as_view(), name="api-balances"),
    re_path(r"^positions/?$", PositionsView.as_view(), name="api-positions"),
    re_path(r"^orders/?$", OrdersView.as_view(), name="api-orders"),
    re_path(rf"^orders/(?P<client_order_id>{UUID})/?$", OrderView.as_view(), name="api-order"),
    re_path(r"^fills/?$", FillsView.as_view(), name="api-fills"),
    re_path(r"^emergency-stop/?$", EmergencyStopView.as_view(), name="api-emergency-stop"),
    re_path(r"^master/orders/?$", MasterOrdersView.as_view(), name="api-master-orders"),
]
