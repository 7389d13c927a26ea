from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import RiskSettings
from accounts.services import risk
from accounts.services.risk import RiskRefused
from tests.accounts import keys
from tests.trading.services import master_books
from trading.models import Account

pytestmark = pytest.mark.django_db


def test_changes_are_saved_and_the_rest_stays() -> None:
    user = keys.user()
    changed = risk.change(user, {"max_risk": Decimal("0.05"), "denied_symbols": [" beam-usd ", "BEAM-USD", "btc-usd"]})
    assert changed.denied_symbols == ["BEAM-USD", "BTC-USD"]
    stored = RiskSettings.objects.get(user=user)
    assert (stored.max_risk, stored.multiplier) == (Decimal("0.05"), Decimal(1))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"multiplier": "0"}, "more than 0"),
        ({"multiplier": "NaN"}, "decimal"),
        ({"multiplier": "-1"}, "more than 0"),
        ({"multiplier": 0.5}, "as text"),
        ({"max_risk": "0.11"}, "at most 10 %"),
        ({"max_risk": "Infinity"}, "decimal"),
        ({"allocation": "0"}, "leave it empty"),
        ({"allocation": "1e30"}, "digits|less than"),
        ({"max_open_positions": 51}, "1 to 50"),
        ({"max_open_positions": "many"}, "integer"),
        ({"max_daily_loss": "-5"}, "leave it empty"),
        ({"max_drawdown": "1"}, "less than 100 %"),
        ({"max_slippage": "0.06"}, "0 % to 5 %"),
        ({"allowed_symbols": ["BEAM"]}, "looks like BEAM-USD"),
        ({"allowed_symbols": "BEAM-USD"}, "list"),
        ({"allowed_symbols": None}, "list of symbols"),
        ({"denied_symbols": {}}, "list of symbols"),
        ({"multiplier": Decimal("1e-999999999")}, "can be used"),
        ({"max_open_positions": Decimal("1e999999999")}, "can be used"),
        ({"allocation": "-1e-999999999"}, "can be used"),
        ({"allocation": "9" * 61}, "can be used"),
        ({"allocation": 10**400}, "can be used"),
        ({"multiplier": Decimal("sNaN")}, "decimal"),
        ({"max_open_positions": True}, "not a number"),
        ({"max_risk": ["0.05"]}, "not a number"),
        ({"state": 1}, "active, close_only or off"),
        ({"state": "paused"}, "paused"),
        ({"leverage": "10"}, "no setting called leverage"),
        ({"user": 1}, "no setting called user"),
        ({"stopped_at": None}, "no setting called"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence_and_changes_nothing(changes: dict[str, Any], sentence: str) -> None:
    user = keys.user()
    before = RiskSettings.objects.filter(user=user).values().get()
    with pytest.raises(RiskRefused, match=sentence):
        risk.change(user, {"denied_symbols": ["BTC-USD"]} | changes)
    assert RiskSettings.objects.filter(user=user).values().get() == before


def test_copying_is_not_switched_off_while_a_position_is_open() -> None:
    user = keys.user()
    account = Account.objects.create(user=user, role="follower", venue="v", iban="AA1", created_at=keys.NOW)
    position = keys.open_position(account)
    with pytest.raises(RiskRefused, match="close only"):
        risk.change(user, {"state": "off"})
    assert risk.change(user, {"state": "close_only"}).state == "close_only"
    position.is_open = False
    position.save()
    assert risk.change(user, {"state": "off"}).state == "off"


def test_a_denied_pair_that_is_gone_is_imported_and_one_by_another_name_is_not() -> None:
    user = keys.user()
    master_books.instrument("BTC-USD")
    denied = {"denied_symbols": ["MATIC-USD"]}
    with pytest.raises(RiskRefused, match="no pair MATIC-USD"):
        risk.change(user, denied)
    assert risk.change(user, denied, imported=True).denied_symbols == ["MATIC-USD"]
    with pytest.raises(RiskRefused, match="may mean BTC-USD"):
        risk.change(user, {"denied_symbols": ["XBT-USD"]}, imported=True)
    with pytest.raises(RiskRefused, match="no pair GONE-USD"):
        risk.change(user, {"allowed_symbols": ["GONE-USD"]}, imported=True)


def test_going_back_to_active_ends_a_close_only_period_and_other_changes_do_not() -> None:
    user = keys.user()
    RiskSettings.objects.update(close_only_until=timezone.now(), close_only_reason="Daily loss limit")
    assert risk.change(user, {"max_risk": "0.05"}).close_only_until is not None
    # A form and a PUT send the whole, whatever was changed.
    assert risk.change(user, {"state": "active", "multiplier": "0.5"}).close_only_until is not None
    assert risk.change(user, {"state": "close_only"}).close_only_until is not None
    resumed = risk.change(user, {"state": "active"})
    assert (resumed.close_only_until, resumed.close_only_reason) == (None, "")
