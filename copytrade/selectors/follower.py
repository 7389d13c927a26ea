"""What a follower's dashboard shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from accounts.models import RiskSettings, User
from copytrade.selectors import copies, standing
from copytrade.selectors.copies import CopyRow
from copytrade.selectors.standing import Standing
from trading.domain.money import CONTEXT
from trading.domain.risk import FRESH_FOR
from trading.models import Account, Levels, MarketPrice, Position, Role
from trading.selectors import equity, equity_curve, profit
from trading.selectors.equity import Worth
from trading.selectors.equity_curve import Curve

LATEST = 10
RANGES: Mapping[str, timedelta | None] = {
    "1d": timedelta(days=1),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
    "all": None,
}


@dataclass(frozen=True, slots=True)
class PositionRow:
    """One open position. `value` and `gain` (net of the fees paid so far) are None while the price is unknown."""

    position: Position
    value: Decimal | None
    gain: Decimal | None
    price: Decimal | None
    price_at: datetime | None
    price_source: str
    stop: str | None
    target: str | None

    @property
    def base(self) -> str:
        return self.position.instrument.symbol.partition("-")[0]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """`gain_*` are net of fees, in US dollars; None is unknown."""

    account: Account
    standing: Standing
    risk: RiskSettings
    worth: Worth
    gain_total: Decimal | None
    gain_today: Decimal | None
    positions: Sequence[PositionRow]
    latest: Sequence[CopyRow]
    curve: Curve

    @property
    def cap_in_one_trade(self) -> Decimal | None:
        """The most one entry may cost now, in US dollars."""
        known = self.worth.equity
        return None if known is None else CONTEXT.multiply(known.value, self.risk.max_risk)

    @property
    def lost_today(self) -> Decimal | None:
        return None if self.gain_today is None else max(Decimal(0), -self.gain_today)


def dashboard(user: User, *, points_range: str, now: datetime) -> Dashboard | Standing:
    """The dashboard, or only the standing while no account is connected."""
    account, own_standing = standing.of_user(user, now=now)
    if account is None:
        return own_standing
    worth = equity.worth_of([account], now=now)[account.pk]
    total = profit.totals([account.pk]).get(account.pk)
    span = RANGES[points_range]
    at_start = profit.at_start_of_day(account, now=now)
    return Dashboard(
        account=account,
        standing=own_standing,
        risk=account.user.risk,
        worth=worth,
        gain_total=None if total is None else total.value,
        gain_today=None if total is None or at_start is None else total.value - at_start,
        positions=open_positions(account, now=now),
        latest=copies.latest(account.pk, count=LATEST),
        curve=equity_curve.read(account.pk, since=None if span is None else now - span),
    )


def open_positions(account: Account, *, now: datetime) -> list[PositionRow]:
    """Open positions, largest cost first, with the master's levels for the same instrument."""
    held = list(Position.objects.filter(account=account, is_open=True).select_related("instrument"))
    ids = [position.instrument_id for position in held]
    prices = MarketPrice.objects.in_bulk(ids, field_name="instrument_id")
    found = Levels.objects.filter(
        position__instrument_id__in=ids, position__account__role=Role.MASTER, position__account__venue=account.venue
    )
    levels = dict(found.values_list("position__instrument_id", "plan"))
    rows = [_position(p, prices.get(p.instrument_id), levels.get(p.instrument_id, {}), now=now) for p in held]
    return sorted(rows, key=lambda row: row.position.cost, reverse=True)


def _position(position: Position, price: MarketPrice | None, plan: dict[str, Any], *, now: datetime) -> PositionRow:
    value = None if price is None else CONTEXT.multiply(position.managed, price.bid)
    ahead = [target for target in plan.get("targets", ()) if not target.get("hit")]
    return PositionRow(
        position=position,
        value=value,
        gain=None if value is None else value - position.cost,
        price=None if price is None else price.bid,
        price_at=None if price is None else price.as_of,
        price_source="live" if price is not None and now - price.as_of <= FRESH_FOR else "cached",
        stop=plan.get("trailing") or plan.get("stop"),
        target=ahead[0]["level"] if ahead else None,
    )
