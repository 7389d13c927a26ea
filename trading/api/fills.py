"""REST: fills, one per match at the exchange."""

from __future__ import annotations

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import User
from trading.api.fields import AmountField, IdField
from trading.api.lists import AccountQuery, ListView, own_or_asked
from trading.api.orders import SIDES
from trading.models import Execution, OrderKind


class FillSerializer(serializers.Serializer[Execution]):
    """Quantity, price and fee as Kraken told them."""

    trade_id = serializers.CharField(help_text="Kraken's.")
    account = serializers.IntegerField(source="account_id")
    order = serializers.IntegerField(source="order_id")
    client_order_id = serializers.UUIDField(source="order.client_order_id")
    venue_order_id = IdField(source="order.venue_order_id")
    symbol = serializers.CharField(source="instrument.symbol")
    kind = serializers.ChoiceField(choices=OrderKind.choices, source="order.kind")
    side = serializers.ChoiceField(choices=SIDES)
    quantity = AmountField()
    price = AmountField()
    notional = AmountField(help_text="US dollars.")
    fee = AmountField(help_text="US dollars.")
    maker = serializers.BooleanField()
    executed_at = serializers.DateTimeField(help_text="Kraken's time.")
    booked_at = serializers.DateTimeField()


class FillsQuery(AccountQuery):
    side = serializers.ChoiceField(choices=SIDES, required=False)
    client_order_id = serializers.UUIDField(required=False)
    venue_order_id = serializers.CharField(max_length=24, required=False)
    trade_id = serializers.CharField(max_length=24, required=False)


class FillsView(ListView[Execution]):
    queryset = Execution.objects.none()
    serializer_class = FillSerializer
    query = FillsQuery
    lookups = {
        "symbol": "instrument__symbol",
        "since": "executed_at__gte",
        "until": "executed_at__lt",
        "side": "side",
        "client_order_id": "order__client_order_id",
        "venue_order_id": "order__venue_order_id",
        "trade_id": "trade_id",
    }

    def visible(self, user: User, account: str | None, /) -> QuerySet[Execution]:
        return Execution.objects.filter(**own_or_asked(user, account)).select_related("instrument", "order")

    @extend_schema(operation_id="fills", parameters=[FillsQuery], responses=FillSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Your executions in the order they were booked."""
        return self.answer(request)
