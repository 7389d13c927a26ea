"""Whose account it is, the lane its requests travel on, and the row that stops everybody."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from trading.models.fields import ExactDecimalField


class Role(models.TextChoices):
    MASTER = "master", "Master"
    FOLLOWER = "follower", "Follower"


class Account(models.Model):
    """One Kraken account on one venue. Claims of entries lock this row, so caps and cash are never spent twice."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="trading_account")
    role = models.CharField(max_length=8, choices=Role.choices)
    venue = models.CharField(max_length=200)
    iban = models.CharField(max_length=64, help_text="Kraken's public account number")
    created_at = models.DateTimeField()

    # Set when something happened that we cannot explain; entries wait for a person. Exits never read it.
    held_at = models.DateTimeField(null=True, blank=True)
    held_reason = models.CharField(max_length=300, blank=True)

    balances_as_of = models.DateTimeField(null=True, blank=True)
    balances_tried_at = models.DateTimeField(null=True, blank=True)
    balances_error = models.CharField(max_length=300, blank=True)
    balances_failing_since = models.DateTimeField(null=True, blank=True)
    last_fill_at = models.DateTimeField(null=True, blank=True, help_text="When we last booked an execution")

    taker_fee = ExactDecimalField(null=True, blank=True, help_text="Ratio: 0.008 is 0.8 %")
    maker_fee = ExactDecimalField(null=True, blank=True, help_text="Ratio")
    fees_as_of = models.DateTimeField(null=True, blank=True)

    # The master's: what it trades on Kraken outside NIJA is found in its trade history.
    trades_known_until = models.DateTimeField(
        null=True, blank=True, help_text="Every trade executed before this is accounted for; Kraken's time"
    )
    trades_read_at = models.DateTimeField(
        null=True, blank=True, help_text="When the last complete reading began; our clock"
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["venue", "iban"], name="one_account_per_kraken_account"),
            models.UniqueConstraint(
                fields=["venue"], condition=models.Q(role="master"), name="exactly_one_master_per_venue"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.role} {self.pk}"


class Lane(models.Model):
    """The one road to Kraken of one API key: its nonce counter, its lease, its rate budget (DESIGN section 4, Lanes)."""

    credential = models.OneToOneField("accounts.Credential", on_delete=models.CASCADE, related_name="lane")
    last_nonce = models.BigIntegerField(default=0)
    epoch = models.BigIntegerField(default=0)
    owner = models.CharField(max_length=80, blank=True)
    leased_until = models.DateTimeField(null=True, blank=True)
    # The last lease ended without being given back: its request may still be on the wire.
    needs_fence = models.BooleanField(default=False)
    rate_points = models.FloatField(default=0.0, help_text="REST call counter as of rate_at")
    rate_at = models.DateTimeField(null=True, blank=True)
    blocked_until = models.DateTimeField(null=True, blank=True, help_text="Kraken told this key to wait")
    locked_out_until = models.DateTimeField(
        null=True, blank=True, help_text="Kraken locked this key out; until then not even an exit is tried"
    )

    def __str__(self) -> str:
        return f"lane {self.pk}"


class Control(models.Model):
    """The platform's stop: one row, read by every claim of an entry in its own transaction."""

    SINGLETON = 1

    id = models.PositiveSmallIntegerField(primary_key=True, default=SINGLETON)
    stopped_at = models.DateTimeField(null=True, blank=True)
    reason = models.CharField(max_length=200, blank=True)
    changed_by = models.CharField(max_length=254, blank=True)
    changed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="one_control_row")]

    def __str__(self) -> str:
        return "stopped" if self.stopped_at else "running"


class Venue(models.Model):
    """What we know of an exchange: its clock, its condition, since when it does not answer."""

    url = models.CharField(max_length=200, primary_key=True)
    offset_ms = models.IntegerField(null=True, blank=True, help_text="Kraken's clock minus ours")
    offset_error_ms = models.IntegerField(null=True, blank=True)
    offset_at = models.DateTimeField(null=True, blank=True)
    status = models.CharField(max_length=30, blank=True)
    answered_at = models.DateTimeField(null=True, blank=True)
    failing_since = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=300, blank=True)

    def __str__(self) -> str:
        return self.url
