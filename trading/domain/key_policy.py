"""Which Kraken API keys NIJA takes (DESIGN section 5). Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

#: Kraken's name of a permission, and what its page for API keys calls it.
REQUIRED = {
    "query-funds": "Funds: Query",
    "query-open-trades": "Orders and trades: Query open orders & trades",
    "query-closed-trades": "Orders and trades: Query closed orders & trades",
    "modify-trades": "Orders and trades: Create & modify orders",
    "close-trades": "Orders and trades: Cancel & close orders",
}
FORBIDDEN = {
    "withdraw-funds": "Funds: Withdraw",
    "add-withdraw-address": "Add withdrawal addresses",
    "update-withdraw-address": "Update withdrawal addresses",
}


#: So long before a key expires nothing new is bought with it, and its owner is told to replace it.
EXPIRY_AHEAD = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """What the exchange says about a key. `permissions` is None when it did not say; `iban` names the Kraken account.

    `sees_all`: its queries are told of orders and trades of any date.
    """

    permissions: frozenset[str] | None
    nonce_window: int
    iban: str
    valid_until: datetime | None = None
    sees_all: bool = True


@dataclass(frozen=True, slots=True)
class Accepted:
    pass


@dataclass(frozen=True, slots=True)
class Refused:
    """`sentence` says what to change at Kraken."""

    sentence: str


def verdict(facts: KeyFacts, *, now: datetime) -> Accepted | Refused:
    if facts.permissions is None:
        return Refused(
            "Kraken did not say what this key may do, so it cannot be trusted with money. Create a new key and submit that."
        )
    forbidden = _names(FORBIDDEN, facts.permissions & FORBIDDEN.keys())
    if forbidden:
        return Refused(
            f"This key could take money out of your account: it has {forbidden}. NIJA never needs that and never keeps "
            f"such a key. Switch it off at Kraken and submit the key again."
        )
    lacking = _names(REQUIRED, REQUIRED.keys() - facts.permissions)
    if lacking:
        return Refused(f"This key lacks {lacking}. Switch that on for the key at Kraken and submit it again.")
    if facts.nonce_window != 0:
        return Refused(
            f"This key has a nonce window of {facts.nonce_window}, which would let an old request through late. Set it "
            f"to 0 at Kraken and submit the key again."
        )
    if facts.valid_until is not None and facts.valid_until <= now + EXPIRY_AHEAD:
        tense = "has expired" if facts.valid_until <= now else f"expires on {facts.valid_until:%d %b %Y}"
        return Refused(
            f"This key {tense} at Kraken, and what was bought could not be sold with it any more. Create one without an expiry "
            f"date and submit that."
        )
    if not facts.sees_all:
        # An order that such a key cannot see would be proved absent and sent again.
        return Refused(
            "This key sees only orders and trades of certain dates (its query start or end date), and NIJA must see what became "
            "of every order. Create one without these dates at Kraken and submit that."
        )
    if not facts.iban:
        return Refused("Kraken did not say which account this key belongs to. Create a new key and submit that.")
    return Accepted()


def _names(titles: dict[str, str], found: Collection[str]) -> str:
    names = [f"“{title}”" for permission, title in titles.items() if permission in found]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""
