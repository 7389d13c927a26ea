"""Exit obligations, computed again from the books at every look: what the planner sells from and what the operator sees."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.conf import settings
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery, prefetch_related_objects

from copytrade.domain import obligations
from copytrade.domain.obligations import Obligation, Standing, Step
from copytrade.models import CloseInstruction
from trading.domain import order_state
from trading.domain.instrument import Instrument as Rules
from trading.domain.instrument import Side
from trading.domain.money import Price, Quantity
from trading.domain.order_state import OrderState
from trading.models import (
    Adjustment,
    Execution,
    Instrument,
    MarketPrice,
    Order,
    OrderKind,
    Position,
    Role,
    Signal,
    SignalKind,
)


@dataclass(frozen=True, slots=True)
class Books:
    """What obligations are computed from, for a batch of positions: signals, rules and bids by instrument, `bought` by
    position and sequence, the others by (account, instrument). `exits`, by signal, fills as they are asked for: exact fractions
    take their time, and are the same for everybody. `waiting` are instruments with a signal that is not fanned out yet."""

    signals: Mapping[int, Sequence[Signal]]
    waiting: Collection[int]
    rules: Mapping[int, Rules]
    exits: dict[int, Step]
    bought: Mapping[int, Mapping[int, Quantity]]
    adjustments: Mapping[tuple[int, int], Sequence[Adjustment]]
    closes: Mapping[tuple[int, int], Sequence[CloseInstruction]]
    bids: Mapping[int, Decimal]

    def closes_now(self, position: Position) -> list[CloseInstruction]:
        """The owner's instructions that reach something of this position: told by sequences, so that what was still in doubt
        when one was given is sold too."""
        given = self.closes.get((position.account_id, position.instrument_id), ())
        return [close for close in given if close.after_sequence >= (position.opened_sequence or 0)]

    def settles(self, position: Position) -> int | None:
        """The exit up to which one that owes nothing by these books is done with them; None: none, or an older one follows."""
        if position.instrument_id in self.waiting:
            return None
        known = self.signals.get(position.instrument_id, ())
        return max((signal.sequence for signal in known if signal.kind == SignalKind.EXIT), default=None)

    def answered(self, position: Position) -> Signal | None:
        """The newest exit of the master that a sale now answers; None when the owner asked to sell everything."""
        if self.closes_now(position):
            return None
        known, since = self.signals.get(position.instrument_id, ()), position.opened_sequence or 0
        sold = [signal for signal in known if signal.kind == SignalKind.EXIT and signal.sequence >= since]
        return max(sold, key=lambda signal: signal.sequence, default=None)


@dataclass(frozen=True, slots=True)
class Owed:
    """One follower's sellable obligation. `since`: the exit that was not carried out in full; `last`: the newest sale."""

    position: Position
    quantity: Quantity
    since: datetime
    last: Order | None
    why: str


def candidates(*, anew: bool = False) -> QuerySet[Position]:
    """Open positions of followers that something may have asked to sell since they were found to owe nothing worth an order.

    `anew`: whatever was found before, since they were opened.
    """
    # Few instruments belong to many positions: what is owed by none of these is found without a look at each.
    sold = Q(pk__in=())
    for instrument_id, sequence in _newest_exits().items():
        sold |= Q(instrument=instrument_id, opened_sequence__lt=sequence) & (
            Q() if anew else Q(settled_sequence__lt=sequence)
        )
    asked = CloseInstruction.objects.filter(
        account__positions__is_open=True,
        account__positions__instrument=F("instrument"),
        account__positions__opened_sequence__lte=F("after_sequence"),
    )
    followers = Position.objects.filter(is_open=True, account__role=Role.FOLLOWER, account__venue=settings.VENUE)
    return followers.filter(sold | Q(pk__in=asked.values("account__positions")))


def _newest_exits() -> dict[int, int]:
    """Sequence of the master's newest exit, by instrument."""
    # Looked up for each: the newest of all that ever were would be searched for among them.
    exits = _fanned_out().filter(kind=SignalKind.EXIT, instrument=OuterRef("pk")).order_by("-sequence")
    traded = Instrument.objects.filter(Exists(Signal.objects.filter(instrument=OuterRef("pk"))))
    newest = traded.values_list("pk", Subquery(exits.values("sequence")[:1]))
    return {instrument_id: sequence for instrument_id, sequence in newest if sequence is not None}


def read_books(positions: Sequence[Position]) -> Books:
    accounts = {p.account_id for p in positions}
    instruments = {p.instrument_id for p in positions}
    first = min((p.opened_sequence or 0 for p in positions), default=0)
    signals: dict[int, list[Signal]] = defaultdict(list)
    waiting = set()
    # In one look: two signals may be fanned out in another order than they were given in.
    given = Signal.objects.filter(instrument_id__in=instruments, sequence__gte=first)
    for signal in given.annotate(fanned_out=F("fan_out__pk")):
        if signal.fanned_out is None:
            waiting.add(signal.instrument_id)
        else:
            signals[signal.instrument_id].append(signal)
    rules = {row.pk: row.rules for row in {p.instrument_id: p.instrument for p in positions}.values()}
    adjustments: dict[tuple[int, int], list[Adjustment]] = defaultdict(list)
    for row in Adjustment.objects.filter(account_id__in=accounts, instrument_id__in=instruments):
        adjustments[row.account_id, row.instrument_id].append(row)
    closes: dict[tuple[int, int], list[CloseInstruction]] = defaultdict(list)
    for close in CloseInstruction.objects.filter(account_id__in=accounts, instrument_id__in=instruments):
        closes[close.account_id, close.instrument_id].append(close)
    bids = dict(MarketPrice.objects.filter(instrument_id__in=instruments).values_list("instrument_id", "bid"))
    return Books(signals, waiting, rules, {}, _bought(positions), adjustments, closes, bids)


def _bought(positions: Sequence[Position]) -> Mapping[int, Mapping[int, Quantity]]:
    """What each position bought by signal, in the round trip under way: an order may have filled in two."""
    fills = Execution.objects.filter(
        account__positions__in=[position.pk for position in positions],
        account__positions__instrument=F("instrument"),
        account__positions__round_trip=F("round_trip"),
        side=Side.BUY,
        order__signal__isnull=False,
    )
    bought: dict[int, dict[int, Quantity]] = defaultdict(lambda: defaultdict(Quantity.zero))
    for position, sequence, quantity in fills.values_list("account__positions", "order__signal__sequence", "quantity"):
        bought[position][sequence] += Quantity(quantity)
    return bought


def of(position: Position, books: Books, *, available: Quantity | None) -> Obligation:
    """What this position owes now; `available` None: not known, Kraken decides."""
    bid = books.bids.get(position.instrument_id)
    return obligations.obligation(
        managed=Quantity(position.managed),
        steps=[*_steps(position, books), *_exits(position, books)],
        in_exits=Quantity.zero(),
        available=available,
        instrument=books.rules[position.instrument_id],
        price=None if bid is None else Price(bid),
    )


def owed() -> list[Owed]:
    """Everything sellable that followers still owe, sales under way included, the oldest first."""
    # Their owners are of interest only where something is owed, and few instruments belong to many positions.
    rows = list(candidates().prefetch_related("instrument"))
    return sorted(_owed_of(rows), key=lambda row: row.since)


def _owed_of(positions: Sequence[Position]) -> list[Owed]:
    books = read_books(positions)
    results = {position.pk: of(position, books, available=None) for position in positions}
    owing = [position for position in positions if results[position.pk].standing is Standing.OWED]
    prefetch_related_objects(owing, "account__user")
    last = _last_sales(owing)
    rows = []
    for position in owing:
        order = last.get((position.account_id, position.instrument_id))
        since = _since(position, books)
        rows.append(Owed(position, results[position.pk].owed, since, order, _why(order, since=since)))
    return rows


def _since(position: Position, books: Books) -> datetime:
    exits = _exits(position, books)
    step = obligations.unmet(
        managed=Quantity(position.managed),
        steps=[*_steps(position, books), *exits],
        exits=exits,
        instrument=books.rules[position.instrument_id],
    )
    return position.updated_at if step is None else exits[step]


def _last_sales(positions: Sequence[Position]) -> dict[tuple[int, int], Order]:
    """The newest sale of each position that may have to do with what is owed."""
    accounts, instruments = {p.account_id for p in positions}, {p.instrument_id for p in positions}
    sales = Order.objects.filter(account_id__in=accounts, instrument_id__in=instruments, kind=OrderKind.EXIT)
    opened = {(p.account_id, p.instrument_id): p.opened_at for p in positions}
    found: dict[tuple[int, int], Order] = {}
    for order in sales.order_by("exit_number"):
        since = opened.get((order.account_id, order.instrument_id))
        if since is not None and order.created_at >= since:
            found[order.account_id, order.instrument_id] = order
    return found


_WAITING = {
    OrderState.READY: "The sale waits to be sent.",
    OrderState.SENDING: "The sale is being sent.",
    OrderState.UNKNOWN: "Whether Kraken took the sale is not known yet; NIJA is finding out.",
    OrderState.ACKED: "The sale is at Kraken and not finished.",
    OrderState.PARTIAL: "The sale is at Kraken and partly filled.",
    OrderState.MANUAL: "A person must decide what became of the last sale.",
}


_ENDED = {
    OrderState.CANCELED: "Kraken cancelled it",
    OrderState.EXPIRED: "it expired",
    OrderState.REJECTED: "Kraken refused it",
    OrderState.NOT_PLACED: "it never reached Kraken",
}


def _why(order: Order | None, *, since: datetime) -> str:
    """Why it is still owed."""
    if order is None:
        return "No sale was tried yet."
    if order.state in order_state.LIVE:
        return _WAITING.get(OrderState(order.state), "The sale is planned.")
    if order.filled:
        return "The last sale sold a part." if order.created_at >= since else "No sale was tried since then."
    why = order.refusal.rstrip(".") or _ENDED.get(OrderState(order.state), "it was not sent")
    return f"The last sale sold nothing: {why}. It is tried again."


def _fanned_out() -> QuerySet[Signal]:
    """Signals whose copies are written: an exit planned before its copy would be a sale that no outcome tells of."""
    return Signal.objects.filter(fan_out__isnull=False)


def _steps(position: Position, books: Books) -> list[Step]:
    """What was bought, and what left by the owner's hand."""
    bought = books.bought.get(position.pk, {})
    steps = [
        obligations.entry(sequence=signal.sequence, bought=bought[signal.sequence])
        for signal in _signals(position, books)
        if signal.kind == SignalKind.ENTRY and signal.sequence in bought
    ]
    for row in books.adjustments.get((position.account_id, position.instrument_id), ()):
        if row.round_trip == position.round_trip:
            before, after = Quantity(row.managed_before), Quantity(row.managed_after)
            steps.append(
                obligations.adjustment(after_sequence=row.after_sequence, number=row.pk, before=before, after=after)
            )
    return steps


def _exits(position: Position, books: Books) -> dict[Step, datetime]:
    """What asks for a sale: the master's exits and the owner's instructions, with their instants."""
    asked = {
        _exit(signal, books): signal.created_at
        for signal in _signals(position, books)
        if signal.kind == SignalKind.EXIT
    }
    for close in books.closes_now(position):
        asked[obligations.close_all(after_sequence=close.after_sequence, number=close.pk)] = close.created_at
    return asked


def _exit(signal: Signal, books: Books) -> Step:
    step = books.exits.get(signal.pk)
    if step is None:
        step = obligations.exit_(sequence=signal.sequence, closed_fraction=signal.closed_fraction)
        books.exits[signal.pk] = step
    return step


def _signals(position: Position, books: Books) -> list[Signal]:
    since = position.opened_sequence or 0
    return [signal for signal in books.signals.get(position.instrument_id, ()) if signal.sequence >= since]
