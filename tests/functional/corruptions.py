"""What is planted in the books of a fleet that traded: one function per corruption, each undone with its test's transaction."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings as django_settings
from django.db.models import F

from accounts.models import Credential
from copytrade.models import CloseInstruction, CopyOrder
from copytrade.services import books
from tests.functional.scenario import BEAM, Fleet
from trading.domain.instrument import Side
from trading.models import (
    Event,
    EventKind,
    Execution,
    Order,
    OrderKind,
    OrderOrigin,
    Position,
    Signal,
)
from trading.selectors.books import BooksReport

ETH = "ETH-USD"
#: A client order id that Ben's own program used twice.
BENS_OWN = uuid.UUID("5b1d0c52-6c1e-4c52-9d3f-3b7a8a3c1f10")


@dataclass
class Traded:
    fleet: Fleet
    clean: BooksReport

    def check(self) -> BooksReport:
        return books.check(clock=self.fleet.world.clock, sleep=self.fleet.world.move)

    def order(self, name: str, kind: OrderKind, *, symbol: str = BEAM) -> Order:
        """The newest one."""
        mine = Order.objects.filter(account=self.fleet[name].account, kind=kind, instrument__symbol=symbol)
        return mine.order_by("-pk")[0]

    def copy(self, name: str, kind: OrderKind, *, symbol: str = BEAM) -> CopyOrder:
        mine = CopyOrder.objects.filter(account=self.fleet[name].account, kind=kind, signal__instrument__symbol=symbol)
        return mine.order_by("-pk")[0]

    def position(self, name: str, symbol: str = BEAM) -> Any:
        """As rows to update."""
        return Position.objects.filter(account=self.fleet[name].account, instrument__symbol=symbol)


Plant = Callable[[Traded], None]
CORRUPTIONS: dict[str, tuple[str, str, set[str], Plant]] = {}


def corruption(invariant: str, row: str, *also: str) -> Callable[[Plant], Plant]:
    """What it breaks, how the row that must be told begins, and which further invariants it breaks with it."""

    def register(plant: Plant) -> Plant:
        CORRUPTIONS[plant.__name__] = (invariant, row, {invariant, *also}, plant)
        return plant

    return register


@corruption("I1", "order", "I12")
def an_entry_that_no_copy_names(traded: Traded) -> None:
    CopyOrder.objects.filter(pk=traded.copy("ann", OrderKind.ENTRY).pk).update(order=None)


@corruption("I1", "order", "I2")
def a_client_order_id_that_kraken_took_twice(traded: Traded) -> None:
    Order.objects.filter(pk=traded.order("ben", OrderKind.ENTRY).pk).update(client_order_id=BENS_OWN)


@corruption("I2", "order")
def an_order_at_kraken_under_another_client_order_id(traded: Traded) -> None:
    Order.objects.filter(pk=traded.order("ann", OrderKind.ENTRY).pk).update(client_order_id=uuid.uuid4())


@corruption("I2", "order", "I3")
def a_row_made_after_kraken_had_taken_the_order(traded: Traded) -> None:
    order = traded.order("ann", OrderKind.EXIT)
    Order.objects.filter(pk=order.pk).update(created_at=order.created_at + timedelta(seconds=60))


@corruption("I2", "order", "I11")
def an_order_at_kraken_that_its_row_does_not_name(traded: Traded) -> None:
    Order.objects.filter(pk=traded.order("ann", OrderKind.EXIT).pk).update(venue_order_id="OAAAAA-BBBBB-CCCCCC")


@corruption("I3", "order")
def an_order_that_was_filled_without_having_been_sent(traded: Traded) -> None:
    Order.objects.filter(pk=traded.order("ben", OrderKind.EXIT).pk).update(sent_at=None, nonce=None)


@corruption("I3", "order")
def an_order_that_was_never_sent_with_a_nonce(traded: Traded) -> None:
    made = _planned_exit(traded, quantity=Decimal(1))
    Order.objects.filter(pk=made.pk).update(nonce=1)


@corruption("I4", "order")
def a_nonce_used_twice(traded: Traded) -> None:
    entry, exit_ = traded.order("ann", OrderKind.ENTRY), traded.order("ann", OrderKind.EXIT)
    Order.objects.filter(pk=exit_.pk).update(nonce=entry.nonce)


@corruption("I6", "order")
def an_entry_sent_after_its_time_to_live(traded: Traded) -> None:
    order = traded.order("ann", OrderKind.ENTRY)
    assert order.sent_at is not None
    Order.objects.filter(pk=order.pk).update(expires_at=order.sent_at - timedelta(seconds=1))


@corruption("I6", "order")
def an_entry_sent_while_everybody_was_stopped(traded: Traded) -> None:
    sent_at = traded.order("ann", OrderKind.ENTRY, symbol=ETH).sent_at
    assert sent_at is not None
    for kind, seconds in ((EventKind.STOPPED, -60), (EventKind.RESUMED, 30)):
        Event.objects.create(at=sent_at + timedelta(seconds=seconds), kind=kind, message="Entries")


@corruption("I6", "order")
def an_entry_sent_while_its_account_was_stopped(traded: Traded) -> None:
    order = traded.order("ann", OrderKind.ENTRY)
    assert order.sent_at is not None
    risk = traded.fleet["ann"].account.user.risk
    type(risk).objects.filter(pk=risk.pk).update(stopped_at=order.sent_at - timedelta(seconds=60))


@corruption("I6", "copy")
def an_entry_above_a_tenth_of_the_equity(traded: Traded) -> None:
    CopyOrder.objects.filter(pk=traded.copy("ann", OrderKind.ENTRY).pk).update(equity=Decimal(500))


@corruption("I6", "copy")
def an_order_larger_than_its_copy(traded: Traded) -> None:
    CopyOrder.objects.filter(pk=traded.copy("ben", OrderKind.ENTRY).pk).update(notional=Decimal(5))


@corruption("I7", "position", "I9")
def less_managed_than_was_bought(traded: Traded) -> None:
    managed = traded.position("ann").get().managed
    traded.position("ann").update(managed=managed - Decimal(1))


@corruption("I7", "position")
def fees_that_were_not_paid(traded: Traded) -> None:
    traded.position("ann", ETH).update(fees=Decimal("0.01"))


@corruption("I7", "position")
def an_exit_of_more_than_is_managed(traded: Traded) -> None:
    _planned_exit(traded, quantity=Decimal(100_000))


@corruption("I8", "position", "I7", "I10")
def a_follower_who_still_holds_what_the_master_sold(traded: Traded) -> None:
    long_ago = traded.position("ann", ETH).get().updated_at
    traded.position("ann", ETH).update(
        managed=Decimal("0.04"), is_open=True, opened_at=long_ago - timedelta(hours=1), opened_sequence=1
    )


@corruption("I9", "position")
def an_owed_sale_that_nobody_made(traded: Traded) -> None:
    position = traded.position("ben").get()
    CloseInstruction.objects.create(
        account=position.account,
        instrument=position.instrument,
        after_sequence=2,
        actor="ben",
        created_at=traded.fleet.world.clock.now() - timedelta(seconds=60),
    )


@corruption("I9", "position", "signals")
def a_master_who_sold_a_smaller_share(traded: Traded) -> None:
    newest = Signal.objects.filter(instrument__symbol=ETH).order_by("-sequence")[0]
    Signal.objects.filter(pk=newest.pk).update(managed_before=newest.quantity * 3)


@corruption("I11", "order", "I7", "I9")
def an_execution_that_is_lost(traded: Traded) -> None:
    Execution.objects.filter(order=traded.order("ann", OrderKind.EXIT)).delete()


@corruption("I11", "execution")
def an_execution_at_another_price(traded: Traded) -> None:
    execution = Execution.objects.filter(order=traded.order("ben", OrderKind.EXIT))[0]
    Execution.objects.filter(pk=execution.pk).update(price=execution.price + Decimal("0.000001"))


@corruption("I11", "execution")
def an_execution_that_kraken_does_not_know(traded: Traded) -> None:
    Execution.objects.filter(order=traded.order("ben", OrderKind.EXIT)).update(trade_id="TAAAAA-BBBBB-CCCCCC")


@corruption("I11", "order")
def an_order_that_kraken_finished_otherwise(traded: Traded) -> None:
    Order.objects.filter(pk=traded.order("ann", OrderKind.ENTRY).pk).update(state="expired")


@corruption("I11", "order")
def an_order_with_another_fee_than_its_executions(traded: Traded) -> None:
    order = traded.order("ann", OrderKind.ENTRY)
    Order.objects.filter(pk=order.pk).update(fee=order.fee + Decimal("0.00001"))


@corruption("I12", "signal")
def a_follower_without_an_outcome(traded: Traded) -> None:
    CopyOrder.objects.filter(pk=traded.copy("cat", OrderKind.ENTRY).pk).delete()


@corruption("I12", "copy")
def a_reason_that_is_not_in_the_list(traded: Traded) -> None:
    CopyOrder.objects.filter(pk=traded.copy("cat", OrderKind.ENTRY).pk).update(reason="bad_luck")


@corruption("I12", "copy")
def a_copy_that_waits_for_nothing(traded: Traded) -> None:
    CopyOrder.objects.filter(pk=traded.copy("cat", OrderKind.ENTRY).pk).update(status="pending")


@corruption("I13", "key")
def a_key_that_is_not_sealed(traded: Traded) -> None:
    user = traded.fleet["ann"].account.user
    # The key that is in use stays, so that only the row's look is at stake.
    Credential.objects.create(
        user=traded.fleet.master.account.user.__class__.objects.create_user(email="eve@nija.example"),
        venue=django_settings.VENUE,
        version=1,
        status=Credential.Status.ACTIVE,
        fingerprint="0" * 64,
        api_key_hint="…",
        sealed=b'{"key": "' + b"A" * 56 + b'", "secret": "' + b"B" * 86 + b'=="}',
        created_at=user.date_joined,
    )


@corruption("I13", "event")
def a_key_in_an_event(traded: Traded) -> None:
    secret = "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg=="
    Event.objects.create(at=traded.fleet.world.clock.now(), kind=EventKind.KEY, message=f"the key {secret} was refused")


@corruption("I15", "order", "I11")
def an_unknown_outcome_that_nobody_was_told_of(traded: Traded) -> None:
    order = traded.order("ann", OrderKind.EXIT)
    Order.objects.filter(pk=order.pk).update(state="unknown", unknown_at=F("sent_at"), closed_at=None)


@corruption("signals", "position")
def a_gap_between_signals(traded: Traded) -> None:
    newest = Signal.objects.filter(instrument__symbol=ETH).order_by("-sequence")[0]
    Signal.objects.filter(pk=newest.pk).update(sequence=newest.sequence + 1)


@corruption("signals", "signal")
def a_signal_of_another_amount_than_its_executions(traded: Traded) -> None:
    signal = Signal.objects.filter(instrument__symbol=BEAM, kind="entry").get()
    Signal.objects.filter(pk=signal.pk).update(notional=signal.notional + Decimal("0.00001"))


def _planned_exit(traded: Traded, *, quantity: Decimal) -> Order:
    position = traded.position("ann").get()
    return Order.objects.create(
        account=position.account,
        instrument=position.instrument,
        kind=OrderKind.EXIT,
        origin=OrderOrigin.COPY,
        exit_number=99,
        side=Side.SELL,
        quantity=quantity,
        state="planned",
        # The second look comes 35 s later, and a sale may wait for a minute before anybody is told.
        created_at=traded.fleet.world.clock.now(),
    )
