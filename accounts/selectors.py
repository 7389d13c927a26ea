"""Reads about users, their keys and tokens; all of them are scoped to one user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from allauth.mfa.models import Authenticator
from knox.models import AuthToken

from accounts.models import Credential, KeyCheck, User


@dataclass(frozen=True, slots=True)
class TokenRow:
    """`key` is the token's beginning, which names it without giving it away."""

    key: str
    created_at: datetime
    expires_at: datetime | None


def active_credential(user: User) -> Credential | None:
    return user.credentials.filter(status=Credential.Status.ACTIVE).first()


def pending_credential(user: User) -> Credential | None:
    return user.credentials.filter(status=Credential.Status.PENDING).first()


def latest_key_check(user: User) -> KeyCheck | None:
    return user.key_checks.order_by("-requested_at", "-pk").first()


def tokens(user: User) -> Sequence[TokenRow]:
    rows = AuthToken.objects.filter(user=user).order_by("-created")
    return [TokenRow(key=row.token_key, created_at=row.created, expires_at=row.expiry) for row in rows]


def has_two_factor(user: User) -> bool:
    return bool(Authenticator.objects.filter(user=user).exists())
