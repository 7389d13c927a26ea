"""The levels of one planned trade, and the one place where a float becomes a Decimal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from trading.domain.money import Price, Ratio

#: A float carries 15 decimal digits faithfully, so a price read from text comes back as that text's number.
FLOAT_DIGITS = 15
ONE = Ratio(Decimal(1))


def decimal_from_float(value: float) -> Decimal:
    """An indicator's or a candle's value as Decimal: the only conversion in the strategy."""
    return Decimal(f"{float(value):.{FLOAT_DIGITS}g}")


@dataclass(frozen=True, slots=True)
class Target:
    """Sell `fraction` of the bought quantity once the price is `distance` above the entry."""

    distance: Ratio
    fraction: Fraction

    def level(self, entry_price: Price) -> Price:
        return entry_price * (ONE + self.distance)


@dataclass(frozen=True, slots=True)
class EntryPlan:
    """Where a trade would end, as distances from its entry price (ratios), fixed when the entry is decided.

    `reference` is the close that the decision saw. `trail` is how far below the highest price the trailing stop follows
    once the first target was reached. A position that has not come `stagnation_below` above its entry within
    `stagnation_after_s` is given up; every position ends after `max_holding_s`. Seconds are market time.
    """

    reference: Price
    stop_distance: Ratio
    targets: tuple[Target, ...]
    trail: Ratio
    stagnation_below: Ratio
    stagnation_after_s: int
    max_holding_s: int

    @property
    def stop(self) -> Price:
        """The stop if the entry fills at `reference`."""
        return self.stop_from(self.reference)

    def stop_from(self, entry_price: Price) -> Price:
        return entry_price * (ONE - self.stop_distance)

    def as_json(self) -> dict[str, Any]:
        """For a JSON column; `from_json` reads it back without loss."""
        return {
            "reference": str(self.reference),
            "stop_distance": str(self.stop_distance),
            "stop": str(self.stop),
            "targets": [
                {
                    "distance": str(target.distance),
                    "fraction": str(target.fraction),
                    "level": str(target.level(self.reference)),
                }
                for target in self.targets
            ],
            "trail": str(self.trail),
            "stagnation_below": str(self.stagnation_below),
            "stagnation_after_s": self.stagnation_after_s,
            "max_holding_s": self.max_holding_s,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> EntryPlan:
        return cls(
            reference=Price(Decimal(document["reference"])),
            stop_distance=Ratio(Decimal(document["stop_distance"])),
            targets=tuple(
                Target(Ratio(Decimal(row["distance"])), Fraction(row["fraction"])) for row in document["targets"]
            ),
            trail=Ratio(Decimal(document["trail"])),
            stagnation_below=Ratio(Decimal(document["stagnation_below"])),
            stagnation_after_s=int(document["stagnation_after_s"]),
            max_holding_s=int(document["max_holding_s"]),
        )
