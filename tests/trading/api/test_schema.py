"""The API's description, the page to try it, and that no answer holds a key."""

from __future__ import annotations

import base64
import re
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.test import APIClient

from accounts.models import Credential
from accounts.services import credentials
from tests.accounts import keys
from tests.copytrade import books
from tests.trading.api import callers
from trading.models import Account, Order

pytestmark = pytest.mark.django_db
ADDRESSES = (
    "me", "balances", "positions", "orders", "fills", "signals", "copies", "settings/risk", "credentials",
    "emergency-stop", "master/orders",
)  # fmt: skip


def test_the_description_is_made_without_a_warning(tmp_path: Path) -> None:
    target = tmp_path / "schema.yml"
    call_command("spectacular", "--fail-on-warn", "--validate", "--file", str(target), stderr=StringIO())
    text = target.read_text()
    for address in ADDRESSES:
        assert f"/api/v1/{address}/:" in text, address


def test_the_description_is_told_to_anybody(client: Client) -> None:
    response = client.get("/api/v1/schema/")
    assert response.status_code == 200
    assert b"/api/v1/emergency-stop/" in response.content


def test_the_page_to_try_the_api_needs_nothing_from_elsewhere_and_no_inline_script(client: Client) -> None:
    page = client.get("/api/v1/docs/").content.decode()
    assert "swagger-ui" in page
    assert not re.search(r"(src|href)=\"https?://", page)
    assert not re.search(r"<script(?![^>]*\ssrc=)", page)
    assert "<style" not in page
    assert not re.search(r"<[^>]+\sstyle=", page)
    script = client.get("/api/v1/docs/?script=")
    assert script.status_code == 200
    assert "SwaggerUIBundle" in script.content.decode()


def _addresses() -> list[str]:
    """Every address of the API, as patterns."""

    def walk(patterns: list[URLPattern | URLResolver], prefix: str) -> list[str]:
        found: list[str] = []
        for entry in patterns:
            route = prefix + str(entry.pattern).removeprefix("^")
            found += walk(entry.url_patterns, route) if isinstance(entry, URLResolver) else [route]
        return found

    return [route for route in walk(get_resolver().url_patterns, "") if route.startswith("api/v1/")]


def test_no_answer_holds_a_key_in_clear_or_sealed() -> None:
    fleet = books.fleet()
    ann = books.follower(fleet, "ann@example.com")
    callers.fill(Order.objects.filter(account=ann)[0])
    Credential.objects.all().delete()
    secrets: list[str] = []
    for owner, status in ((fleet.master, "active"), (ann, "active"), (ann, "pending")):
        name = f"{owner.pk}{status}"
        api_key, api_secret = keys.pair(name)
        made = credentials.submit_key(owner.user, api_key=api_key, api_secret=api_secret, now=fleet.now)
        if status == "active":
            Credential.objects.filter(pk=made.pk).update(status=status, expires_at=None, iban=owner.iban)
        sealed = bytes(made.sealed)
        secrets += [api_key, api_secret, base64.b64encode(sealed).decode(), sealed.hex(), repr(sealed)[2:40]]
        secrets += [made.fingerprint, owner.iban]
    copy, order = ann.copies.all()[0], Order.objects.filter(account=ann)[0]
    read = 0
    for user in (ann.user, fleet.master.user, callers.operator()):
        client = callers.by_token(user)
        for route in _addresses():
            address = re.sub(r"\(\?P<client_order_id>[^)]*\)", str(order.client_order_id), route)
            address = re.sub(r"\(\?P<copy_id>[^)]*\)", str(copy.pk), address).replace("/?$", "/")
            for query in ("", "?account=all"):
                answer = _read(client, f"/{address}{query}")
                read += bool(answer)
                assert not [secret for secret in secrets if secret in answer], address
    assert read > 40
    assert Account.objects.count() == 2


def _read(client: APIClient, address: str) -> str:
    response = client.get(address)
    assert response.status_code in {200, 400, 403, 404, 405}, address
    headers = "".join(f"{name}: {value}" for name, value in response.headers.items())
    return headers + response.content.decode()
