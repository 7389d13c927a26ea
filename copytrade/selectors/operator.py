"""What an operator sees of the fleet. No query here is made once per follower."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from django.conf import settings
from django.db.models import Case, Count, Exists, OuterRef, Q, QuerySet, When

from copytrade.models import CopyOrder
from copytrade.selectors import attention, copies, follower, outcomes, standing
from copytrade.selectors.attention import Safety
from copytrade.selectors.copies import CopyRow
from copytrade.selectors.follower import PositionRow
from copytrade.selectors.obligations import Owed
from copytrade.selectors.outcomes import Summary
from copytrade.selectors.standing import Platform, Standing, StandingKey
from trading.models import (
    Account,
    Candidate,
    Event,
    Instrument,
    Position,
    Role,
    Schedule,
    Signal,
    StrategyCycle,
    Venue,
)
from trading.selectors import equity, queues
from trading.selectors.equity import Worth
from trading.selectors.queues import Queue

T = TypeVar("T")
SIGNALS = 10
EVENTS = 8
ALERTS = 8
OWED = 10
#: Followers of a page, and of a part of an export.
PAGE = 50
PART = 500
#: Signals of a page: the copies of each are counted, and there is one of every follower.
SIGNALS_PAGE = 20
MASTER_SCHEDULE = "master-cycle"
MASTER_POSITIONS_MAX = 8
_COPIED = frozenset({"filled", "sold", "partly"})


@dataclass(frozen=True, slots=True)
class SignalRow:
    """One signal and what became of it. `counts` is keyed by outcome."""

    signal: Signal
    counts: Mapping[str, int]
    copied: int
    reduced: int
    skipped: int
    other: int
    median_lag_s: float | None

    @property
    def base(self) -> str:
        return self.signal.instrument.symbol.partition("-")[0]

    @property
    def total(self) -> int:
        return self.copied + self.reduced + self.skipped + self.other


@dataclass(frozen=True, slots=True)
class FollowerRow:
    account: Account
    standing: Standing
    worth: Worth


@dataclass(frozen=True, slots=True)
class Master:
    account: Account
    standing: Standing
    worth: Worth
    positions: Sequence[PositionRow]


@dataclass(frozen=True, slots=True)
class Cycle:
    """The last finished cycle, its candidates best first, and when the next is due."""

    last: StrategyCycle | None
    candidates: Sequence[Candidate]
    next_at: datetime | None


@dataclass(frozen=True, slots=True)
class Overview:
    platform: Platform
    safety: Safety
    venue: Venue | None
    master: Master | None
    cycle: Cycle
    counts: Mapping[StandingKey, int]
    followers: Sequence[FollowerRow]
    open_positions: int
    signals: Sequence[SignalRow]
    events: Sequence[Event]
    alerts: Sequence[Event]
    owed: Sequence[Owed]
    queues: Sequence[Queue]

    @property
    def copying(self) -> int:
        return self.counts[StandingKey.COPYING]

    @property
    def close_only(self) -> int:
        return self.counts[StandingKey.CLOSE_ONLY]

    @property
    def stopped_or_off(self) -> int:
        return self.counts[StandingKey.STOPPED] + self.counts[StandingKey.OFF]

    @property
    def attention(self) -> int:
        return self.counts[StandingKey.ATTENTION] + self.counts[StandingKey.NOT_CONNECTED]


def overview(*, now: datetime) -> Overview:
    everybody = standing.platform()
    everyone = _followers().alias(key=standing.active_key()).annotate(standing=standing.judged(everybody, now=now))
    counted = everyone.order_by().values_list("standing").annotate(Count("pk"))
    in_need = Case(When(standing=StandingKey.COPYING, then=1), default=0)
    owed = attention.owed()
    return Overview(
        platform=everybody,
        safety=attention.safety(owed, now=now),
        venue=Venue.objects.filter(pk=settings.VENUE).first(),
        master=_master(everybody, now=now),
        cycle=_cycle(),
        counts=Counter({StandingKey(key): count for key, count in counted}),
        followers=follower_rows(everyone.order_by(in_need, "pk")[:SIGNALS], everybody, now=now),
        open_positions=Position.objects.filter(account__in=_followers(), is_open=True).count(),
        signals=signal_rows(_signals().order_by("-pk")[:SIGNALS]),
        events=list(Event.objects.select_related("account__user", "order").order_by("-at")[:EVENTS]),
        alerts=list(attention.open_alerts()[:ALERTS]),
        owed=owed[:OWED],
        queues=queues.read(),
    )


def _followers() -> QuerySet[Account]:
    found = Account.objects.filter(venue=settings.VENUE, role=Role.FOLLOWER).select_related("user__risk")
    return found.order_by("pk")


def _signals() -> QuerySet[Signal]:
    return Signal.objects.filter(account__venue=settings.VENUE).select_related("instrument", "order")


def followers(*, state: str = "", search: str = "", now: datetime) -> QuerySet[Account]:
    """In the order they joined. `state` is a `StandingKey`, `search` a part of an address; empty is everybody."""
    found = _followers()
    if search:
        found = found.filter(user__email__icontains=search)
    if state:
        judged = standing.judged(standing.platform(), now=now)
        found = found.alias(key=standing.active_key()).annotate(standing=judged).filter(standing=state)
    return found


def followers_page(
    found: QuerySet[Account], *, after: int | None, now: datetime, size: int = PAGE
) -> tuple[list[FollowerRow], int | None]:
    """One page, and the id the next one begins after."""
    rows = list((found.filter(pk__gt=after) if after is not None else found)[: size + 1])
    following = rows[size - 1].pk if len(rows) > size else None
    return follower_rows(rows[:size], standing.platform(), now=now), following


def each_follower(found: QuerySet[Account], *, now: datetime) -> Iterator[FollowerRow]:
    return _each(lambda after: followers_page(found, after=after, now=now, size=PART))


def _each(page: Callable[[int | None], tuple[list[T], int | None]]) -> Iterator[T]:
    """The rows of every page, which is asked for by the cursor that the one before told."""
    rows, following = page(None)
    yield from rows
    while following is not None:
        rows, following = page(following)
        yield from rows


def follower_rows(accounts: Collection[Account], everybody: Platform, *, now: datetime) -> list[FollowerRow]:
    accounts = list(accounts)
    keys = standing.active_keys([account.user_id for account in accounts])
    worths = equity.worth_of(accounts, now=now)
    return [
        FollowerRow(
            account=account,
            standing=standing.judge(
                account, account.user.risk, keys.get(account.user_id), everybody, now=now
            ).to_operators,
            worth=worths[account.pk],
        )
        for account in accounts
    ]


def _master(everybody: Platform, *, now: datetime) -> Master | None:
    account = Account.objects.filter(venue=settings.VENUE, role=Role.MASTER).select_related("user__risk").first()
    if account is None:
        return None
    (row,) = follower_rows([account], everybody, now=now)
    return Master(account, row.standing, row.worth, follower.open_positions(account, now=now))


def _cycle() -> Cycle:
    last = StrategyCycle.objects.filter(finished_at__isnull=False).order_by("-pk").first()
    due = Schedule.objects.filter(name=MASTER_SCHEDULE).first()
    candidates: list[Candidate] = []
    if last is not None:
        candidates = list(last.candidates.select_related("instrument", "order").order_by("-score", "pk"))
    return Cycle(last, candidates, due.due_at if due else None)


def signal_rows(signals: Collection[Signal]) -> list[SignalRow]:
    """Signals with their followers' outcomes counted."""
    signals = list(signals)
    summaries = outcomes.summaries(signals)
    return [_signal_row(signal, summaries[signal.pk]) for signal in signals]


def _signal_row(signal: Signal, summary: Summary) -> SignalRow:
    counts = Counter(summary.counts)
    copied = sum(counts[outcome] for outcome in _COPIED)
    return SignalRow(
        signal=signal,
        counts=summary.counts,
        copied=copied,
        reduced=counts["reduced"],
        skipped=counts["skipped"],
        other=counts.total() - copied - counts["reduced"] - counts["skipped"],
        median_lag_s=summary.median_lag_s,
    )


@dataclass(frozen=True, slots=True)
class SignalsFilter:
    """What the reader asked for; empty fields ask for everything."""

    since: datetime | None = None
    kind: str = ""
    symbol: str = ""


def signals(wanted: SignalsFilter) -> QuerySet[Signal]:
    """What the master did, newest first."""
    found = _signals().order_by("-pk")
    if wanted.since is not None:
        found = found.filter(executed_at__gte=wanted.since)
    if wanted.kind:
        found = found.filter(kind=wanted.kind)
    if wanted.symbol:
        found = found.filter(instrument__symbol=wanted.symbol)
    return found


def signals_page(
    found: QuerySet[Signal], *, before: int | None, size: int = SIGNALS_PAGE
) -> tuple[list[SignalRow], int | None]:
    """One page, and the id that the next one begins below."""
    rows = list((found.filter(pk__lt=before) if before is not None else found)[: size + 1])
    following = rows[size - 1].pk if len(rows) > size else None
    return signal_rows(rows[:size]), following


def each_signal(found: QuerySet[Signal]) -> Iterator[SignalRow]:
    return _each(lambda before: signals_page(found, before=before))


def signalled_symbols() -> list[str]:
    """What the master has traded, for the filter."""
    traded = Exists(_signals().filter(instrument=OuterRef("pk")))
    return sorted(Instrument.objects.filter(traded, venue=settings.VENUE).values_list("symbol", flat=True))


def signal(signal_id: int) -> SignalRow | None:
    found = _signals().filter(pk=signal_id).first()
    return signal_rows([found])[0] if found is not None else None


def signal_copies(signal_id: int, *, outcome: str = "", search: str = "") -> QuerySet[CopyOrder]:
    """One row per follower of a signal; `outcome` is a key of `copies.OUTCOMES`, `search` an order id or a part of an address."""
    found = CopyOrder.objects.filter(signal_id=signal_id).select_related("signal__instrument", "order", "account__user")
    if outcome:
        found = found.filter(copies.OUTCOMES[outcome][1])
    if search:
        found = found.filter(Q(account__user__email__icontains=search) | copies.with_order(search))
    # As they joined. Each has one copy of it, and by account the copies of one signal are an index.
    return found.order_by("account_id")


def signal_page(found: QuerySet[CopyOrder], *, after: int | None) -> tuple[list[CopyRow], int | None]:
    """One page, and the account the next one begins after."""
    rows = list((found.filter(account_id__gt=after) if after is not None else found)[: copies.PAGE + 1])
    following = rows[copies.PAGE - 1].account_id if len(rows) > copies.PAGE else None
    return [CopyRow(copy) for copy in rows[: copies.PAGE]], following


@dataclass(frozen=True, slots=True)
class Size:
    """How many people and positions a stop for everybody concerns."""

    followers: int
    open_positions: int


def size() -> Size:
    return Size(
        followers=_followers().count(),
        open_positions=Position.objects.filter(account__venue=settings.VENUE, is_open=True).count(),
    )
