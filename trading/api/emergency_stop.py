"""REST: the emergency stop, of the platform by operators and of one account by its owner."""

from __future__ import annotations

from enum import StrEnum

from django.conf import settings
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import APIException, PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from accounts.api.serializers import KnownFieldsOnly
from accounts.api.throttles import CallerThrottle
from accounts.api.views import caller
from accounts.models import RiskSettings, User
from trading.api.lists import private
from trading.models import Account
from trading.services import halts
from trading.services.clock import SYSTEM

REASON_MAX = 200
NO_REASON = "stopped by REST"


class Scope(StrEnum):
    PLATFORM = "platform"
    ACCOUNT = "account"


SCOPES = [(scope.value, scope.value) for scope in Scope]
SCOPE_HELP = "Left out: the platform for operators, the own account for everybody else."


class NotConnected(APIException):
    status_code = status.HTTP_409_CONFLICT
    default_detail = "No Kraken account is connected, so there is nothing to stop or to resume."
    default_code = "not_connected"


class PlatformStopSerializer(serializers.Serializer[object]):
    stopped = serializers.BooleanField()
    stopped_at = serializers.DateTimeField(allow_null=True)
    reason = serializers.CharField()
    changed_by = serializers.CharField(allow_null=True, help_text="Told to operators.")
    entries_blocked = serializers.BooleanField(help_text="By ENTRY_BLOCKING in the environment, whatever is stopped.")


class AccountStopSerializer(serializers.Serializer[RiskSettings]):
    stopped = serializers.SerializerMethodField()
    stopped_at = serializers.DateTimeField(allow_null=True)
    reason = serializers.CharField(source="stop_reason")
    close_only_until = serializers.DateTimeField(
        allow_null=True,
        help_text="A loss limit has tripped; resuming lifts it. A daily one trips again at once unless it was raised.",
    )
    close_only_reason = serializers.CharField()

    def get_stopped(self, risk: RiskSettings) -> bool:
        return risk.stopped_at is not None


class StopStateSerializer(serializers.Serializer[object]):
    """Stopped means that no new entry is sent. Exits go on."""

    platform = PlatformStopSerializer()
    account = AccountStopSerializer(help_text="The caller's own.")


class StopSerializer(serializers.Serializer[object]):
    reason = serializers.CharField(max_length=REASON_MAX, required=False, allow_blank=True, default=NO_REASON)
    scope = serializers.ChoiceField(choices=SCOPES, required=False, help_text=SCOPE_HELP)


class ScopeSerializer(KnownFieldsOnly):
    """Stricter than a stop, which passes over fields it does not know: a misspelt scope must not resume everybody."""

    scope = serializers.ChoiceField(choices=SCOPES, required=False, help_text=SCOPE_HELP)


class StopReportSerializer(serializers.Serializer[object]):
    """What the stop met."""

    scope = serializers.ChoiceField(choices=SCOPES)
    stopped_at = serializers.DateTimeField()
    followers = serializers.IntegerField(help_text="Followers whose entries are stopped.")
    already_sent = serializers.IntegerField(
        help_text="Entries that had left before the stop; the exits sell them again."
    )
    open_positions = serializers.IntegerField(help_text="Positions that stay open; their exits go on.")


class StopThrottle(CallerThrottle):
    """Apart from all other calls: a script that ran away must not keep its owner from stopping."""

    scope = "emergency-stop"


class EmergencyStopView(APIView):
    def get_throttles(self) -> list[BaseThrottle]:
        """A script that only asks spends what it may ask, not the stop's."""
        return super().get_throttles() if self.request.method == "GET" else [StopThrottle()]

    @extend_schema(operation_id="emergency_stop_state", responses=StopStateSerializer)
    def get(self, request: Request) -> Response:
        """Whether entries are stopped, for everybody and for you."""
        return private(Response(_state(caller(request))))

    @extend_schema(operation_id="emergency_stop", request=StopSerializer, responses=StopReportSerializer)
    def post(self, request: Request) -> Response:
        """Stop all entries at once. Exits go on."""
        given = StopSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        user = caller(request)
        scope = _scope(user, given.validated_data.get("scope"))
        reason = given.validated_data["reason"] or NO_REASON
        if scope is Scope.PLATFORM:
            report = halts.stop_platform(actor=user.email, reason=reason, clock=SYSTEM)
            stopped_at = halts.control().stopped_at
        else:
            report = halts.stop_account(_account(user), actor=user.email, reason=reason, clock=SYSTEM)
            stopped_at = _risk(user).stopped_at
        answer = {
            "scope": scope.value,
            "stopped_at": stopped_at,
            "followers": report.followers,
            "already_sent": report.already_sent,
            "open_positions": report.open_positions,
        }
        return private(Response(StopReportSerializer(answer).data))

    @extend_schema(
        operation_id="emergency_stop_resume",
        parameters=[OpenApiParameter("scope", enum=[scope.value for scope in Scope], description=SCOPE_HELP)],
        request=None,
        responses=StopStateSerializer,
    )
    def delete(self, request: Request) -> Response:
        """Let entries through again. The scope may also be given in a JSON body."""
        user = caller(request)
        scope = _scope(user, _scope_to_resume(request))
        if scope is Scope.PLATFORM:
            halts.resume_platform(actor=user.email, clock=SYSTEM)
        else:
            halts.resume_account(_account(user), actor=user.email, clock=SYSTEM)
        return private(Response(_state(user)))


def _scope(user: User, asked: str | None) -> Scope:
    """Raises PermissionDenied."""
    if asked is None:
        return Scope.PLATFORM if user.is_staff else Scope.ACCOUNT
    scope = Scope(asked)
    if scope is Scope.PLATFORM and not user.is_staff:
        raise PermissionDenied("Only operators stop or resume the platform; use the scope account for your own.")
    return scope


def _scope_to_resume(request: Request) -> str | None:
    """From the address or the body; two different answers resume nothing. Raises ValidationError."""
    found: set[str] = set()
    for data in (request.query_params, request.data):
        given = ScopeSerializer(data=data)
        given.is_valid(raise_exception=True)
        found |= {given.validated_data["scope"]} if "scope" in given.validated_data else set()
    if len(found) > 1:
        raise serializers.ValidationError({"scope": ["The address and the body name different scopes."]})
    return found.pop() if found else None


def _account(user: User) -> Account:
    """Raises NotConnected."""
    account = Account.objects.filter(user=user, venue=settings.VENUE).first()
    if account is None:
        raise NotConnected
    return account


def _risk(user: User) -> RiskSettings:
    return RiskSettings.objects.get(user=user)


def _state(user: User) -> dict[str, object]:
    control = halts.control()
    state = {
        "platform": {
            "stopped": control.stopped_at is not None,
            "stopped_at": control.stopped_at,
            "reason": control.reason,
            "changed_by": control.changed_by if user.is_staff else None,
            "entries_blocked": settings.ENTRY_BLOCKING,
        },
        "account": _risk(user),
    }
    return dict(StopStateSerializer(state).data)
