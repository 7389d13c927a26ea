"""The closed list of reasons for which a copy does not happen, and of what can reduce one."""

from __future__ import annotations

from enum import StrEnum


class SkipReason(StrEnum):
    HALTED = "halted"
    INDEPENDENT_MODE = "independent_mode"
    ORDERS_NOT_ALLOWED = "orders_not_allowed"
    STOPPED_BY_USER = "stopped_by_user"
    CLOSE_ONLY = "close_only"
    COPYING_OFF = "copying_off"
    ACCOUNT_HELD = "account_held"
    KEY_PROBLEM = "key_problem"
    NO_KEY = "no_key"
    SYMBOL_NOT_ALLOWED = "symbol_not_allowed"
    NOT_TRADABLE = "not_tradable"
    MAX_POSITIONS = "max_positions"
    DAILY_LOSS = "daily_loss"
    DRAWDOWN = "drawdown"
    BALANCE_UNKNOWN = "balance_unknown"
    CLOCK_UNKNOWN = "clock_unknown"
    RISK_USED_UP = "risk_used_up"
    NO_FREE_CASH = "no_free_cash"
    BELOW_QUANTITY_MIN = "below_quantity_min"
    BELOW_NOTIONAL_MIN = "below_notional_min"
    MASTER_ALREADY_OUT = "master_already_out"
    CLOSED_ALL = "closed_all"
    TOO_LATE = "too_late"
    NOTHING_TO_SELL = "nothing_to_sell"
    WAITING_MIN = "waiting_min"
    DUST = "dust"


class Cap(StrEnum):
    """Which limit set an entry's notional."""

    NONE = "none"
    MAX_RISK = "max_risk"
    CASH = "cash"
