"""REST: what the caller's Kraken account holds, and how far that can be trusted."""

from __future__ import annotations

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.views import OwnView, caller
from trading.api.fields import AmountField
from trading.domain.risk import BalanceSource
from trading.models import Account, AssetBalance, Role
from trading.selectors import assets, equity
from trading.services.clock import SYSTEM

SOURCES = [(source.value, source.value) for source in BalanceSource]


class AssetSerializer(serializers.Serializer[object]):
    """Amounts of the asset itself, null while the balance is unknown."""

    name = serializers.CharField(help_text="The usual name: USD, DOGE; Kraken's own where there is no other.")
    asset = serializers.CharField(help_text="Kraken's name: ZUSD is US dollars.")
    total = AmountField(allow_null=True, help_text="Including holds.")
    hold = AmountField(allow_null=True, help_text="Held by open orders.")
    available = AmountField(allow_null=True)


class BalancesSerializer(serializers.Serializer[object]):
    """US dollars. What is unknown is null, which is not zero."""

    account = serializers.IntegerField(allow_null=True, help_text="Null: no Kraken account is connected.")
    role = serializers.ChoiceField(choices=Role.choices, allow_null=True)
    source = serializers.ChoiceField(  # type: ignore[assignment]  # a declared field of this name hides nothing
        choices=SOURCES, help_text="live: at most 30 s old; cached: up to 300 s old; unknown: older or never read."
    )
    as_of = serializers.DateTimeField(allow_null=True, help_text="When Kraken last told the balance.")
    failing_since = serializers.DateTimeField(allow_null=True, help_text="Since when reading it fails.")
    problem = serializers.CharField(help_text="Why reading it fails; empty otherwise.")
    equity = AmountField(allow_null=True, help_text="What copying may count on: cash and managed positions.")
    cash = AmountField(allow_null=True, help_text="Including holds.")
    free_cash = AmountField(allow_null=True, help_text="Without holds and without what entries on their way may take.")
    reserved = AmountField(allow_null=True, help_text="What entries on their way may still take.")
    assets = AssetSerializer(many=True)


class BalancesView(OwnView):
    @extend_schema(operation_id="balances", responses=BalancesSerializer)
    def get(self, request: Request) -> Response:
        """Your balances as Kraken last told them."""
        rows = Account.objects.filter(user=caller(request), venue=settings.VENUE).select_related("user__risk")
        account = rows.first()
        found = _not_connected() if account is None else _known(account)
        return Response(BalancesSerializer(found).data)


def _known(account: Account) -> dict[str, object]:
    worth = equity.worth_of([account], now=SYSTEM.now())[account.pk]
    known = worth.source is not BalanceSource.UNKNOWN
    balances = assets.named(AssetBalance.objects.filter(account=account).order_by("asset"))
    return {
        "account": account.pk,
        "role": account.role,
        "source": worth.source.value,
        "as_of": worth.as_of,
        "failing_since": account.balances_failing_since,
        "problem": account.balances_error,
        "equity": worth.equity,
        "cash": worth.cash,
        "free_cash": worth.free_cash,
        "reserved": worth.reserved,
        "assets": [
            {
                "name": balance.name,
                "asset": balance.asset,
                "total": balance.total if known else None,
                "hold": balance.hold if known else None,
                "available": balance.total - balance.hold if known else None,
            }
            for balance in balances
        ],
    }


def _not_connected() -> dict[str, object]:
    unknown = dict.fromkeys(("account", "role", "as_of", "failing_since", "equity", "cash", "free_cash", "reserved"))
    return {**unknown, "source": BalanceSource.UNKNOWN.value, "problem": "", "assets": []}
