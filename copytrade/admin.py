"""Plain Django admin for the operator: what was copied, read-only."""

from __future__ import annotations

from django.contrib import admin

from copytrade.models import CloseInstruction, CopyOrder, FanOut
from trading.admin import ReadOnlyAdmin


@admin.register(FanOut)
class FanOutAdmin(ReadOnlyAdmin):
    list_display = ("signal", "claimed_at", "followers")
    ordering = ("-pk",)


@admin.register(CopyOrder)
class CopyOrderAdmin(ReadOnlyAdmin):
    list_display = ("id", "signal", "account", "kind", "status", "reason", "order", "created_at")
    list_filter = ("status", "kind", "reason")
    list_select_related = ("signal__instrument", "account__user", "order")
    ordering = ("-pk",)


@admin.register(CloseInstruction)
class CloseInstructionAdmin(ReadOnlyAdmin):
    list_display = ("account", "instrument", "actor", "created_at")
    ordering = ("-pk",)
