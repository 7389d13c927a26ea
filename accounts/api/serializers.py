"""What the REST API says and takes about a user. Ratios are pure numbers (0.1 is ten per cent), amounts US dollars."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from rest_framework import serializers

from accounts.models import RiskSettings, User
from accounts.models.risk import CopyState
from accounts.services.risk import is_plain

_AMOUNTS = (serializers.DecimalField, serializers.IntegerField)


class MeSerializer(serializers.ModelSerializer[User]):
    is_operator = serializers.BooleanField(source="is_staff", read_only=True)

    class Meta:
        model = User
        fields = ("id", "email", "is_operator", "date_joined")
        read_only_fields = fields


class KnownFieldsOnly(serializers.Serializer[Any]):
    """Refuses a field it does not know: a misspelt one would be as if it had not been written."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if isinstance(data, dict):
            unknown = sorted(str(name)[:40] for name in set(data) - set(self.fields))
            if unknown:
                raise serializers.ValidationError({name: ["There is no such field."] for name in unknown[:20]})
        found: dict[str, Any] = super().to_internal_value(data)
        return found


class RiskSerializer(serializers.Serializer[RiskSettings]):
    """The limits themselves are checked by `accounts.services.risk`, with its sentences."""

    state = serializers.ChoiceField(choices=CopyState.choices)
    multiplier = serializers.DecimalField(max_digits=12, decimal_places=6, help_text="More than 0, at most 10.")
    max_risk = serializers.DecimalField(max_digits=8, decimal_places=6, help_text="Ratio of equity, at most 0.1.")
    allocation = serializers.DecimalField(max_digits=24, decimal_places=8, allow_null=True, required=False)
    max_open_positions = serializers.IntegerField(help_text="1 to 50.")
    allowed_symbols = serializers.ListField(
        child=serializers.CharField(max_length=24), required=False, help_text="Such as BEAM-USD; empty allows all."
    )
    denied_symbols = serializers.ListField(child=serializers.CharField(max_length=24), required=False)
    max_daily_loss = serializers.DecimalField(max_digits=24, decimal_places=8, allow_null=True, required=False)
    max_drawdown = serializers.DecimalField(
        max_digits=8, decimal_places=6, allow_null=True, required=False, help_text="Ratio, below 1."
    )
    max_slippage = serializers.DecimalField(max_digits=8, decimal_places=6, help_text="Ratio, at most 0.05.")
    close_only_until = serializers.DateTimeField(read_only=True, allow_null=True)
    close_only_reason = serializers.CharField(read_only=True)
    updated_at = serializers.DateTimeField(read_only=True)

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if isinstance(data, dict):
            floats = [name for name, value in data.items() if isinstance(value, float)]
            if floats:
                raise serializers.ValidationError(
                    {name: ["Write amounts as text, so that no digit is lost."] for name in floats}
                )
            # An empty text is no clear wish to lift a limit.
            blank = [name for name, value in data.items() if isinstance(value, str) and not value.strip()]
            if blank:
                raise serializers.ValidationError(
                    {name: ["Write a value, or null for no limit."] for name in blank[:20]}
                )
            amounts = {name for name, field in self.fields.items() if isinstance(field, _AMOUNTS)}
            odd = [name for name in amounts & set(data) if isinstance(data[name], str) and not is_plain(data[name])]
            if odd:
                raise serializers.ValidationError({name: ["Write it in plain digits."] for name in sorted(odd)})
            unknown = sorted(set(data) - set(self.fields))
            if unknown:
                raise serializers.ValidationError({name: ["There is no such setting."] for name in unknown[:20]})
        found: dict[str, Any] = super().to_internal_value(data)
        return found

    def to_representation(self, instance: RiskSettings) -> dict[str, Any]:
        found: dict[str, Any] = super().to_representation(instance)
        for name, value in found.items():
            amount = getattr(instance, name)
            if isinstance(amount, Decimal) and isinstance(value, str):
                found[name] = _plain(amount)
        return found


def _plain(value: Decimal) -> str:
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
