"""A strategy's parameters with what its source says about each: the comment `#:` above a field, grouped by `#`."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from functools import cache
from typing import Any

from trading.domain.money import plain
from trading.strategy.registry import Strategy

_FIELD = re.compile(r"    (\w+): ")


@dataclass(frozen=True, slots=True)
class Parameter:
    """`value` as text, with its unit where the type tells it."""

    name: str
    value: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Group:
    title: str
    parameters: list[Parameter] = field(default_factory=list)


def groups(strategy: Strategy) -> Sequence[Group]:
    """All parameters of a strategy in the order of its source; empty for one without a parameter object."""
    given = getattr(strategy, "parameters", None)
    if not dataclasses.is_dataclass(given) or isinstance(given, type):
        return []
    found: list[Group] = []
    for title, name, meaning in _described(type(given)):
        if not found or found[-1].title != title:
            found.append(Group(title))
        found[-1].parameters.append(Parameter(name, _text(getattr(given, name)), meaning))
    return found


def introduction(strategy: Strategy) -> str:
    """What the parameter object says of itself, without its last sentence about errors."""
    given = getattr(strategy, "parameters", None)
    text = inspect.getdoc(type(given)) if given is not None else None
    return " ".join((text or "").partition("Raises ")[0].split()).replace("`", "")


@cache
def _described(kind: type) -> tuple[tuple[str, str, str], ...]:
    """Group, name and meaning of each field."""
    names = {each.name for each in dataclasses.fields(kind)}
    title, told, rows = "", list[str](), []
    for line in inspect.getsource(kind).splitlines():
        text = line.strip()
        named = _FIELD.match(line)
        if text.startswith("#:"):
            told.append(text[2:].strip())
        elif text.startswith("# ") and line.startswith("    #"):
            title = text[2:].rstrip(".").partition(",")[0]
        elif named and named[1] in names:
            rows.append((title, named[1], " ".join(told).replace("`", "")))
            told = []
        elif text.startswith("def "):
            break
    return tuple(rows)


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_text, value))
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, Fraction):
        return str(value)
    return f"{value} candles" if isinstance(value, int) else f"{value:g}"
