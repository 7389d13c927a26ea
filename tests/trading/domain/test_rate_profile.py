from __future__ import annotations

from decimal import Decimal

import pytest

from trading.domain.money import Money
from trading.domain.rate_profile import rate_profile


@pytest.mark.parametrize(
    ("equity", "name", "spacing_s", "monitoring_s"),
    [
        (None, "LOW_CAPITAL", 3, 30),
        ("0", "LOW_CAPITAL", 3, 30),
        ("99.99", "LOW_CAPITAL", 3, 30),
        ("100", "STANDARD", 2, 10),
        ("999.99", "STANDARD", 2, 10),
        ("1000", "AGGRESSIVE", 1, 5),
    ],
)
def test_the_profile_follows_the_masters_equity(
    equity: str | None, name: str, spacing_s: int, monitoring_s: int
) -> None:
    found = rate_profile(None if equity is None else Money(Decimal(equity)))
    assert (found.name, found.entry_spacing.seconds, found.monitoring.seconds) == (name, spacing_s, monitoring_s)
