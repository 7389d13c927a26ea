"""The books: what was executed, what is managed, what the master did."""

from __future__ import annotations

from fractions import Fraction

from django.db import models

from trading.models.account import Account
from trading.models.fields import ExactDecimalField
from trading.models.market import Instrument
from trading.models.order import Order


class AssetBalance(models.Model):
    """One asset as BalanceEx last told it, which was when the account says; `as_of` is the reading that changed it."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="balances")
    asset = models.CharField(max_length=16)
    total = ExactDecimalField()
    hold = ExactDecimalField(default=0)
    as_of = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "asset"], name="one_balance_per_asset")]

    def __str__(self) -> str:
        return f"{self.total} {self.asset}"


class Position(models.Model):
    """The managed quantity of one account and instrument: a fold of executions and adjustments, and their lock."""

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="positions")
    instrument = models.ForeignKey(Instrument, on_delete=models.PROTECT, related_name="positions")
    managed = ExactDecimalField(default=0)
    cost = ExactDecimalField(default=0, help_text="Paid for what is still managed, fees included")
    realised = ExactDecimalField(default=0, help_text="Profit of what was sold, net of all fees")
    fees = ExactDecimalField(default=0)
    is_open = models.BooleanField(default=False)
    opened_at = models.DateTimeField(null=True, blank=True)
    exit_count = models.PositiveIntegerField(default=0)
    signal_count = models.PositiveIntegerField(default=0, help_text="Sequence of the last signal; the master's only")
    opened_sequence = models.PositiveIntegerField(
        null=True, blank=True, help_text="First signal whose fills this position holds; followers only"
    )
    settled_sequence = models.PositiveIntegerField(
        default=0,
        db_default=0,
        help_text="Nothing worth an order is owed by the master's exits up to this one; followers only",
    )
    round_trip = models.PositiveIntegerField(
        default=0, db_default=0, help_text="How often it was opened: the latest round trip"
    )
    updated_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "instrument"], name="one_position_per_instrument")]
        indexes = [
            models.Index(fields=["account"], condition=models.Q(is_open=True), name="open_positions"),
            models.Index(
                fields=["instrument", "settled_sequence"], condition=models.Q(is_open=True), name="unsettled_positions"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.managed} managed"


class SignalKind(models.TextChoices):
    ENTRY = "entry", "Entry"
    EXIT = "exit", "Exit"


class Signal(models.Model):
    """An immutable fact: the master's position changed, and followers' shall too. Sequence counts per instrument."""

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="signals")
    instrument = models.ForeignKey(Instrument, on_delete=models.PROTECT, related_name="signals")
    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="signals")
    sequence = models.PositiveIntegerField()
    kind = models.CharField(max_length=5, choices=SignalKind.choices)
    quantity = ExactDecimalField()
    price = ExactDecimalField(help_text="Average of the executions it carries")
    notional = ExactDecimalField()
    master_equity = ExactDecimalField(null=True, blank=True, help_text="Entries: the master's copy equity just before")
    managed_before = ExactDecimalField(null=True, blank=True, help_text="Exits: phi = quantity / managed_before")
    reason = models.CharField(max_length=300, blank=True)
    strategy = models.CharField(max_length=40, blank=True, help_text="Blank: no strategy asked for it")
    strategy_version = models.CharField(max_length=20, blank=True)
    parameters_hash = models.CharField(max_length=64, blank=True)
    executed_at = models.DateTimeField(help_text="The last execution it carries, Kraken's time")
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["account", "instrument", "sequence"], name="one_signal_per_sequence")
        ]
        indexes = [models.Index(fields=["instrument", "-sequence"], name="newest_signals")]

    def __str__(self) -> str:
        return f"{self.kind} {self.sequence}"

    @property
    def closed_fraction(self) -> Fraction:
        """Phi of an exit, exactly."""
        if self.managed_before is None:
            raise ValueError("only an exit signal closes a fraction")
        return Fraction(self.quantity) / Fraction(self.managed_before)


class Execution(models.Model):
    """One match at the exchange, booked once."""

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="executions")
    instrument = models.ForeignKey(Instrument, on_delete=models.PROTECT, related_name="executions")
    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="executions")
    signal = models.ForeignKey(Signal, null=True, blank=True, on_delete=models.PROTECT, related_name="executions")
    trade_id = models.CharField(max_length=24)
    side = models.CharField(max_length=4)
    quantity = ExactDecimalField()
    price = ExactDecimalField()
    notional = ExactDecimalField()
    fee = ExactDecimalField(help_text="In the quote asset")
    maker = models.BooleanField(default=False)
    executed_at = models.DateTimeField(help_text="Kraken's time")
    booked_at = models.DateTimeField()
    round_trip = models.PositiveIntegerField(default=0, db_default=0, help_text="Of its position, counted from 1")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "trade_id"], name="one_booking_per_trade")]
        indexes = [
            models.Index(fields=["account", "-id"], name="executions_of_account"),
            models.Index(fields=["account", "instrument", "round_trip"], name="executions_of_round_trip"),
        ]

    def __str__(self) -> str:
        return f"{self.side} {self.quantity} at {self.price}"


class AdjustmentKind(models.TextChoices):
    USER_REDUCED = "user_reduced", "Sold by hand"
    RELEASED = "released", "Handed to the user"


class Adjustment(models.Model):
    """Managed quantity that left without an order of ours. `after_sequence` places it among the signals."""

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="adjustments")
    instrument = models.ForeignKey(Instrument, on_delete=models.PROTECT, related_name="adjustments")
    kind = models.CharField(max_length=12, choices=AdjustmentKind.choices)
    managed_before = ExactDecimalField()
    managed_after = ExactDecimalField()
    value = ExactDecimalField(
        null=True, blank=True, help_text="Of what left, at the bid of that moment; null: not known"
    )
    after_sequence = models.PositiveIntegerField()
    round_trip = models.PositiveIntegerField(default=0, db_default=0, help_text="Of its position, counted from 1")
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.kind}: {self.managed_before} to {self.managed_after}"
