"""Where processes are killed: every crash point along the thread from the master's order to the followers' exits.

A point names a function of the product and the moment before or after one of its calls. Nothing in the product knows of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal


class Phase(StrEnum):
    """The part of a round trip in which a point is reached."""

    BUY = "master buys"
    SELL = "master sells"
    STOP = "everybody is stopped"
    JOIN = "a follower connects a key"
    OUTSIDE = "master buys outside NIJA"


class Strike(StrEnum):
    """What happens at the point. All but the first hold the process at the point until the server is back."""

    KILL = "SIGKILL"
    EMPTY_BROKER = "broker killed, emptied, started"
    RESTART_DATABASE = "PostgreSQL restarted"


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a seam; `result` is None before it."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    result: Any


@dataclass(frozen=True, kw_only=True)
class Point:
    """`seam` is `module:function` or `module:Class.method`; the `nth` call that `where` accepts strikes, once.

    `spoiled` is a fault that the exchange plays on the first follower's order; `prelude` the name of a point whose crash
    leads here. `act` is what a call has done already when it is struck before.
    """

    name: str
    process: Literal["worker", "execution", "booking", "exits", "shell"]
    seam: str
    when: Literal["before", "after"]
    phase: Phase
    where: Callable[[Call], bool] = lambda _call: True
    act: Callable[[Call], None] = lambda _call: None
    nth: int = 1
    strike: Strike = Strike.KILL
    spoiled: str = ""
    prelude: str = ""

    @property
    def slug(self) -> str:
        return "".join(c if c.isalnum() else "-" for c in self.name)


CLAIM_SIGNALS, EXECUTE = "copytrade.tasks.claim_signals", "copytrade.tasks.execute_entries"
BOOK = "trading.tasks.book_answered"
SEND_EXITS, CANCEL = "trading.tasks.send_exits", "trading.tasks.cancel_entries"
ADD_ORDER = "/0/private/AddOrder"


def _rings(task: str) -> Callable[[Call], bool]:
    return lambda call: call.args[0] == task


def _rings_for_several(task: str) -> Callable[[Call], bool]:
    """Not for the master's order alone."""
    return lambda call: call.args[0] == task and len(call.args[1][0]) > 1


def _is_copy(call: Call) -> bool:
    """The first argument is an order that copies."""
    return bool(call.args[0].origin == "copy")


def _sends(origin: str) -> Callable[[Call], bool]:
    """The first argument is what is about to be sent."""
    return lambda call: any(item.order.origin == origin for item in call.args[0])


def _answered_copies(call: Call) -> bool:
    """The first argument holds answers, one of which names a copied order at the exchange."""
    return any(isinstance(answer, str) and item.order.origin == "copy" for item, answer in call.args[0])


def _reported(origin: str) -> Callable[[Call], bool]:
    """The first argument holds reports, one of which tells executions of such an order."""
    return lambda call: any(report.order.origin == origin and report.trades for report in call.args[0])


def _moved(origin: str) -> Callable[[Call], bool]:
    """The first argument holds what is being booked, executions of such an order among it."""
    return lambda call: any(entry.order.origin == origin and entry.fresh for entry in call.args[0])


def _saw_fills(call: Call) -> bool:
    return any(report.trades for report in call.result)


def _asks_for_orders(call: Call) -> bool:
    names = {getattr(getattr(request, "func", None), "__name__", "") for request in call.args[0].values()}
    return "_query_orders" in names and bool(call.args[1])


def _order_bytes(call: Call) -> bool:
    return bool(call.args[1].startswith(f"POST {ADD_ORDER}".encode()))


def _write_half(call: Call) -> None:
    connection, data = call.args
    connection._transport.write(data[: data.index(b"\r\n\r\n") + len(b"\r\n\r\nnonce")])


def _gave_back_order(call: Call) -> bool:
    return any(isinstance(outcome, str) for outcome in call.args[1].values())


def _is_task(name: str) -> Callable[[Call], bool]:
    return lambda call: bool(call.args[0].name == name)


def _some(call: Call) -> bool:
    return bool(call.result)


SENDING, BOOKING, LANES = "trading.services.sending", "trading.services.booking", "trading.services.lanes"
RING, RESOLVE = "trading.doorbell:_send", "trading.services.reconciliation"
KEYS, FAN_OUT, EXITS = "accounts.services.credentials", "copytrade.services.fan_out", "copytrade.services.exits"
BYTES = "trading.kraken.connections:_Connection._write"
ACKNOWLEDGE = "celery.worker.request:Request.acknowledge"
_entry: dict[str, Any] = {"process": "execution", "phase": Phase.BUY}
_plan: dict[str, Any] = {"process": "worker", "phase": Phase.BUY}
_sale: dict[str, Any] = {"process": "worker", "phase": Phase.SELL}
_exit: dict[str, Any] = {"process": "exits", "phase": Phase.SELL}
_lost: dict[str, Any] = {"process": "exits", "phase": Phase.BUY}
_booked: dict[str, Any] = {"process": "booking", "phase": Phase.BUY}
_sold: dict[str, Any] = {"process": "booking", "phase": Phase.SELL}
_join: dict[str, Any] = {"process": "execution", "phase": Phase.JOIN}
_before: dict[str, Any] = {"when": "before"}
_after: dict[str, Any] = {"when": "after"}
_half: dict[str, Any] = {"seam": BYTES, "where": _order_bytes, "act": _write_half, "when": "before"}

POINTS: tuple[Point, ...] = (
    # The master's order.
    Point(name="master: SENDING committed", seam=f"{SENDING}:transmit", where=_sends("manual"), **_before, **_entry),
    Point(name="master: request written", seam=BYTES, where=_order_bytes, **_after, **_entry),
    Point(name="master: fill seen", seam="trading.services.asking:ask", where=_saw_fills, **_after, **_booked),
    Point(name="master: booked, open", seam=f"{BOOKING}:_move", where=_moved("manual"), **_before, **_booked),
    Point(name="signal written, open", seam="trading.services.signals:emit", where=_some, **_after, **_booked),
    Point(name="signal committed, not rung", seam=RING, where=_rings(CLAIM_SIGNALS), **_before, **_booked),
    # From the signal to the copies.
    Point(name="fan-out half done", seam=f"{FAN_OUT}:_write_entries", **_after, **_plan),
    Point(name="fan-out committed, not rung", seam=RING, where=_rings(EXECUTE), **_before, **_plan),
    Point(name="claimed, open", seam=f"{SENDING}:stamp", where=_is_copy, nth=2, **_after, **_entry),
    Point(name="SENDING committed", seam=f"{SENDING}:transmit", where=_sends("copy"), **_before, **_entry),
    Point(name="request half written", **_half, nth=3, **_entry),
    Point(name="request written", seam=BYTES, where=_order_bytes, nth=3, **_after, **_entry),
    Point(name="answer read", seam=f"{SENDING}:_keep", where=_answered_copies, **_before, **_entry),
    Point(name="outcome committed", seam=f"{SENDING}:_keep", where=_answered_copies, **_after, **_entry),
    Point(name="lane given back", seam=f"{LANES}:release", where=_gave_back_order, nth=2, **_after, **_entry),
    Point(name="booking not rung", seam=RING, where=_rings_for_several(BOOK), **_before, **_entry),
    Point(name="nonce taken", seam="trading.services.private:_call_part", where=_asks_for_orders, **_before, **_booked),
    Point(name="copy booked, open", seam=f"{BOOKING}:_move", where=_moved("copy"), **_before, **_booked),
    Point(name="copy booked", seam=f"{BOOKING}:_book", where=_reported("copy"), **_after, **_booked),
    Point(name="task done, not acknowledged", seam=ACKNOWLEDGE, where=_is_task(EXECUTE), **_before, **_entry),
    Point(name="task acknowledged", seam=ACKNOWLEDGE, where=_is_task(EXECUTE), **_after, **_entry),
    # The exits.
    Point(name="exit signal committed, not rung", seam=RING, where=_rings(CLAIM_SIGNALS), **_before, **_sold),
    Point(name="exit planned, open", seam=f"{EXITS}:_link", **_before, **_sale),
    Point(name="exit planned, not rung", seam=RING, where=_rings(SEND_EXITS), **_before, **_sale),
    Point(name="exit claimed, open", seam=f"{SENDING}:stamp", where=_is_copy, nth=2, **_after, **_exit),
    Point(name="exit SENDING committed", seam=f"{SENDING}:transmit", where=_sends("copy"), **_before, **_exit),
    Point(name="exit request half written", **_half, nth=3, **_exit),
    Point(name="exit request written", seam=BYTES, where=_order_bytes, nth=3, **_after, **_exit),
    Point(name="exit answer read", seam=f"{SENDING}:_keep", where=_answered_copies, **_before, **_exit),
    Point(name="exit outcome committed", seam=f"{SENDING}:_keep", where=_answered_copies, **_after, **_exit),
    Point(name="exit booking not rung", seam=RING, where=_rings_for_several(BOOK), **_before, **_exit),
    Point(name="exit booked, open", seam=f"{BOOKING}:_move", where=_moved("copy"), **_before, **_sold),
    # Outcomes that nobody knows.
    Point(name="UNKNOWN looked up", seam="trading.services.lookups:read_open", spoiled="drop_after", **_after, **_lost),
    Point(name="UNKNOWN found", seam=f"{RESOLVE}:_adopt", spoiled="drop_after", **_before, **_lost),
    Point(name="not placed concluded", seam=f"{RESOLVE}:_conclude_absent", spoiled="drop_before", **_before, **_lost),
    Point(name="exit not placed", seam=f"{RESOLVE}:_conclude_absent", spoiled="drop_before", **_after, **_exit),
    Point(
        name="orphan adopted",
        seam=f"{RESOLVE}:adopt_orphans",
        where=_some,
        prelude="SENDING committed",
        **_after,
        **_lost,
    ),
    # Stop, keys, and what the master does elsewhere.
    Point(name="stop committed", seam=RING, where=_rings(CANCEL), process="shell", phase=Phase.STOP, **_before),
    Point(
        name="cancels half done",
        seam="trading.services.cancelling:_cancel",
        nth=2,
        process="exits",
        phase=Phase.STOP,
        # Not after: an entry that is closed by then makes Kraken refuse the call.
        **_before,
    ),
    Point(name="key answer read", seam="trading.services.intake:_ask", **_after, **_join),
    Point(name="credential promoted, open", seam=f"{KEYS}:promote", **_after, **_join),
    Point(name="credential promoted", seam="trading.services.intake:_connect", **_after, **_join),
    Point(
        name="outside order adopted",
        seam="trading.services.outside:_adopt",
        process="execution",
        phase=Phase.OUTSIDE,
        **_after,
    ),
    # The servers.
    Point(
        name="broker emptied before the bell",
        seam=RING,
        where=_rings(CLAIM_SIGNALS),
        strike=Strike.EMPTY_BROKER,
        **_before,
        **_booked,
    ),
    Point(
        name="broker emptied while copies are sent",
        seam=f"{SENDING}:transmit",
        where=_sends("copy"),
        strike=Strike.EMPTY_BROKER,
        **_before,
        **_entry,
    ),
    Point(
        name="broker emptied with exits planned",
        seam=RING,
        where=_rings(SEND_EXITS),
        strike=Strike.EMPTY_BROKER,
        **_before,
        **_sale,
    ),
    Point(
        name="database restarted with answers read",
        seam=f"{SENDING}:_keep",
        where=_answered_copies,
        strike=Strike.RESTART_DATABASE,
        **_before,
        **_entry,
    ),
    Point(
        name="database restarted while booking",
        seam=f"{BOOKING}:_move",
        where=_moved("copy"),
        strike=Strike.RESTART_DATABASE,
        **_before,
        **_booked,
    ),
    Point(
        name="database restarted while exits are planned",
        seam=f"{EXITS}:_link",
        strike=Strike.RESTART_DATABASE,
        **_before,
        **_sale,
    ),
    Point(
        name="database restarted with exits sent",
        seam=f"{SENDING}:_keep",
        where=_answered_copies,
        strike=Strike.RESTART_DATABASE,
        **_before,
        **_exit,
    ),
)
BY_NAME: Mapping[str, Point] = {point.name: point for point in POINTS}
#: The short version: every worker process and the database, entries and exits, and one that has to wait for a lease to end.
SHORT = (
    "signal committed, not rung",
    "fan-out half done",
    "booking not rung",
    "exit planned, not rung",
    "exit request written",
    "database restarted while booking",
)
