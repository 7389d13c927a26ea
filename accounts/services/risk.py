"""Changing what copying may do with a user's money."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.module_loading import import_string

from accounts.models import RiskSettings, User
from accounts.models.risk import CopyState

FIELDS = (
    "state",
    "multiplier",
    "max_risk",
    "allocation",
    "max_open_positions",
    "allowed_symbols",
    "denied_symbols",
    "max_daily_loss",
    "max_drawdown",
    "max_slippage",
)
_SYMBOL_FIELDS = ("allowed_symbols", "denied_symbols")
#: Longer texts, and powers of ten further out, are no amount of anything; writing one out could fill the memory.
_AMOUNT_CHARACTERS_MAX = 60
_CHANGED_ELSEWHERE = (
    "These settings were changed elsewhere since this page was opened. Nothing was saved: open the page anew, look, and make your "
    "change again."
)
_POWERS = range(-60, 61)


class RiskRefused(Exception):
    """Settings that cannot be; `problems` says by field what to change."""

    def __init__(self, problems: Mapping[str, list[str]]) -> None:
        super().__init__(" ".join(sentence for sentences in problems.values() for sentence in sentences))
        self.problems = dict(problems)


def change(
    user: User, changes: Mapping[str, Any], *, seen: datetime | None = None, imported: bool = False
) -> RiskSettings:
    """Apply `changes` (fields of `FIELDS`; ratios as ratios, amounts as Decimal or text) whole or not at all.

    `seen`: the `updated_at` of the settings that whoever changes all of them has read; refused when they are others by now.
    `imported`: denied symbols may be of pairs that are gone, but not go by another name here.
    Going back to `active` also ends a close-only period that a loss limit began; saying again what is so already ends nothing,
    which is what resuming is for. Raises RiskRefused.
    """
    unknown = sorted(set(changes) - set(FIELDS))
    if unknown:
        raise RiskRefused({name: [f"There is no setting called {name[:40]}."] for name in unknown})
    with transaction.atomic():
        risk = RiskSettings.objects.select_for_update().get(user=user)
        if seen is not None and seen != risk.updated_at:
            raise RiskRefused({"": [_CHANGED_ELSEWHERE]})
        before = risk.state
        listed = {symbol for name in _SYMBOL_FIELDS for symbol in getattr(risk, name)}
        for name, value in changes.items():
            problem = _problem(name, value)
            if problem:
                raise RiskRefused({name: [problem]})
            setattr(risk, name, _symbols(value) if name in _SYMBOL_FIELDS else value)
        try:
            risk.full_clean(exclude=["user"])
        except ValidationError as error:
            raise RiskRefused(error.message_dict) from None
        for name in _SYMBOL_FIELDS:
            _refuse_unknown(name, set(getattr(risk, name)) - listed, may_be_gone=imported and name == "denied_symbols")
        if risk.state == CopyState.OFF and before != CopyState.OFF and open_positions(user):
            raise RiskRefused(
                {
                    "state": [
                        "Copied positions are still open. Choose close only: they are closed when the master closes his, and "
                        "then you can switch copying off."
                    ]
                }
            )
        if risk.state == CopyState.ACTIVE and before != CopyState.ACTIVE:
            risk.close_only_until, risk.close_only_reason = None, ""
        risk.save()
    return risk


def _refuse_unknown(name: str, symbols: Collection[str], *, may_be_gone: bool) -> None:
    """A list that names no pair there is would permit or forbid something else than its owner thinks. Raises RiskRefused."""
    unknown: dict[str, str] = import_string(settings.UNKNOWN_SYMBOLS)(sorted(symbols)) if symbols else {}
    if may_be_gone:
        unknown = {symbol: meant for symbol, meant in unknown.items() if meant}
    if unknown:
        raise RiskRefused(
            {
                name: [
                    f"Kraken quotes no pair {symbol}." + (f" You may mean {meant}." if meant else "")
                    for symbol, meant in unknown.items()
                ]
            }
        )


def open_positions(user: User) -> int:
    """How many managed positions this user has open, asked of whom `settings.OPEN_POSITIONS` names (no import upwards)."""
    count: int = import_string(settings.OPEN_POSITIONS)(user)
    return count


def _symbols(value: Any) -> Any:
    """Symbols as people type them, in capitals and once each."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        return value
    return sorted({item.strip().upper() for item in value if item.strip()})


def _problem(name: str, value: Any) -> str:
    """Why the kind of this value cannot be; empty when only its range is still to be looked at."""
    if isinstance(value, float):
        return "Write amounts as text, so that no digit is lost."
    if name == "state":
        return "" if isinstance(value, str) else "This is a word: active, close_only or off."
    if name in _SYMBOL_FIELDS:
        return "" if isinstance(value, list) else "This is a list of symbols such as BEAM-USD."
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        return "This is not a number."
    if isinstance(value, str) and not is_plain(value):
        return "Write it in plain digits."
    return "" if is_writable(value) else "This is not a number that can be used."


def is_plain(text: str) -> bool:
    """Whether a number is written with the digits 0 to 9 and nothing between them."""
    return text.isascii() and "_" not in text


def is_writable(value: str | int | Decimal) -> bool:
    """Whether it can be looked at closer without danger; what is no number at all is told by the field itself."""
    if isinstance(value, int):
        return value.bit_length() <= _AMOUNT_CHARACTERS_MAX * 3
    if isinstance(value, str) and len(value) > _AMOUNT_CHARACTERS_MAX:
        return False
    try:
        number = Decimal(value)
    except InvalidOperation:
        return True
    digits, exponent = number.as_tuple()[1:]
    return not isinstance(exponent, int) or (exponent in _POWERS and len(digits) <= _AMOUNT_CHARACTERS_MAX)
