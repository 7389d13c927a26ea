"""Every cell that a long enough simulation must have met: which fault, at which point."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from tests.simulation import doubts
from tests.simulation.network import AFTER, BEFORE

#: Runs from which on a cell that was never met is a failure of the simulation.
ENOUGH_RUNS = 300

#: Where a worker of each kind is killed; the first word says whether bytes, a commit or a message is next.
KILLED_AT: Mapping[str, tuple[str, ...]] = {
    "worker": (
        "begin",
        "read",
        "write",
        "commit",
        "about to ring",
        "signal committed",
        "fanned out",
        "exit planned",
        "task done",
    ),
    "execution": (
        "nonce taken",
        "entry SENDING committed",
        "about to write order",
        "written order",
        "answer read order",
        "no answer order",
        "outcome committed",
        "about to write read",
        "written read",
        "answer read read",
        "executions booked",
        "signal committed",
        "order final",
        "reduction booked",
        "outside order adopted",
        "about to ring",
        "task done",
    ),
    "booking": (
        "nonce taken",
        "about to write read",
        "written read",
        "answer read read",
        "executions booked",
        "signal committed",
        "order final",
        "about to ring",
        "task done",
    ),
    "exits": (
        "nonce taken",
        "exit SENDING committed",
        "about to write order",
        "written order",
        "answer read order",
        "no answer order",
        "outcome committed",
        "orphan adopted",
        "unknown resolved",
        "about to write cancel",
        "written cancel",
        "answer read cancel",
        "executions booked",
        "order final",
        "task done",
    ),
}
#: Few runs come by these at all: who is meant to be killed there is killed the first time.
RARE = frozenset(
    {
        ("worker", "signal committed"),
        ("worker", "exit planned"),
        ("execution", "no answer order"),
        ("execution", "executions booked"),
        ("execution", "signal committed"),
        ("execution", "order final"),
        ("execution", "reduction booked"),
        ("execution", "outside order adopted"),
        ("booking", "executions booked"),
        ("booking", "signal committed"),
        ("booking", "order final"),
        ("exits", "nonce taken"),
        ("exits", "exit SENDING committed"),
        ("exits", "about to write order"),
        ("exits", "written order"),
        ("exits", "answer read order"),
        ("exits", "no answer order"),
        ("exits", "outcome committed"),
        ("exits", "orphan adopted"),
        ("exits", "unknown resolved"),
        ("exits", "about to write cancel"),
        ("exits", "written cancel"),
        ("exits", "answer read cancel"),
        ("exits", "executions booked"),
        ("exits", "order final"),
    }
)
#: Of these the fewest, the first of which every run has in mind.
RAREST = (
    ("worker", "signal committed"),
    ("execution", "executions booked"),
    ("execution", "signal committed"),
    ("execution", "order final"),
    ("execution", "reduction booked"),
    ("exits", "no answer order"),
    ("exits", "orphan adopted"),
    ("exits", "written cancel"),
    ("exits", "answer read cancel"),
)
QUEUES_OF_MONEY = ("planning", "default", "entries", "background", "bookings", "exits")
#: What people did, to make sure that they do all of it.
ACTS = (
    "master bought",
    "master sold",
    "master bought outside",
    "master sold outside",
    "sold by hand",
    "placed by hand",
    "cancelled by hand",
    "coins deposited",
    "paid in or out",
    "settings changed",
    "price moved",
    "market thinned",
    "sold in pieces",
    "platform stopped",
    "stopped with entries under way",
    "stopped with no entry under way",
    "platform resumed",
    "account stopped",
    "account resumed",
    "closed all",
)
WORLD = ("broker flushed", "broker away", "clock stepped forward", "clock stepped back", "reads lag")


def cells() -> Iterator[str]:
    for fault in BEFORE + AFTER:
        for kind in ("order", "cancel", "read"):
            yield f"{fault} {kind}"
    for fate in ("lost", "doubled", "late"):
        for queue in QUEUES_OF_MONEY:
            yield f"message {fate} {queue}"
    yield from WORLD
    for kind, points in KILLED_AT.items():
        for point in points:
            yield kill_of(kind, point)
    yield from ACTS
    yield from doubts.CASES


def kill_of(kind: str, point: str) -> str:
    return f"{kind} killed at {point}"


KILLS = tuple((kind, point) for kind, points in KILLED_AT.items() for point in points)
RARE_KILLS = tuple(kill for kill in KILLS if kill in RARE)


def table(met: Counter[str]) -> list[str]:
    """One line a cell, those never met marked."""
    return [f"{met[cell]:>8}  {cell}{'' if met[cell] else '   NEVER MET'}" for cell in cells()]


def never_met(met: Counter[str]) -> list[str]:
    return [cell for cell in cells() if not met[cell]]
