"""What a follower still has to sell because the master sold (DESIGN section 3, Exit obligations). Pure and exact.

Walk the signals in order: an entry adds the follower's booked fills for it to the target; an exit keeps the share that
the master kept; quantity that left by the user's own hand takes its share of the target with it. What is managed above
the target is owed. Nothing here is remembered, so a lost message or a late fill heals by walking again. Who owes nothing is
not walked again before something has changed (`Position.settled_sequence`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from trading.domain.instrument import Instrument
from trading.domain.money import Price, Quantity


@dataclass(frozen=True, slots=True, order=True)
class Step:
    """One thing that changes the target, in signal order: `rank` 0 for a signal, 1 for what happened after it."""

    sequence: int
    rank: int
    number: int
    added: Fraction = Fraction(0)
    kept: Fraction = Fraction(1)


def entry(*, sequence: int, bought: Quantity) -> Step:
    return Step(sequence=sequence, rank=0, number=0, added=Fraction(bought.value))


def exit_(*, sequence: int, closed_fraction: Fraction) -> Step:
    return Step(sequence=sequence, rank=0, number=0, kept=1 - closed_fraction)


def adjustment(*, after_sequence: int, number: int, before: Quantity, after: Quantity) -> Step:
    kept = Fraction(after.value) / Fraction(before.value) if before else Fraction(1)
    return Step(sequence=after_sequence, rank=1, number=number, kept=kept)


def close_all(*, after_sequence: int, number: int) -> Step:
    return Step(sequence=after_sequence, rank=1, number=number, kept=Fraction(0))


class Standing(StrEnum):
    """NOTHING owed; OWED and sellable now; WAITING_MIN: owed, too little to sell yet; DUST: all of it too little."""

    NOTHING = "nothing"
    OWED = "owed"
    WAITING_MIN = "waiting_min"
    DUST = "dust"


@dataclass(frozen=True, slots=True)
class Obligation:
    standing: Standing
    owed: Quantity
    sell: Quantity


def target(steps: Iterable[Step]) -> Fraction:
    """What the follower would still hold had every exit been copied in full."""
    kept = Fraction(0)
    for step in sorted(steps, key=_order):
        kept = (kept + step.added) * step.kept
    return kept


def obligation(
    *,
    managed: Quantity,
    steps: Iterable[Step],
    in_exits: Quantity,
    available: Quantity | None,
    instrument: Instrument,
    price: Price | None,
) -> Obligation:
    """What is owed now and what to sell of it. `available` None: not known, Kraken decides; `price` None likewise."""
    free = Fraction(managed.value) - Fraction(in_exits.value)
    owed_exactly = min(free, free - target(steps))
    owed = instrument.floor_fraction(owed_exactly)
    whole = Quantity(managed.value - in_exits.value)
    if not owed:
        return Obligation(Standing.NOTHING, Quantity.zero(), Quantity.zero())
    if not _sellable(instrument, whole - owed, price):
        owed = whole
    sell = instrument.round_quantity(owed if available is None else min(owed, available))
    if _sellable(instrument, sell, price):
        return Obligation(Standing.OWED, owed, sell)
    standing = Standing.WAITING_MIN if _sellable(instrument, whole, price) else Standing.DUST
    return Obligation(standing, owed, Quantity.zero())


def unmet(*, managed: Quantity, steps: Iterable[Step], exits: Collection[Step], instrument: Instrument) -> Step | None:
    """The earliest of `exits` that was not carried out in full: had the walk ended with it, something would be owed.

    Where no single one explains what is owed, the last of them; None when there is none.
    """
    ordered = sorted(steps, key=_order)
    for place, step in enumerate(ordered):
        if step not in exits:
            continue
        added_later = sum((later.added for later in ordered[place + 1 :]), Fraction(0))
        if instrument.floor_fraction(Fraction(managed.value) - target(ordered[: place + 1]) - added_later):
            return step
    return max(exits, key=_order, default=None)


def _order(step: Step) -> tuple[int, int, int]:
    return step.sequence, step.rank, step.number


def _sellable(instrument: Instrument, quantity: Quantity, price: Price | None) -> bool:
    return quantity >= instrument.quantity_min if price is None else instrument.sellable(quantity, price)
