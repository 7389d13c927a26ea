"""What each stop of everybody met, and that it kept its word: what had been written is counted, and its outcome soon known."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from tests.simulation.scheduler import NS, Scheduler
from trading.services.halts import StopReport

#: The outcome of entries that had left before a stop is known within this, once the exchange is well. An entry is immediate or
#: cancelled, so that nothing is bought later; its booking may have to wait for the key's rate budget.
KNOWN_WITHIN_NS = 30 * NS
#: The same for keys whose budget is spent: looking an order up costs nine points, of which three seconds give back one.
KNOWN_AT_LAST_NS = 60 * NS
POINTS_SPENT = 6.0


@dataclass
class Stops:
    """`rows` reads the committed database; `broken` takes a violation. That no entry is sent afterwards the monitor sees."""

    scheduler: Scheduler
    rows: Callable[..., list[sqlite3.Row]]
    broken: Callable[[str], None]
    met: Counter[str] = field(default_factory=Counter)
    _under_way: Sequence[sqlite3.Row] | None = None

    def committed(self, entries: Sequence[sqlite3.Row]) -> None:
        """At the commit: the entries that the exchange may hold or be about to, with the points on their key's counter."""
        self._under_way = entries

    def reported(self, report: StopReport) -> None:
        """What the operator is told must be what was true at the commit."""
        assert self._under_way is not None, "a stop was reported that nobody saw committed"
        self.met[f"stopped with {'entries' if self._under_way else 'no entry'} under way"] += 1
        if report.already_sent != len(self._under_way):
            self.broken(f"I6: a stop counted {report.already_sent} entries, {len(self._under_way)} were under way")

    def soon_resolved(self) -> None:
        """All faults end with the last stop: from here on the time is taken."""
        entries = self._under_way or ()
        of_account = Counter(row["account_id"] for row in entries)
        spent = {row["id"] for row in entries if of_account[row["account_id"]] > 1 or row["rate_points"] > POINTS_SPENT}
        soon = [row["id"] for row in entries if row["id"] not in spent]
        self.scheduler.at(KNOWN_WITHIN_NS, lambda: self._must_be_known(soon))
        self.scheduler.at(KNOWN_AT_LAST_NS, lambda: self._must_be_known(sorted(spent)))

    def _must_be_known(self, entries: Collection[int]) -> None:
        states = {row["id"]: row["state"] for row in self.rows("SELECT id, state FROM trading_order")}
        for entry in entries:
            if states[entry] in ("sending", "unknown", "manual"):
                self.broken(f"I6: entry {entry} is still {states[entry]} so long after the stop that counted it")
