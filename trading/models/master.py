"""The master's strategy: its due times, its cycles, its levels."""

from __future__ import annotations

from django.db import models

from trading.models.book import Position
from trading.models.fields import ExactDecimalField
from trading.models.market import Instrument
from trading.models.order import Order


class Schedule(models.Model):
    """When something is due next; whoever moves the row forward does the work."""

    name = models.CharField(max_length=60, primary_key=True)
    due_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class StrategyCycle(models.Model):
    due_at = models.DateTimeField()
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    strategy = models.CharField(max_length=40)
    version = models.CharField(max_length=20)
    parameters_hash = models.CharField(max_length=64)
    profile = models.CharField(max_length=20, blank=True)
    equity = ExactDecimalField(null=True, blank=True)
    problem = models.CharField(max_length=300, blank=True, help_text="Why no entry could be considered")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["strategy", "due_at"], name="one_cycle_per_due_time")]

    def __str__(self) -> str:
        return f"{self.strategy} {self.due_at:%H:%M:%S}"


class Candidate(models.Model):
    """What one cycle thought of one instrument: score by part, and every veto in order."""

    cycle = models.ForeignKey(StrategyCycle, on_delete=models.CASCADE, related_name="candidates")
    instrument = models.ForeignKey(Instrument, on_delete=models.CASCADE, related_name="+")
    candle_at = models.DateTimeField(null=True, blank=True, help_text="Start of the last closed candle, market time")
    score = models.FloatField()
    parts = models.JSONField(default=dict)
    vetoes = models.JSONField(default=list, help_text="[{code, sentence}], in order")
    order = models.ForeignKey(Order, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")

    def __str__(self) -> str:
        return f"{self.instrument_id}: {self.score}"


class Levels(models.Model):
    """Where the master leaves an open position."""

    position = models.OneToOneField(Position, on_delete=models.CASCADE, related_name="levels")
    entry_order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="+")
    strategy = models.CharField(max_length=40)
    version = models.CharField(max_length=20)
    parameters_hash = models.CharField(max_length=64)
    entry_price = ExactDecimalField()
    plan = models.JSONField(help_text="The strategy's own record of stop, targets and progress; prices as text")
    opened_market_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        verbose_name = verbose_name_plural = "levels"

    def __str__(self) -> str:
        return f"levels of {self.position_id}"


class EntryPlan(models.Model):
    """The levels an entry order will have once it fills."""

    order = models.OneToOneField(Order, on_delete=models.CASCADE, related_name="entry_plan")
    strategy = models.CharField(max_length=40)
    version = models.CharField(max_length=20)
    parameters_hash = models.CharField(max_length=64)
    plan = models.JSONField()
    market_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"plan of {self.order_id}"
