"""REST: orders."""

from __future__ import annotations

from decimal import Decimal

from django.db.models import QuerySet
from django.http import Http404
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.views import caller
from accounts.models import User
from trading.api.fields import AmountField, IdField, average
from trading.api.lists import AccountQuery, ListView, own_or_asked, private
from trading.domain.instrument import Side
from trading.domain.order_state import OrderState
from trading.models import Order, OrderKind, OrderOrigin

SIDES = [(side.value, side.value) for side in Side]
STATES = [(state.value, state.value) for state in OrderState]


class OrderSerializer(serializers.Serializer[Order]):
    """One instruction to the exchange. Quantities are of the base asset, the rest US dollars."""

    id = serializers.IntegerField()
    account = serializers.IntegerField(source="account_id")
    client_order_id = serializers.UUIDField(help_text="Ours; Kraken calls it cl_ord_id.")
    venue_order_id = IdField(help_text="Kraken's; null until Kraken has answered.")
    symbol = serializers.CharField(source="instrument.symbol")
    kind = serializers.ChoiceField(choices=OrderKind.choices)
    origin = serializers.ChoiceField(choices=OrderOrigin.choices)
    side = serializers.ChoiceField(choices=SIDES)
    quantity = AmountField()
    limit_price = AmountField(allow_null=True, help_text="Null: a market order.")
    state = serializers.ChoiceField(choices=STATES)
    reason = serializers.CharField(help_text="Why the order exists.")
    strategy = serializers.CharField(help_text="Which strategy asked for it; empty: none did.")
    strategy_version = serializers.CharField()
    parameters_hash = serializers.CharField(help_text="SHA-256 of the strategy's parameters.")
    refusal = serializers.CharField(help_text="Why it was refused, missed or not placed; empty otherwise.")
    filled = AmountField(help_text="Quantity whose executions are booked.")
    filled_notional = AmountField()
    average_price = serializers.SerializerMethodField(help_text="Null: nothing was filled.")
    fee = AmountField()
    signal = serializers.IntegerField(source="signal_id", allow_null=True, help_text="The signal an entry copies.")
    created_at = serializers.DateTimeField()
    sent_at = serializers.DateTimeField(allow_null=True)
    acknowledged_at = serializers.DateTimeField(source="answered_at", allow_null=True)
    booked_at = serializers.DateTimeField(allow_null=True)
    closed_at = serializers.DateTimeField(allow_null=True)
    expires_at = serializers.DateTimeField(allow_null=True, help_text="An entry's end of life.")

    @extend_schema_field(AmountField(allow_null=True))
    def get_average_price(self, order: Order) -> str | None:
        return average_text(order.filled_notional, order.filled)


class OrdersQuery(AccountQuery):
    side = serializers.ChoiceField(choices=SIDES, required=False)
    state = serializers.ChoiceField(choices=STATES, required=False)
    kind = serializers.ChoiceField(choices=OrderKind.choices, required=False)
    client_order_id = serializers.UUIDField(required=False)
    venue_order_id = serializers.CharField(max_length=24, required=False)


class OrdersView(ListView[Order]):
    queryset = Order.objects.none()
    serializer_class = OrderSerializer
    query = OrdersQuery
    lookups = {
        "symbol": "instrument__symbol",
        "since": "created_at__gte",
        "until": "created_at__lt",
        "side": "side",
        "state": "state",
        "kind": "kind",
        "client_order_id": "client_order_id",
        "venue_order_id": "venue_order_id",
    }

    def visible(self, user: User, account: str | None, /) -> QuerySet[Order]:
        return Order.objects.filter(**own_or_asked(user, account)).select_related("instrument")

    @extend_schema(operation_id="orders", parameters=[OrdersQuery], responses=OrderSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Your orders by the time they were written down."""
        return self.answer(request)


class OrderView(APIView):
    @extend_schema(operation_id="order", responses=OrderSerializer)
    def get(self, request: Request, client_order_id: str) -> Response:
        """One order by our own id. Operators see every account's."""
        user = caller(request)
        rows = Order.objects.filter(client_order_id=client_order_id).select_related("instrument")
        order = (rows if user.is_staff else rows.filter(account__user=user)).first()
        if order is None:
            raise Http404
        return private(Response(OrderSerializer(order).data))


def average_text(notional: Decimal, quantity: Decimal) -> str | None:
    price = average(notional, quantity)
    return None if price is None else AmountField().to_representation(price)
