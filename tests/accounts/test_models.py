from __future__ import annotations

from decimal import Decimal

import pytest
from django.db import IntegrityError, transaction

from accounts.models import RiskSettings, User
from tests.accounts import keys

pytestmark = pytest.mark.django_db


def test_every_user_has_risk_settings_from_the_first_row_on() -> None:
    risk = keys.user().risk
    assert (risk.state, risk.multiplier, risk.max_risk) == ("active", Decimal(1), Decimal("0.10"))
    assert (risk.max_open_positions, risk.max_slippage) == (8, Decimal("0.005"))


def test_an_address_in_capitals_is_the_same_person() -> None:
    keys.user("Reader@Example.com")
    assert User.objects.get().email == "reader@example.com"
    assert User.objects.get_by_natural_key("READER@example.com").pk == User.objects.get().pk
    with pytest.raises(IntegrityError), transaction.atomic():
        keys.user("READER@EXAMPLE.COM")


def test_the_database_refuses_an_address_in_capitals() -> None:
    keys.user()
    with pytest.raises(IntegrityError):
        User.objects.update(email="READER@example.com")


def test_a_user_needs_an_address() -> None:
    with pytest.raises(ValueError, match="e-mail"):
        User.objects.create_user("")


def test_a_user_without_a_password_cannot_log_in() -> None:
    assert not User.objects.create_user("a@example.com").has_usable_password()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("multiplier", "0"),
        ("multiplier", "10.000001"),
        ("max_risk", "0"),
        ("max_risk", "0.100001"),
        ("allocation", "0"),
        ("max_open_positions", "0"),
        ("max_open_positions", "51"),
        ("max_daily_loss", "0"),
        ("max_drawdown", "0"),
        ("max_drawdown", "1"),
        ("max_slippage", "-0.000001"),
        ("max_slippage", "0.050001"),
        ("state", "paused"),
    ],
)
def test_the_database_itself_holds_the_limits(field: str, value: str) -> None:
    keys.user()
    with pytest.raises(IntegrityError), transaction.atomic():
        RiskSettings.objects.update(**{field: value})


def test_a_denied_symbol_is_not_permitted_and_an_allowed_list_excludes_the_rest() -> None:
    assert RiskSettings(denied_symbols=["BEAM-USD"]).permits("BTC-USD")
    assert not RiskSettings(denied_symbols=["BEAM-USD"]).permits("BEAM-USD")
    assert not RiskSettings(allowed_symbols=["BTC-USD"]).permits("BEAM-USD")
