"""Orders: written before they are sent, sent at most once."""

from __future__ import annotations

import uuid

from django.db import models

from trading.domain import order_state
from trading.domain.instrument import Side
from trading.domain.order_state import OrderState
from trading.models.account import Account
from trading.models.fields import ExactDecimalField
from trading.models.market import Instrument


class OrderKind(models.TextChoices):
    ENTRY = "entry", "Entry"
    EXIT = "exit", "Exit"


class OrderOrigin(models.TextChoices):
    STRATEGY = "strategy", "Strategy"
    MANUAL = "manual", "By hand"
    COPY = "copy", "Copy"
    OUTSIDE = "outside", "Outside NIJA"


class Order(models.Model):
    """One instruction to the exchange. Our identity is this row; Kraken's `cl_ord_id` is unique among open orders only."""

    client_order_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="orders")
    instrument = models.ForeignKey(Instrument, on_delete=models.PROTECT, related_name="orders")
    kind = models.CharField(max_length=5, choices=OrderKind.choices)
    origin = models.CharField(max_length=8, choices=OrderOrigin.choices)
    signal = models.ForeignKey("trading.Signal", null=True, blank=True, on_delete=models.PROTECT, related_name="orders")
    exit_number = models.PositiveIntegerField(
        null=True, blank=True, help_text="n-th exit of this account and instrument"
    )
    side = models.CharField(max_length=4, choices=[(s.value, s.value) for s in Side])
    quantity = ExactDecimalField()
    limit_price = ExactDecimalField(null=True, blank=True, help_text="Null: a market order")
    reason = models.CharField(max_length=300, blank=True, help_text="Why this order exists")
    strategy = models.CharField(max_length=40, blank=True, help_text="Blank: no strategy asked for it")
    strategy_version = models.CharField(max_length=20, blank=True)
    parameters_hash = models.CharField(max_length=64, blank=True)

    state = models.CharField(max_length=10, choices=[(s.value, s.value) for s in OrderState])
    refusal = models.CharField(max_length=300, blank=True, help_text="Why it was refused, missed or not placed")
    venue_order_id = models.CharField(max_length=24, blank=True)
    venue_status = models.CharField(max_length=12, blank=True)
    filled = ExactDecimalField(default=0)
    filled_notional = ExactDecimalField(default=0)
    fee = ExactDecimalField(default=0)
    equity_before = ExactDecimalField(
        null=True, blank=True, help_text="The account's copy equity just before the order"
    )

    nonce = models.BigIntegerField(null=True, blank=True)
    lane_epoch = models.BigIntegerField(null=True, blank=True)
    lane = models.ForeignKey("trading.Lane", null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    sent_offset_ms = models.IntegerField(
        default=0, help_text="Kraken's clock before ours when it was sent, as we knew it"
    )
    deadline = models.DateTimeField(null=True, blank=True, help_text="By our clock; Kraken refuses it later")
    expires_at = models.DateTimeField(null=True, blank=True, help_text="An entry's end of life")

    created_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True, blank=True, help_text="SENDING was committed")
    answered_at = models.DateTimeField(null=True, blank=True)
    booked_at = models.DateTimeField(null=True, blank=True)
    closed_at = models.DateTimeField(null=True, blank=True, help_text="Final, by our clock")
    booking_tried_at = models.DateTimeField(null=True, blank=True)

    # Reconciliation of an unknown outcome.
    unknown_at = models.DateTimeField(null=True, blank=True)
    lookups_empty = models.PositiveSmallIntegerField(default=0)
    looked_up_at = models.DateTimeField(null=True, blank=True)
    absent_at = models.DateTimeField(
        null=True, blank=True, help_text="Kraken's time when its lists lacked it again and had to have it"
    )
    history_pages = models.PositiveSmallIntegerField(
        default=0, help_text="Pages of the account's trades that were searched for it in vain"
    )
    alerted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["signal", "account"], condition=models.Q(kind="entry"), name="one_entry_per_signal_and_account"
            ),
            models.UniqueConstraint(
                fields=["account", "instrument", "exit_number"],
                condition=models.Q(kind="exit"),
                name="one_exit_per_number",
            ),
            models.UniqueConstraint(
                fields=["account", "instrument"],
                # What the master sells on Kraken by hand is not ours to number or to delay.
                condition=models.Q(kind="exit", state__in=sorted(order_state.LIVE)) & ~models.Q(origin="outside"),
                name="one_live_exit_per_account_and_instrument",
            ),
            models.UniqueConstraint(
                fields=["account", "venue_order_id"],
                condition=~models.Q(venue_order_id=""),
                name="one_row_per_venue_order",
            ),
        ]
        indexes = [
            models.Index(
                fields=["state", "kind", "account"],
                condition=models.Q(state__in=sorted(order_state.LIVE)),
                name="live_orders",
            ),
            models.Index(fields=["account", "-id"], name="orders_of_account"),
            models.Index(fields=["closed_at"], condition=models.Q(kind="exit", state="rejected"), name="refused_exits"),
        ]

    def __str__(self) -> str:
        return f"{self.side} {self.quantity} ({self.state})"
