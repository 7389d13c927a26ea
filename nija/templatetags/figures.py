"""Amounts, instants and states as people read them. Unknown is a dash with a reason, never 0.00."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from copytrade.selectors import wording
from trading.domain.money import parse_decimal, plain

register = template.Library()

MINUS = "\N{MINUS SIGN}"
CENT = Decimal("0.01")
#: Kraken quotes at most ten digits; a longer one is an average.
PRICE_DIGITS_QUOTED = 10
PRICE_DIGITS = 8

#: One word and one tone for each state, the same on every page.
STATES: dict[str, tuple[str, str]] = {
    "active": ("good", "Active"),
    "copying": ("good", "Copying"),
    "close_only": ("warn", "Close only"),
    "off": ("idle", "Off"),
    "stopped": ("warn", "Stopped"),
    "attention": ("bad", "Needs attention"),
    "not_connected": ("idle", "Not connected"),
    "filled": ("good", "Filled"),
    "reduced": ("good", "Reduced"),
    "partly": ("good", "Partly filled"),
    "sold": ("good", "Sold"),
    "skipped": ("idle", "Skipped"),
    "missed": ("warn", "Missed"),
    "pending": ("busy", "Pending"),
    "planned": ("busy", "Pending"),
    "ready": ("busy", "Pending"),
    "sending": ("busy", "Sending"),
    "acked": ("busy", "At Kraken"),
    "partial": ("busy", "Filling"),
    "canceled": ("idle", "Cancelled"),
    "expired": ("idle", "Expired"),
    "open": ("busy", "At Kraken"),
    "filling": ("busy", "Filling"),
    "unfilled": ("idle", "Not filled"),
    "waiting": ("warn", "Waiting"),
    "unknown": ("bad", "Outcome unknown"),
    "rejected": ("bad", "Rejected"),
    "not_placed": ("warn", "Not placed"),
    "manual": ("bad", "Needs attention"),
    "master": ("good", "Master"),
    "running": ("good", "Running"),
    "connected": ("good", "Connected"),
    "failing": ("bad", "Not answering"),
}


def number(value: Any) -> Decimal | None:
    """`value` as a Decimal; amounts of `trading.domain.money` give theirs; None and the empty text are unknown."""
    if value is None or value == "":
        return None
    return parse_decimal(getattr(value, "value", value))


def grouped(value: Decimal, decimals: int | None = None) -> str:
    """`value` with commas between thousands and a real minus; all its digits, or `decimals` of them rounded half-even."""
    if decimals is not None:
        value = value.quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_EVEN)
        whole = format(abs(value), f",.{decimals}f")
    else:
        head, _, tail = plain(abs(value)).partition(".")
        whole = f"{int(head):,}" + (f".{tail}" if tail else "")
    return f"{MINUS}{whole}" if value < 0 else whole


def dollars(value: Decimal) -> str:
    """Cents, or two significant digits when that is less than a cent, so that a real fee never reads 0.00."""
    sign = MINUS if value < 0 else ""
    size = abs(value)
    if size and size < CENT:
        return f"{sign}${grouped(size, min(-size.adjusted() + 1, 12))}"
    rounded = grouped(size, 2)
    return f"{'' if rounded == '0.00' else sign}${rounded}"


def _dash(why: str) -> SafeString:
    if not why:
        return format_html('<span class="unknown">{}</span>', "\N{EN DASH}")
    return format_html(
        '<span class="unknown" title="{}">{} <span class="why">{}</span></span>', why, "\N{EN DASH}", why
    )


@register.filter
def to_operators(sentence: str) -> str:
    """What was said to an account's owner, for operators."""
    return wording.to_operators(sentence)


@register.filter
def ended(sentence: str) -> str:
    """A sentence that somebody typed, with one full stop."""
    return wording.ended(sentence)


@register.filter
def state_word(key: str) -> str:
    """The word of a state within a sentence or a choice."""
    return STATES[key][1].lower()


@register.simple_tag
def money(value: Any, why: str = "") -> SafeString:
    """US dollars; `why` explains the dash when the value is unknown."""
    amount = number(value)
    if amount is None:
        return _dash(why)
    return format_html('<span class="figure" title="${}">{}</span>', plain(amount), dollars(amount))


@register.simple_tag
def change(value: Any, why: str = "") -> SafeString:
    """A profit or loss in US dollars: arrow, sign and colour together."""
    amount = number(value)
    if amount is None:
        return _dash(why)
    text = dollars(amount)
    if text == "$0.00":
        return format_html('<span class="figure" title="${}">{}</span>', plain(amount), text)
    tone, arrow, sign = ("positive", "\u25b2", "+") if amount > 0 else ("negative", "\u25bc", "")
    return format_html(
        '<span class="figure {}" title="{}${}"><span aria-hidden="true">{}</span> {}{}</span>',
        tone,
        MINUS if amount < 0 else "+",
        plain(abs(amount)),
        arrow,
        sign,
        text,
    )


@register.simple_tag
def quantity(value: Any, unit: str = "", why: str = "") -> SafeString:
    """An amount of a base asset, with every digit it has."""
    amount = number(value)
    if amount is None:
        return _dash(why)
    return format_html('<span class="figure">{}{}</span>', grouped(amount), f" {unit}" if unit else "")


@register.simple_tag
def price(value: Any, why: str = "", decimals: int | None = None) -> SafeString:
    """US dollars per unit: every digit of a quoted price, eight that count of an average; all of them on hover.

    `decimals`, those its instrument is quoted with, are what is shown of a level.
    """
    amount = number(value)
    if amount is None:
        return _dash(why)
    shown = grouped(_readable(amount)) if decimals is None else grouped(amount, decimals)
    return format_html('<span class="figure" title="{}">{}</span>', plain(amount), shown)


def _readable(amount: Decimal) -> Decimal:
    if len(amount.normalize().as_tuple().digits) <= PRICE_DIGITS_QUOTED:
        return amount
    return Context(prec=PRICE_DIGITS).plus(amount)


@register.simple_tag
def percent(ratio: Any, decimals: int = 1, why: str = "") -> SafeString:
    """A ratio as per cent: 0.164 is 16.4 %. Superfluous zeros are dropped."""
    amount = number(ratio)
    if amount is None:
        return _dash(why)
    text = grouped(amount * 100, decimals)
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return format_html('<span class="figure" title="{} %">{}\N{NO-BREAK SPACE}%</span>', plain(amount * 100), text)


@register.simple_tag
def bps(value: Any, why: str = "") -> SafeString:
    """Hundredths of a per cent against the master's price; above zero is worse for whose fill it is."""
    amount = number(value)
    return _dash(why) if amount is None else format_html('<span class="figure">{} bps</span>', grouped(amount, 1))


@register.simple_tag
def decimals(value: Any, places: int = 2, why: str = "") -> SafeString:
    """A bare statistic such as a Sharpe ratio, which is a float."""
    amount = number(str(value) if isinstance(value, float) else value)
    return _dash(why) if amount is None else format_html('<span class="figure">{}</span>', grouped(amount, places))


def in_words(age: timedelta) -> str:
    """A length of time in its largest unit: 48 s, 4 min, 3 h 12 min, 2 d."""
    seconds = max(0, round(age.total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min"
    if seconds < 86400:
        return f"{seconds // 3600} h {seconds % 3600 // 60} min"
    return f"{seconds // 86400} d"


def _now(context: dict[str, Any]) -> datetime:
    now = context.get("now")
    return now if isinstance(now, datetime) else timezone.now()


def _time(at: datetime, text: str, relative: str = "") -> SafeString:
    at = at.astimezone(timezone.get_default_timezone())
    attribute = format_html(' data-relative="{}"', relative) if relative else ""
    return format_html(
        '<time datetime="{}" title="{}"{}>{}</time>',
        at.isoformat(),
        at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " UTC",
        attribute,
        text,
    )


@register.simple_tag(takes_context=True)
def ago(context: dict[str, Any], at: Any, why: str = "") -> SafeString:
    """How long ago, kept current by page.js; the instant itself on hover."""
    if not isinstance(at, datetime):
        return _dash(why)
    age = _now(context) - at
    return _time(at, "just now" if age < timedelta(seconds=1) else f"{in_words(age)} ago", "ago")


@register.simple_tag(takes_context=True)
def until(context: dict[str, Any], at: Any, why: str = "") -> SafeString:
    """How soon, counted down by page.js."""
    if not isinstance(at, datetime):
        return _dash(why)
    left = at - _now(context)
    return _time(at, f"in {in_words(left)}" if left > timedelta(0) else "now", "until")


@register.simple_tag(takes_context=True)
def lasting(context: dict[str, Any], since: Any, why: str = "") -> SafeString:
    """How long something has been so."""
    if not isinstance(since, datetime):
        return _dash(why)
    return _time(since, in_words(_now(context) - since), "for")


@register.simple_tag(takes_context=True)
def clock(context: dict[str, Any], at: Any, why: str = "", milliseconds: bool = False) -> SafeString:
    """The time of day (UTC), with the day in front of it unless it is today."""
    if not isinstance(at, datetime):
        return _dash(why)
    now, at = _now(context).astimezone(timezone.get_default_timezone()), at.astimezone(timezone.get_default_timezone())
    text = at.strftime("%H:%M:%S.%f")[:-3] if milliseconds else at.strftime("%H:%M:%S")
    if at.date() != now.date():
        text = at.strftime("%d %b %Y " if at.year != now.year else "%d %b ") + text
    return _time(at, text)


@register.simple_tag(takes_context=True)
def as_of(context: dict[str, Any], at: Any, source: str = "live", why: str = "") -> SafeString:
    """Of when a figure is and where it came from: live, cached or unknown."""
    if not isinstance(at, datetime):
        return format_html('<span class="as-of old">unknown: {}</span>', why or "never read")
    if source == "unknown":
        return format_html('<span class="as-of old">unknown since {}</span>', clock(context, at))
    if source == "cached":
        return format_html('<span class="as-of old">cached {}</span>', ago(context, at))
    return format_html('<span class="as-of">as of {}, {}</span>', clock(context, at), source)


@register.simple_tag
def state(key: Any, word: str = "") -> SafeString:
    """A state as a dot and a word; `word` replaces the usual one."""
    name = str(getattr(key, "value", key))
    tone, usual = STATES.get(name, ("idle", name.replace("_", " ").capitalize()))
    return format_html(
        '<span class="state {}"><span class="dot" aria-hidden="true"></span>{}</span>', tone, word or usual
    )


@register.simple_tag
def ident(value: Any, why: str = "") -> SafeString:
    """An id with a button that copies it."""
    if value is None or value == "":
        return _dash(why)
    return format_html(
        '<span class="ident"><code>{}</code><button class="copy" type="button" data-copy="{}" aria-label="Copy {}">'
        "Copy</button></span>",
        value,
        value,
        value,
    )
