"""REST: copies, one outcome for every signal and follower."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.http import Http404
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.views import caller
from accounts.models import User
from copytrade.api.outcomes import OUTCOMES, outcome_of
from copytrade.api.signals import KIND_OF_SIDE, SIDES, SignalFactsSerializer
from copytrade.models import Cap, CopyOrder, CopyStatus, SkipReason
from copytrade.selectors import copies
from copytrade.selectors.copies import CopyRow
from trading.api.fields import AmountField, IdField
from trading.api.lists import ID_DIGITS_MAX, AccountQuery, ListView, own_or_asked, private, whole_number
from trading.api.orders import STATES, average_text
from trading.models import Order, SignalKind

SOURCES = [("live", "live"), ("cached", "cached"), ("unknown", "unknown")]
REASONS = [(reason.value, reason.value) for reason in SkipReason]


class SizingSerializer(serializers.Serializer[CopyOrder]):
    """How an entry came to its size, in US dollars: proportional, then capped. Null for exits and undecided copies."""

    equity = AmountField(allow_null=True, help_text="The follower's copy equity.")
    equity_as_of = serializers.DateTimeField(allow_null=True)
    equity_source = serializers.ChoiceField(choices=SOURCES, allow_null=True)
    proportional = AmountField(allow_null=True, help_text="Notional before any cap.")
    notional = AmountField(allow_null=True, help_text="Notional after the caps, at the signal's price.")
    cap = serializers.ChoiceField(
        choices=[(cap.value, cap.value) for cap in Cap], allow_null=True, help_text="Which limit reduced it."
    )


class CopiedOrderSerializer(serializers.Serializer[Order]):
    id = serializers.IntegerField()
    client_order_id = serializers.UUIDField()
    venue_order_id = IdField()
    state = serializers.ChoiceField(choices=STATES)
    side = serializers.ChoiceField(choices=SIDES)
    quantity = AmountField()
    limit_price = AmountField(allow_null=True)
    filled = AmountField()
    filled_notional = AmountField()
    average_price = serializers.SerializerMethodField()
    fee = AmountField()

    @extend_schema_field(AmountField(allow_null=True))
    def get_average_price(self, order: Order) -> str | None:
        return average_text(order.filled_notional, order.filled)


class TimesSerializer(serializers.Serializer[object]):
    master_filled_at = serializers.DateTimeField(help_text="Kraken's time.")
    signal_at = serializers.DateTimeField()
    sent_at = serializers.DateTimeField(allow_null=True)
    acknowledged_at = serializers.DateTimeField(allow_null=True)
    booked_at = serializers.DateTimeField(allow_null=True)


class CopySerializer(serializers.Serializer[CopyOrder]):
    """What one signal meant for one follower, including a skip and its reason."""

    id = serializers.IntegerField()
    account = serializers.IntegerField(source="account_id")
    signal = SignalFactsSerializer()
    kind = serializers.ChoiceField(choices=SignalKind.choices)
    status = serializers.ChoiceField(choices=CopyStatus.choices)
    outcome = serializers.SerializerMethodField(help_text="Status and order state in one word.")
    reason_code = serializers.SerializerMethodField(help_text="Null unless it was skipped or missed.")
    reason = serializers.SerializerMethodField(help_text="A sentence; empty when there is nothing to explain.")
    sizing = serializers.SerializerMethodField()
    order = CopiedOrderSerializer(allow_null=True, help_text="An exit's order may serve several signals.")
    times = serializers.SerializerMethodField()
    created_at = serializers.DateTimeField()
    decided_at = serializers.DateTimeField(allow_null=True)
    expires_at = serializers.DateTimeField(allow_null=True, help_text="An entry's end of life.")

    @extend_schema_field(serializers.ChoiceField(choices=OUTCOMES))
    def get_outcome(self, copy: CopyOrder) -> str:
        return outcome_of(copy).value

    @extend_schema_field(serializers.ChoiceField(choices=REASONS, allow_null=True))
    def get_reason_code(self, copy: CopyOrder) -> str | None:
        return copy.reason or None

    def get_reason(self, copy: CopyOrder) -> str:
        return CopyRow(copy).sentence

    @extend_schema_field(SizingSerializer)
    def get_sizing(self, copy: CopyOrder) -> dict[str, Any]:
        trace = dict(SizingSerializer(copy).data)
        return trace | {name: trace[name] or None for name in ("equity_source", "cap")}

    @extend_schema_field(TimesSerializer)
    def get_times(self, copy: CopyOrder) -> dict[str, Any]:
        order = copy.order
        instants = {
            "master_filled_at": copy.signal.executed_at,
            "signal_at": copy.signal.created_at,
            "sent_at": order.sent_at if order else None,
            "acknowledged_at": order.answered_at if order else None,
            "booked_at": order.booked_at if order else None,
        }
        return dict(TimesSerializer(instants).data)


class CopiesQuery(AccountQuery):
    side = serializers.ChoiceField(choices=SIDES, required=False)
    kind = serializers.ChoiceField(choices=SignalKind.choices, required=False)
    status = serializers.ChoiceField(choices=CopyStatus.choices, required=False)
    state = serializers.ChoiceField(choices=STATES, required=False, help_text="Of its order.")
    reason_code = serializers.ChoiceField(choices=REASONS, required=False)
    signal = serializers.IntegerField(required=False, min_value=1, max_value=10**ID_DIGITS_MAX)

    def validate_side(self, side: str) -> str:
        return KIND_OF_SIDE[side]


class CopiesView(ListView[CopyOrder]):
    queryset = CopyOrder.objects.none()
    serializer_class = CopySerializer
    query = CopiesQuery
    lookups = {
        "symbol": "signal__instrument__symbol",
        "since": "created_at__gte",
        "until": "created_at__lt",
        "kind": "kind",
        "side": "kind__exact",
        "status": "status",
        "state": "order__state",
        "reason_code": "reason",
        "signal": "signal_id",
    }

    def visible(self, user: User, account: str | None, /) -> QuerySet[CopyOrder]:
        return CopyOrder.objects.filter(**own_or_asked(user, account)).select_related("signal__instrument", "order")

    @extend_schema(operation_id="copies", parameters=[CopiesQuery], responses=CopySerializer(many=True))
    def get(self, request: Request) -> Response:
        """What every signal meant for you."""
        return self.answer(request)


class CopyView(APIView):
    @extend_schema(operation_id="copy", responses=CopySerializer)
    def get(self, request: Request, copy_id: str) -> Response:
        """One copy. Operators see every follower's."""
        number = whole_number(copy_id)
        found = copies.visible_to(caller(request)).filter(pk=number).first() if number is not None else None
        if found is None:
            raise Http404
        return private(Response(CopySerializer(found).data))
