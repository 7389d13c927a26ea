"""Lists as CSV: every digit of what was booked, every row, one line each."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from decimal import Context, Decimal
from typing import Any

from django.http import HttpResponse

from copytrade.selectors.copies import CopyRow
from copytrade.selectors.operator import FollowerRow, SignalRow
from trading.models import Candidate, Event, Execution, SignalKind

#: What makes a spreadsheet take a text for a formula. Addresses may begin so, and it would run when an operator opens the file.
FORMULA = ("=", "+", "-", "@", "\t", "\r")
#: An average price is a quotient without an end; so many of its digits count. All other figures are exact.
QUOTIENT = Context(prec=18)
#: More rows than this are asked for in parts, by time range or filter.
ROWS_MAX = 10_000
#: Of each signal there are as many copies to count as followers.
SIGNALS_MAX = 500


class _Line:
    """What csv.writer writes to: it hands the line back."""

    def write(self, text: str) -> str:
        return text


def as_csv(rows: Iterator[Mapping[str, Any]], *, columns: tuple[str, ...], name: str) -> HttpResponse:
    lines = csv.writer(_Line())
    body = [lines.writerow(columns), *(lines.writerow([_cell(row[column]) for column in columns]) for row in rows)]
    response = HttpResponse("".join(body), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    return response


def _cell(value: Any) -> Any:
    """Numbers with all their digits; a text never as a formula."""
    if isinstance(value, Decimal):
        return format(value, "f")
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


COPY_COLUMNS = (
    "id",
    "time",
    "symbol",
    "side",
    "outcome",
    "reason",
    "filled_quantity",
    "average_price",
    "notional",
    "fee",
    "order_id",
    "client_order_id",
)
OUTCOME_COLUMNS = ("follower", *COPY_COLUMNS, "slippage_bps", "lag_s")
SIGNAL_COLUMNS = (
    "id",
    "time",
    "symbol",
    "side",
    "quantity",
    "price",
    "notional",
    "reason",
    "strategy",
    "copied",
    "reduced",
    "skipped",
    "other",
    "median_lag_s",
    "order_id",
)
FOLLOWER_COLUMNS = (
    "follower",
    "state",
    "reason",
    "equity",
    "equity_as_of",
    "positions",
    "max_risk",
    "multiplier",
    "joined",
    "account",
)
ALERT_COLUMNS = ("id", "time", "state", "message", "follower", "subject", "ended", "resolved", "resolved_by", "note")
CANDIDATE_COLUMNS = ("cycle", "time", "strategy", "symbol", "score", "entered", "vetoes", "decision")
FILL_COLUMNS = ("time", "symbol", "side", "quantity", "price", "notional", "fee", "order_id", "trade_id")


def of_copy(row: CopyRow) -> dict[str, Any]:
    """US dollars and base quantity; what does not exist is empty."""
    order = row.order
    return {
        "id": row.copy.pk,
        "time": row.copy.created_at.isoformat(),
        "symbol": row.instrument.symbol,
        "side": row.side.value,
        "outcome": row.outcome,
        "reason": row.sentence,
        "filled_quantity": order.filled if order else "",
        "average_price": QUOTIENT.plus(row.price) if row.price is not None else "",
        "notional": order.filled_notional if order else "",
        "fee": order.fee if order else "",
        "order_id": order.venue_order_id if order else "",
        "client_order_id": order.client_order_id if order else "",
    }


def of_outcome(row: CopyRow) -> dict[str, Any]:
    """The same for operators: whose copy, how far from the master's price and how long after it."""
    return {
        **of_copy(row),
        "reason": row.to_operators,
        "follower": row.copy.account.user.email,
        "slippage_bps": _known(row.slippage_bps),
        "lag_s": row.lag.total_seconds() if row.lag is not None else "",
    }


def of_signal(row: SignalRow) -> dict[str, Any]:
    """What the master did, in US dollars and base quantity, and how many followers it became what for."""
    signal = row.signal
    return {
        "id": signal.pk,
        "time": signal.executed_at.isoformat(),
        "symbol": signal.instrument.symbol,
        "side": "buy" if signal.kind == SignalKind.ENTRY else "sell",
        "quantity": signal.quantity,
        "price": signal.price,
        "notional": signal.notional,
        "reason": signal.reason,
        "strategy": f"{signal.strategy} {signal.strategy_version}".strip(),
        "copied": row.copied,
        "reduced": row.reduced,
        "skipped": row.skipped,
        "other": row.other,
        "median_lag_s": _known(row.median_lag_s),
        "order_id": signal.order.venue_order_id if signal.order else "",
    }


def of_follower(row: FollowerRow) -> dict[str, Any]:
    """US dollars; `max_risk` and `multiplier` are ratios."""
    account, worth = row.account, row.worth
    return {
        "follower": account.user.email,
        "state": row.standing.key.value,
        "reason": row.standing.reason,
        "equity": worth.equity.value if worth.equity is not None else "",
        "equity_as_of": worth.as_of.isoformat() if worth.as_of is not None else "",
        "positions": worth.open_positions,
        "max_risk": account.user.risk.max_risk,
        "multiplier": account.user.risk.multiplier,
        "joined": account.created_at.isoformat(),
        "account": account.pk,
    }


def of_alert(event: Event) -> dict[str, Any]:
    return {
        "id": event.pk,
        "time": event.at.isoformat(),
        "state": _alert_state(event),
        "message": event.message,
        "follower": event.account.user.email if event.account else "",
        "subject": event.subject,
        "ended": event.ended_at.isoformat() if event.ended_at else "",
        "resolved": event.resolved_at.isoformat() if event.resolved_at else "",
        "resolved_by": event.resolved_by,
        "note": event.resolution,
    }


def _alert_state(event: Event) -> str:
    """`seen` is one whose cause stands after somebody resolved it."""
    if event.resolved_at is None:
        return "open"
    return "seen" if event.ended_at is None and event.subject else "settled"


def of_candidate(candidate: Candidate) -> dict[str, Any]:
    """One pair of one cycle: `vetoes` are their codes in order, `decision` is the first of them in words."""
    cycle, vetoes = candidate.cycle, candidate.vetoes
    return {
        "cycle": cycle.pk,
        "time": cycle.started_at.isoformat(),
        "strategy": f"{cycle.strategy} {cycle.version}",
        "symbol": candidate.instrument.symbol,
        "score": _known(candidate.score),
        "entered": candidate.order.venue_order_id if candidate.order else "",
        "vetoes": " ".join(veto["code"] for veto in vetoes),
        "decision": vetoes[0]["sentence"] if vetoes else "",
    }


def of_fill(fill: Execution) -> dict[str, Any]:
    """US dollars and base quantity."""
    return {
        "time": fill.executed_at.isoformat(),
        "symbol": fill.instrument.symbol,
        "side": fill.side,
        "quantity": fill.quantity,
        "price": fill.price,
        "notional": fill.notional,
        "fee": fill.fee,
        "order_id": fill.order.venue_order_id,
        "trade_id": fill.trade_id,
    }


def _known(value: Any) -> Any:
    return "" if value is None else value
