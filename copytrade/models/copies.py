"""Fan-outs and copy orders."""

from __future__ import annotations

from django.db import models

from copytrade.domain.reasons import Cap as CapValue
from copytrade.domain.reasons import SkipReason as SkipReasonValue
from trading.models import Account, Instrument, Order, Signal, SignalKind
from trading.models.fields import ExactDecimalField

SkipReason = SkipReasonValue
Cap = CapValue


class CopyStatus(models.TextChoices):
    PENDING = "pending", "Pending"
    ORDERED = "ordered", "Ordered"
    SKIPPED = "skipped", "Skipped"
    MISSED = "missed", "Missed"


class FanOut(models.Model):
    """A signal that copytrade has taken: the unique row is the claim."""

    signal = models.OneToOneField(Signal, on_delete=models.PROTECT, related_name="fan_out")
    claimed_at = models.DateTimeField()
    followers = models.PositiveIntegerField()

    def __str__(self) -> str:
        return f"fan-out of {self.signal_id}"


class CopyOrder(models.Model):
    """One signal for one follower, including a skip and its reason. What became of a sent one is told by its order."""

    signal = models.ForeignKey(Signal, on_delete=models.PROTECT, related_name="copies")
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="copies")
    kind = models.CharField(max_length=5, choices=SignalKind.choices)
    status = models.CharField(max_length=8, choices=CopyStatus.choices, default=CopyStatus.PENDING)
    reason = models.CharField(max_length=24, choices=[(r.value, r.value) for r in SkipReasonValue], blank=True)
    sentence = models.CharField(max_length=300, blank=True, help_text="The reason in words, with what would change it")
    order = models.ForeignKey(Order, null=True, blank=True, on_delete=models.PROTECT, related_name="copies")
    expires_at = models.DateTimeField(null=True, blank=True, help_text="An entry's end of life")

    # How an entry was sized.
    equity = ExactDecimalField(null=True, blank=True)
    equity_as_of = models.DateTimeField(null=True, blank=True)
    equity_source = models.CharField(max_length=8, blank=True)
    proportional = ExactDecimalField(null=True, blank=True, help_text="Notional before any cap")
    notional = ExactDecimalField(null=True, blank=True, help_text="Notional after the caps, at the signal price")
    cap = models.CharField(max_length=12, choices=[(c.value, c.value) for c in CapValue], blank=True)

    created_at = models.DateTimeField()
    decided_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["signal", "account"], name="one_outcome_per_signal_and_follower")
        ]
        indexes = [
            models.Index(fields=["kind", "id"], condition=models.Q(status="pending"), name="pending_copies"),
            models.Index(fields=["account", "-id"], name="copies_of_account"),
        ]

    def __str__(self) -> str:
        return f"copy of {self.signal_id} for {self.account_id}: {self.status}"


class CloseInstruction(models.Model):
    """The owner asked to sell everything managed: an exit of the whole, placed among the signals by `after_sequence`."""

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="close_instructions")
    instrument = models.ForeignKey(Instrument, on_delete=models.PROTECT, related_name="+")
    after_sequence = models.PositiveIntegerField()
    actor = models.CharField(max_length=254)
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"close {self.instrument_id}"
