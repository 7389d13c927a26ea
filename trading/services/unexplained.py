"""Whether the master's balance moved in a way that our bookings do not explain: the cheapest sign of a trade outside NIJA."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from trading.domain.instrument import Side
from trading.models import Account, Execution, Instrument, Position, Schedule
from trading.selectors.equity import QUOTE_ASSETS

#: The row that keeps when an unexplained change was last seen, by our clock.
CHANGE = "outside-change"
#: Balances are cut to four decimals; every trade in US dollars moves more than a cent.
CENT = Decimal("0.01")


def note(account: Account, totals: Mapping[str, Decimal], *, before: Mapping[str, Decimal], as_of: datetime) -> None:
    """Compare a new balance with the one `before` it; call in the transaction that stores it.

    Cash may move by our own executions only, and of a coin that is managed no more may leave than they sold. A first
    balance explains nothing.
    """
    since = account.balances_as_of
    if since is None or _moved(account, totals, before=before, since=since, until=as_of):
        Schedule.objects.update_or_create(name=CHANGE, defaults={"due_at": as_of})


def changed_at() -> datetime | None:
    return Schedule.objects.filter(name=CHANGE).values_list("due_at", flat=True).first()


def history_is_read(account_id: int, *, lag: timedelta) -> bool:
    """Whether the master's orders were read completely so long after the last such change that all of them were told."""
    changed = changed_at()
    read_at = Account.objects.values_list("trades_read_at", flat=True).get(pk=account_id)
    return changed is not None and read_at is not None and read_at >= changed + lag


def base_names(instrument: Instrument) -> tuple[str, str]:
    """The names under which BalanceEx tells an instrument's base asset: `XXBT` and, earning, `XBT.F`."""
    return instrument.base_asset, f"{instrument.altname.removesuffix('USD')}.F"


def _moved(
    account: Account,
    totals: Mapping[str, Decimal],
    *,
    before: Mapping[str, Decimal],
    since: datetime,
    until: datetime,
) -> bool:
    fills = list(Execution.objects.filter(account=account, executed_at__gt=since, executed_at__lte=until))
    cash = sum((_cash(fill) for fill in fills), Decimal(0))
    if abs(_change(QUOTE_ASSETS, totals, before) - cash) >= CENT:
        return True
    for position in Position.objects.filter(account=account, is_open=True).select_related("instrument"):
        instrument = position.instrument
        coins = sum((_coins(fill) for fill in fills if fill.instrument_id == instrument.pk), Decimal(0))
        if coins - _change(base_names(instrument), totals, before) >= instrument.lot_size:
            return True
    return False


def _change(names: Collection[str], totals: Mapping[str, Decimal], before: Mapping[str, Decimal]) -> Decimal:
    return sum((totals.get(name, Decimal(0)) - before.get(name, Decimal(0)) for name in set(names)), Decimal(0))


def _cash(fill: Execution) -> Decimal:
    cash: Decimal = (fill.notional if fill.side == Side.SELL else -fill.notional) - fill.fee
    return cash


def _coins(fill: Execution) -> Decimal:
    coins: Decimal = fill.quantity if fill.side == Side.BUY else -fill.quantity
    return coins
