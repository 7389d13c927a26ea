"""Crashes: one round trip for each point and repetition, in random order, and what came of them."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.chaos.points import Point
from tests.chaos.stage import Stage
from tests.chaos.trips import Outcome, Trip


@dataclass
class Report:
    points: Sequence[Point]
    times: int
    outcomes: list[Outcome] = field(default_factory=list)
    took_s: float = 0.0

    @property
    def missing(self) -> list[str]:
        hits = {point.name: sum(o.hit for o in self.outcomes if o.point == point) for point in self.points}
        return [name for name, count in hits.items() if count < self.times]

    @property
    def wrong(self) -> int:
        return sum(bool(outcome.problems) for outcome in self.outcomes)

    @property
    def good(self) -> bool:
        return not (self.wrong or self.missing)

    @property
    def told(self) -> list[str]:
        """Every problem, in a line."""
        return [f"{outcome.point.name}: {problem}" for outcome in self.outcomes for problem in outcome.problems]

    def table(self) -> str:
        head = f"{'point':<42}{'process':<11}{'strike':<33}{'hit':>4}{'median s':>10}{'slowest s':>11}{'wrong':>7}"
        return "\n".join([head, *map(self._row, self.points)])

    def summary(self) -> str:
        slowest = max((o.converged_s for o in self.outcomes if o.converged_s is not None), default=0.0)
        return (
            f"points: {len(self.outcomes)} crashes at {len(self.points)} points, {self.wrong} trips with a problem, "
            f"{len(self.missing)} points hit less than {self.times} times, slowest to converge {slowest:.1f} s, "
            f"{self.took_s:.0f} s"
        )

    def _row(self, point: Point) -> str:
        mine = [outcome for outcome in self.outcomes if outcome.point == point]
        times = [outcome.converged_s for outcome in mine if outcome.converged_s is not None]
        median, slowest = (f"{statistics.median(times):.1f}", f"{max(times):.1f}") if times else ("-", "-")
        wrong = sum(bool(outcome.problems) for outcome in mine)
        hit = sum(outcome.hit for outcome in mine)
        return f"{point.name:<42}{point.process:<11}{point.strike:<33}{hit:>4}{median:>10}{slowest:>11}{wrong:>7}"


@dataclass(frozen=True, slots=True)
class Wish:
    """How many crashes, where, in the order of which seed, and after how long no further one begins."""

    points: Sequence[Point]
    times: int
    seed: int
    minutes: float


def run(stage: Stage, wish: Wish, *, say: Callable[[str], None]) -> Report:
    order = [point for point in wish.points for _ in range(wish.times)]
    random.Random(wish.seed).shuffle(order)
    report, began = Report(wish.points, wish.times), time.monotonic()
    say(f"{len(order)} crashes at {len(wish.points)} points, seed {wish.seed}")
    for number, point in enumerate(order, start=1):
        if time.monotonic() - began > wish.minutes * 60:
            say(f"{wish.minutes:g} minutes are over after {number - 1} crashes")
            break
        report.outcomes.append(Trip(stage, point).run())
        say(f"{number}/{len(order)} after {time.monotonic() - began:.0f} s: {_line(report.outcomes[-1])}")
    report.took_s = time.monotonic() - began
    return report


def _line(outcome: Outcome) -> str:
    converged = "" if outcome.converged_s is None else f"{outcome.converged_s:.1f} s"
    return " | ".join([outcome.point.name, converged or "-", *outcome.problems])
