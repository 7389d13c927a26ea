"""The master's signals: without gaps, each the sum of its executions, and his position replayed through them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from trading.domain.money import plain
from trading.domain.order_state import OrderState
from trading.models import Execution, Position, Role, Signal, SignalKind
from trading.selectors.books.reading import CHUNK, QUIET, together
from trading.selectors.books.report import Check

_SIGNAL = [
    "pk",
    "account_id",
    "instrument_id",
    "sequence",
    "kind",
    "quantity",
    "notional",
    "master_equity",
    "managed_before",
    "order__state",
    "order__account_id",
    "order__instrument_id",
]
_EXECUTION = ["pk", "signal_id", "account_id", "instrument_id", "quantity", "notional"]
_POSITION = ["pk", "account_id", "instrument_id", "managed", "signal_count"]
_UNSIGNALLED = ["pk", "account_id", "instrument_id", "side", "quantity", "booked_at", "order__kind"]


def checks(*, now: datetime) -> list[Check]:
    return [_carried(), _replayed(now=now)]


def _carried() -> Check:
    check = Check("signals", "each signal is the sum of the executions it carries", "signals")
    signals = Signal.objects.order_by("pk").values_list(*_SIGNAL, named=True).iterator(CHUNK)
    carried = Execution.objects.filter(signal__isnull=False).order_by("signal_id", "pk")
    executions = carried.values_list(*_EXECUTION, named=True).iterator(CHUNK)
    for _, (found, booked) in together((signals, lambda row: row.pk), (executions, lambda row: row.signal_id)):
        for signal in found:
            check.looked_at += 1
            for sentence in [*_sums(signal, booked), *_figures(signal)]:
                check.tell(sentence, account=signal.account_id, row=f"signal {signal.pk}")
    return check


def _sums(signal: Any, executions: Sequence[Any]) -> Iterator[str]:
    if not executions and signal.order__state == OrderState.SKIPPED and signal.kind == SignalKind.EXIT:
        # What left the master's position without an order we know is carried by an order that was never sent.
        return
    for word, stored, booked in (
        ("quantity", signal.quantity, sum((e.quantity for e in executions), Decimal(0))),
        ("notional", signal.notional, sum((e.notional for e in executions), Decimal(0))),
    ):
        if stored != booked:
            yield f"its {word} is {plain(stored)}, its executions make {plain(booked)}"
    place = (signal.account_id, signal.instrument_id)
    if any((e.account_id, e.instrument_id) != place for e in executions):
        yield "it carries executions of another account or instrument"


def _figures(signal: Any) -> Iterator[str]:
    if (signal.order__account_id, signal.order__instrument_id) != (signal.account_id, signal.instrument_id):
        yield "its order is of another account or instrument"
    if signal.quantity <= 0:
        yield f"its quantity is {plain(signal.quantity)}"
    if signal.kind == SignalKind.ENTRY:
        if signal.master_equity is None or signal.master_equity <= 0:
            yield "an entry without the master's equity cannot be scaled"
    elif not signal.managed_before:
        yield "an exit without what was managed before closes no fraction"
    elif not 0 < Fraction(signal.quantity) / Fraction(signal.managed_before) <= 1:
        yield f"it sells {plain(signal.quantity)} of {plain(signal.managed_before)} managed"


def _replayed(*, now: datetime) -> Check:
    check = Check("signals", "signals have no gaps, and the master's position follows from them", "positions")
    place = ("account_id", "instrument_id")
    signals = Signal.objects.order_by(*place, "sequence").values_list(*_SIGNAL, named=True).iterator(CHUNK)
    owned = Position.objects.filter(account__role=Role.MASTER).order_by(*place)
    positions = owned.values_list(*_POSITION, named=True).iterator(CHUNK)
    owing = Execution.objects.filter(account__role=Role.MASTER, signal__isnull=True).order_by(*place, "pk")
    unsignalled = owing.values_list(*_UNSIGNALLED, named=True).iterator(CHUNK)
    streams = [(rows, _place) for rows in (positions, signals, unsignalled)]
    for (account_id, instrument_id), (found, told, untold) in together(*streams):
        check.looked_at += 1
        row = f"position {found[0].pk}" if found else f"instrument {instrument_id}"
        for sentence in _replay(found[0] if found else None, told, untold):
            check.tell(sentence, account=account_id, row=row)
        for execution in untold:
            if execution.booked_at < now - QUIET:
                sentence = f"booked at {execution.booked_at:%H:%M:%S}, no signal has told of it"
                check.tell(sentence, account=account_id, row=f"execution {execution.pk}")
    return check


def _place(row: Any) -> tuple[int, int]:
    return row.account_id, row.instrument_id


def _replay(position: Any | None, signals: Sequence[Any], unsignalled: Sequence[Any]) -> Iterator[str]:
    held = Decimal(0)
    for number, signal in enumerate(signals, start=1):
        if signal.sequence != number:
            yield f"after signal number {number - 1} comes number {signal.sequence}"
            return
        if signal.kind == SignalKind.ENTRY:
            held += signal.quantity
            continue
        if signal.managed_before is not None and signal.managed_before != held:
            before = plain(signal.managed_before)
            yield f"signal {signal.pk} sells of {before} managed, the signals before it make {plain(held)}"
        held -= signal.quantity
    if position is None:
        yield "there are signals or executions of it, but no position"
        return
    if position.signal_count != len(signals):
        yield f"it counts {position.signal_count} signals, there are {len(signals)}"
    held += sum((e.quantity if e.side == "buy" else -e.quantity for e in unsignalled), Decimal(0))
    if held != position.managed:
        yield f"{plain(position.managed)} are managed, its signals make {plain(held)}"
