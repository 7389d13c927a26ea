"""The global breaker: when copied entries are more than can be right, or fail too often, all entries stop. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FannedOut:
    """One signal: to how many followers it was fanned out, and how many copied entry orders it has."""

    signal: int
    followers: int
    orders: int


@dataclass(frozen=True, slots=True)
class Limits:
    """`failure_percent`: more failures than this trip, of at least `entries_min` whose outcome is known."""

    failure_percent: int
    entries_min: int


def trip(signals: Iterable[FannedOut], *, ended: int, failed: int, limits: Limits) -> str:
    """Why entries must stop, in a sentence; empty when they may go on.

    `ended`: copied entries of the last minute that were sent and whose outcome is known or known to be unknown; `failed` of
    them were refused, not placed, or are unknown.
    """
    assert 0 <= failed <= ended, "what failed has ended"
    for fanned in signals:
        if fanned.orders > fanned.followers:
            return (
                f"Signal {fanned.signal} has {fanned.orders} copied entry orders for {fanned.followers} followers: each "
                f"follower may have one."
            )
    if ended >= limits.entries_min and failed * 100 > limits.failure_percent * ended:
        return (
            f"{failed} of the last {ended} copied entries failed within a minute; more than {limits.failure_percent} % "
            f"stops all entries."
        )
    return ""
