"""What one user lets copying do with their money."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

MULTIPLIER_MAX = Decimal(10)
MAX_RISK_CEILING = Decimal("0.10")
OPEN_POSITIONS_MAX = 50
SLIPPAGE_MAX = Decimal("0.05")
SMALLEST = Decimal("0.000001")
CENT = Decimal("0.01")
DOLLARS_MAX = Decimal(10) ** 12
SYMBOLS_MAX = 500
SYMBOL = re.compile(r"[A-Z0-9.]{1,16}-USD")

# Validators format their messages, so a per cent sign is doubled.
_MULTIPLIER = "The multiplier is more than 0 and at most 10."
_MAX_RISK = "The risk per trade is more than 0 %% and at most 10 %% of your equity."
_ALLOCATION = "The allocation is at least 1 cent; leave it empty to let copying use the whole balance."
_POSITIONS = "Open positions are limited to a number from 1 to 50."
_DAILY_LOSS = "The daily loss limit is at least 1 cent; leave it empty for no limit."
_DRAWDOWN = "The drawdown limit is more than 0 %% and less than 100 %%; leave it empty for no limit."
_SLIPPAGE = "Slippage is from 0 %% to 5 %%."


def validate_symbols(value: Any) -> None:
    if not isinstance(value, list) or len(value) > SYMBOLS_MAX:
        raise ValidationError(f"This is a list of at most {SYMBOLS_MAX} symbols such as BEAM-USD.")
    wrong = [item for item in value if not isinstance(item, str) or not SYMBOL.fullmatch(item)]
    if wrong:
        raise ValidationError(f"“{str(wrong[0])[:40]}” is not a symbol; one looks like BEAM-USD.")
    if len(set(value)) != len(value):
        raise ValidationError("A symbol is listed twice.")


class CopyState(models.TextChoices):
    ACTIVE = "active", "Active"
    CLOSE_ONLY = "close_only", "Close only"
    OFF = "off", "Off"


class RiskSettings(models.Model):
    """Ratios are pure numbers (0.10 is ten per cent); `allocation` and `max_daily_loss` are US dollars.

    `stopped_at` is the user's own emergency stop; `close_only_until` is set by a tripped loss limit, and a far future
    instant means until the user resumes. Both block entries only.
    """

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="risk")
    state = models.CharField(max_length=12, choices=CopyState.choices, default=CopyState.ACTIVE)
    multiplier = models.DecimalField(
        max_digits=12,
        decimal_places=6,
        default=Decimal(1),
        validators=[MinValueValidator(SMALLEST, _MULTIPLIER), MaxValueValidator(MULTIPLIER_MAX, _MULTIPLIER)],
    )
    max_risk = models.DecimalField(
        max_digits=8,
        decimal_places=6,
        default=MAX_RISK_CEILING,
        validators=[MinValueValidator(SMALLEST, _MAX_RISK), MaxValueValidator(MAX_RISK_CEILING, _MAX_RISK)],
    )
    allocation = models.DecimalField(
        max_digits=24,
        decimal_places=8,
        null=True,
        blank=True,
        validators=[MinValueValidator(CENT, _ALLOCATION), MaxValueValidator(DOLLARS_MAX)],
    )
    max_open_positions = models.PositiveSmallIntegerField(
        default=8, validators=[MinValueValidator(1, _POSITIONS), MaxValueValidator(OPEN_POSITIONS_MAX, _POSITIONS)]
    )
    allowed_symbols = models.JSONField(default=list, blank=True, validators=[validate_symbols])
    denied_symbols = models.JSONField(default=list, blank=True, validators=[validate_symbols])
    max_daily_loss = models.DecimalField(
        max_digits=24,
        decimal_places=8,
        null=True,
        blank=True,
        validators=[MinValueValidator(CENT, _DAILY_LOSS), MaxValueValidator(DOLLARS_MAX)],
    )
    max_drawdown = models.DecimalField(
        max_digits=8,
        decimal_places=6,
        null=True,
        blank=True,
        validators=[MinValueValidator(SMALLEST, _DRAWDOWN), MaxValueValidator(Decimal("0.999999"), _DRAWDOWN)],
    )
    max_slippage = models.DecimalField(
        max_digits=8,
        decimal_places=6,
        default=Decimal("0.005"),
        validators=[MinValueValidator(Decimal(0), _SLIPPAGE), MaxValueValidator(SLIPPAGE_MAX, _SLIPPAGE)],
    )
    stopped_at = models.DateTimeField(null=True, blank=True)
    stop_reason = models.TextField(blank=True, default="")
    close_only_until = models.DateTimeField(null=True, blank=True)
    close_only_reason = models.TextField(blank=True, default="")
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = verbose_name_plural = "risk settings"
        constraints = [
            models.CheckConstraint(condition=Q(state__in=CopyState.values), name="risk_state_known"),
            models.CheckConstraint(
                condition=Q(multiplier__gt=0, multiplier__lte=MULTIPLIER_MAX), name="risk_multiplier_range"
            ),
            models.CheckConstraint(
                condition=Q(max_risk__gt=0, max_risk__lte=MAX_RISK_CEILING), name="risk_max_risk_range"
            ),
            models.CheckConstraint(
                condition=Q(allocation__isnull=True) | Q(allocation__gt=0), name="risk_allocation_positive"
            ),
            models.CheckConstraint(
                condition=Q(max_open_positions__gte=1, max_open_positions__lte=OPEN_POSITIONS_MAX),
                name="risk_open_positions_range",
            ),
            models.CheckConstraint(
                condition=Q(max_daily_loss__isnull=True) | Q(max_daily_loss__gt=0), name="risk_daily_loss_positive"
            ),
            models.CheckConstraint(
                condition=Q(max_drawdown__isnull=True) | Q(max_drawdown__gt=0, max_drawdown__lt=1),
                name="risk_drawdown_range",
            ),
            models.CheckConstraint(
                condition=Q(max_slippage__gte=0, max_slippage__lte=SLIPPAGE_MAX), name="risk_slippage_range"
            ),
        ]

    def closed(self, *, now: datetime) -> str:
        """Why nothing new is bought by these settings or a tripped limit, in a sentence; empty when something may be. The stop
        is another matter."""
        if self.state != CopyState.ACTIVE:
            return f"The risk settings say “{self.get_state_display()}”."
        if self.close_only_until is not None and self.close_only_until > now:
            return f"{(self.close_only_reason or 'A loss limit was reached').rstrip('.')}."
        return ""

    def __str__(self) -> str:
        return f"Risk settings of user {self.user_id}"

    def permits(self, symbol: str) -> bool:
        """Whether entries in `symbol` (BEAM-USD) are wanted; an empty allowed list allows everything not denied."""
        return symbol not in self.denied_symbols and (not self.allowed_symbols or symbol in self.allowed_symbols)
