"""REST tokens: stored as digests, shown once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from knox.models import AuthToken

from accounts.models import User
from accounts.vault import Secret

TOKENS_MAX = 20


class TokenRefused(Exception):
    """No token was made; the text says why."""


@dataclass(frozen=True, slots=True)
class NewToken:
    """`token` is told to its owner once; `expires_at` may be None."""

    key: str
    token: Secret
    expires_at: datetime | None


def create(user: User) -> NewToken:
    """Raises TokenRefused."""
    if not user.is_active:
        raise TokenRefused(f"{user.email} is disabled; a token of theirs would not work.")
    if AuthToken.objects.filter(user=user).count() >= TOKENS_MAX:
        raise TokenRefused(f"You have {TOKENS_MAX} tokens already. Revoke one that is not used any more.")
    row, token = AuthToken.objects.create(user=user)
    return NewToken(key=row.token_key, token=Secret(token), expires_at=row.expiry)


def revoke_all(user: User) -> int:
    """How many there were."""
    deleted, _ = AuthToken.objects.filter(user=user).delete()
    return int(deleted)


def revoke(user: User, *, key: str) -> bool:
    """False when this user has no such token."""
    deleted, _ = AuthToken.objects.filter(user=user, token_key=key).delete()
    return bool(deleted)
