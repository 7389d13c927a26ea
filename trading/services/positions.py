"""Positions: their rows are the locks of the books, and what a fold of executions made of them is written here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from django.db.models import Q

from trading.domain import position as fold
from trading.domain.instrument import Side
from trading.domain.money import Money, Quantity
from trading.domain.order_state import OUTSTANDING, OrderState
from trading.domain.position import PositionState
from trading.kraken.values import VenueTrade
from trading.models import Account, Adjustment, Execution, Instrument, MarketPrice, Order, OrderOrigin, Position

#: An order of ours may still change what is managed. A person's case (MANUAL) is not waited for.
UNDER_WAY = (OUTSTANDING | {OrderState.READY}) - {OrderState.MANUAL}
#: Finer than any price or fee: what of a trade is booked in part needs no more digits.
PART_STEP = Decimal("1e-12")
#: What a fold changes.
FOLDED = (
    *("managed", "cost", "realised", "fees", "is_open", "opened_at", "opened_sequence", "settled_sequence"),
    *("round_trip", "updated_at"),
)


def is_busy(account_id: int, instrument_id: int) -> bool:
    """Whether an order of NIJA's own may be about to change what is managed: whose coins a sale outside took is not
    known before."""
    ours = Order.objects.filter(account_id=account_id, instrument_id=instrument_id, state__in=UNDER_WAY)
    return ours.exclude(origin=OrderOrigin.OUTSIDE).exists()


def managed_part(trade: VenueTrade, *, account_id: int, instrument_id: int, managed: Quantity) -> VenueTrade | None:
    """What a sale outside NIJA took of the `managed` quantity, cost and fee in proportion; None: only the owner's own."""
    books = {"account_id": account_id, "instrument_id": instrument_id}
    bought = Execution.objects.filter(**books, side=Side.BUY, executed_at__gt=trade.at)
    taken = Adjustment.objects.filter(**books, created_at__gte=trade.at)
    part = fold.managed_share(
        trade.quantity,
        managed=managed,
        bought_since=sum((Quantity(e.quantity) for e in bought), Quantity.zero()),
        taken_since=sum((Quantity(a.managed_before - a.managed_after) for a in taken), Quantity.zero()),
    )
    if part == trade.quantity:
        return trade
    share = part.per(trade.quantity)
    cost, fee = ((money * share).value.quantize(PART_STEP) for money in (trade.cost, trade.fee))
    return replace(trade, quantity=part, cost=Money(cost), fee=Money(fee)) if part else None


def lock_one(account: Account, instrument_id: int, *, now: datetime) -> Position:
    """The position's row, made when there is none yet, locked until the transaction ends."""
    place = (account.pk, instrument_id)
    return lock({place}, now=now)[place]


def lock(places: Collection[tuple[int, int]], *, now: datetime) -> dict[tuple[int, int], Position]:
    """These rows by (account, instrument). Everybody who locks several does so by pk, so that no two wait for each other."""
    assert places, "no filter would lock everybody's"
    found = _lock_existing(places)
    missing = sorted(set(places) - found.keys())
    if missing:
        made = [Position(account_id=a, instrument_id=i, updated_at=now) for a, i in missing]
        # Another booking may make the same at this moment, and is waited for here.
        Position.objects.bulk_create(made, ignore_conflicts=True)
        found |= _lock_existing(missing)
    return found


def _lock_existing(places: Iterable[tuple[int, int]]) -> dict[tuple[int, int], Position]:
    accounts: dict[int, list[int]] = defaultdict(list)
    for account_id, instrument_id in places:
        accounts[instrument_id].append(account_id)
    these = Q()
    for instrument_id, account_ids in accounts.items():
        these |= Q(instrument=instrument_id, account__in=account_ids)
    rows = Position.objects.select_for_update(of=("self",)).filter(these).order_by("pk")
    return {(row.account_id, row.instrument_id): row for row in rows}


def state_of(position: Position) -> PositionState:
    return PositionState(
        managed=Quantity(position.managed),
        cost=Money(position.cost),
        realised=Money(position.realised),
        fees=Money(position.fees),
    )


def value_leaving(position: Position, managed_after: Decimal, instrument: Instrument) -> Money | None:
    """What leaves without an order of ours would bring at the bid; None when no price is known (`instrument.price` is read)."""
    price: MarketPrice | None = getattr(instrument, "price", None)
    return None if price is None else Quantity(position.managed - managed_after).at(price.bid_price)


def store(position: Position, state: PositionState, *, now: datetime) -> None:
    """Write a fold's result back."""
    apply(position, state, now=now)
    position.save(update_fields=FOLDED)


def apply(position: Position, state: PositionState, *, now: datetime) -> None:
    """A position opens and closes as its managed quantity leaves and reaches zero.

    Each opening begins a round trip, whose number tells its fills from those of earlier ones: clocks may be set back, and
    a fill that was long in doubt may come after its sequence was sold.
    """
    position.managed, position.cost = state.managed.value, state.cost.value
    position.realised, position.fees = state.realised.value, state.fees.value
    is_open = bool(state.managed)
    if is_open and not position.is_open:
        position.opened_at = now
        position.round_trip += 1
    if not is_open:
        position.opened_sequence = None
    # Whatever changed, what is owed is looked at again.
    position.settled_sequence = position.opened_sequence or 0
    position.is_open, position.updated_at = is_open, now
