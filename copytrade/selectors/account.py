"""One account as an operator sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings

from accounts.models import Credential
from copytrade.selectors import attention, follower, standing
from copytrade.selectors.follower import PositionRow
from copytrade.selectors.standing import Standing
from trading.domain import order_state
from trading.models import Account, Event, Inspection, InspectionKind, Lane, Order, Role
from trading.selectors import equity
from trading.selectors.assets import Held, named
from trading.selectors.equity import Worth

EVENTS = 20
ORDERS = 50
BALANCES = 100
KEYS = 10
DECISIONS = 10


@dataclass(frozen=True, slots=True)
class AccountView:
    account: Account
    standing: Standing
    worth: Worth
    keys: Sequence[Credential]
    lane: Lane | None
    balances: Sequence[Held]
    positions: Sequence[PositionRow]
    orders: Sequence[Order]
    alerts: Sequence[Event]
    events: Sequence[Event]

    @property
    def is_master(self) -> bool:
        return self.account.role == Role.MASTER


def find(account_id: int) -> Account | None:
    return Account.objects.filter(pk=account_id, venue=settings.VENUE).select_related("user__risk").first()


def read(account: Account, *, now: datetime) -> AccountView:
    keys = Credential.objects.filter(user_id=account.user_id).defer("sealed").order_by("-version")
    key = standing.active_keys([account.user_id]).get(account.user_id)
    live = Order.objects.filter(account=account, state__in=order_state.LIVE).select_related("instrument")
    return AccountView(
        account=account,
        standing=standing.judge(account, account.user.risk, key, standing.platform(), now=now).to_operators,
        worth=equity.worth_of([account], now=now)[account.pk],
        keys=list(keys[:KEYS]),
        lane=Lane.objects.filter(credential=key).first() if key is not None else None,
        balances=named(account.balances.order_by("asset")[:BALANCES]),
        positions=follower.open_positions(account, now=now),
        orders=list(live.order_by("-pk")[:ORDERS]),
        alerts=list(attention.open_alerts().filter(account=account)[:EVENTS]),
        events=list(Event.objects.filter(account=account).order_by("-at", "-pk")[:EVENTS]),
    )


def order(order_id: int) -> Order | None:
    found = Order.objects.filter(pk=order_id, account__venue=settings.VENUE)
    return found.select_related("account__user", "instrument", "signal").first()


def decisions(order: Order) -> list[Inspection]:
    """What people said of this order and what Kraken said to that, newest first."""
    asked = Inspection.objects.filter(kind=InspectionKind.ORDER, report__order=order.pk)
    return list(asked.order_by("-pk")[:DECISIONS])
