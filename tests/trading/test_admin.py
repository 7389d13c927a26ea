from __future__ import annotations

import pytest
from django.contrib import admin
from django.test import RequestFactory

from accounts.models import Credential, User
from tests.trading.services import master_books
from trading import models

TRADING = [model for model in admin.site._registry if model._meta.app_label == "trading"]


@pytest.mark.parametrize("model", TRADING, ids=lambda model: model.__name__)
@pytest.mark.django_db
def test_an_operator_sees_the_books_and_changes_nothing(model: type[models.Order]) -> None:
    request = RequestFactory().get("/")
    request.user = User.objects.create_superuser("operator@example.com")
    page = admin.site._registry[model]
    assert page.has_view_permission(request)
    assert not page.has_add_permission(request)
    assert not page.has_change_permission(request)
    assert not page.has_delete_permission(request)
    assert page.changelist_view(request).render().status_code == 200


def test_all_money_rows_are_shown() -> None:
    money = {models.Order, models.Execution, models.Position, models.Adjustment, models.Signal, models.AssetBalance}
    assert money <= set(TRADING)


@pytest.mark.django_db
def test_a_lanes_page_shows_no_part_of_the_sealed_key() -> None:
    master_books.master()
    credential = Credential.objects.get()
    Credential.objects.update(sealed=b"sealed-bytes", fingerprint="f" * 64)
    lane = models.Lane.objects.create(credential=credential)
    request = RequestFactory().get("/")
    request.user = User.objects.create_superuser("operator@example.com")
    shown = admin.site._registry[models.Lane].change_view(request, str(lane.pk)).render().content.decode()
    assert "master@example.com" in shown
    assert "sealed" not in shown
    assert "f" * 64 not in shown
