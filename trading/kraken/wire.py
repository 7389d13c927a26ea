"""Reading Kraken's JSON: the envelope, and fields that must have a certain kind.

Numbers arrive as strings or as JSON numbers; both become Decimal without passing through a float. Whatever does not fit
raises Unparsable, which names the field and never repeats the answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NoReturn

from trading.domain.money import AmountError, parse_decimal
from trading.kraken.errors import OutcomeUnknown, Unparsable, classify
from trading.kraken.transport import Answer

HTTP_OK = 200
NUMBER_LENGTH_MAX = 64
TEXT_LENGTH_MAX = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS_MAX = 253_402_300_000  # the last second a datetime can hold, in the year 9999


def result(answer: Answer, *, order: bool) -> Mapping[str, Any]:
    """The `result` object of an answer.

    Raises what `classify` says for Kraken's errors, OutcomeUnknown for anything but HTTP 200, Unparsable for a body that
    is not Kraken's envelope. A refusal that carries a result as well contradicts itself: for an order, OutcomeUnknown.
    """
    if answer.status != HTTP_OK:
        raise OutcomeUnknown(f"Kraken's server answered with HTTP {answer.status}.", codes=(f"HTTP {answer.status}",))
    envelope = _json(answer.body)
    if not isinstance(envelope, dict) or not isinstance(envelope.get("error"), list):
        raise Unparsable("Kraken's answer is not in its usual form.")
    messages = envelope["error"]
    if not all(isinstance(message, str) for message in messages):
        raise Unparsable("Kraken's answer holds errors that are not text.")
    found = envelope.get("result")
    errors = [message for message in messages if not message.startswith("W")]
    if errors and order and found:
        raise OutcomeUnknown("Kraken's answer holds both an error and a result.", codes=errors)
    if errors:
        raise classify(errors, order=order)
    if not isinstance(found, dict):
        raise Unparsable("Kraken's answer holds no result.", codes=messages)
    return found


def _json(body: bytes) -> Any:
    """The parsed body, or None for what is not JSON: the decoder's exception would carry the whole answer along."""
    try:
        return json.loads(body.decode("utf-8"), parse_float=Decimal, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Unparsable(f"Kraken's answer: {what} is not an object.")
    return value


def rows(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise Unparsable(f"Kraken's answer: {what} is not a list.")
    return value


def text(source: Mapping[str, Any], name: str) -> str:
    value = source.get(name)
    if not isinstance(value, str) or not value or len(value) > TEXT_LENGTH_MAX:
        raise Unparsable(f"Kraken's answer: {name} is missing or not text.")
    return value


def optional_text(source: Mapping[str, Any], name: str) -> str:
    """The text, or empty for null, absent and the word None of old answers."""
    value = source.get(name)
    if value is None or value in ("", "None"):
        return ""
    return text(source, name)


def number(value: Any, what: str, *, negative: bool = False) -> Decimal:
    """A finite Decimal from a string, an integer or a JSON number; below zero only where that makes sense."""
    fits = isinstance(value, (str, int, Decimal)) and not isinstance(value, bool)
    if not fits or (isinstance(value, str) and len(value) > NUMBER_LENGTH_MAX):
        raise Unparsable(f"Kraken's answer: {what} is missing or not a number.")
    try:
        parsed = parse_decimal(value)
    except AmountError:
        parsed = None
    if parsed is None or (parsed < 0 and not negative):
        raise Unparsable(f"Kraken's answer: {what} is not a usable number.")
    return parsed


def whole(value: Any, what: str) -> int:
    parsed = number(value, what)
    if parsed != parsed.to_integral_value():
        raise Unparsable(f"Kraken's answer: {what} is not a whole number.")
    return int(parsed)


def instant(value: Any, what: str) -> datetime:
    """Unix seconds, with any fraction, as UTC to the microsecond (the rest is cut off)."""
    seconds = number(value, what)
    if seconds > _SECONDS_MAX:
        raise Unparsable(f"Kraken's answer: {what} is not a time.")
    return _EPOCH + timedelta(microseconds=int(seconds * 1_000_000))


def optional_instant(value: Any, what: str) -> datetime | None:
    """The instant, or None for null, absent, empty and zero."""
    if value in (None, "", 0, "0"):
        return None
    return instant(value, what)
