"""REST: who the caller is, and their risk settings."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.serializers import MeSerializer, RiskSerializer
from accounts.models import User
from accounts.services import risk


def caller(request: Request) -> User:
    """The authenticated user, typed."""
    assert isinstance(request.user, User), "the API is for authenticated users only"
    return request.user


class OwnView(APIView):
    """About the caller alone: whoever names something else in the address is told so, and nobody keeps a copy."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if request.query_params:
            named = sorted(request.query_params)[:20]
            raise ValidationError(
                {name[:40]: ["There is no such parameter: this is about you alone."] for name in named}
            )

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        found: Response = super().finalize_response(request, response, *args, **kwargs)
        found["Cache-Control"] = "no-store, private"
        return found


class MeView(OwnView):
    @extend_schema(operation_id="me", responses=MeSerializer)
    def get(self, request: Request) -> Response:
        """Who this token or session belongs to."""
        return Response(MeSerializer(caller(request)).data)


class RiskView(OwnView):
    @extend_schema(operation_id="risk_settings", responses=RiskSerializer)
    def get(self, request: Request) -> Response:
        """What copying may do with your money."""
        return Response(RiskSerializer(caller(request).risk).data)

    @extend_schema(operation_id="risk_settings_replace", request=RiskSerializer, responses=RiskSerializer)
    def put(self, request: Request) -> Response:
        """Set every limit; lists and nullable limits that are left out become empty."""
        empty: dict[str, object] = {"allocation": None, "max_daily_loss": None, "max_drawdown": None}
        empty |= {"allowed_symbols": [], "denied_symbols": []}
        return self._change(request, partial=False, defaults=empty)

    @extend_schema(operation_id="risk_settings_change", request=RiskSerializer(partial=True), responses=RiskSerializer)
    def patch(self, request: Request) -> Response:
        """Set some limits and leave the others."""
        return self._change(request, partial=True, defaults={})

    def _change(self, request: Request, *, partial: bool, defaults: dict[str, object]) -> Response:
        user = caller(request)
        serializer = RiskSerializer(user.risk, data=request.data, partial=partial)
        serializer.is_valid(raise_exception=True)
        try:
            changed = risk.change(user, defaults | serializer.validated_data)
        except risk.RiskRefused as refusal:
            raise ValidationError(refusal.problems) from None
        return Response(RiskSerializer(changed).data)
