"""The landing page, the error pages and what surrounds them."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import include, path

from accounts.models import User

pytestmark = pytest.mark.django_db


def _broken(_request: HttpRequest) -> HttpResponse:
    raise RuntimeError("this page is broken")


def _missing(_request: HttpRequest) -> HttpResponse:
    raise Http404


urlpatterns = [path("broken/", _broken), path("missing/", _missing), path("", include("nija.urls"))]
handler500 = "nija.views.server_error"


def test_a_visitor_reads_what_nija_is_and_what_it_risks(client: Client) -> None:
    page = client.get("/").content.decode()
    assert "Copying can lose money" in page
    assert "A key that can withdraw is refused" in page
    assert "Create an account" in page


def test_somebody_logged_in_goes_from_the_landing_page_to_their_dashboard(client: Client) -> None:
    client.force_login(User.objects.create_user("someone@example.com", "correct horse battery"))
    response = client.get("/")
    assert response.status_code == 302
    assert response["Location"] == "/dashboard/"


def test_a_page_that_names_no_icon_finds_one(client: Client) -> None:
    response = client.get("/favicon.ico")
    assert response.status_code == 302
    assert response["Location"].endswith(".svg")


def test_every_page_says_whether_money_is_real(client: Client) -> None:
    assert 'class="badge paper"' in client.get("/").content.decode()
    with override_settings(VENUE_IS_LOCAL=False):
        assert 'class="badge live"' in client.get("/").content.decode()


@override_settings(ROOT_URLCONF="tests.nija.test_pages")
def test_an_unknown_address_and_a_broken_page_are_answered_in_words(client: Client) -> None:
    missing = client.get("/missing/")
    assert missing.status_code == 404
    assert "There is nothing at this address" in missing.content.decode()
    client.raise_request_exception = False
    broken = client.get("/broken/")
    assert broken.status_code == 500
    assert "This page could not be made" in broken.content.decode()
    assert "this page is broken" not in broken.content.decode()


def test_a_form_without_its_token_is_refused_in_words() -> None:
    strict = Client(enforce_csrf_checks=True)
    response = strict.post("/accounts/login/", {"login": "a@example.com", "password": "x"})
    assert response.status_code == 403
    assert "This form has expired" in response.content.decode()


#: A report opens from disk, so it holds its styles and scripts, and brings a policy with the hash of each.
OPENS_FROM_DISK = "backtest.html"
TEMPLATES = {p.name for p in (settings.BASE_DIR / "templates").rglob("*.html")} - {OPENS_FROM_DISK}


@pytest.mark.parametrize("template", sorted(TEMPLATES))
def test_no_template_needs_more_than_the_strict_content_security_policy(template: str) -> None:
    (source,) = [p for p in (settings.BASE_DIR / "templates").rglob("*.html") if p.name == template][:1]
    text = source.read_text()
    assert not re.search(r"\sstyle\s*=", text)
    assert not re.search(r"\son[a-z]+\s*=\s*[\"']", text)
    assert not re.search(r"<style|<script(?![^>]*\bsrc=)", text)
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//(?!www\.w3\.org)", re.sub(r"<a [^>]*>", "", text))


def test_vendored_files_are_those_that_were_reviewed() -> None:
    vendor = Path(settings.BASE_DIR) / "nija" / "static" / "vendor"
    listed = dict(line.split()[::-1] for line in (vendor / "SHA256SUMS").read_text().splitlines())
    present = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in vendor.iterdir() if p.name != "SHA256SUMS"}
    assert present == listed
