"""What one user lets copying do with their money."""

from __future__ import annotations

from decimal import Decimal

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

MULTIPLIER_MAX = Decimal(10)
MAX_RISK_CEILING = Decimal("0.10")
OPEN_POSITIONS_MAX = 50
SLIPPAGE_MAX = Decimal("0.05")
SMALLEST = Decimal("0.000001")


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
        validators=[MinValueValidator(SMALLEST), MaxValueValidator(MULTIPLIER_MAX)],
    )
    max_risk = models.DecimalField(
        max_digits=8,
        decimal_places=6,
        default=MAX_RISK_CEILING,
        validators=[MinValueValidator(SMALLEST), MaxValueValidator(MAX_RISK_CEILING)],
    )
    allocation = models.DecimalField(
        max_digits=24, decimal_places=8, null=True, blank=True, validators=[MinValueValidator(Decimal("0.01"))]
    )
    max_open_positions = models.PositiveSmallIntegerField(
        default=8, validators=[MinValueValidator(1), MaxValueValidator(OPEN_POSITIONS_MAX)]
    )
    allowed_symbols = models.JSONField(default=list, blank=True)
    denied_symbols = models.JSONField(default=list, blank=True)
    max_daily_loss = models.DecimalField(
        max_digits=24, decimal_places=8, null=True, blank=True, validators=[MinValueValidator(Decimal("0.01"))]
    )
    max_drawdown = models.DecimalField(
        max_digits=8,
        decimal_places=6,
        null=True,
        blank=True,
        validators=[MinValueValidator(SMALLEST), MaxValueValidator(Decimal("0.999999"))],
    )
    max_slippage = models.DecimalField(
        max_digits=8,
        decimal_places=6,
        default=Decimal("0.005"),
        validators=[MinValueValidator(Decimal(0)), MaxValueValidator(SLIPPAGE_MAX)],
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

    def __str__(self) -> str:
        return f"Risk settings of user {self.user_id}"

    def permits(self, symbol: str) -> bool:
        """Whether entries in `symbol` (BEAM-USD) are wanted; an empty allowed list allows everything not denied."""
        return symbol not in self.denied_symbols and (not self.allowed_symbols or symbol in self.allowed_symbols)
