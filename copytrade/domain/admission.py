"""Whether a follower takes part in an entry at all, before anything is sized. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from copytrade.domain.reasons import SkipReason
from copytrade.domain.sizing import Skipped


@dataclass(frozen=True, slots=True)
class Situation:
    """What is true of one follower and one signal when the entry is claimed; texts are empty when they do not apply."""

    symbol: str
    halted: str
    orders_allowed: bool
    clock_problem: str
    stopped: bool
    state: str
    close_only_reason: str
    until_resumed: bool
    held: str
    key_problem: str
    has_key: bool
    tradable: bool
    permits_symbol: bool
    master_already_out: bool
    open_positions: int
    max_open_positions: int
    already_open: bool


def refusal(now: Situation) -> Skipped | None:
    """The first reason that stands, each with what would change it."""
    checks = (
        (now.halted, SkipReason.HALTED, f"{now.halted}."),
        (
            not now.orders_allowed,
            SkipReason.ORDERS_NOT_ALLOWED,
            "This installation may not place orders on this exchange.",
        ),
        (now.stopped, SkipReason.STOPPED_BY_USER, "You stopped copying. Resume to copy the next entry."),
        (now.state == "off", SkipReason.COPYING_OFF, "Copying is switched off in your risk settings."),
        (now.state == "close_only", SkipReason.CLOSE_ONLY, "Your risk settings allow exits only."),
        (
            now.close_only_reason,
            SkipReason.DRAWDOWN if now.until_resumed else SkipReason.DAILY_LOSS,
            f"{now.close_only_reason}. Resume copying to take entries again.",
        ),
        (now.held, SkipReason.ACCOUNT_HELD, f"Your account is held until the operator has looked: {now.held}"),
        (not now.has_key, SkipReason.NO_KEY, "No Kraken key is connected. Connect one to copy."),
        (now.key_problem, SkipReason.KEY_PROBLEM, now.key_problem),
        (not now.tradable, SkipReason.NOT_TRADABLE, f"Kraken does not trade {now.symbol} at the moment."),
        (not now.permits_symbol, SkipReason.SYMBOL_NOT_ALLOWED, f"Your risk settings do not allow {now.symbol}."),
        (
            now.master_already_out,
            SkipReason.MASTER_ALREADY_OUT,
            "The master had sold again before this could be bought.",
        ),
        (now.clock_problem, SkipReason.CLOCK_UNKNOWN, now.clock_problem),
        (
            not now.already_open and now.open_positions >= now.max_open_positions,
            SkipReason.MAX_POSITIONS,
            f"You have {now.open_positions} positions open and allow {now.max_open_positions}.",
        ),
    )
    return next((Skipped(reason, sentence) for stands, reason, sentence in checks if stands), None)
