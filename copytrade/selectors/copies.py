"""Copies as their owner reads them: outcome, reason, what filled, how fast."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet

from accounts.models import User
from copytrade.models import Cap, CopyOrder, CopyStatus, SkipReason
from copytrade.selectors import wording
from trading.domain.instrument import Side
from trading.domain.money import CONTEXT
from trading.domain.order_state import OrderState
from trading.models import Instrument, Order, Signal, SignalKind

PAGE = 50
#: Cents, for sentences.
CENT = Decimal("0.01")

_WAITING = frozenset({SkipReason.WAITING_MIN, SkipReason.DUST})
_BY_STATE: dict[str, str] = {
    OrderState.PLANNED: "pending",
    OrderState.READY: "pending",
    OrderState.SENDING: "sending",
    OrderState.ACKED: "open",
    OrderState.PARTIAL: "filling",
    OrderState.REJECTED: "rejected",
    OrderState.UNKNOWN: "unknown",
    OrderState.NOT_PLACED: "not_placed",
    OrderState.MANUAL: "manual",
    OrderState.SKIPPED: "skipped",
    OrderState.MISSED: "missed",
}
ON_ITS_WAY = (OrderState.PLANNED, OrderState.READY, OrderState.SENDING, OrderState.ACKED, OrderState.PARTIAL)
#: What the engine says of an order by its state alone, for readers.
_SENTENCES: dict[str, str] = {
    "pending": "It is being worked on.",
    "sending": "It is on its way to Kraken.",
    "open": "Kraken has it.",
    "filling": "Kraken has filled a part of it so far.",
    "unfilled": "Kraken took the order, but the market had moved beyond your slippage limit, so nothing was bought.",
    "unknown": "Kraken did not say whether it took the order. It is being looked up and is never sent twice.",
    "manual": "Kraken's records do not settle what became of the order. A person has to look.",
    "not_placed": "It never reached Kraken.",
}


def outcome_of(
    status: str, *, reason: str, cap: str, order_state: str | None, filled: Decimal | None, kind: str
) -> str:
    """The one word of a copy; `nija.templatetags.figures.STATES` says how each is shown."""
    if status == CopyStatus.SKIPPED:
        return "waiting" if reason in _WAITING else "skipped"
    if status == CopyStatus.MISSED:
        return "missed"
    if order_state is None:
        return "pending"
    if order_state == OrderState.FILLED:
        if kind == SignalKind.EXIT:
            return "sold"
        return "reduced" if cap not in {"", Cap.NONE} else "filled"
    if order_state in {OrderState.CANCELED, OrderState.EXPIRED}:
        return "partly" if filled else "unfilled"
    return _BY_STATE[order_state]


@dataclass(frozen=True, slots=True)
class CopyRow:
    """One copy with what its page and its line in a list need. Amounts are US dollars or base quantity."""

    copy: CopyOrder

    @property
    def signal(self) -> Signal:
        return self.copy.signal

    @property
    def order(self) -> Order | None:
        return self.copy.order

    @property
    def instrument(self) -> Instrument:
        return self.copy.signal.instrument

    @property
    def base(self) -> str:
        return self.instrument.symbol.partition("-")[0]

    @property
    def side(self) -> Side:
        return Side.BUY if self.copy.kind == SignalKind.ENTRY else Side.SELL

    @property
    def outcome(self) -> str:
        order = self.order
        return outcome_of(
            self.copy.status,
            reason=self.copy.reason,
            cap=self.copy.cap,
            order_state=order.state if order else None,
            filled=order.filled if order else None,
            kind=self.copy.kind,
        )

    @property
    def sentence(self) -> str:
        """Why it came out so, empty when there is nothing to explain."""
        if self.copy.sentence:
            return wording.ended(self.copy.sentence)
        if self.order is not None and self.order.refusal:
            return wording.ended(self.order.refusal)
        if self.outcome == "reduced":
            return self.cap_sentence
        if self.outcome == "unfilled" and self.side is Side.SELL:
            return "Kraken closed the order without a fill. What is owed is sold by a further order."
        return _SENTENCES.get(self.outcome, "")

    @property
    def to_operators(self) -> str:
        return wording.to_operators(self.sentence)

    @property
    def capped(self) -> bool:
        """By a cent at least: less is no difference that anybody could read."""
        if self.copy.cap in {"", Cap.NONE} or self.copy.notional is None or self.copy.proportional is None:
            return False
        return bool(self.copy.notional.quantize(CENT) < self.copy.proportional.quantize(CENT))

    @property
    def cap_sentence(self) -> str:
        copy = self.copy
        if copy.notional is None or copy.proportional is None:
            return ""
        spent, asked = copy.notional.quantize(CENT), copy.proportional.quantize(CENT)
        if not self.capped:
            return f"${spent}: your limits took less than a cent off."
        if copy.cap == Cap.CASH:
            return f"${spent} instead of ${asked}: no more cash was free."
        share = self.cap_share
        percent = (
            f"{format((share * 100).quantize(Decimal('0.1')).normalize(), 'f')} % of your equity" if share else "this"
        )
        return f"${spent} instead of ${asked}: your limit in one trade left {percent}."

    @property
    def cap_share(self) -> Decimal | None:
        """What part of the follower's equity the copy was allowed: of the limit what earlier signals of the same order left."""
        return _divided(self.copy.notional, self.copy.equity)

    @property
    def master_share(self) -> Decimal | None:
        """What part of their equity the master spent (entries)."""
        return _divided(self.signal.notional, self.signal.master_equity)

    @property
    def closed_share(self) -> Decimal | None:
        """What part of the position the master sold (exits)."""
        return _divided(self.signal.quantity, self.signal.managed_before)

    @property
    def price(self) -> Decimal | None:
        """Average fill price."""
        return _divided(self.order.filled_notional, self.order.filled) if self.order else None

    @property
    def slippage_bps(self) -> Decimal | None:
        """Fill price against the signal's; positive is worse for the follower."""
        price, reference = self.price, self.signal.price
        if price is None or not reference:
            return None
        difference = price - reference if self.side is Side.BUY else reference - price
        # Adding zero turns a rounded -0.0 into 0.0.
        return CONTEXT.divide(difference * 10_000, reference).quantize(Decimal("0.1")) + Decimal(0)

    @property
    def lag(self) -> timedelta | None:
        """From the master's execution to our order being written down as sent."""
        order = self.order
        return lag(order.sent_at, order.sent_offset_ms, self.signal.executed_at) if order else None


def lag(sent_at: datetime | None, offset_ms: int | None, executed_at: datetime) -> timedelta | None:
    """`executed_at` is by Kraken's clock, which ours was `offset_ms` behind when it wrote `sent_at`."""
    if sent_at is None:
        return None
    return max(timedelta(0), sent_at + timedelta(milliseconds=offset_ms or 0) - executed_at)


def _divided(value: Decimal | None, by: Decimal | None) -> Decimal | None:
    return CONTEXT.divide(value, by) if value is not None and by else None


def of_account(account_id: int) -> QuerySet[CopyOrder]:
    """One account's copies, with what a `CopyRow` reads."""
    return CopyOrder.objects.filter(account_id=account_id).select_related("signal__instrument", "order")


def visible_to(user: User) -> QuerySet[CopyOrder]:
    """A user's own copies; for an operator everybody's."""
    everybodys = CopyOrder.objects.select_related("signal__instrument", "order", "account__user")
    return everybodys if user.is_staff else everybodys.filter(account__user=user)


def latest(account_id: int, *, count: int) -> list[CopyRow]:
    return [CopyRow(copy) for copy in of_account(account_id).order_by("-pk")[:count]]


#: What a list can be narrowed to, in words, and which copies each means. Every copy is in exactly one of them.
OUTCOMES: Mapping[str, tuple[str, Q]] = {
    "filled": ("filled", Q(status=CopyStatus.ORDERED, order__state=OrderState.FILLED)),
    "partly": (
        "filled in part or not at all",
        Q(status=CopyStatus.ORDERED, order__state__in=(OrderState.CANCELED, OrderState.EXPIRED)),
    ),
    "pending": (
        "on its way",
        Q(status=CopyStatus.PENDING)
        | Q(status=CopyStatus.ORDERED, order__isnull=True)
        | Q(status=CopyStatus.ORDERED, order__state__in=ON_ITS_WAY),
    ),
    "skipped": (
        "skipped",
        Q(status=CopyStatus.SKIPPED) | Q(status=CopyStatus.ORDERED, order__state=OrderState.SKIPPED),
    ),
    "missed": ("missed", Q(status=CopyStatus.MISSED) | Q(status=CopyStatus.ORDERED, order__state=OrderState.MISSED)),
    "refused": (
        "rejected or not placed",
        Q(status=CopyStatus.ORDERED, order__state__in=(OrderState.REJECTED, OrderState.NOT_PLACED)),
    ),
    "unknown": (
        "unknown or needs a person",
        Q(status=CopyStatus.ORDERED, order__state__in=(OrderState.UNKNOWN, OrderState.MANUAL)),
    ),
}


@dataclass(frozen=True, slots=True)
class HistoryFilter:
    """What the reader asked for; empty fields ask for everything. `outcome` is a key of `OUTCOMES`."""

    since: datetime | None = None
    kind: str = ""
    outcome: str = ""
    symbol: str = ""
    order: str = ""


def history(account_id: int, wanted: HistoryFilter) -> QuerySet[CopyOrder]:
    """An account's copies, newest first."""
    found = of_account(account_id).order_by("-pk")
    if wanted.since is not None:
        found = found.filter(created_at__gte=wanted.since)
    if wanted.kind:
        found = found.filter(kind=wanted.kind)
    if wanted.outcome:
        found = found.filter(OUTCOMES[wanted.outcome][1])
    if wanted.symbol:
        found = found.filter(signal__instrument__symbol=wanted.symbol)
    if wanted.order:
        found = found.filter(with_order(wanted.order))
    return found


def with_order(text: str) -> Q:
    """Copies whose order has this id: Kraken's or a part of it, or the client order id, as a whole."""
    try:
        return Q(order__client_order_id=UUID(text))
    except ValueError:
        return Q(order__venue_order_id__icontains=text)


def page(found: QuerySet[CopyOrder], *, before: int | None) -> tuple[list[CopyRow], int | None]:
    """One page, and the id that the next one begins below; None on the last."""
    rows = list((found.filter(pk__lt=before) if before is not None else found)[: PAGE + 1])
    following = rows[PAGE - 1].pk if len(rows) > PAGE else None
    return [CopyRow(copy) for copy in rows[:PAGE]], following


def symbols_of(account_id: int) -> list[str]:
    """The symbols in an account's history, for the filter: each looked for until one copy of it is found."""
    copied = CopyOrder.objects.filter(account_id=account_id, signal__instrument=OuterRef("pk"))
    signalled = Instrument.objects.filter(Exists(Signal.objects.filter(instrument=OuterRef("pk"))))
    return sorted(signalled.filter(Exists(copied)).values_list("symbol", flat=True))
