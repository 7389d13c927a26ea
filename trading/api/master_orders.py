"""REST: a manual trade of the master, for operators. Followers get the same trade, scaled."""

from __future__ import annotations

import uuid
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.permissions import IsAdminUser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from trading.api.fields import SymbolField
from trading.api.lists import private
from trading.api.orders import SIDES, OrderSerializer
from trading.domain.instrument import Side
from trading.models import Order
from trading.services import manual_orders, master_orders
from trading.services.clock import SYSTEM
from trading.services.master_orders import MasterOrderRefused

AMOUNTS = ("notional", "quantity", "fraction")
TEXT_MAX = 40
BY_HAND = "By hand"
#: What the caller wrote cannot be ordered; every other refusal is of the moment and may be gone later.
BAD_INPUT = frozenset({"amount", "fraction", "unknown_symbol", "below_minimum", "part_too_small"})


class MasterOrderSerializer(serializers.Serializer[object]):
    """A buy takes a notional or a quantity, a sale a fraction of the position. Amounts are text."""

    symbol = SymbolField()
    side = serializers.ChoiceField(choices=SIDES)
    notional = serializers.CharField(max_length=TEXT_MAX, required=False, help_text="Buy: US dollars.")
    quantity = serializers.CharField(max_length=TEXT_MAX, required=False, help_text="Buy: of the base asset.")
    fraction = serializers.CharField(
        max_length=TEXT_MAX,
        required=False,
        help_text="Sale: above 0 and at most 1, such as 1, 0.5 or 1/3; 1 if left out.",
    )
    client_order_id = serializers.UUIDField(
        required=False, help_text="Yours, new for each order: of calls with the same one only one orders."
    )
    reason = serializers.CharField(
        max_length=master_orders.REASON_MAX, required=False, default=BY_HAND, help_text="Shown to followers."
    )

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if isinstance(data, dict):
            numbers = [name for name in AMOUNTS if isinstance(data.get(name), int | float)]
            if numbers:
                raise serializers.ValidationError(
                    {name: ["Write amounts as text, so that no digit is lost."] for name in numbers}
                )
            if isinstance(data.get("client_order_id"), int):
                raise serializers.ValidationError({"client_order_id": ["Must be a valid UUID."]})
            unknown = sorted(str(name)[:40] for name in set(data) - set(self.fields))
            if unknown:
                raise serializers.ValidationError({name: ["There is no such field."] for name in unknown[:20]})
        found: dict[str, Any] = super().to_internal_value(data)
        return found


class RefusalSerializer(serializers.Serializer[object]):
    code = serializers.CharField()
    detail = serializers.CharField(help_text="A sentence.")


class MasterOrdersView(APIView):
    permission_classes = [IsAdminUser]

    @extend_schema(
        operation_id="master_order",
        request=MasterOrderSerializer,
        responses={200: OrderSerializer, 201: OrderSerializer, 400: RefusalSerializer, 409: RefusalSerializer},
    )
    def post(self, request: Request) -> Response:
        """Order now. 201: the order as it is written down; ask `orders` for what became of it.

        A call with a `client_order_id` may be repeated when its answer got lost, and keeps the id until its fate is known. If it
        ordered before, the answer is 200 and that order, whatever amount is named now. Without an id each call is a new order.
        """
        given = MasterOrderSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        asked = given.validated_data
        try:
            order, is_new = manual_orders.plan_once(
                asked.get("client_order_id") or uuid.uuid4(),
                symbol=asked["symbol"],
                side=Side(asked["side"]),
                amounts={name: asked.get(name) for name in AMOUNTS},
                reason=asked["reason"],
                clock=SYSTEM,
            )
        except MasterOrderRefused as refusal:
            return _refused(refusal.code, refusal.sentence)
        stored = Order.objects.select_related("instrument").get(pk=order.pk)
        answered = status.HTTP_201_CREATED if is_new else status.HTTP_200_OK
        return private(Response(OrderSerializer(stored).data, status=answered))


def _refused(code: str, sentence: str) -> Response:
    http = status.HTTP_400_BAD_REQUEST if code in BAD_INPUT else status.HTTP_409_CONFLICT
    return private(Response({"code": code, "detail": sentence}, status=http))
