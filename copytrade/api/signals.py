"""REST: signals, the master's public facts."""

from __future__ import annotations

from django.conf import settings
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.views import caller
from accounts.models import User
from trading.api.fields import AmountField
from trading.api.lists import ListQuery, ListView
from trading.domain.instrument import Side
from trading.models import Signal, SignalKind

SIDES = [(side.value, side.value) for side in Side]
KIND_OF_SIDE = {Side.BUY.value: SignalKind.ENTRY.value, Side.SELL.value: SignalKind.EXIT.value}


class SignalFactsSerializer(serializers.Serializer[Signal]):
    """That the master's position changed. Quantity is of the base asset, notional US dollars."""

    id = serializers.IntegerField()
    sequence = serializers.IntegerField(help_text="Counts per symbol.")
    symbol = serializers.CharField(source="instrument.symbol")
    kind = serializers.ChoiceField(choices=SignalKind.choices)
    side = serializers.SerializerMethodField()
    quantity = AmountField()
    price = AmountField(help_text="Average of the executions it carries.")
    notional = AmountField()
    reason = serializers.CharField()
    executed_at = serializers.DateTimeField(help_text="The master's last fill it carries, Kraken's time.")
    created_at = serializers.DateTimeField()

    @extend_schema_field(serializers.ChoiceField(choices=SIDES))
    def get_side(self, signal: Signal) -> str:
        return Side.BUY.value if signal.kind == SignalKind.ENTRY else Side.SELL.value


class SignalSerializer(SignalFactsSerializer):
    strategy = serializers.CharField(help_text="Which strategy asked for the master's order; empty: none did.")
    strategy_version = serializers.CharField()
    parameters_hash = serializers.CharField(help_text="SHA-256 of the strategy's parameters.")
    master_equity = serializers.SerializerMethodField(
        help_text="The master's copy equity just before an entry. Told to operators, null to everybody else."
    )

    @extend_schema_field(AmountField(allow_null=True))
    def get_master_equity(self, signal: Signal) -> str | None:
        if signal.master_equity is None or not caller(self.context["request"]).is_staff:
            return None
        return AmountField().to_representation(signal.master_equity)


class SignalsQuery(ListQuery):
    kind = serializers.ChoiceField(choices=SignalKind.choices, required=False)
    side = serializers.ChoiceField(choices=SIDES, required=False)

    def validate_side(self, side: str) -> str:
        return KIND_OF_SIDE[side]


class SignalsView(ListView[Signal]):
    queryset = Signal.objects.none()
    serializer_class = SignalSerializer
    query = SignalsQuery
    lookups = {
        "symbol": "instrument__symbol",
        "since": "executed_at__gte",
        "until": "executed_at__lt",
        "kind": "kind",
        "side": "kind__exact",
    }

    def visible(self, _user: User, _account: str | None, /) -> QuerySet[Signal]:
        return Signal.objects.filter(account__venue=settings.VENUE).select_related("instrument")

    @extend_schema(operation_id="signals", parameters=[SignalsQuery], responses=SignalSerializer(many=True))
    def get(self, request: Request) -> Response:
        """What the master did, for everybody."""
        return self.answer(request)
