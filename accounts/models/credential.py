"""A user's Kraken key, sealed, and the verdicts on keys."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q


class Credential(models.Model):
    """One Kraken API key. `sealed` opens only in the execution process and only as this row of this user.

    `venue` is the KRAKEN_API_URL the key was made on; `fingerprint` the SHA-256 of the public half; `iban` names the Kraken
    account (known once the key was checked). A pending row lives until `expires_at`; a refused one is deleted.
    """

    class Status(models.TextChoices):
        PENDING = "pending", "Being checked"
        ACTIVE = "active", "Active"
        REPLACED = "replaced", "Replaced"
        DISCONNECTED = "disconnected", "Disconnected"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="credentials")
    venue = models.CharField(max_length=200)
    role = models.CharField(max_length=8, default="follower", help_text="What the account becomes: follower or master")
    version = models.PositiveIntegerField()
    status = models.CharField(max_length=12, choices=Status.choices, default=Status.PENDING)
    fingerprint = models.CharField(max_length=64)
    api_key_hint = models.CharField(max_length=16)
    sealed = models.BinaryField()
    iban = models.CharField(max_length=64, blank=True, default="")
    permissions = models.JSONField(default=list, blank=True)
    entries_blocked_reason = models.TextField(blank=True, default="")
    sees_all = models.BooleanField(
        default=True, db_default=True, help_text="No: Kraken shows it orders and trades of certain dates only"
    )
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True)
    checked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(status__in=["pending", "active", "replaced", "disconnected"]),
                name="credential_status_known",
            ),
            models.CheckConstraint(condition=Q(role__in=["follower", "master"]), name="credential_role_known"),
            models.UniqueConstraint(fields=["user", "version"], name="credential_version_once"),
            models.UniqueConstraint(fields=["user"], condition=Q(status="active"), name="credential_one_active"),
            models.UniqueConstraint(fields=["user"], condition=Q(status="pending"), name="credential_one_pending"),
            models.UniqueConstraint(
                fields=["fingerprint"], condition=Q(status__in=["pending", "active"]), name="credential_key_once"
            ),
            models.UniqueConstraint(
                fields=["venue", "iban"],
                condition=Q(status="active") & ~Q(iban=""),
                name="credential_kraken_account_once",
            ),
            models.CheckConstraint(
                condition=~Q(status="pending") | Q(expires_at__isnull=False), name="credential_pending_expires"
            ),
        ]

    def __str__(self) -> str:
        return f"Key {self.api_key_hint} of user {self.user_id}"


class KeyCheck(models.Model):
    """What became of one submitted key, in a sentence for its owner. Outlives a refused key and holds nothing of it."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="key_checks")
    credential_id = models.UUIDField()
    requested_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    accepted = models.BooleanField(null=True, blank=True)
    message = models.TextField(blank=True, default="")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["credential_id"], name="key_check_once_per_key"),
        ]
        indexes = [models.Index(fields=["user", "-requested_at"], name="key_check_latest")]

    def __str__(self) -> str:
        return f"Check of a key of user {self.user_id}"
