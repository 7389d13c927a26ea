"""Random instants of a trade at which to stop everybody, drawn from how long the last trades took."""

from __future__ import annotations

import random
import statistics
from collections import deque
from dataclasses import dataclass
from enum import StrEnum

REMEMBERED = 7
AFTERWARDS_S = 1.0
#: About what a claim takes until its last request has left.
CLAIM_S = 0.15


@dataclass(frozen=True, slots=True)
class Marks:
    """Seconds from the master's order until it was sent, fanned out, its copies claimed, answered and final."""

    sent: float
    fanned_out: float
    claimed: float
    answered: float
    closed: float


#: Until it has been measured.
GUESS = Marks(0.1, 0.6, 0.8, 1.2, 1.6)


class Since(StrEnum):
    """What a drawn delay is counted from, so that a machine that has become slower does not move every stop to the front."""

    ORDERED = "the master's order"
    FANNED_OUT = "its fan-out"
    CLAIMED = "the first copy in SENDING"


class Instants:
    """Draws when to stop, mostly from the time in which copies are claimed and sent, as the last trades took it."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self._marks: deque[Marks] = deque(maxlen=REMEMBERED)

    def note(self, marks: Marks | None) -> None:
        if marks is not None:
            self._marks.append(marks)

    def draw(self) -> tuple[Since, float]:
        """Seconds after one of these."""
        sent, fanned_out, claimed, answered, closed = (self._usual(name) for name in Marks.__dataclass_fields__)
        spans = {
            (Since.ORDERED, 0.0, sent): 3,
            (Since.ORDERED, sent, fanned_out): 2,
            (Since.FANNED_OUT, 0.0, claimed - fanned_out): 2,
            # A stop that meets a claim waits for it, and then comes before its orders are written.
            (Since.FANNED_OUT, claimed - fanned_out, claimed - fanned_out + CLAIM_S): 6,
            (Since.CLAIMED, 0.0, CLAIM_S): 4,
            (Since.CLAIMED, 0.0, answered - claimed): 5,
            (Since.CLAIMED, answered - claimed, closed - claimed + AFTERWARDS_S): 2,
        }
        since, first, last = self.rng.choices(list(spans), weights=list(spans.values()))[0]
        return since, max(0.0, self.rng.uniform(first, last))

    def _usual(self, name: str) -> float:
        return statistics.median([getattr(marks, name) for marks in self._marks] or [getattr(GUESS, name)])
