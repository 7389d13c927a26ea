"""What a check of the books looked at and found; values that both apps and the Kraken half fill in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

#: Findings kept of one check; the rest is counted.
FINDINGS_MAX = 50


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that contradicts an invariant: whose, which row (`order 12`), and what is wrong in a sentence."""

    invariant: str
    account: int | None
    row: str
    sentence: str

    @property
    def key(self) -> tuple[str, int | None, str]:
        """What makes it the same finding at a second look, whatever its figures."""
        return self.invariant, self.account, self.row


@dataclass(slots=True)
class Check:
    """One invariant of DESIGN section 9, or a part of one. `unit` is what `looked_at` counts."""

    invariant: str
    what: str
    unit: str
    looked_at: int = 0
    found: int = 0
    findings: list[Finding] = field(default_factory=list)
    #: How far it could look, where that is not everything.
    note: str = ""

    def tell(self, sentence: str, *, account: int | None, row: str) -> None:
        self.found += 1
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(Finding(self.invariant, account, row, sentence))

    def keep(self, earlier: Check) -> None:
        """Keep only what an `earlier` look at everything had found too."""
        known = {finding.key for finding in earlier.findings}
        if earlier.untold == 0:
            self.findings = [finding for finding in self.findings if finding.key in known]
            self.found = len(self.findings)

    def confirm(self, later: Check, *, was_seen: Callable[[Finding], bool]) -> None:
        """Keep only what a `later` look at the accounts of these findings found again, or could not look at."""
        standing = {finding.key for finding in later.findings}
        gone = [f for f in self.findings if f.key not in standing and later.untold == 0 and was_seen(f)]
        self.findings = [finding for finding in self.findings if finding not in gone]
        self.found -= len(gone)

    @property
    def place(self) -> tuple[bool, int, str]:
        """Invariants by number, then what has a name."""
        number = self.invariant.removeprefix("I")
        return not number.isdigit(), int(number) if number.isdigit() else 0, self.invariant

    @property
    def untold(self) -> int:
        """Findings that are counted but not kept."""
        return self.found - len(self.findings)

    def as_json(self) -> dict[str, Any]:
        rows = [{"account": f.account, "row": f.row, "sentence": f.sentence} for f in self.findings]
        return {
            "invariant": self.invariant,
            "what": self.what,
            "unit": self.unit,
            "looked_at": self.looked_at,
            "found": self.found,
            "findings": rows,
            "untold": self.untold,
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class NotCompared:
    """An account whose books could not be held against Kraken's: unknown is not well."""

    account: int
    sentence: str


@dataclass(frozen=True, slots=True)
class BooksReport:
    checks: tuple[Check, ...]
    not_compared: tuple[NotCompared, ...] = ()
    #: Accounts of which only what was finished since then was held against Kraken.
    since: Mapping[int, datetime] = field(default_factory=dict)

    @property
    def findings(self) -> list[Finding]:
        """What contradicts an invariant, at most FINDINGS_MAX of each check."""
        return [finding for check in self.checks for finding in check.findings]

    @property
    def count(self) -> int:
        """Findings and accounts that could not be compared; 0 is all well."""
        return sum(check.found for check in self.checks) + len(self.not_compared)

    def as_json(self) -> dict[str, Any]:
        return {
            "checks": [check.as_json() for check in self.checks],
            "not_compared": [{"account": a.account, "sentence": a.sentence} for a in self.not_compared[:FINDINGS_MAX]],
            "not_compared_count": len(self.not_compared),
        }
