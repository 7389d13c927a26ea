"""What the operator's admin does not show."""

from __future__ import annotations

import pytest
from django.test import Client


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/admin/knox/authtoken/", "/admin/mfa/authenticator/"])
def test_tokens_and_second_factors_are_not_in_the_admin(admin_client: Client, path: str) -> None:
    assert admin_client.get("/admin/").status_code == 200
    assert admin_client.get(path).status_code == 404
