"""Orders whose outcome cannot be proved: given to a person, whose decision is held against what Kraken says.

A decision is a question of the kind ORDER (`inspections`): the page asks, the execution process reads and answers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

from django.conf import settings
from django.db import transaction

from accounts.models import Credential
from trading import doorbell
from trading.domain.order_state import OrderEvent, OrderState
from trading.kraken.endpoints import (
    CLOSED_ORDERS,
    OPEN_ORDERS,
    QUERY_ORDERS,
    TRADES_HISTORY,
    PrivateClient,
)
from trading.kraken.errors import KrakenError
from trading.kraken.values import VenueOrder
from trading.models import Event, EventKind, Inspection, InspectionKind, Order, OrderKind, Venue
from trading.services import booking, inspections, lanes, market, orders, private
from trading.services.clock import Clock
from trading.services.lanes import Purpose
from trading.services.lookups import matching, searched_since
from trading.services.private import LaneBusy, Session
from trading.services.reconciliation import search_history

#: While Kraken answers, an outcome that is still unknown after this is a person's case.
GIVEN_UP_AFTER = timedelta(minutes=15)
BATCH_MAX = 200
#: Together with the other reads that is what the smallest tier's budget bears at once.
PAGES_MAX = 2
ATTEMPTS_MAX = 10
WAIT_S = 2.0

T = TypeVar("T")
logger = logging.getLogger(__name__)


class Verdict(StrEnum):
    EXISTS = "exists"
    ABSENT = "absent"


def give_up(*, clock: Clock) -> int:
    """Make persons' cases of orders that Kraken's lists lack and whose account's trades could not all be read; how many."""
    if Venue.objects.filter(pk=settings.VENUE, failing_since__isnull=False).exists():
        return 0
    hopeless = Order.objects.filter(
        state=OrderState.UNKNOWN,
        account__venue=settings.VENUE,
        unknown_at__lt=clock.now() - GIVEN_UP_AFTER,
        absent_at__isnull=False,
        account__balances_failing_since__isnull=True,
    )
    ids = list(hopeless.values_list("pk", flat=True)[:BATCH_MAX])
    return orders.move(ids, OrderEvent.GIVEN_UP) if ids else 0


def ask(order: Order, verdict: Verdict, *, txid: str, actor: str, clock: Clock) -> Inspection:
    """A person's decision, to be held against Kraken by the execution process. `txid` with EXISTS only."""
    question = {"order": order.pk, "verdict": verdict.value, "txid": txid, "actor": actor}
    return inspections.ask(InspectionKind.ORDER, asked_by=actor, clock=clock, question=question)


def decide(inspection_id: int, *, clock: Clock, sleep: Callable[[float], None]) -> Inspection | None:
    """Answer one decision; None when somebody else does. Its report says in `sentence` what came of it."""
    inspection = inspections.start(inspection_id, InspectionKind.ORDER, clock=clock)
    if inspection is None:
        return None
    question: dict[str, Any] = inspection.report
    order = Order.objects.select_related("account", "instrument").get(pk=question["order"])
    verdict = Verdict(question["verdict"])
    done, sentence = _judge(order, verdict, txid=question["txid"], clock=clock, sleep=sleep)
    if done:
        Event.objects.create(
            at=clock.now(),
            kind=EventKind.DECIDED,
            account_id=order.account_id,
            order=order,
            actor=question["actor"],
            message=f"Order {order.pk}: {sentence}"[:500],
        )
    report = {**question, "done": done, "sentence": sentence}
    inspections.finish(inspection, findings_count=0 if done else 1, report=report, clock=clock)
    doorbell.changed([order.account.user_id])
    return inspection


def _judge(
    order: Order, verdict: Verdict, *, txid: str, clock: Clock, sleep: Callable[[float], None]
) -> tuple[bool, str]:
    """(whether the order is settled now, what came of it)."""
    if order.state != OrderState.MANUAL:
        return False, f"This order is {order.state} by now; there is nothing to decide."
    key = lanes.active_keys([order.account]).get(order.account_id)
    if key is None:
        return _without_key(order, verdict, clock=clock)
    read = _named if verdict is Verdict.EXISTS else _anywhere
    for attempt in range(ATTEMPTS_MAX):
        try:
            with private.session(key.pk, purpose=Purpose.UNKNOWN, cost=TRADES_HISTORY.cost, clock=clock) as session:
                found = read(order, session, txid)
            break
        except LaneBusy:
            if attempt < ATTEMPTS_MAX - 1:
                sleep(WAIT_S)
        except KrakenError as error:
            return False, f"Kraken did not say: {error.sentence} Nothing was changed; try again."
    else:
        return False, "The key was busy all the time. Nothing was changed; try again."
    if found is not None:
        return _adopt(order, found, clock=clock)
    if verdict is Verdict.EXISTS:
        return False, f"Kraken knows no order {txid} of this account. Nothing was changed."
    if not key.sees_all:
        return False, (
            "Kraken told of no such order, but the account's key sees only orders of certain dates, so that this proves nothing."
            " Nothing was changed; a new key finds out."
        )
    return _conclude_absent(order, "neither open nor closed orders nor the trades read have it", clock=clock)


def _without_key(order: Order, verdict: Verdict, *, clock: Clock) -> tuple[bool, str]:
    if verdict is Verdict.EXISTS:
        return False, "Without a key of this account Kraken cannot be asked, so nothing can be booked."
    return _conclude_absent(
        order, "taken on the word of whoever decided: the account has no key to ask with", clock=clock
    )


def _named(_order: Order, session: Session, txid: str) -> VenueOrder | None:
    answer = session.call(lambda kraken, nonce: kraken.query_orders([txid], nonce=nonce), cost=QUERY_ORDERS.cost)
    return answer.get(txid)


def _anywhere(order: Order, session: Session, _txid: str) -> VenueOrder | None:
    """By its client order id among open and closed orders, then among the orders behind the account's trades."""
    since, name = _since(order, session.clock), str(order.client_order_id)

    async def read_open(kraken: PrivateClient, nonce: int) -> Iterable[VenueOrder]:
        return (await kraken.open_orders(nonce=nonce, cl_ord_id=name)).orders

    async def read_closed(kraken: PrivateClient, nonce: int) -> Iterable[VenueOrder]:
        return (await kraken.closed_orders(nonce=nonce, cl_ord_id=name, start=since)).orders

    for read, cost in ((read_open, OPEN_ORDERS.cost), (read_closed, CLOSED_ORDERS.cost)):
        found = matching(session.call(read, cost=cost), order)
        if found is not None:
            return found
    found, _ = search_history(order, session, since=since, pages_max=PAGES_MAX)
    return found


def _since(order: Order, clock: Clock) -> datetime:
    return searched_since(order, offset=market.kraken_now(clock) - clock.now())


def _adopt(order: Order, venue: VenueOrder, *, clock: Clock) -> tuple[bool, str]:
    problem = _mismatch(order, venue, since=_since(order, clock))
    if problem:
        return False, f"Kraken's order {venue.txid} is not this one: {problem}. Nothing was changed."
    moved = orders.move([order.pk], OrderEvent.FOUND, venue_order_id=venue.txid, answered_at=clock.now(), refusal="")
    booking.book([order.pk], clock=clock)
    if not moved:
        return False, "Somebody else settled this order at the same moment."
    return True, f"it exists at Kraken as {venue.txid} and is booked as Kraken tells it."


def _mismatch(order: Order, venue: VenueOrder, *, since: datetime) -> str:
    """Why this cannot be our order; empty when it is. The client order id decides wherever Kraken tells one."""
    if venue.cl_ord_id is not None:
        return "" if venue.cl_ord_id == str(order.client_order_id) else "it has another client order id"
    if venue.altname != order.instrument.altname or venue.side.value != order.side:
        return "it is of another pair or side"
    if venue.quantity.value != order.quantity:
        return f"its quantity is {venue.quantity}"
    if venue.opened_at < since:
        return "it is older"
    if Order.objects.filter(account_id=order.account_id, venue_order_id=venue.txid).exists():
        return "it belongs to another order of ours"
    return ""


def _conclude_absent(order: Order, why: str, *, clock: Clock) -> tuple[bool, str]:
    word = "The entry" if order.kind == OrderKind.ENTRY else "The exit"
    refusal = f"{word} never reached Kraken: {why}"
    with transaction.atomic(durable=True):
        moved = orders.move([order.pk], OrderEvent.PROVEN_ABSENT, closed_at=clock.now(), refusal=refusal[:300])
        doorbell.executions_booked()
    if not moved:
        return False, "Somebody else settled this order at the same moment."
    return True, f"it does not exist at Kraken: {why}."


def has_key(order: Order) -> bool:
    """Whether Kraken can be asked about this order."""
    status = Credential.Status.ACTIVE
    return Credential.objects.filter(user__trading_account=order.account_id, status=status).exists()
