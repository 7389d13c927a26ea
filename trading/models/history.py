"""What happened: equity over time, and an append-only log of events."""

from __future__ import annotations

from django.db import models

from trading.models.account import Account
from trading.models.fields import ExactDecimalField
from trading.models.order import Order


class EquityPoint(models.Model):
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="equity_points")
    at = models.DateTimeField()
    equity = ExactDecimalField()
    cash = ExactDecimalField()
    profit = ExactDecimalField(help_text="Realised and unrealised since the start, net of fees")

    class Meta:
        indexes = [models.Index(fields=["account", "at"], name="equity_of_account")]

    def __str__(self) -> str:
        return f"{self.equity} at {self.at:%Y-%m-%d %H:%M}"


class EquityPeak(models.Model):
    """The point of an account's highest profit, the last of equals, so that a look at its drawdown need not read them all.

    Kept for accounts with a limit on it. It counts from `since`, when that last tripped, NULL from the beginning; the figures
    are NULL while no point was recorded since.
    """

    account = models.OneToOneField(Account, on_delete=models.CASCADE, primary_key=True, related_name="equity_peak")
    since = models.DateTimeField(null=True, blank=True)
    profit = ExactDecimalField(null=True, blank=True)
    equity = ExactDecimalField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.profit} since {self.since or 'the beginning'}"


class EventKind(models.TextChoices):
    STOPPED = "stopped", "Entries stopped"
    RESUMED = "resumed", "Entries resumed"
    ALERT = "alert", "Needs attention"
    HELD = "held", "Account held"
    KEY = "key", "API key"
    CLOSE_ALL = "close_all", "Close all positions"
    RELEASED = "released", "Positions handed over"
    LIFTED = "lifted", "Hold lifted"
    RESOLVED = "resolved", "Alert resolved"
    DECIDED = "decided", "Order decided"


class Event(models.Model):
    """Append-only: what a person or the engine did that somebody may ask about later.

    An alert names its `subject`: raised once while that stands. `resolved_at` is when a person had seen to it or it passed by
    itself; `ended_at` when its cause was gone, and only after that the same subject is raised again.
    """

    at = models.DateTimeField()
    kind = models.CharField(max_length=12, choices=EventKind.choices)
    account = models.ForeignKey(Account, null=True, blank=True, on_delete=models.PROTECT, related_name="events")
    order = models.ForeignKey(Order, null=True, blank=True, on_delete=models.PROTECT, related_name="events")
    actor = models.CharField(max_length=254, blank=True)
    message = models.CharField(max_length=500)
    subject = models.CharField(max_length=120, blank=True, help_text="Alerts: what it is about, such as order:12")
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolved_by = models.CharField(max_length=254, blank=True)
    resolution = models.CharField(max_length=500, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True, help_text="Alerts: when the cause was gone")
    mailed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["-at"], name="events_by_time"),
            models.Index(
                fields=["kind", "at"],
                condition=models.Q(resolved_at__isnull=True, kind__in=["alert", "held"]),
                name="open_alerts",
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["subject"],
                condition=models.Q(ended_at__isnull=True) & ~models.Q(subject=""),
                name="one_standing_alert_per_subject",
            )
        ]

    def __str__(self) -> str:
        return self.message


class InspectionKind(models.TextChoices):
    BOOKS = "books", "Check of the books"
    DIAGNOSIS = "diagnosis", "Diagnosis of the accounts"
    ORDER = "order", "A person's decision about an order"


class Inspection(models.Model):
    """Somebody asked whether all is well; the execution process, which can ask Kraken, writes the answer here."""

    kind = models.CharField(max_length=10, choices=InspectionKind.choices)
    asked_at = models.DateTimeField()
    asked_by = models.CharField(max_length=254, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    findings_count = models.PositiveIntegerField(default=0, help_text="What is wrong; 0 is all well")
    report = models.JSONField(default=dict, help_text="What was looked at and found; never a secret")

    class Meta:
        indexes = [models.Index(fields=["kind", "-asked_at"], name="inspections_by_time")]

    def __str__(self) -> str:
        return f"{self.kind} {self.asked_at:%Y-%m-%d %H:%M:%S}"


class Pulse(models.Model):
    """When a queue's workers last did a task that does nothing but this; `since` is the start of the unbroken series."""

    queue = models.CharField(max_length=20, primary_key=True)
    at = models.DateTimeField(null=True, blank=True)
    since = models.DateTimeField()

    def __str__(self) -> str:
        return self.queue
