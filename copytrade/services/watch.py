"""What an operator must be told of, looked for every five seconds; each alert passes by itself when its cause is gone."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings

from accounts.models import Credential
from copytrade.selectors import obligations
from copytrade.services import breaker
from trading.domain import order_state
from trading.domain.order_state import OrderState
from trading.models import Account, Order, OrderKind, OrderOrigin, Position, Role
from trading.services import alerts, outside, sending, unsold
from trading.services.alerts import Alarm
from trading.services.clock import Clock

#: An exit that is owed this long is told (invariant I8 gives thirty seconds).
EXIT_OVERDUE_AFTER = timedelta(seconds=30)
ROWS_MAX = 1_000


def look(*, clock: Clock) -> None:
    now = clock.now()
    # First, so that nothing that is wrong with a position keeps it from being told.
    sending.tell_slow_exits(now=now)
    alerts.keep_to("exit:", _overdue_exits(now=now), now=now)
    alerts.keep_to("unsold:", _masters_stuck_sales(now=now), now=now)
    alerts.keep_to("manual:", _persons_cases(), now=now)
    alerts.keep_to("key:", _drifted_keys(), now=now)
    held = Account.objects.filter(venue=settings.VENUE, held_at__isnull=False)
    alerts.keep_to("held:", {f"held:{row.pk}": Alarm(row.held_reason, row.pk) for row in held[:ROWS_MAX]}, now=now)
    alerts.keep_to(breaker.SUBJECT, breaker.alarm(), now=now)
    alerts.end(_settled_orders(), now=now)
    _end_unread(now=now)


def _overdue_exits(*, now: datetime) -> dict[str, Alarm]:
    overdue = [row for row in obligations.owed() if now - row.since > EXIT_OVERDUE_AFTER]
    return {
        f"exit:{row.position.account_id}:{row.position.instrument_id}": Alarm(
            f"{row.quantity} of {row.position.instrument.symbol} should have been sold since {row.since:%H:%M:%S} UTC. "
            f"{row.why}",
            row.position.account_id,
            None if row.last is None else row.last.pk,
        )
        for row in overdue[:ROWS_MAX]
    }


def _masters_stuck_sales(*, now: datetime) -> dict[str, Alarm]:
    """What the master does not get sold: nobody who follows him is sold either."""
    held = Position.objects.filter(is_open=True, account__role=Role.MASTER, account__venue=settings.VENUE)
    told = {}
    for position in held.select_related("instrument").order_by("pk")[:ROWS_MAX]:
        failed = unsold.stuck(position, now=now)
        if failed:
            symbol, count = position.instrument.symbol, len(failed)
            sales = "last sale" if count == 1 else f"last {count} sales"
            told[f"unsold:{position.account_id}:{position.instrument_id}"] = Alarm(
                f"The master's {sales} of {symbol} sold nothing, so that nobody's was sold: {failed[0].refusal}",
                position.account_id,
                failed[0].pk,
            )
    return told


def _persons_cases() -> dict[str, Alarm]:
    cases = Order.objects.filter(state=OrderState.MANUAL, account__venue=settings.VENUE).select_related("instrument")
    return {
        f"manual:{order.pk}": Alarm(
            f"Order {order.pk} ({order.side} {order.instrument.symbol}): what became of it could not be proved. Decide on "
            f"its page whether it exists at Kraken.",
            order.account_id,
            order.pk,
        )
        for order in cases.order_by("pk")[:ROWS_MAX]
    }


def _drifted_keys() -> dict[str, Alarm]:
    drifted = Credential.objects.filter(status=Credential.Status.ACTIVE, venue=settings.VENUE)
    rows = (
        drifted.exclude(entries_blocked_reason="")
        .order_by("pk")
        .values_list("user__trading_account__pk", "api_key_hint", "entries_blocked_reason")
    )
    return {
        f"key:{account_id}": Alarm(f"The Kraken key {hint} may open nothing new: {reason}", account_id)
        for account_id, hint, reason in rows[:ROWS_MAX]
        if account_id is not None
    }


def _settled_orders() -> list[str]:
    """Alerts about one order that has found its end since, or about sales that failed and later went through."""
    gone = []
    for event in alerts.standing("order:").filter(order__isnull=False).select_related("order")[:ROWS_MAX]:
        order = event.order
        assert order is not None, "filtered above"
        if order.state not in order_state.FINAL:
            continue
        closed_since = order.closed_at is not None and order.closed_at >= event.at
        if closed_since or (_is_copied_exit(order) and _is_over(order)):
            gone.append(event.subject)
    return gone


def _is_copied_exit(order: Order) -> bool:
    return order.kind == OrderKind.EXIT and order.origin == OrderOrigin.COPY


def _is_over(order: Order) -> bool:
    """Whether what this sale was to sell is gone, or a later one sold."""
    place = {"account_id": order.account_id, "instrument_id": order.instrument_id}
    if not Position.objects.filter(**place, is_open=True).exists():
        return True
    later = Order.objects.filter(**place, kind=OrderKind.EXIT, exit_number__gt=order.exit_number or 0)
    return any(sale.filled for sale in later)


def _end_unread(*, now: datetime) -> None:
    """The master's trade history is read again."""
    for event in alerts.unresolved().filter(message__startswith=outside.UNREAD).select_related("account"):
        account = event.account
        if account is not None and account.trades_read_at is not None and account.trades_read_at > event.at:
            alerts.pass_by(event.pk, now=now)
