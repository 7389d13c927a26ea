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


class EventKind(models.TextChoices):
    STOPPED = "stopped", "Entries stopped"
    RESUMED = "resumed", "Entries resumed"
    ALERT = "alert", "Needs attention"
    HELD = "held", "Account held"
    KEY = "key", "API key"
    CLOSE_ALL = "close_all", "Close all positions"


class Event(models.Model):
    """Append-only: what a person or the engine did that somebody may ask about later."""

    at = models.DateTimeField()
    kind = models.CharField(max_length=12, choices=EventKind.choices)
    account = models.ForeignKey(Account, null=True, blank=True, on_delete=models.PROTECT, related_name="events")
    order = models.ForeignKey(Order, null=True, blank=True, on_delete=models.PROTECT, related_name="events")
    actor = models.CharField(max_length=254, blank=True)
    message = models.CharField(max_length=500)
    resolved_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [models.Index(fields=["-at"], name="events_by_time")]

    def __str__(self) -> str:
        return self.message
