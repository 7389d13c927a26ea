"""What the operator's admin does not show, and how it changes the settings of others."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import RiskSettings
from tests.accounts import keys
from tests.trading.services import master_books


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/admin/knox/authtoken/", "/admin/mfa/authenticator/"])
def test_tokens_and_second_factors_are_not_in_the_admin(admin_client: Client, path: str) -> None:
    assert admin_client.get("/admin/").status_code == 200
    assert admin_client.get(path).status_code == 404


@pytest.fixture
def theirs() -> RiskSettings:
    return keys.user().risk


def _form(admin_client: Client, theirs: RiskSettings) -> dict[str, str]:
    """What the admin's page would send back unchanged."""
    page = admin_client.get(f"/admin/accounts/risksettings/{theirs.pk}/change/").content.decode()
    sent = dict(re.findall(r'<input type="(?:text|number|hidden)" name="(\w+)" value="([^"]*)"', page))
    assert {"multiplier", "seen"} <= set(sent)
    assert not {"stopped_at", "stop_reason", "close_only_until", "close_only_reason"} & set(sent)
    return {**sent, "state": theirs.state, "allowed_symbols": "[]", "denied_symbols": "[]"}


def _send(admin_client: Client, theirs: RiskSettings, form: dict[str, str]) -> str:
    response = admin_client.post(f"/admin/accounts/risksettings/{theirs.pk}/change/", form)
    theirs.refresh_from_db()
    return "" if response.status_code == 302 else str(response.content.decode())


@pytest.mark.django_db
def test_a_superuser_changes_settings_by_the_rules_of_their_owner(admin_client: Client, theirs: RiskSettings) -> None:
    master_books.instrument()
    form = _form(admin_client, theirs)
    assert "at most 10 %" in _send(admin_client, theirs, {**form, "max_risk": "0.5"})
    assert "Kraken quotes no pair NOPE-USD" in _send(admin_client, theirs, {**form, "denied_symbols": '["NOPE-USD"]'})
    assert _send(admin_client, theirs, {**form, "multiplier": "0.5", "denied_symbols": ""}) == ""
    assert (theirs.multiplier, theirs.denied_symbols) == (0.5, [])


@pytest.mark.django_db
def test_the_admins_form_lifts_no_stop_and_overwrites_nothing_it_did_not_show(
    admin_client: Client, theirs: RiskSettings
) -> None:
    form = _form(admin_client, theirs)
    RiskSettings.objects.filter(pk=theirs.pk).update(
        stopped_at=timezone.now(), stop_reason="enough", close_only_until=timezone.now() + timedelta(hours=1)
    )
    assert _send(admin_client, theirs, {**form, "multiplier": "0.5", "stopped_at_0": "", "stopped_at_1": ""}) == ""
    assert (theirs.stop_reason, theirs.stopped_at is None, theirs.close_only_until is None) == ("enough", False, False)
    # Its owner has switched to close only since then.
    theirs.state = "close_only"
    theirs.save()
    assert "changed elsewhere" in _send(admin_client, theirs, {**form, "multiplier": "0.7"})
    assert (theirs.state, theirs.multiplier) == ("close_only", 0.5)
