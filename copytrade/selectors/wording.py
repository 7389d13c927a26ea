"""Sentences that an account's owner reads: their full stop, and how operators read them."""

from __future__ import annotations

#: Replaced in this order.
_OF_OWNER = {
    "You had sold your share": "The owner had sold their share",
    "You have ": "The owner has ",
    " and allow ": " and allows ",
    "Stopped by you": "Stopped by the owner",
    "until you resume": "until the owner resumes",
    "Resume to copy": "They resume to copy",
    "Resume copying to take": "They resume copying to take",
    "Connect one to copy": "They connect one to copy",
    "You ": "The owner ",
    "Your ": "The owner's ",
    " your ": " the owner's ",
}


def to_operators(sentence: str) -> str:
    """The same, speaking of the account's owner instead of to him."""
    for to_owner, of_owner in _OF_OWNER.items():
        sentence = sentence.replace(to_owner, of_owner)
    return sentence


def ended(text: str) -> str:
    """With one full stop, whether what somebody typed, or Kraken said, had one or not; empty stays empty."""
    bare = text.rstrip(". ")
    return f"{bare}." if bare else ""
