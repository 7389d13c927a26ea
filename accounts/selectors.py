"""Reads about users and their keys."""

from __future__ import annotations

from accounts.models import Credential, KeyCheck, User


def active_credential(user: User) -> Credential | None:
    return user.credentials.filter(status=Credential.Status.ACTIVE).first()


def pending_credential(user: User) -> Credential | None:
    return user.credentials.filter(status=Credential.Status.PENDING).first()


def latest_key_check(user: User) -> KeyCheck | None:
    return user.key_checks.order_by("-requested_at", "-pk").first()
