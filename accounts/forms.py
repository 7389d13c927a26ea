"""Signing up, and the risk settings as people fill them in: per cent instead of ratios, symbols as a line of text."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from allauth.account.forms import SignupForm as AllauthSignupForm
from django import forms
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse

from accounts.models import RiskSettings, User
from accounts.models.risk import CopyState
from accounts.services import risk

if TYPE_CHECKING:
    _ModelForm = forms.ModelForm[RiskSettings]
else:
    _ModelForm = forms.ModelForm

_PERCENT = Decimal(100)
_PERCENT_FIELDS = ("max_risk", "max_drawdown", "max_slippage")
_SYMBOL_FIELDS = ("allowed_symbols", "denied_symbols")
#: With every microsecond, since it is compared.
_SEEN = "%Y-%m-%dT%H:%M:%S.%f%z"
_SEPARATORS = re.compile(r"[\s,;]+")


class SignupForm(AllauthSignupForm):  # type: ignore[misc]  # the package has no types
    def try_save(self, request: HttpRequest) -> tuple[User | None, HttpResponse | None]:
        """An address that somebody signed up since it was looked at is answered as one that was known before."""
        try:
            with transaction.atomic():
                made: tuple[User | None, HttpResponse | None] = super().try_save(request)
        except IntegrityError:
            self.account_already_exists = True
            made = super().try_save(request)
        return made


class _PlainDecimalField(forms.DecimalField):
    """Without what Decimal() takes besides: digits of every script, 1_0 for ten, and what no arithmetic can bear."""

    def to_python(self, value: Any) -> Any:
        if isinstance(value, str) and not (risk.is_plain(value) and risk.is_writable(value)):
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid")
        return super().to_python(value)


def _amount(label: str, help_text: str, *, required: bool = True) -> forms.DecimalField:
    widget = forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"})
    messages = {"invalid": "Write a number, with a point for the decimals.", "required": "This needs a number."}
    return _PlainDecimalField(
        label=label, help_text=help_text, required=required, widget=widget, error_messages=messages
    )


class RiskForm(forms.Form):
    seen = forms.DateTimeField(required=False, widget=forms.HiddenInput, input_formats=[_SEEN])
    state = forms.ChoiceField(
        label="Copying",
        choices=[
            (CopyState.ACTIVE, "Active: entries and exits are copied"),
            (
                CopyState.CLOSE_ONLY,
                "Close only: nothing new is bought, open positions are still closed with the master",
            ),
            (CopyState.OFF, "Off: nothing is copied (possible once no copied position is open)"),
        ],
        widget=forms.RadioSelect,
    )
    multiplier = _amount(
        "Multiplier",
        "How large your trades are compared with the master's, in proportion to equity. 1 copies the master's share of "
        "equity, 0.5 half of it. From just above 0 to 10.",
    )
    max_risk = _amount(
        "Risk per trade, %",
        "One entry never uses more than this share of your equity. At most 10 %. Exits are never limited by it.",
    )
    allocation = _amount(
        "Allocation, US dollars",
        "Copying counts at most this much as your equity. Leave it empty to let it use your whole dollar balance.",
        required=False,
    )
    max_open_positions = forms.IntegerField(
        label="Open positions",
        help_text="While this many copied positions are open, further entries are skipped. From 1 to 50.",
        widget=forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off"}),
        error_messages={"invalid": "Write a whole number.", "required": "This needs a number."},
    )
    max_slippage = _amount(
        "Slippage, %",
        "Entries are sent with a limit this far above the price the master got; above it they are not filled. From 0 to 5 %.",
    )
    max_daily_loss = _amount(
        "Daily loss limit, US dollars",
        "When copied positions lose this much in a day, fees included, nothing new is bought until the next day (UTC). "
        "Empty for no limit.",
        required=False,
    )
    max_drawdown = _amount(
        "Drawdown limit, %",
        "When copied profit falls this far below its highest point, measured against your equity, nothing new is bought "
        "until you resume. Empty for no limit.",
        required=False,
    )
    allowed_symbols = forms.CharField(
        label="Only these symbols",
        help_text="Such as BTC-USD, ETH-USD. Empty copies every symbol that is not denied below.",
        required=False,
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
    )
    denied_symbols = forms.CharField(
        label="Never these symbols",
        help_text="Entries in these are skipped. What is already open is still closed.",
        required=False,
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
    )

    @classmethod
    def of(cls, settings: RiskSettings) -> RiskForm:
        initial: dict[str, Any] = {name: getattr(settings, name) for name in cls.base_fields if name != "seen"}
        for name in _PERCENT_FIELDS:
            initial[name] = None if initial[name] is None else initial[name] * _PERCENT
        for name, value in initial.items():
            if isinstance(value, Decimal):
                initial[name] = _short(value)
        for name in _SYMBOL_FIELDS:
            initial[name] = ", ".join(initial[name])
        initial["seen"] = settings.updated_at.strftime(_SEEN)
        return cls(initial=initial, label_suffix="")

    def changes(self) -> dict[str, Any]:
        """What the form says, as the service takes it. Call on a valid form."""
        found = {name: value for name, value in self.cleaned_data.items() if name != "seen"}
        for name in _PERCENT_FIELDS:
            found[name] = None if found[name] is None else found[name] / _PERCENT
        for name in _SYMBOL_FIELDS:
            found[name] = [part for part in _SEPARATORS.split(found[name]) if part]
        return found


class RiskAdminForm(_ModelForm):
    """Looks as the model does and changes as its owner would: by the same rules, and only what it showed."""

    seen = forms.DateTimeField(required=False, widget=forms.HiddenInput, input_formats=[_SEEN])

    class Meta:
        model = RiskSettings
        fields = risk.FIELDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["seen"] = self.instance.updated_at.strftime(_SEEN)

    def changes(self) -> dict[str, Any]:
        """What the form says, as the service takes it. Call on a valid form."""
        return {
            name: self.cleaned_data[name] or [] if name in _SYMBOL_FIELDS else self.cleaned_data[name]
            for name in risk.FIELDS
        }

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if self.errors:
            return cleaned
        try:
            with transaction.atomic():
                risk.change(self.instance.user, self.changes(), seen=cleaned["seen"])
                # Only a try: saving does it.
                transaction.set_rollback(True)
        except risk.RiskRefused as refusal:
            for name, sentences in refusal.problems.items():
                self.add_error(name if name in self.fields else None, sentences)
        return cleaned


def _short(value: Decimal) -> str:
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
