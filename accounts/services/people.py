"""Users made by an operator rather than by signing up."""

from __future__ import annotations

from allauth.account.models import EmailAddress
from django.contrib.auth.password_validation import validate_password
from django.db import transaction

from accounts.models import User


def create(email: str, *, password: str | None = None, operator: bool = False) -> User:
    """A user whose address counts as verified; without `password` they set one by resetting it.

    Raises django's ValidationError for a weak password.
    """
    user = User(email=email.lower())
    if password is not None:
        validate_password(password, user)
    with transaction.atomic():
        user = User.objects.create_user(email, password, is_staff=operator, is_superuser=operator)
        EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    return user
