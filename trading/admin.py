"""The books in Django's admin, to look at: nothing about money is added, changed or deleted there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from trading import models

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
    TabularInline = admin.TabularInline[models.Candidate, models.StrategyCycle]
else:
    ModelAdmin, TabularInline = admin.ModelAdmin, admin.TabularInline


class ReadOnlyAdmin(ModelAdmin):
    list_per_page = 50
    show_full_result_count = False
    actions = None

    def has_add_permission(self, _request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, _request: HttpRequest, _obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, _request: HttpRequest, _obj: Model | None = None) -> bool:
        return False


@admin.register(models.Account)
class AccountAdmin(ReadOnlyAdmin):
    list_display = ("id", "user", "role", "venue", "iban", "balances_as_of", "balances_error", "held_at", "held_reason")
    list_filter = ("role", "venue")
    search_fields = ("user__email", "iban")
    list_select_related = ("user",)


@admin.register(models.Lane)
class LaneAdmin(ReadOnlyAdmin):
    list_display = ("id", "user", "owner", "epoch", "leased_until", "needs_fence", "rate_points", "blocked_until")
    list_select_related = ("credential__user",)
    # The key's own row stays out of reach: not even its sealed form is shown.
    exclude = ("credential",)
    readonly_fields = ("user",)

    @admin.display(ordering="credential__user__email")
    def user(self, lane: models.Lane) -> str:
        return str(lane.credential.user)


@admin.register(models.Control)
class ControlAdmin(ReadOnlyAdmin):
    list_display = ("id", "stopped_at", "reason", "changed_by", "changed_at")


@admin.register(models.Venue)
class VenueAdmin(ReadOnlyAdmin):
    list_display = (
        "url",
        "status",
        "offset_ms",
        "offset_error_ms",
        "offset_at",
        "answered_at",
        "failing_since",
        "error",
    )


@admin.register(models.Instrument)
class InstrumentAdmin(ReadOnlyAdmin):
    list_display = (
        "symbol",
        "pair_id",
        "tick_size",
        "lot_size",
        "quantity_min",
        "notional_min",
        "tradable",
        "updated_at",
    )
    list_filter = ("tradable", "venue")
    search_fields = ("symbol", "pair_id", "altname")


@admin.register(models.MarketPrice)
class MarketPriceAdmin(ReadOnlyAdmin):
    list_display = ("instrument", "bid", "ask", "last", "as_of")
    search_fields = ("instrument__symbol",)
    list_select_related = ("instrument",)


@admin.register(models.AssetBalance)
class AssetBalanceAdmin(ReadOnlyAdmin):
    list_display = ("account", "asset", "total", "hold", "as_of")
    list_filter = ("asset",)
    search_fields = ("account__user__email",)
    list_select_related = ("account",)


@admin.register(models.Order)
class OrderAdmin(ReadOnlyAdmin):
    list_display = (
        "id",
        "created_at",
        "account",
        "instrument",
        "kind",
        "origin",
        "strategy",
        "side",
        "quantity",
        "limit_price",
        "state",
        "filled",
        "fee",
        "venue_order_id",
        "refusal",
    )
    list_filter = ("state", "kind", "origin", "strategy")
    search_fields = ("venue_order_id", "client_order_id", "account__user__email", "instrument__symbol")
    list_select_related = ("account", "instrument")
    date_hierarchy = "created_at"
    ordering = ("-id",)


@admin.register(models.Execution)
class ExecutionAdmin(ReadOnlyAdmin):
    list_display = (
        "trade_id",
        "executed_at",
        "account",
        "instrument",
        "side",
        "quantity",
        "price",
        "notional",
        "fee",
        "order",
    )
    list_filter = ("side",)
    search_fields = ("trade_id", "order__venue_order_id", "account__user__email", "instrument__symbol")
    list_select_related = ("account", "instrument", "order")
    ordering = ("-id",)


@admin.register(models.Position)
class PositionAdmin(ReadOnlyAdmin):
    list_display = (
        "account",
        "instrument",
        "managed",
        "cost",
        "realised",
        "fees",
        "is_open",
        "opened_at",
        "exit_count",
    )
    list_filter = ("is_open",)
    search_fields = ("account__user__email", "instrument__symbol")
    list_select_related = ("account", "instrument")


@admin.register(models.Adjustment)
class AdjustmentAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "account", "instrument", "kind", "managed_before", "managed_after", "after_sequence")
    list_filter = ("kind",)
    search_fields = ("account__user__email", "instrument__symbol")
    list_select_related = ("account", "instrument")
    ordering = ("-id",)


@admin.register(models.Signal)
class SignalAdmin(ReadOnlyAdmin):
    list_display = (
        "id",
        "created_at",
        "instrument",
        "sequence",
        "kind",
        "quantity",
        "price",
        "notional",
        "master_equity",
        "managed_before",
        "reason",
        "strategy",
        "strategy_version",
    )
    list_filter = ("kind", "strategy")
    search_fields = ("instrument__symbol", "reason")
    list_select_related = ("instrument",)
    ordering = ("-id",)


@admin.register(models.Schedule)
class ScheduleAdmin(ReadOnlyAdmin):
    list_display = ("name", "due_at")


class CandidateInline(TabularInline):
    model = models.Candidate
    fields = ("instrument", "candle_at", "score", "vetoes", "order")
    extra = 0
    can_delete = False


@admin.register(models.StrategyCycle)
class StrategyCycleAdmin(ReadOnlyAdmin):
    list_display = ("id", "due_at", "started_at", "finished_at", "strategy", "version", "profile", "equity", "problem")
    list_filter = ("strategy", "profile")
    inlines = (CandidateInline,)
    ordering = ("-id",)


@admin.register(models.Levels)
class LevelsAdmin(ReadOnlyAdmin):
    list_display = ("position", "instrument", "strategy", "version", "entry_price", "opened_market_at", "updated_at")
    list_select_related = ("position__instrument",)

    @admin.display
    def instrument(self, levels: models.Levels) -> str:
        return levels.position.instrument.symbol


@admin.register(models.EntryPlan)
class EntryPlanAdmin(ReadOnlyAdmin):
    list_display = ("order", "strategy", "version", "market_at")
    list_select_related = ("order",)
    ordering = ("-id",)


@admin.register(models.EquityPoint)
class EquityPointAdmin(ReadOnlyAdmin):
    list_display = ("at", "account", "equity", "cash", "profit")
    search_fields = ("account__user__email",)
    list_select_related = ("account",)
    ordering = ("-id",)


@admin.register(models.EquityPeak)
class EquityPeakAdmin(ReadOnlyAdmin):
    list_display = ("account", "since", "profit", "equity")
    search_fields = ("account__user__email",)
    list_select_related = ("account",)
    ordering = ("account",)


@admin.register(models.Event)
class EventAdmin(ReadOnlyAdmin):
    list_display = ("at", "kind", "account", "actor", "message", "resolved_at")
    list_filter = ("kind",)
    search_fields = ("message", "actor", "account__user__email")
    list_select_related = ("account",)
    ordering = ("-id",)
