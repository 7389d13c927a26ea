"""What Kraken holds against what is written here: orders (I1, I2), executions (I11) and base balances (I10).

Kraken is read first and the rows afterwards, as of one moment; what was finished less than half a minute before the
reading began is left out on both sides, for Kraken's reads lag and ours need their second. An order at Kraken whose client
order id is not ours is its owner's own and none of our business. An account that could not be read is not compared, and
told: unknown is not well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from django.conf import settings
from django.db.models import Exists, Min, OuterRef

from accounts.models import Credential
from trading.domain import order_state
from trading.domain.money import plain
from trading.domain.order_state import OrderState
from trading.kraken.values import VenueOrder, VenueStatus, VenueTrade
from trading.models import Account, Execution, Order, OrderOrigin, Position
from trading.selectors.books import CHUNK, QUIET, SKEW, Check, NotCompared, one_moment
from trading.services import balances, venue_reading
from trading.services.clock import Clock
from trading.services.venue_reading import Patience, Seen

#: Accounts that are read side by side; their rows are held in memory together.
BATCH = 256
#: Kraken takes whole seconds and compares "after"; also our first order may have been opened a little before its row says.
BEFORE_FIRST = timedelta(seconds=60)
#: Of a sale outside NIJA that took other coins as well, cost and fee are booked in proportion, so many digits.
PART_STEP = Fraction(1, 10**12)

_ORDER = [
    "pk",
    "account_id",
    "client_order_id",
    "venue_order_id",
    "origin",
    "state",
    "side",
    "filled",
    "created_at",
    "sent_at",
    "closed_at",
    "instrument__pair_id",
]
_EXECUTION = [
    "pk",
    "account_id",
    "order_id",
    "trade_id",
    "side",
    "quantity",
    "price",
    "notional",
    "fee",
    "executed_at",
    "booked_at",
]
_STATUS = {
    VenueStatus.CLOSED: OrderState.FILLED,
    VenueStatus.CANCELED: OrderState.CANCELED,
    VenueStatus.EXPIRED: OrderState.EXPIRED,
}


@dataclass(slots=True)
class Comparison:
    once: Check = field(default_factory=lambda: Check("I1", "at Kraken no client order id has two orders", "orders"))
    rows: Check = field(
        default_factory=lambda: Check("I2", "each order of ours at Kraken has one row, made before it", "orders")
    )
    trades: Check = field(
        default_factory=lambda: Check(
            "I11", "executions here and at Kraken are the same, to the last digit", "executions"
        )
    )
    coins: Check = field(default_factory=lambda: Check("I10", "Kraken holds at least what is managed", "positions"))
    not_compared: list[NotCompared] = field(default_factory=list)
    #: Accounts of which only what was finished since then could be read.
    since: dict[int, datetime] = field(default_factory=dict)

    @property
    def checks(self) -> list[Check]:
        return [self.once, self.rows, self.trades, self.coins]


@dataclass(slots=True)
class _Rows:
    """What is written here of one account."""

    orders: list[Any] = field(default_factory=list)
    executions: dict[int, list[Any]] = field(default_factory=lambda: defaultdict(list))
    positions: list[Position] = field(default_factory=list)
    busy: set[int] = field(default_factory=set)
    last_fill_at: datetime | None = None


def compare(*, patience: Patience, clock: Clock, only: Collection[int] | None = None) -> Comparison:
    """Every account that traded, or those in `only`. Private calls: runs where keys can be opened."""
    comparison = Comparison()
    for batch in _batches(only, comparison):
        first = _first_orders(batch)
        looked = venue_reading.read(batch, first_orders=first, patience=patience, clock=clock)
        with one_moment():
            rows = _read_rows(looked)
            for seen in looked:
                if not seen.is_usable:
                    sentence = f"could not be compared with Kraken: {seen.problem or 'no answer'}"
                    comparison.not_compared.append(NotCompared(seen.account.pk, sentence))
                    continue
                if seen.since is not None:
                    comparison.since[seen.account.pk] = seen.since
                _compare(seen, rows[seen.account.pk], comparison)
    if comparison.since:
        least = max(comparison.since.values())
        note = (
            f"of {len(comparison.since)} accounts only what was finished lately, of the least since {least:%d %b %H:%M}"
        )
        comparison.once.note = comparison.rows.note = comparison.trades.note = note
    return comparison


def reaches(since: datetime, row: str) -> bool:
    """Whether a look at what was finished since then has certainly seen this row (`order 12`) of a finding."""
    kind, _, number = row.partition(" ")
    if kind == "order":
        at = Order.objects.filter(pk=number).values_list("sent_at", flat=True).first()
    elif kind == "execution":
        at = Execution.objects.filter(pk=number).values_list("executed_at", flat=True).first()
    else:
        return True
    return at is not None and at > since + SKEW


def _batches(only: Collection[int] | None, comparison: Comparison) -> Iterator[list[Account]]:
    """Accounts with an active key, and those without one told as not compared where something of ours is open."""
    mine = Account.objects.filter(venue=settings.VENUE)
    # Ids first: a cursor that stays open while lanes are written would be in the way of those writes.
    ids = sorted(only) if only is not None else list(mine.order_by("pk").values_list("pk", flat=True))
    for start in range(0, len(ids), BATCH):
        yield _keyed(list(mine.filter(pk__in=ids[start : start + BATCH]).order_by("pk")), comparison)


def _keyed(accounts: Sequence[Account], comparison: Comparison) -> list[Account]:
    ids = [account.pk for account in accounts]
    key = Credential.objects.filter(user=OuterRef("user"), status=Credential.Status.ACTIVE)
    keyed = set(Account.objects.filter(Exists(key), pk__in=ids).values_list("pk", flat=True))
    live = Order.objects.filter(account_id__in=ids, state__in=order_state.OUTSTANDING)
    positions = Position.objects.filter(account_id__in=ids, is_open=True)
    owing = set(live.values_list("account_id", flat=True)) | set(positions.values_list("account_id", flat=True))
    for account_id in sorted(owing - keyed):
        sentence = "could not be compared with Kraken: no key is connected, and something is still open"
        comparison.not_compared.append(NotCompared(account_id, sentence))
    return [account for account in accounts if account.pk in keyed]


def _first_orders(accounts: Sequence[Account]) -> dict[int, datetime]:
    ours = Order.objects.filter(account__in=accounts, sent_at__isnull=False).order_by().values("account_id")
    first = {row["account_id"]: row["first"] for row in ours.annotate(first=Min("sent_at"))}
    found = Execution.objects.filter(account__in=accounts).order_by().values("account_id")
    for row in found.annotate(first=Min("executed_at")):
        first[row["account_id"]] = min(row["first"], first.get(row["account_id"], row["first"]))
    return {account_id: at - BEFORE_FIRST for account_id, at in first.items()}


def _read_rows(looked: Sequence[Seen]) -> dict[int, _Rows]:
    usable = [seen for seen in looked if seen.is_usable]
    ids = [seen.account.pk for seen in usable]
    rows: dict[int, _Rows] = {account_id: _Rows() for account_id in ids}
    for order in Order.objects.filter(account_id__in=ids).values_list(*_ORDER, named=True).iterator(CHUNK):
        mine = rows[order.account_id]
        mine.orders.append(order)
    for execution in Execution.objects.filter(account_id__in=ids).values_list(*_EXECUTION, named=True).iterator(CHUNK):
        rows[execution.account_id].executions[execution.order_id].append(execution)
    for position in Position.objects.filter(account_id__in=ids, is_open=True).select_related("instrument"):
        rows[position.account_id].positions.append(position)
    under_way = order_state.OUTSTANDING | {OrderState.READY}
    busy = Order.objects.filter(account_id__in=ids, state__in=under_way)
    for account_id, instrument_id in busy.values_list("account_id", "instrument_id"):
        rows[account_id].busy.add(instrument_id)
    for account_id, at in Account.objects.filter(pk__in=ids).values_list("pk", "last_fill_at"):
        rows[account_id].last_fill_at = at
    return rows


def _compare(seen: Seen, rows: _Rows, comparison: Comparison) -> None:
    account, settled = seen.account.pk, seen.started_at - QUIET
    by_txid = {order.venue_order_id: order for order in rows.orders if order.venue_order_id}
    by_client = {str(order.client_order_id): order for order in rows.orders}
    at_kraken = {order.txid: order for order in (*seen.closed.values(), *seen.open)}
    twice: dict[str, list[str]] = defaultdict(list)
    for venue in at_kraken.values():
        row = by_client.get(venue.cl_ord_id or "")
        if row is not None:
            twice[str(venue.cl_ord_id)].append(venue.txid)
        named = by_txid.get(venue.txid)
        if row is None and named is None:
            continue
        comparison.once.looked_at += 1
        comparison.rows.looked_at += 1
        if venue.opened_at < settled:
            for found, sentence in _identity(venue, row, named):
                comparison.rows.tell(sentence, account=account, row=f"order {found.pk}")
    for client_id, txids in twice.items():
        if len(txids) > 1:
            sentence = f"Kraken has taken it {len(txids)} times: {', '.join(sorted(txids))}"
            comparison.once.tell(sentence, account=account, row=f"order {by_client[client_id].pk}")
    _compare_orders(seen, rows, by_txid, comparison.trades)
    _compare_coins(seen, rows, comparison.coins)


def _identity(venue: VenueOrder, row: Any | None, named: Any | None) -> Iterator[tuple[Any, str]]:
    """`row` has its client order id, `named` its id at Kraken."""
    if row is not None:
        if row.venue_order_id != venue.txid:
            known = row.venue_order_id or "none"
            yield row, f"Kraken holds it as {venue.txid}; the row, which is {row.state}, names {known}"
        elif not venue.is_final and row.state in order_state.FINAL:
            yield row, f"it is {row.state} here and still open at Kraken"
        if row.origin != OrderOrigin.OUTSIDE and venue.opened_at < row.created_at - SKEW:
            yield row, f"Kraken took it at {venue.opened_at:%H:%M:%S}, the row was made at {row.created_at:%H:%M:%S}"
    elif named is not None and named.origin != OrderOrigin.OUTSIDE:
        yield named, f"{venue.txid} has the client order id {venue.cl_ord_id or 'none'} at Kraken, not the row's"


def _compare_orders(seen: Seen, rows: _Rows, by_txid: Mapping[str, Any], check: Check) -> None:
    account, settled = seen.account.pk, seen.started_at - QUIET
    for txid, venue in seen.closed.items():
        order = by_txid.get(txid)
        if order is None or venue.closed_at is None or venue.closed_at > settled:
            continue
        row = f"order {order.pk}"
        booked = rows.executions.get(order.pk, [])
        for sentence in [*_finished(venue, order), *_missing(venue, order, seen.trades, booked)]:
            check.tell(sentence, account=account, row=row)
        for execution in booked:
            check.looked_at += 1
            for sentence in _execution(execution, order, seen.trades.get(execution.trade_id), venue):
                check.tell(sentence, account=account, row=f"execution {execution.pk}")
    open_there = {venue.txid for venue in seen.open}
    for order in rows.orders:
        anchor = _anchor(order, rows.executions.get(order.pk, []))
        within = anchor is not None and (seen.since is None or anchor > seen.since + SKEW) and anchor < settled
        if order.venue_order_id and within and order.venue_order_id not in seen.closed.keys() | open_there:
            check.tell(
                f"Kraken knows no order {order.venue_order_id} of this account",
                account=account,
                row=f"order {order.pk}",
            )


def _anchor(order: Any, executions: Sequence[Any]) -> datetime | None:
    """An instant surely not after Kraken finished it."""
    instants: list[datetime] = [execution.executed_at for execution in executions]
    if order.sent_at is not None:
        instants.append(order.sent_at)
    return min(instants, default=None)


def _finished(venue: VenueOrder, order: Any) -> Iterator[str]:
    outside = order.origin == OrderOrigin.OUTSIDE
    if order.state not in order_state.FINAL:
        if not outside:
            yield f"Kraken finished it at {venue.closed_at:%H:%M:%S}, here it is still {order.state}"
        return
    if _STATUS.get(venue.status) != order.state:
        yield f"Kraken calls it {venue.raw_status}, here it is {order.state}"
    # Of an order outside NIJA only what concerned managed coins is booked (docs/adr/0019).
    if order.filled > venue.executed.value or (order.filled != venue.executed.value and not outside):
        yield f"Kraken executed {venue.executed} of it, here {plain(order.filled)} are filled"


def _missing(venue: VenueOrder, order: Any, trades: Mapping[str, VenueTrade], booked: Sequence[Any]) -> Iterator[str]:
    if order.origin == OrderOrigin.OUTSIDE:
        return
    here = {execution.trade_id for execution in booked}
    for trade_id in venue.trade_ids:
        if trade_id not in here:
            trade = trades.get(trade_id)
            what = f": {trade.quantity} at {trade.price}" if trade is not None else ""
            yield f"trade {trade_id} of it is not booked{what}"


def _execution(execution: Any, order: Any, trade: VenueTrade | None, venue: VenueOrder) -> Iterator[str]:
    if execution.trade_id not in venue.trade_ids:
        yield f"Kraken knows no trade {execution.trade_id} of order {venue.txid}"
        return
    if trade is None:
        yield f"Kraken did not tell trade {execution.trade_id}, which it counts to order {venue.txid}"
        return
    share = Fraction(1)
    if order.origin == OrderOrigin.OUTSIDE and execution.quantity <= trade.quantity.value:
        share = Fraction(execution.quantity) / Fraction(trade.quantity.value)
    for word, here, there, part in (
        ("quantity", execution.quantity, trade.quantity.value, share),
        ("price", execution.price, trade.price.value, Fraction(1)),
        ("cost", execution.notional, trade.cost.value, share),
        ("fee", execution.fee, trade.fee.value, share),
    ):
        if abs(Fraction(here) - Fraction(there) * part) > (PART_STEP if part != 1 else 0):
            yield f"its {word} is {plain(here)}, Kraken says {plain(there)}"
    told = (trade.side.value, trade.order_txid, trade.pair_id)
    if (execution.side, order.venue_order_id, order.instrument__pair_id) != told:
        yield f"Kraken says it is a {trade.side.value} of {trade.pair_id} by order {trade.order_txid}"


def _compare_coins(seen: Seen, rows: _Rows, check: Check) -> None:
    """Cash is not compared: people pay in and out. More coins than are managed are the owner's."""
    assert seen.balances is not None, "balances are read first"
    assert seen.balances_at is not None, "balances are read first"
    if rows.last_fill_at is not None and seen.balances_at < rows.last_fill_at + balances.READ_LAG:
        return
    for position in rows.positions:
        if position.instrument_id in rows.busy:
            continue
        check.looked_at += 1
        names = balances.base_names(position.instrument)
        told = seen.balances.by_asset
        held = sum((told[name].total for name in set(names) if name in told), Decimal(0))
        if held < position.managed:
            sentence = (
                f"{plain(position.managed)} are managed, Kraken holds {plain(held)} {position.instrument.base_asset}"
            )
            check.tell(sentence, account=seen.account.pk, row=f"position {position.pk}")
