"""REST: what copying manages for the caller, and what it earned."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import User
from trading.api.fields import AmountField, amount_text
from trading.api.lists import ListQuery, ListView
from trading.domain.money import CONTEXT
from trading.models import MarketPrice, Position

STATES = [("open", "open"), ("closed", "closed")]


class PositionSerializer(serializers.Serializer[Position]):
    """US dollars unless said otherwise. Value and unrealised profit are null while the price is unknown."""

    symbol = serializers.CharField(source="instrument.symbol")
    state = serializers.SerializerMethodField()
    managed = AmountField(help_text="Base quantity that this system bought; nothing else is ever sold.")
    cost = AmountField(help_text="Paid for what is still managed, fees included.")
    price = serializers.SerializerMethodField(help_text="The bid.")
    price_as_of = serializers.SerializerMethodField()
    value = serializers.SerializerMethodField(method_name="value_at_bid", help_text="Managed quantity at the bid.")
    unrealised = serializers.SerializerMethodField(help_text="Value minus cost.")
    realised = AmountField(help_text="Profit of what was sold, net of all fees.")
    fees = AmountField(help_text="Paid so far; contained in cost and realised.")
    opened_at = serializers.DateTimeField(allow_null=True)
    updated_at = serializers.DateTimeField()

    @extend_schema_field(serializers.ChoiceField(choices=STATES))
    def get_state(self, position: Position) -> str:
        return "open" if position.is_open else "closed"

    @extend_schema_field(AmountField(allow_null=True))
    def get_price(self, position: Position) -> str | None:
        price = _price(position)
        return None if price is None else amount_text(price.bid)

    @extend_schema_field(serializers.DateTimeField(allow_null=True))
    def get_price_as_of(self, position: Position) -> object:
        price = _price(position)
        return None if price is None else serializers.DateTimeField().to_representation(price.as_of)

    @extend_schema_field(AmountField(allow_null=True))
    def value_at_bid(self, position: Position) -> str | None:
        value = _value(position)
        return None if value is None else amount_text(value)

    @extend_schema_field(AmountField(allow_null=True))
    def get_unrealised(self, position: Position) -> str | None:
        value = _value(position)
        return None if value is None else amount_text(CONTEXT.subtract(value, position.cost))


class PositionsQuery(ListQuery):
    state = serializers.ChoiceField(choices=STATES, required=False, help_text="Left out: both.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        return attrs | {"state": attrs["state"] == "open"} if "state" in attrs else attrs


class PositionsView(ListView[Position]):
    queryset = Position.objects.none()
    serializer_class = PositionSerializer
    query = PositionsQuery
    lookups = {
        "symbol": "instrument__symbol",
        "since": "updated_at__gte",
        "until": "updated_at__lt",
        "state": "is_open",
    }

    def visible(self, user: User, _account: str | None, /) -> QuerySet[Position]:
        return Position.objects.filter(account__user=user).select_related("instrument__price")

    @extend_schema(operation_id="positions", parameters=[PositionsQuery], responses=PositionSerializer(many=True))
    def get(self, request: Request) -> Response:
        """What is managed for you, per symbol; a closed position stays with what it earned."""
        return self.answer(request)


def _price(position: Position) -> MarketPrice | None:
    return getattr(position.instrument, "price", None)


def _value(position: Position) -> Decimal | None:
    if not position.managed:
        return Decimal(0)
    price = _price(position)
    return None if price is None else CONTEXT.multiply(position.managed, price.bid)
