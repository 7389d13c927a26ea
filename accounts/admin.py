"""The operator's view of people and keys. Keys are looked at, never into."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allauth.account.decorators import secure_admin_login
from allauth.mfa.models import Authenticator
from django.contrib import admin
from django.http import HttpRequest
from knox.models import AuthToken

from accounts.forms import RiskAdminForm
from accounts.models import Credential, KeyCheck, RiskSettings, User
from accounts.services import risk

if TYPE_CHECKING:
    UserBase = admin.ModelAdmin[User]
    RiskBase = admin.ModelAdmin[RiskSettings]
    ReadOnlyBase = admin.ModelAdmin[Any]
else:
    UserBase = RiskBase = ReadOnlyBase = admin.ModelAdmin

# One door for everybody: two-factor and the limit of attempts hold for the admin too.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]
admin.site.site_header = "NIJA operator"
# Secrets of people, not of the operator: tokens are made on the account page, second factors on their own pages.
for secret_model in (AuthToken, Authenticator):
    if admin.site.is_registered(secret_model):
        admin.site.unregister(secret_model)
admin.site.site_title = "NIJA"


class ReadOnlyAdmin(ReadOnlyBase):
    def has_add_permission(self, _request: HttpRequest, *_: Any) -> bool:
        return False

    def has_change_permission(self, _request: HttpRequest, _obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, _request: HttpRequest, _obj: Any = None) -> bool:
        return False


@admin.register(User)
class UserAdmin(UserBase):
    list_display = ("email", "is_active", "is_staff", "date_joined", "last_login")
    list_filter = ("is_active", "is_staff")
    search_fields = ("email",)
    ordering = ("email",)
    fields = ("email", "is_active", "is_staff", "is_superuser", "date_joined", "last_login")
    readonly_fields = ("email", "date_joined", "last_login")

    def has_add_permission(self, _request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, _request: HttpRequest, _obj: User | None = None) -> bool:
        return False


@admin.register(RiskSettings)
class RiskSettingsAdmin(RiskBase):
    form = RiskAdminForm
    list_display = ("user", "state", "multiplier", "max_risk", "max_open_positions", "updated_at")
    list_filter = ("state",)
    search_fields = ("user__email",)
    # A stop and a tripped limit are lifted by resuming, not by a form that was opened before.
    readonly_fields = ("user", "stopped_at", "stop_reason", "close_only_until", "close_only_reason", "updated_at")
    fields = (
        "user",
        *risk.FIELDS,
        "stopped_at",
        "stop_reason",
        "close_only_until",
        "close_only_reason",
        "updated_at",
        "seen",
    )
    list_select_related = ("user",)

    def save_model(self, _request: HttpRequest, obj: RiskSettings, form: Any, _change: bool) -> None:
        risk.change(obj.user, form.changes(), seen=form.cleaned_data["seen"])

    def has_add_permission(self, _request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, _request: HttpRequest, _obj: RiskSettings | None = None) -> bool:
        return False


@admin.register(Credential)
class CredentialAdmin(ReadOnlyAdmin):
    list_display = ("user", "api_key_hint", "status", "venue", "checked_at", "entries_blocked_reason")
    list_filter = ("status", "venue")
    search_fields = ("user__email",)
    list_select_related = ("user",)
    fields = (
        "user",
        "venue",
        "role",
        "status",
        "api_key_hint",
        "iban",
        "permissions",
        "entries_blocked_reason",
        "created_at",
        "expires_at",
        "checked_at",
    )


@admin.register(KeyCheck)
class KeyCheckAdmin(ReadOnlyAdmin):
    list_display = ("user", "requested_at", "finished_at", "accepted", "message")
    list_filter = ("accepted",)
    search_fields = ("user__email",)
    list_select_related = ("user",)
    fields = ("user", "requested_at", "finished_at", "accepted", "message")
