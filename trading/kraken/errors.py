"""What an answer from Kraken, or its absence, says about the command that was sent.

`NotPlaced` and its kinds prove that nothing was done; `OutcomeUnknown` proves nothing either way (DESIGN section 4).
The sentences are for people; the codes are Kraken's own words. Neither ever holds a key, a secret or a signature.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import ClassVar

CODES_MAX = 8
CODE_LENGTH_MAX = 160


class RateScope(StrEnum):
    """Whom a rate limit holds back."""

    KEY = "key"  # the REST call counter of one API key
    PAIR = "pair"  # the matching engine's counter of one account and pair
    DOMAIN = "domain"  # an account together with its sub-accounts
    SERVICE = "service"  # concurrent requests, or the address they come from
    LOCKOUT = "lockout"  # every further call makes it longer: stop all of them


class KrakenError(Exception):
    """Base of everything the client raises. `codes` are Kraken's error strings, empty when there was no answer."""

    #: True when the command was certainly not carried out.
    certainly_not_placed: ClassVar[bool] = False

    def __init__(self, sentence: str, *, codes: Sequence[str] = (), until: datetime | None = None) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.codes: tuple[str, ...] = tuple(code[:CODE_LENGTH_MAX] for code in codes[:CODES_MAX])
        self.until = until

    def says(self, code: str) -> bool:
        """Whether Kraken used this error, with or without an extra part (`EGeneral:Invalid arguments:volume`)."""
        wanted = _normal(code)
        return any(_matches(_normal(mine), wanted) for mine in self.codes)

    def __str__(self) -> str:
        return f"{self.sentence} ({', '.join(self.codes)})" if self.codes else self.sentence

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.sentence!r}, codes={self.codes!r})"


class NotPlaced(KrakenError):
    """The command was certainly not carried out."""

    certainly_not_placed = True


class CommandRejected(NotPlaced):
    """A well-formed refusal."""


class CredentialsRefused(NotPlaced):
    """The key, its signature, its permissions or its account are not accepted; do not call again with it."""


class KeyNotOpened(CredentialsRefused):
    """The key as it is stored does not open in this process: the installation's fault, which says nothing of the key."""


class Unavailable(NotPlaced):
    """No connection was made, so that certainly no byte of the request was written."""


class RateLimited(NotPlaced):
    """Refused for calling too often; `until` is when Kraken says it will listen again, if it says so."""

    def __init__(
        self, sentence: str, *, scope: RateScope, codes: Sequence[str] = (), until: datetime | None = None
    ) -> None:
        super().__init__(sentence, codes=codes, until=until)
        self.scope = scope


class OutcomeUnknown(KrakenError):
    """Sent, no proof either way. For a read: nothing was learnt."""


class Unparsable(OutcomeUnknown):
    """An answer came, but it is not one this client understands."""


class PermissionsUnknown(Unparsable):
    """Kraken described a key without saying what it may do."""


# A code that begins with one of these proves nothing about an order.
_UNKNOWN = (
    "eservice:",
    "edatabase:",
    "eorder:duplicate order",
    "eorder:reduce only:position is closed",
    "eapi:invalid nonce",
)
# Categories whose refusals are final. A category that is not listed is one we know nothing about: unknown.
_REFUSING = frozenset(
    {"eapi", "eauth", "egeneral", "eaccount", "esession", "etrade", "equery", "ebm", "efunding", "eorder", "eearnings"}
)
_CREDENTIALS = (
    "eapi:invalid key",
    "eapi:invalid signature",
    "egeneral:permission denied",
    "eauth:",
    "etrade:user locked",
    "esession:",
)
_LIMITS: tuple[tuple[str, RateScope], ...] = (
    ("eapi:rate limit exceeded", RateScope.KEY),
    ("eorder:rate limit exceeded", RateScope.PAIR),
    ("eorder:domain rate limit exceeded", RateScope.DOMAIN),
    ("eauth:rate limit exceeded", RateScope.SERVICE),
    ("eauth:too many requests", RateScope.SERVICE),
    ("egeneral:too many requests", RateScope.SERVICE),
    ("egeneral:temporary lockout", RateScope.LOCKOUT),
)
_THROTTLED = "eservice:throttled"

_SENTENCES: tuple[tuple[str, str], ...] = (
    ("eapi:invalid key", "Kraken does not know this API key."),
    ("eapi:invalid signature", "Kraken did not accept the signature: the API secret does not belong to the key."),
    ("eapi:invalid nonce", "Kraken had already seen a higher nonce for this key; another program may be using it."),
    ("eapi:feature disabled", "This feature is switched off at Kraken."),
    ("egeneral:permission denied", "The API key lacks a permission this needs."),
    ("egeneral:invalid arguments", "Kraken did not accept the request's arguments."),
    ("egeneral:internal error", "Kraken had an internal error."),
    ("eaccount:invalid permissions", "This Kraken account may not trade this."),
    ("eauth:account temporary disabled", "This Kraken account is suspended."),
    ("eauth:account unconfirmed", "This Kraken account is not confirmed yet."),
    ("etrade:user locked", "This Kraken account is locked."),
    ("equery:", "Kraken does not know this pair or asset."),
    ("eservice:market in cancel_only mode", "Kraken is only taking cancellations for this market."),
    ("eservice:market in post_only mode", "Kraken is only taking post-only orders for this market."),
    ("eservice:deadline elapsed", "The order's deadline passed while Kraken was handling it."),
    ("eservice:throttled", "Kraken is handling too many requests from here."),
    ("eservice:", "Kraken's service is not available or overloaded."),
    ("edatabase:", "Kraken had an internal error."),
    ("eorder:insufficient funds", "The account has not enough free balance for this order."),
    ("eorder:order minimum not met", "The order is smaller than Kraken's minimum quantity for this pair."),
    ("eorder:cost minimum not met", "The order is smaller than Kraken's minimum value for this pair."),
    ("eorder:tick size check failed", "The price is not a multiple of this pair's price step."),
    ("eorder:invalid price", "Kraken did not accept the price."),
    ("eorder:orders limit exceeded", "The account has too many open orders at Kraken."),
    ("eorder:scheduled orders limit exceeded", "The account has too many scheduled orders at Kraken."),
    ("eorder:post only order", "The order would have traded at once and was marked post-only."),
    ("eorder:unknown order", "Kraken does not know this order, or it is closed already."),
    ("eorder:cancel pending", "This order is being cancelled already."),
    ("eorder:duplicate order", "An order with this client order id is open at Kraken."),
    ("eorder:trading agreement required", "Kraken asks the account's owner to accept its trading agreement."),
    ("ebm:", "Kraken's purchase limit for this account is reached."),
)
_LIMIT_SENTENCES = {
    RateScope.KEY: "This API key has called Kraken too often.",
    RateScope.PAIR: "This account has placed too many orders for this pair in a short time.",
    RateScope.DOMAIN: "This account and its sub-accounts have placed too many orders in a short time.",
    RateScope.SERVICE: "Kraken is handling too many requests from here.",
    RateScope.LOCKOUT: "Kraken has locked this key or address out for some minutes.",
}
_SHAPE = re.compile(r"^e[a-z]+:\S")


def classify(errors: Sequence[str], *, order: bool = False) -> KrakenError:
    """The error that Kraken's `error` array means. Pure.

    `order` says that the call could have changed something: `EService: Throttled` is then no proof that it did not. Of
    several codes the one that proves least decides. Codes this table has never heard of, in a category it knows, are
    refusals; anything else is unknown.
    """
    codes = tuple(errors)
    normal = [_normal(code) for code in codes]
    throttled = next((code for code in normal if code.startswith(_THROTTLED)), None)
    until = _throttled_until(throttled) if throttled else None
    for mine in normal:
        if _is_unknown(mine) and (order or not mine.startswith(_THROTTLED)):
            return OutcomeUnknown(_sentence(mine), codes=codes, until=until)
    if not normal:
        return OutcomeUnknown("Kraken's answer holds neither a result nor an error.")
    if throttled:
        sentence = _LIMIT_SENTENCES[RateScope.SERVICE]
        return RateLimited(sentence, scope=RateScope.SERVICE, codes=codes, until=until)
    for mine in normal:
        scope = next((scope for prefix, scope in _LIMITS if mine.startswith(prefix)), None)
        if scope:
            return RateLimited(_LIMIT_SENTENCES[scope], scope=scope, codes=codes)
    for mine in normal:
        if mine.startswith(_CREDENTIALS):
            return CredentialsRefused(_sentence(mine), codes=codes)
    return CommandRejected(_sentence(normal[0]), codes=codes)


def _is_unknown(code: str) -> bool:
    category, _, description = code.partition(":")
    if not _SHAPE.match(code) or category not in _REFUSING:
        return True
    return code.startswith(_UNKNOWN) or description.startswith("internal error")


def _sentence(code: str) -> str:
    return next((sentence for prefix, sentence in _SENTENCES if code.startswith(prefix)), "Kraken refused the request.")


def _throttled_until(code: str) -> datetime | None:
    digits = re.search(r":(\d{9,11})(?:\D|$)", code)
    return datetime.fromtimestamp(int(digits[1]), UTC) if digits else None


def _normal(code: str) -> str:
    return re.sub(r"\s*:\s*", ":", code.strip()).lower()


def _matches(code: str, wanted: str) -> bool:
    return code == wanted or code.startswith(wanted + ":")
