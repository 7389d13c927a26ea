"""What became of signals, counted where the copies are: one signal has as many as there are followers.

Once every copy of a signal has an outcome that nothing changes any more, the count is kept in the cache, which may forget it.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from statistics import mean

import redis
from django.core.cache import cache
from django.db.models import BooleanField, Case, Count, F, Value, When, Window
from django.db.models.functions import RowNumber

from copytrade.models import CopyOrder, CopyStatus
from copytrade.selectors import copies
from trading.models import Signal, SignalKind

logger = logging.getLogger(__name__)

#: Outcomes that stay. Of an entry also those by which nothing was bought: it is not tried again.
SETTLED = frozenset({"filled", "reduced", "partly", "unfilled", "sold", "skipped", "missed"})
SETTLED_ENTRIES = frozenset({"rejected", "not_placed"})
#: Stands for any quantity that was filled: how much it was changes no outcome.
SOMETHING = Decimal(1)


@dataclass(frozen=True, slots=True)
class Summary:
    """Copies by outcome, and how long after the master's execution the copy in the middle was sent; None if none was."""

    counts: Mapping[str, int]
    median_lag_s: float | None


def summaries(signals: Collection[Signal]) -> Mapping[int, Summary]:
    """By signal: at most two queries for those that are not settled."""
    known = _kept(signals)
    open_ones = [signal for signal in signals if signal.pk not in known]
    if not open_ones:
        return known
    counted, lags = counts(open_ones), median_lags_s(open_ones)
    fresh = {signal.pk: Summary(dict(counted.get(signal.pk, {})), lags.get(signal.pk)) for signal in open_ones}
    _keep([(signal, fresh[signal.pk]) for signal in open_ones if is_settled(signal, fresh[signal.pk])])
    return {**known, **fresh}


def is_settled(signal: Signal, summary: Summary) -> bool:
    """Entries are never sent again; what is owed of an exit that came to nothing gets another order."""
    final = SETTLED if signal.kind == SignalKind.EXIT else SETTLED | SETTLED_ENTRIES
    return bool(summary.counts) and final.issuperset(summary.counts)


def _kept(signals: Collection[Signal]) -> dict[int, Summary]:
    keys = {_key(signal): signal.pk for signal in signals}
    try:
        found: dict[str, tuple[dict[str, int], float | None]] = cache.get_many(list(keys))
    except (redis.RedisError, OSError) as error:
        logger.warning("the kept outcomes of signals are not to be had: %s", type(error).__name__)
        return {}
    return {keys[key]: Summary(*kept) for key, kept in found.items()}


def _keep(settled: Collection[tuple[Signal, Summary]]) -> None:
    # Plain values, so that another version of NIJA can read them. Whoever cannot be told counts again.
    plain = {_key(signal): (dict(summary.counts), summary.median_lag_s) for signal, summary in settled}
    with contextlib.suppress(redis.RedisError, OSError):
        # As long as the cache likes: these figures never change, and are small.
        cache.set_many(plain, timeout=None)


def _key(signal: Signal) -> str:
    """A database that is made anew counts its signals from 1 again, at other instants."""
    return f"signal-outcomes:{signal.pk}:{signal.created_at.timestamp()}"


def counts(signals: Collection[Signal]) -> Mapping[int, Counter[str]]:
    """By signal, then by outcome."""
    # Equality with zero is the one question about an exact decimal that both databases answer alike.
    unfilled = Case(When(order__filled=Decimal(0), then=Value(True)), default=Value(False), output_field=BooleanField())
    kinds = ("signal_id", "status", "reason", "cap", "kind", "order__state", "unfilled")
    copied = CopyOrder.objects.filter(signal__in=[signal.pk for signal in signals]).annotate(unfilled=unfilled)
    found: dict[int, Counter[str]] = defaultdict(Counter)
    rows = copied.order_by().values_list(*kinds).annotate(copies=Count("pk"))
    for signal_id, status, reason, cap, kind, state, nothing, count in rows:
        filled = Decimal(0) if nothing else SOMETHING
        outcome = copies.outcome_of(status, reason=reason, cap=cap, order_state=state, filled=filled, kind=kind)
        found[signal_id][outcome] += count
    return found


def median_lags_s(signals: Collection[Signal]) -> Mapping[int, float]:
    """How long after the master's execution the copy in the middle was sent, in seconds; by signal, absent if none was."""
    executed = {signal.pk: signal.executed_at for signal in signals}
    sent = CopyOrder.objects.filter(signal__in=list(executed), status=CopyStatus.ORDERED, order__sent_at__isnull=False)
    ranked = sent.annotate(
        place=Window(RowNumber(), partition_by="signal_id", order_by="order__sent_at"),
        of=Window(Count("pk"), partition_by="signal_id"),
    )
    # Whole halves: of an odd number the one before the middle comes along, and is left out below.
    middle = ranked.filter(place__gte=F("of") / 2, place__lte=F("of") / 2 + 1)
    found: dict[int, list[float]] = defaultdict(list)
    sent_by = middle.values_list("signal_id", "place", "of", "order__sent_at", "order__sent_offset_ms")
    for signal_id, place, of, at, offset_ms in sent_by:
        lag = copies.lag(at, offset_ms, executed[signal_id])
        if lag is not None and place > (of - 1) // 2:
            found[signal_id].append(lag.total_seconds())
    return {signal_id: round(mean(lags), 2) for signal_id, lags in found.items()}
