"""Lanes: one nonce counter and one request in flight per API key, over processes and restarts (DESIGN section 4, Lanes).

A lane is taken by a conditional change of its row, together with the next nonce and a new epoch. A lease that ended without
being given back may still have a request on the wire: its successor first makes a fencing read, whose higher nonce makes
a late request invalid at Kraken.

Leases and budgets are measured by the clock that all processes share: one whose own clock is wrong would otherwise take a lane
in use for a free one. Nonces need no common clock, since they come after the row's last one.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import IntEnum

from django.conf import settings
from django.db.models import BooleanField, ExpressionWrapper, Q, QuerySet

from accounts.models import Credential
from trading.domain.nonce import next_nonce
from trading.domain.order_state import OrderState
from trading.kraken import limits
from trading.kraken.endpoints import TRADES_HISTORY
from trading.kraken.errors import KrakenError, NotPlaced, RateLimited, RateScope
from trading.models import Account, Lane, Order, OrderKind
from trading.services import bulk
from trading.services.clock import Clock

REQUEST_MAX = timedelta(seconds=8)
LEASE = timedelta(seconds=12)
#: No lease ends later than this from now, however little instants of different processes agree, unless the clock was set back.
LEASE_ENDS_WITHIN = 2 * LEASE
#: Kraken does not tell the tier; the smallest one is always safe.
TIER = limits.Tier.STARTER
BLOCKED_FOR = {RateScope.KEY: 10, RateScope.PAIR: 5, RateScope.DOMAIN: 5, RateScope.SERVICE: 5, RateScope.LOCKOUT: 900}

_TAKEN = ("last_nonce", "epoch", "owner", "leased_until", "needs_fence", "rate_points", "rate_at")


class Purpose(IntEnum):
    """Why a lane is wanted, the more urgent the lower."""

    FENCE = 0
    EXIT = 1
    CANCEL = 2
    UNKNOWN = 3
    ENTRY = 4
    BOOKING = 5
    REFRESH = 6


#: Points of the REST counter that a purpose must leave for more urgent ones.
_RESERVE = {
    Purpose.FENCE: 0,
    Purpose.EXIT: 0,
    Purpose.CANCEL: 0,
    Purpose.UNKNOWN: 0,
    Purpose.ENTRY: 0,
    # The look that proves an order absent costs this much at once, and bookings go on all the time. Kept only where an
    # outcome is unknown.
    Purpose.BOOKING: TRADES_HISTORY.cost,
    Purpose.REFRESH: 8,
}


@dataclass(frozen=True, slots=True)
class Grant:
    """A lane held for one request. `fenced` says that nothing older can still be on the wire.

    `leased_until` is of the shared clock. `write_until` is the process's own and of its uptime, since its clock may be set back
    while the request waits: one begun by then ends within the lease.
    """

    lane_id: int
    credential_id: uuid.UUID
    owner: str
    epoch: int
    nonce: int
    leased_until: datetime
    write_until: float
    fenced: bool


def active_keys(accounts: Iterable[Account]) -> dict[int, Credential]:
    """The active credential by account id; accounts without one are absent."""
    by_user = {account.user_id: account.pk for account in accounts}
    found = Credential.objects.filter(user_id__in=by_user, status=Credential.Status.ACTIVE)
    return {by_user[credential.user_id]: credential for credential in found}


@dataclass(frozen=True, slots=True)
class Locked:
    """A lane's row, locked for this transaction, and what its key's orders ask of others."""

    lane: Lane
    exit_waits: bool
    in_doubt: bool

    def needs_fence(self, *, now: datetime) -> bool:
        """Whether no order may use it before a fencing read, and that read is not held up; `now` is of the shared clock."""
        return _needs_fence(self.lane, now=now)


def claim(
    credential_ids: Collection[uuid.UUID], *, purpose: Purpose, cost: int, clock: Clock, room: int = 0
) -> dict[uuid.UUID, Grant]:
    """Take every lane of these that is free and may be used for `purpose`, each with one nonce.

    `room` is what the calls that belong together cost, when this is the first of them. Call inside a transaction.
    Orders (`ENTRY`, `EXIT`) get fenced lanes only. A lane that is busy, blocked by Kraken or short of rate budget is absent
    from the answer: come again.
    """
    locked = lock(Lane.objects.filter(credential_id__in=credential_ids), purpose=purpose)
    return take(locked, purpose=purpose, cost=cost, clock=clock, room=room)


def lock(lanes: QuerySet[Lane], *, purpose: Purpose, also: Sequence[str] = ()) -> list[Locked]:
    """Lock these lanes, and the rows that `also` names beside them, in one statement; those that somebody else holds at
    this moment are absent. Call inside a transaction."""
    rows = lanes.select_for_update(skip_locked=True, of=("self", *also)).order_by("pk")
    exits_wait = purpose > Purpose.EXIT and settings.ORDERS_ALLOWED
    waiting = Order.objects.filter(kind=OrderKind.EXIT, state=OrderState.READY) if exits_wait else Order.objects.none()
    unknown = Order.objects.filter(state=OrderState.UNKNOWN) if purpose is Purpose.BOOKING else Order.objects.none()
    annotated = rows.annotate(exit_waits=_of_users(waiting), in_doubt=_of_users(unknown))
    return [Locked(lane=lane, exit_waits=lane.exit_waits, in_doubt=lane.in_doubt) for lane in annotated]


def take(
    locked: Iterable[Locked], *, purpose: Purpose, cost: int, clock: Clock, room: int = 0
) -> dict[uuid.UUID, Grant]:
    """`claim` of lanes that were locked in the same transaction."""
    write_until, now = _write_until(clock), clock.shared()
    owner = uuid.uuid4().hex
    granted: dict[uuid.UUID, Grant] = {}
    taken: list[Lane] = []
    for row in locked:
        lane = row.lane
        _end_in_time(lane, now=now)
        reserve = 0 if purpose is Purpose.BOOKING and not row.in_doubt else _RESERVE[purpose]
        points = max(cost, room) + (reserve if cost else 0)
        if row.exit_waits or not _usable(lane, purpose=purpose, points=points, now=now):
            continue
        lane.needs_fence = lane.needs_fence or lane.leased_until is not None
        if lane.needs_fence and purpose in (Purpose.ENTRY, Purpose.EXIT):
            continue
        lane.last_nonce = next_nonce(previous=lane.last_nonce, clock_ns=clock.ns())
        _take(lane, owner=owner, cost=cost, now=now)
        granted[lane.credential_id] = _grant(lane, write_until=write_until)
        taken.append(lane)
    bulk.update_each(taken, _TAKEN)
    return granted


def renew(grant: Grant, *, cost: int, clock: Clock) -> Grant | None:
    """The same lane for one more request; None when the lease passed to somebody else."""
    write_until, now = _write_until(clock), clock.shared()
    nonce = next_nonce(previous=grant.nonce, clock_ns=clock.ns())
    held = Lane.objects.filter(pk=grant.lane_id, owner=grant.owner, epoch=grant.epoch)
    lane = held.first()
    if lane is None:
        return None
    budget = limits.after(_budget(lane, now), cost=cost, now=now, tier=TIER)
    changed = held.update(
        last_nonce=nonce, leased_until=now + LEASE, rate_points=float(budget.points), rate_at=budget.at
    )
    if changed != 1:
        return None
    return replace(grant, nonce=nonce, leased_until=now + LEASE, write_until=write_until)


def release(grants: Collection[Grant], outcomes: Mapping[uuid.UUID, object], *, clock: Clock) -> None:
    """Give lanes back. `outcomes` by credential are what the last request brought: an error's rate limit is kept."""
    fenced = {g.lane_id for g in grants if not g.fenced and _reached_kraken(outcomes.get(g.credential_id))}
    for owner in {grant.owner for grant in grants}:
        mine = {grant.lane_id for grant in grants if grant.owner == owner}
        Lane.objects.filter(pk__in=mine & fenced, owner=owner).update(needs_fence=False)
        Lane.objects.filter(pk__in=mine, owner=owner).update(owner="", leased_until=None)
    for grant in grants:
        outcome = outcomes.get(grant.credential_id)
        if isinstance(outcome, RateLimited):
            _block(grant, outcome, now=clock.shared())


def needing_fence(credential_ids: Collection[uuid.UUID], *, now: datetime) -> list[uuid.UUID]:
    """Those whose last request may still be on the wire and whose lease is over; `now` is of the shared clock."""
    lanes = Lane.objects.filter(credential_id__in=credential_ids)
    return [lane.credential_id for lane in lanes if _needs_fence(lane, now=now)]


def _needs_fence(lane: Lane, *, now: datetime) -> bool:
    if lane.leased_until is None:
        return lane.needs_fence
    return lane.leased_until <= now


def _usable(lane: Lane, *, purpose: Purpose, points: int, now: datetime) -> bool:
    """`points` must be left: what the calls cost and what is kept for more urgent ones. None: a free call."""
    if lane.leased_until is not None and lane.leased_until > now:
        return False
    if lane.locked_out_until is not None and lane.locked_out_until > now:
        return False
    if lane.blocked_until is not None and lane.blocked_until > now and purpose > Purpose.EXIT:
        return False
    return limits.allows(_budget(lane, now), cost=points, now=now, tier=TIER)


def _end_in_time(lane: Lane, *, now: datetime) -> None:
    """After the clock was set back a lost lease would last for as long; it is counted from now, since when is not known."""
    if lane.leased_until is not None and lane.leased_until > now + LEASE_ENDS_WITHIN:
        lane.leased_until = now + LEASE
        lane.save(update_fields=["leased_until"])


def _write_until(clock: Clock) -> float:
    """Read before the lease begins, so that it is not too late."""
    return clock.uptime() + (LEASE - REQUEST_MAX).total_seconds()


def _take(lane: Lane, *, owner: str, cost: int, now: datetime) -> None:
    lane.epoch += 1
    lane.owner, lane.leased_until = owner, now + LEASE
    budget = limits.after(_budget(lane, now), cost=cost, now=now, tier=TIER)
    lane.rate_points, lane.rate_at = float(budget.points), budget.at


def _grant(lane: Lane, *, write_until: float) -> Grant:
    assert lane.leased_until is not None, "only a lane that was taken is granted"
    return Grant(
        lane_id=lane.pk,
        credential_id=lane.credential_id,
        owner=lane.owner,
        epoch=lane.epoch,
        nonce=lane.last_nonce,
        leased_until=lane.leased_until,
        write_until=write_until,
        fenced=not lane.needs_fence,
    )


def _budget(lane: Lane, now: datetime) -> limits.Budget:
    return limits.Budget(points=Decimal(str(lane.rate_points)), at=lane.rate_at or now)


def _block(grant: Grant, error: RateLimited, *, now: datetime) -> None:
    until = error.until or now + timedelta(seconds=BLOCKED_FOR[error.scope])
    changes: dict[str, object] = {"blocked_until": until}
    if error.scope is RateScope.LOCKOUT:
        # Every further call, even an exit, would make it longer.
        changes |= {"locked_out_until": until}
    if error.scope is RateScope.KEY:
        changes |= {"rate_points": float(TIER.points_max), "rate_at": now}
    Lane.objects.filter(pk=grant.lane_id).update(**changes)


def _reached_kraken(outcome: object) -> bool:
    """Whether Kraken certainly took the request's nonce: it answered, with a result or a well-formed refusal."""
    if outcome is None:
        return False
    return not isinstance(outcome, KrakenError) or (isinstance(outcome, NotPlaced) and bool(outcome.codes))


def _of_users(orders: QuerySet[Order]) -> ExpressionWrapper[Q]:
    """Whether the lane's owner has one of these; they are gathered once, whatever the number of lanes."""
    return ExpressionWrapper(Q(credential__user__in=orders.values("account__user")), output_field=BooleanField())
