"""Balances: read in the background, read at once when stale, kept with the instant they are of."""

from __future__ import annotations

import logging
import uuid
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.db import transaction
from django.db.models import BooleanField, ExpressionWrapper, F, Max, Q
from django.db.models.functions import Coalesce

from accounts.models import Credential
from trading import doorbell
from trading.domain import order_state
from trading.domain import position as fold
from trading.domain.instrument import Side
from trading.domain.money import Money, Quantity
from trading.domain.order_state import OrderState
from trading.kraken.endpoints import BALANCE_EX, PrivateClient
from trading.kraken.errors import KrakenError
from trading.kraken.values import Balances
from trading.models import (
    Account,
    Adjustment,
    AdjustmentKind,
    AssetBalance,
    Execution,
    Instrument,
    Order,
    OrderKind,
    OrderOrigin,
    Position,
    Role,
    Signal,
)
from trading.services import alerts, positions, private, signals, unexplained
from trading.services.clock import Clock
from trading.services.lanes import Purpose
from trading.services.unexplained import base_names as base_names

logger = logging.getLogger(__name__)
_ASSET_MAX = AssetBalance._meta.get_field("asset").max_length or 0
#: Of one look, which begins no more once the next one is due. Of ten thousand accounts two thousand are due each time; what
#: a slow look leaves undone the next ones make up for.
BATCH_MAX = 4_000
LOOK_MAX = timedelta(seconds=4.5)
#: Read side by side and stored together.
AT_ONCE = private.SENDERS
#: Asked for again after this long; fresh means at most 30 s old.
REFRESH_AFTER = timedelta(seconds=20)
#: So old a balance is read even when bookings take what the key's budget regains.
STARVED_AFTER = timedelta(seconds=40)
#: After a failure wait this long before asking again in the background.
RETRY_AFTER = timedelta(seconds=10)
#: Kraken's reads may lag behind its executions by some seconds; a balance is compared with the books only after this.
READ_LAG = timedelta(seconds=10)
#: An older balance does not limit an exit.
AVAILABLE_FOR = timedelta(seconds=60)


def refresh_due(*, clock: Clock) -> int:
    """Read the balances that are getting old, are older than our last fill, or that a refused sale contradicts; of how many
    accounts."""
    now = clock.now()
    old = (
        Q(balances_as_of__isnull=True)
        | Q(balances_as_of__lt=now - REFRESH_AFTER)
        | Q(balances_as_of__lte=F("last_fill_at"))
    )
    # A sale is refused when its owner has sold by hand, which the balance tells once its lag is over.
    refused = Order.objects.filter(kind=OrderKind.EXIT, state=OrderState.REJECTED, closed_at__gt=now - READ_LAG)
    contradicted = Q(pk__in=refused.values("account"))
    keyed = Account.objects.filter(venue=settings.VENUE, user__credentials__status=Credential.Status.ACTIVE)
    due = keyed.filter(old | contradicted).exclude(
        balances_failing_since__isnull=False, balances_tried_at__gt=now - RETRY_AFTER
    )
    first = due.only("user_id", "balances_as_of").order_by(F("balances_tried_at").asc(nulls_first=True))
    told = first.annotate(sale_waits=ExpressionWrapper(contradicted, output_field=BooleanField()))
    urgent, others = list[Account](), list[Account]()
    for account in told[:BATCH_MAX]:
        # A sale must not wait until a key has budget to spare.
        (urgent if account.sale_waits or is_starved(account, now=now) else others).append(account)
    until = now + LOOK_MAX
    return sum(
        refresh(rows[start : start + AT_ONCE], clock=clock, purpose=purpose)
        for rows, purpose in ((urgent, Purpose.BOOKING), (others, Purpose.REFRESH))
        for start in range(0, len(rows), AT_ONCE)
        if clock.now() < until
    )


def is_starved(account: Account, *, now: datetime) -> bool:
    """Whether its balance has waited too long to go on giving way to bookings."""
    return account.balances_as_of is not None and account.balances_as_of < now - STARVED_AFTER


def refresh(accounts: Collection[Account], *, clock: Clock, purpose: Purpose) -> int:
    """Read these accounts' balances now, side by side; accounts whose lane is busy keep what they have."""
    by_key = _active_keys(accounts)
    # Before lanes are taken, which therefore are held no longer than it takes to ask.
    private.open_all(by_key)
    as_of = clock.now()
    answers = private.call_each(dict.fromkeys(by_key, _balance_ex), purpose=purpose, cost=BALANCE_EX.cost, clock=clock)
    found = {account.pk: account for account in accounts}
    told = {by_key[key]: answer for key, answer in answers.items() if not isinstance(answer, KrakenError)}
    failed = {by_key[key]: answer for key, answer in answers.items() if isinstance(answer, KrakenError)}
    _note_failures(failed, now=clock.now())
    _store(told, as_of=as_of)
    doorbell.changed([found[account_id].user_id for account_id in [*failed, *told]])
    return len(told)


def _active_keys(accounts: Collection[Account]) -> dict[uuid.UUID, int]:
    """Account by active key. The sealed keys stay where they are: mostly they were opened long ago."""
    by_user = {account.user_id: account.pk for account in accounts}
    active = Credential.objects.filter(user_id__in=by_user, status=Credential.Status.ACTIVE)
    return {key: by_user[user_id] for key, user_id in active.values_list("pk", "user_id")}


async def _balance_ex(kraken: PrivateClient, nonce: int) -> Balances:
    return await kraken.balance_ex(nonce=nonce)


def _note_failures(errors: Mapping[int, KrakenError], *, now: datetime) -> None:
    by_text: dict[str, list[int]] = defaultdict(list)
    for account_id, error in errors.items():
        by_text[str(error)[:300]].append(account_id)
    for text, account_ids in by_text.items():
        Account.objects.filter(pk__in=account_ids).update(
            balances_tried_at=now, balances_error=text, balances_failing_since=Coalesce("balances_failing_since", now)
        )


def _store(told: Mapping[int, Balances], *, as_of: datetime) -> None:
    """`as_of` is when we asked: what happened since may or may not be in it."""
    if not told:
        return
    with transaction.atomic(durable=True):
        # Locked, in one order, so that of two reads stored at once the older one sees the newer, or is seen by it. Who only
        # writes a row that belongs to an account does not wait.
        locked = Account.objects.select_for_update(no_key=True).filter(pk__in=told).order_by("pk")
        newer = {
            stored.pk: stored
            for stored in locked.only("role", "balances_as_of")
            if stored.balances_as_of is None or stored.balances_as_of <= as_of
        }
        _note_unexplained([stored for stored in newer.values() if stored.role == Role.MASTER], told, as_of=as_of)
        _write_changed({account_id: told[account_id] for account_id in newer}, as_of=as_of)
        Account.objects.filter(pk__in=newer).update(
            balances_as_of=as_of, balances_tried_at=as_of, balances_error="", balances_failing_since=None
        )
    _adjust_short(list(newer.values()), told, as_of=as_of)
    for account in newer.values():
        _hold_below_zero(account, told[account.pk], now=as_of)


def _hold_below_zero(account: Account, balances: Balances, *, now: datetime) -> None:
    """Nothing is bought on a debt: what of its figures is the owner's own only a person can tell."""
    below = sorted(asset for asset, balance in balances.by_asset.items() if balance.total < 0)
    if below:
        why = f"Kraken tells of less than nothing of {', '.join(below)}: the account owes it, as on margin"
        alerts.hold(account, why, now=now)


def _write_changed(told: Mapping[int, Balances], *, as_of: datetime) -> None:
    """Most of what is told is known; call with the accounts locked."""
    stored = AssetBalance.objects.filter(account__in=told).values_list("pk", "account_id", "asset", "total", "hold")
    known = {(account_id, asset): (pk, total, hold) for pk, account_id, asset, total, hold in stored}
    changed = []
    for account_id, balances in told.items():
        for asset, balance in balances.by_asset.items():
            if len(asset) > _ASSET_MAX:
                # It must not keep everybody's balances from being written.
                logger.error("account %s: no asset is called %.100r", account_id, asset)
                continue
            _, *figures = known.pop((account_id, asset), (None,))
            if figures != [balance.total, balance.hold]:
                changed.append(
                    AssetBalance(
                        account_id=account_id, asset=asset, total=balance.total, hold=balance.hold, as_of=as_of
                    )
                )
    if changed:
        AssetBalance.objects.bulk_create(
            changed,
            update_conflicts=True,
            unique_fields=["account", "asset"],
            update_fields=["total", "hold", "as_of"],
        )
    if known:
        # Kraken names these no more.
        AssetBalance.objects.filter(pk__in=[pk for pk, _, _ in known.values()]).delete()


def _note_unexplained(masters: Collection[Account], told: Mapping[int, Balances], *, as_of: datetime) -> None:
    for master in masters:
        before = _stored_totals(master)
        unexplained.note(master, _totals(told[master.pk]), before=before, as_of=as_of)


def _totals(balances: Balances) -> dict[str, Decimal]:
    return {asset: balance.total for asset, balance in balances.by_asset.items()}


def _adjust_short(accounts: Collection[Account], told: Mapping[int, Balances], *, as_of: datetime) -> None:
    """Look closer at the few accounts whose balance is below what is managed."""
    held = Position.objects.filter(account__in=accounts, is_open=True).select_related("instrument")
    positions = held.only("account_id", "managed", "instrument__base_asset", "instrument__altname")
    short = {p.account_id for p in positions if p.managed > _held(p.instrument, _totals(told[p.account_id]))}
    for account in accounts:
        if account.pk in short:
            _adjust_to(account, _totals(told[account.pk]), as_of=as_of)


def compare_again(account: Account) -> None:
    """Compare the books with the newest stored balance, now that the master's trades are known."""
    as_of = Account.objects.values_list("balances_as_of", flat=True).get(pk=account.pk)
    if as_of is not None:
        _adjust_to(account, _stored_totals(account), as_of=as_of)


def is_short(account: Account) -> bool:
    """Whether the newest balance holds less of a coin than is managed."""
    return bool(_short(account, _stored_totals(account)))


def _stored_totals(account: Account) -> dict[str, Decimal]:
    return dict(AssetBalance.objects.filter(account=account).values_list("asset", "total"))


def _short(account: Account, totals: Mapping[str, Decimal]) -> list[Position]:
    positions = Position.objects.filter(account=account, is_open=True).select_related("instrument__price")
    return [p for p in positions if p.managed > _held(p.instrument, totals)]


def _adjust_to(account: Account, totals: Mapping[str, Decimal], *, as_of: datetime) -> None:
    """Where the account holds less than is managed, coins left it without an order of ours: USER_REDUCED.

    Only when nothing of ours can be under way and the balance is surely younger than our last fill. The master's trades
    outside NIJA are booked (`outside`); here counts what no trade explains once they were all read.
    """
    short = _short(account, totals)
    if account.role == Role.MASTER and not unexplained.history_is_read(account.pk, lag=READ_LAG):
        return
    for position in short:
        with transaction.atomic(durable=True):
            locked = positions.lock_one(account, position.instrument_id, now=as_of)
            last_fill = Account.objects.values_list("last_fill_at", flat=True).get(pk=account.pk)
            busy = Order.objects.filter(
                account=account,
                instrument_id=position.instrument_id,
                state__in=order_state.OUTSTANDING | {OrderState.READY},
            ).exclude(origin=OrderOrigin.OUTSIDE, state=OrderState.PARTIAL)
            if (last_fill is not None and as_of < last_fill + READ_LAG) or busy.exists():
                continue
            held = _held(position.instrument, totals)
            if locked.managed > held:
                before = Quantity(locked.managed)
                value = positions.value_leaving(locked, held, position.instrument)
                if account.role == Role.MASTER:
                    signals.emit_owing(locked, now=as_of)
                _reduce(locked, held, value=value, now=as_of)
                if account.role == Role.MASTER:
                    signals.emit_reduction(locked, before=before, after=Quantity(held), now=as_of)


def _held(instrument: Instrument, totals: Mapping[str, Decimal]) -> Decimal:
    """The base asset with what of it earns Kraken's rewards by itself (`XBT.F`), which is traded through the base asset."""
    return max(Decimal(0), sum((totals.get(name, Decimal(0)) for name in base_names(instrument)), Decimal(0)))


def _reduce(position: Position, held: Decimal, *, value: Money | None, now: datetime) -> None:
    before = position.managed
    state = fold.reduced(positions.state_of(position), managed_after=Quantity(held), value=value)
    positions.store(position, state, now=now)
    Adjustment.objects.create(
        account_id=position.account_id,
        instrument_id=position.instrument_id,
        kind=AdjustmentKind.USER_REDUCED,
        managed_before=before,
        managed_after=held,
        value=None if value is None else value.value,
        after_sequence=_bought_sequence(position),
        round_trip=position.round_trip,
        created_at=now,
    )
    doorbell.executions_booked()


def _bought_sequence(position: Position) -> int:
    """The newest signal of which something is held now: the copy of a newer one may still wait, and is not reduced with it.

    Exits in between need no place: what they and a reduction leave is multiplied, in any order.
    """
    bought = Execution.objects.filter(
        account=position.account_id, instrument=position.instrument_id, round_trip=position.round_trip, side=Side.BUY
    )
    newest: int | None = bought.aggregate(newest=Max("order__signal__sequence"))["newest"]
    return latest_sequence(position.instrument_id) if newest is None else newest


def latest_sequence(instrument_id: int) -> int:
    """The sequence of the master's newest signal for this instrument, 0 before the first."""
    newest = Signal.objects.filter(instrument_id=instrument_id).order_by("-sequence")
    return newest.values_list("sequence", flat=True).first() or 0


def free_base(instrument: Instrument, free: Mapping[str, Decimal] | None) -> Quantity | None:
    """What of the base asset can be sold, of an account of which `available` tells this; None when it tells nothing."""
    return None if free is None else Quantity(_held(instrument, free))


def available(account_ids: Sequence[int], *, now: datetime) -> dict[int, dict[str, Decimal]]:
    """What can be sold of each asset (total minus holds), of accounts whose balance surely tells it.

    That is one read lately, and so long after our last fill that Kraken's reads show it. For other accounts nothing is
    said, and Kraken decides: a balance from before a purchase must not hold its exit back.
    """
    settled = Q(account__last_fill_at__isnull=True) | Q(
        account__balances_as_of__gte=F("account__last_fill_at") + READ_LAG
    )
    recent = Q(account__balances_as_of__gte=now - AVAILABLE_FOR)
    found: dict[int, dict[str, Decimal]] = defaultdict(dict)
    for row in AssetBalance.objects.filter(settled & recent, account_id__in=account_ids):
        found[row.account_id][row.asset] = max(Decimal(0), row.total - row.hold)
    return found
