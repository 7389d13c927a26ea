"""How far the exchange's clock is from ours, from answers that tell only whole seconds (DESIGN section 4, Kraken time).

One answer to `Time` says: when Kraken wrote it, its clock showed between S and S + 1 s, and ours between the moment we
asked and the moment the answer came. So the offset (Kraken's clock minus ours) lies above S - received and below
S + 1 s - sent. Several answers, at different fractions of a second, narrow that down together. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

#: A measured offset is trusted for so long, and an offset beyond the limit stops entries.
USABLE_FOR = timedelta(seconds=60)
OFFSET_MAX_MS = 500
#: How fast two clocks may drift apart; a clock that is being slewed runs up to 500 ppm wrong.
DRIFT_PPM = 500
_US_PER_MS = 1000


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer: `server_s` is Kraken's clock in whole unix seconds, the instants are aware and by our clock."""

    sent_at: datetime
    received_at: datetime
    server_s: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """The offset lies between `low_us` and `high_us` microseconds."""

    low_us: int
    high_us: int

    @property
    def offset_ms(self) -> int:
        return round((self.low_us + self.high_us) / (2 * _US_PER_MS))

    @property
    def error_ms(self) -> int:
        """So that `offset_ms` plus or minus this covers the bounds."""
        middle_us = self.offset_ms * _US_PER_MS
        return math.ceil(max(self.high_us - middle_us, middle_us - self.low_us) / _US_PER_MS)

    @classmethod
    def around(cls, offset_ms: int, *, error_ms: int, age: timedelta) -> Bounds:
        """What a measurement that is `age` old still says: wider, since clocks drift."""
        drift_us = math.ceil(max(age, timedelta(0)) / timedelta(microseconds=1) * DRIFT_PPM / 1_000_000)
        half_us = error_ms * _US_PER_MS + drift_us
        return cls(offset_ms * _US_PER_MS - half_us, offset_ms * _US_PER_MS + half_us)


def bounds_of(sample: Sample) -> Bounds | None:
    """What one answer says; None when our own clock went backwards while it was on its way."""
    if sample.received_at < sample.sent_at:
        return None
    server_us = sample.server_s * 1_000_000
    return Bounds(
        low_us=server_us - _unix_us(sample.received_at), high_us=server_us + 1_000_000 - _unix_us(sample.sent_at)
    )


def intersect(bounds: Iterable[Bounds]) -> Bounds | None:
    """What all of them say together; None when they contradict each other, since a clock was stepped in between."""
    found = list(bounds)
    if not found:
        return None
    both = Bounds(low_us=max(each.low_us for each in found), high_us=min(each.high_us for each in found))
    return both if both.low_us < both.high_us else None


def problem(*, offset_ms: int | None, measured_at: datetime | None, now: datetime) -> str | None:
    """Why no entry may be sent on this clock, in a sentence; None when it is good."""
    if offset_ms is None or measured_at is None:
        return "Kraken's clock has not been measured yet, so no entry can be given a deadline."
    if now - measured_at > USABLE_FOR:
        age_s = int((now - measured_at).total_seconds())
        return f"Kraken's clock was last measured {age_s} s ago, so no entry can be given a deadline."
    if abs(offset_ms) > OFFSET_MAX_MS:
        return (
            f"This machine's clock is {abs(offset_ms)} ms {'behind' if offset_ms > 0 else 'ahead of'} Kraken's; "
            f"entries need it within {OFFSET_MAX_MS} ms. Synchronise the machine's clock."
        )
    return None


def _unix_us(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)


_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
