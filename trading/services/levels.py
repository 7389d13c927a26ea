"""Where the master leaves what the strategy bought: levels made from the entry's plan, watched on every price."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from trading import doorbell
from trading.domain import order_state
from trading.domain.money import Money, Price, Quantity
from trading.models import (
    Account,
    Candidate,
    EntryPlan,
    Levels,
    MarketPrice,
    Order,
    OrderKind,
    OrderOrigin,
    Position,
    Role,
)
from trading.services import market, master_orders, unsold
from trading.services.clock import Clock
from trading.services.master_orders import AskedBy, MasterOrderRefused
from trading.strategy import exits, registry
from trading.strategy import plan as strategy_plan
from trading.strategy.decisions import ExitDecision, OpenPosition, shown
from trading.strategy.opening import opened_by_fills

logger = logging.getLogger(__name__)

#: An older price decides nothing: when Kraken does not answer, nothing could be sold either.
PRICE_USABLE_FOR = timedelta(seconds=30)
WHOLE = Fraction(1)
#: What is met at every look until it passes.
_LEVEL_OF = dict.fromkeys(("dust", "on_hold", "live_exit", "orders_not_allowed"), logging.DEBUG)


@dataclass(frozen=True, slots=True)
class Progress:
    """`Levels.plan` as values. `bought` is what the position held at its largest; `exit_order` the last sale asked for
    and `hit_before` the targets counted before it, so that a sale that never happened is asked for again."""

    plan: strategy_plan.EntryPlan
    bought: Decimal
    managed: Decimal
    highest: Price
    stop: Price
    targets_hit: int
    exit_order: int | None = None
    hit_before: int = 0

    @property
    def fraction_left(self) -> Fraction:
        return min(WHOLE, Fraction(self.managed) / Fraction(self.bought)) if self.bought else Fraction(0)

    def position(self, entry_price: Price, *, opened_at: datetime) -> OpenPosition:
        return OpenPosition(
            entry_price=entry_price,
            opened_at=int(opened_at.timestamp()),
            plan=self.plan,
            fraction_left=self.fraction_left,
            highest=self.highest,
            targets_hit=self.targets_hit,
            stop=self.stop,
        )

    def with_managed(self, managed: Decimal) -> Progress:
        """Bought by hand on top: the whole grows by as much. Sold, by us or by hand: a smaller share is left."""
        grown = max(Decimal(0), managed - self.managed)
        return replace(self, managed=managed, bought=self.bought + grown)

    def as_json(self, entry_price: Price) -> dict[str, Any]:
        targets = [
            {
                "level": shown(target.level(entry_price)),
                "fraction": str(target.fraction),
                "hit": number <= self.targets_hit,
            }
            for number, target in enumerate(self.plan.targets, start=1)
        ]
        trailing = exits.trailing_level(self.position(entry_price, opened_at=_EPOCH), price=self.highest)
        return {
            "entry": self.plan.as_json(),
            "stop": str(self.stop),
            "trailing": shown(trailing) if trailing is not None else None,
            "targets": targets,
            "targets_hit": self.targets_hit,
            "highest": str(self.highest),
            "bought": str(self.bought),
            "managed": str(self.managed),
            "fraction_left": str(self.fraction_left),
            "exit_order": self.exit_order,
            "hit_before": self.hit_before,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Progress:
        return cls(
            plan=strategy_plan.EntryPlan.from_json(document["entry"]),
            bought=Decimal(document["bought"]),
            managed=Decimal(document["managed"]),
            highest=Price(Decimal(document["highest"])),
            stop=Price(Decimal(document["stop"])),
            targets_hit=int(document["targets_hit"]),
            exit_order=document["exit_order"],
            hit_before=int(document["hit_before"]),
        )


def watch(*, clock: Clock) -> list[Order]:
    """Look at every position of the strategy at its newest bid and ask for the sales that are due; which ones.

    Runs beside the cycles and needs none of them.
    """
    now = clock.now()
    found = Position.objects.filter(account__venue=settings.VENUE, account__role=Role.MASTER)
    watched = found.filter(Q(is_open=True) | Q(levels__isnull=False)).order_by("pk")
    rows = list(watched.select_related("account", "instrument__price", "levels"))
    _forget([row.levels.pk for row in rows if not row.is_open])
    positions = [row for row in rows if row.is_open]
    market_at = _market_time(clock) if positions else now
    orders = []
    for position in positions:
        price: MarketPrice | None = getattr(position.instrument, "price", None)
        try:
            levels = _levels_of(position, now=now)
            if levels is None or price is None or now - price.as_of > PRICE_USABLE_FOR:
                continue
            order = _look(position.account, position, levels, bid=price.bid_price, market_at=market_at, now=now)
        except Exception:
            # The next position must still be watched.
            logger.exception("levels of %s", position.instrument.symbol)
        else:
            orders += [order] if order is not None else []
    return orders


def _forget(ids: Sequence[int]) -> None:
    """Levels of positions that are closed. Writes only when there are some: on SQLite a writer keeps all others waiting."""
    if ids:
        Levels.objects.filter(pk__in=ids, position__is_open=False).delete()


def _levels_of(position: Position, *, now: datetime) -> Levels | None:
    """The levels of the strategy's entry that this position consists of; None for one opened by hand."""
    entry = _strategy_entry(position)
    known: Levels | None = getattr(position, "levels", None)
    if entry is None or (known is not None and known.entry_order_id == entry.pk):
        return known if entry is not None else None
    with transaction.atomic(durable=True):
        # Under the lock, so that of two looks at a new position the second does not undo what the first has counted.
        locked = master_orders.lock_position(position.account, position.instrument)
        if locked is None or not locked.is_open:
            return None
        known = Levels.objects.filter(position=locked).first()
        return known if known is not None and known.entry_order_id == entry.pk else _made(locked, entry, now=now)


def _made(position: Position, entry: Order, *, now: datetime) -> Levels:
    """New levels for this entry, in the place of an earlier one's."""
    planned = EntryPlan.objects.get(order=entry)
    plan = strategy_plan.EntryPlan.from_json(planned.plan)
    opened = opened_by_fills(
        plan,
        notional=Money(entry.filled_notional),
        quantity=Quantity(entry.filled),
        opened_at=int(planned.market_at.timestamp()),
    )
    progress = Progress(
        plan=plan,
        bought=position.managed,
        managed=position.managed,
        highest=opened.highest,
        stop=opened.stop,
        targets_hit=0,
    )
    levels, _ = Levels.objects.update_or_create(
        position=position,
        defaults={
            "entry_order": entry,
            "strategy": planned.strategy,
            "version": planned.version,
            "parameters_hash": planned.parameters_hash,
            "entry_price": opened.entry_price.value,
            "plan": progress.as_json(opened.entry_price),
            "opened_market_at": planned.market_at,
            "updated_at": now,
        },
    )
    return levels


def _strategy_entry(position: Position) -> Order | None:
    """The newest strategy entry among the fills since this position opened, once it is wholly booked; None until then.

    What is left of an earlier one is dust that could not be sold: its levels are not those of what is being bought.
    """
    entries = Order.objects.filter(
        account_id=position.account_id,
        instrument_id=position.instrument_id,
        kind=OrderKind.ENTRY,
        entry_plan__isnull=False,
        executions__isnull=False,
    )
    if position.opened_at is not None:
        since = position.opened_at
        entries = entries.filter(Q(executions__executed_at__gte=since) | Q(executions__booked_at__gte=since))
    newest = entries.order_by("-pk").first()
    return newest if newest is not None and newest.filled and newest.state in order_state.FINAL else None


def _look(
    account: Account, position: Position, levels: Levels, *, bid: Price, market_at: datetime, now: datetime
) -> Order | None:
    """Decide on what is known; only a change takes the position's lock, under which everything is decided again."""
    entry_price = Price(levels.entry_price)
    seen = _seen(Progress.from_json(levels.plan), position, bid=bid)
    if seen.as_json(entry_price) == levels.plan and _decide(levels, seen, bid=bid, market_at=market_at) is None:
        return None
    with transaction.atomic(durable=True):
        locked = master_orders.lock_position(account, position.instrument)
        current = Levels.objects.filter(pk=levels.pk).first()
        if locked is None or not locked.is_open or current is None:
            return None
        entry = _strategy_entry(locked)
        if entry is None or entry.pk != current.entry_order_id:
            # Another was booked while this look waited for the lock.
            return None
        progress = _seen(Progress.from_json(current.plan), locked, bid=bid)
        order = None
        decision = _decide(current, progress, bid=bid, market_at=market_at)
        if decision is not None and unsold.may_try(locked, now=now):
            asked_by = AskedBy(current.strategy, current.version, current.parameters_hash, until_sold=True)
            try:
                order = _sell(locked, decision, asked_by=asked_by, now=now)
            except MasterOrderRefused as refusal:
                # What was seen, such as a new high, is kept all the same.
                logger.log(_LEVEL_OF.get(refusal.code, logging.WARNING), "no exit: %s", refusal.sentence)
            else:
                progress = replace(
                    progress, targets_hit=decision.targets_hit, hit_before=progress.targets_hit, exit_order=order.pk
                )
        current.plan = progress.as_json(entry_price)
        current.updated_at = now
        current.save(update_fields=["plan", "updated_at"])
        if order is not None:
            doorbell.changed([account.user_id])
    return order


def _seen(progress: Progress, position: Position, *, bid: Price) -> Progress:
    """Progress with what happened since: fills, a new high, a sale that came to nothing."""
    progress = replace(progress.with_managed(position.managed), highest=max(progress.highest, bid))
    if progress.exit_order is not None:
        last = Order.objects.filter(pk=progress.exit_order).first()
        if last is not None and last.state in order_state.FINAL:
            enough = last.filled and _sold_enough(progress, position, bid=bid)
            hit = progress.targets_hit if enough else progress.hit_before
            progress = replace(progress, exit_order=None, targets_hit=hit, hit_before=hit)
    return progress


def _sold_enough(progress: Progress, position: Position, *, bid: Price) -> bool:
    """Whether no more is left than the target keeps that was asked for, but for what could not be sold by itself: a sale may
    have come to nothing, or been of what was free only."""
    kept = WHOLE - sum((target.fraction for target in progress.plan.targets[: progress.targets_hit]), Fraction(0))
    rules = position.instrument.rules
    missing = rules.floor_fraction(Fraction(progress.managed) - Fraction(progress.bought) * kept)
    return not (missing and rules.sellable(missing, bid))


def _decide(levels: Levels, progress: Progress, *, bid: Price, market_at: datetime) -> ExitDecision | None:
    strategy = registry.get(levels.strategy)
    position = progress.position(Price(levels.entry_price), opened_at=levels.opened_market_at)
    return strategy.evaluate_exit(position, price=bid, market_time=int(market_at.timestamp()))


def _sell(position: Position, decision: ExitDecision, *, asked_by: AskedBy, now: datetime) -> Order:
    """The part the decision asks for, or all of it when Kraken does not take so small a part."""
    sell = partial(master_orders.create_exit, position, origin=OrderOrigin.STRATEGY, asked_by=asked_by, now=now)
    try:
        return sell(fraction=decision.fraction, reason=decision.sentence)
    except MasterOrderRefused as refusal:
        if refusal.code != "part_too_small":
            raise
        return sell(fraction=WHOLE, reason=f"{decision.sentence}; sold whole, as a part is less than Kraken sells")


def _market_time(clock: Clock) -> datetime:
    """The end of the newest closed candle on a market replayed here, the exchange's time on any other."""
    if not settings.VENUE_IS_LOCAL:
        return market.kraken_now(clock)
    newest = Candidate.objects.filter(candle_at__isnull=False).order_by("-cycle_id", "-candle_at").first()
    if newest is None or newest.candle_at is None:
        return market.kraken_now(clock)
    return newest.candle_at + timedelta(minutes=settings.MASTER_CANDLE_MINUTES)


_EPOCH = datetime.fromtimestamp(0, UTC)
