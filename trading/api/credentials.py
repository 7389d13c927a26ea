"""REST: the caller's Kraken key. Takes a key, tells its state, never gives anything of it back."""

from __future__ import annotations

from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import selectors
from accounts.api.serializers import KnownFieldsOnly
from accounts.api.views import OwnView
from accounts.models import Credential, User
from accounts.services import credentials
from trading.services import intake
from trading.services.clock import SYSTEM


class KeySerializer(serializers.Serializer[Credential]):
    api_key_hint = serializers.CharField(help_text="First and last four characters.")
    status = serializers.CharField()
    permissions = serializers.ListField(child=serializers.CharField())
    entries_blocked_reason = serializers.CharField()
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)
    checked_at = serializers.DateTimeField(allow_null=True)


class VerdictSerializer(serializers.Serializer[object]):
    requested_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
    accepted = serializers.BooleanField(allow_null=True)
    message = serializers.CharField()


class CredentialsSerializer(serializers.Serializer[object]):
    active = KeySerializer(allow_null=True)
    pending = KeySerializer(allow_null=True)
    check = VerdictSerializer(allow_null=True, help_text="The verdict on the key submitted last.")


class SubmittedKeySerializer(KnownFieldsOnly):
    api_key = serializers.CharField(max_length=200, write_only=True)
    api_secret = serializers.CharField(max_length=600, write_only=True)


class DetailSerializer(serializers.Serializer[object]):
    detail = serializers.CharField()


@method_decorator(sensitive_post_parameters("api_key", "api_secret"), name="dispatch")
class CredentialsView(OwnView):
    @extend_schema(operation_id="credentials", responses=CredentialsSerializer)
    def get(self, request: Request) -> Response:
        """The state of your Kraken key and the verdict on the one submitted last."""
        return Response(_state(_caller(request)))

    @extend_schema(
        operation_id="credentials_submit",
        request=SubmittedKeySerializer,
        responses={202: CredentialsSerializer, 400: OpenApiResponse(description="The key cannot be taken")},
    )
    def post(self, request: Request) -> Response:
        """Submit a key. It is sealed at once and checked at Kraken; ask again for the verdict."""
        given = SubmittedKeySerializer(data=request.data)
        given.is_valid(raise_exception=True)
        user = _caller(request)
        key, secret = given.validated_data["api_key"], given.validated_data["api_secret"]
        try:
            intake.submit(user, api_key=key, api_secret=secret, clock=SYSTEM)
        except credentials.KeyRefused as refusal:
            raise ValidationError({"detail": str(refusal)}) from None
        return Response(_state(user), status=status.HTTP_202_ACCEPTED)

    @extend_schema(operation_id="credentials_disconnect", responses={204: None, 409: DetailSerializer})
    def delete(self, request: Request) -> Response:
        """Destroy the stored key. Refused while copied positions are open."""
        refusal = intake.disconnect(_caller(request), clock=SYSTEM)
        if refusal:
            return Response({"detail": refusal}, status=status.HTTP_409_CONFLICT)
        return Response(status=status.HTTP_204_NO_CONTENT)


def _state(user: User) -> dict[str, object]:
    state = {
        "active": selectors.active_credential(user),
        "pending": selectors.pending_credential(user),
        "check": selectors.latest_key_check(user),
    }
    return dict(CredentialsSerializer(state).data)


def _caller(request: Request) -> User:
    assert isinstance(request.user, User), "the API is for authenticated users only"
    return request.user
