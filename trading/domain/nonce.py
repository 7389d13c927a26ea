"""The nonce rule of one API key (kraken-api.md 1.4: an unsigned 64-bit integer that always increases)."""

from __future__ import annotations


def next_nonce(*, previous: int, clock_ns: int) -> int:
    """Above everything this key has used, and close to the clock so that a lost counter can start again from it."""
    return max(previous + 1, clock_ns)
