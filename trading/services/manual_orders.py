"""Orders of the master by hand, from what a person typed or a program sent."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

from django.conf import settings
from django.db import IntegrityError

from trading.domain.instrument import Side
from trading.domain.money import AmountError, Money, Quantity, parse_decimal
from trading.models import Order, OrderOrigin, Role
from trading.services import market, master_orders
from trading.services.clock import Clock
from trading.services.master_orders import A_PERSON, AskedBy, MasterOrderRefused


def plan_from_text(
    *,
    symbol: str,
    side: Side,
    amounts: Mapping[str, str | None],
    reason: str,
    clock: Clock,
    asked_by: AskedBy = A_PERSON,
) -> Order:
    """An order by hand from what a person typed: `notional` or `quantity` to buy, `fraction` to sell.

    Raises MasterOrderRefused.
    """
    given = {name: text for name, text in amounts.items() if text is not None}
    origin = OrderOrigin.MANUAL
    if side is Side.SELL:
        if set(given) - {"fraction"}:
            raise MasterOrderRefused("amount", "A sale takes a fraction of the position, no notional and no quantity.")
        fraction = exit_fraction(given.get("fraction", "1"))
        instrument = master_orders.find_instrument(symbol)
        return master_orders.plan_exit(
            instrument=instrument, fraction=fraction, origin=origin, reason=reason, clock=clock, asked_by=asked_by
        )
    if "fraction" in given:
        raise MasterOrderRefused("amount", "A buy takes a notional or a quantity; only a sale takes a fraction.")
    amount = entry_amount(notional=given.get("notional"), quantity=given.get("quantity"))
    market.ensure_instruments(clock=clock)
    instrument = master_orders.find_instrument(symbol)
    return master_orders.plan_entry(
        instrument=instrument, amount=amount, origin=origin, reason=reason, clock=clock, asked_by=asked_by
    )


def plan_once(
    client_order_id: uuid.UUID, *, symbol: str, side: Side, amounts: Mapping[str, str | None], reason: str, clock: Clock
) -> tuple[Order, bool]:
    """`plan_from_text` for a caller who may have to ask again: the first call with this id orders, the others get its order,
    whatever amount they name. And whether this one was the first.

    Raises MasterOrderRefused: this call ordered nothing. One before it with the same id may still be under way.
    """
    before = ordered_before(client_order_id, symbol=symbol, side=side)
    if before is not None:
        return before, False
    try:
        asked_by = replace(A_PERSON, client_order_id=client_order_id)
        order = plan_from_text(symbol=symbol, side=side, amounts=amounts, reason=reason, clock=clock, asked_by=asked_by)
    except (IntegrityError, MasterOrderRefused):
        # The same call, made at the same moment, may have come first; the row's unique id then let one of them through.
        before = ordered_before(client_order_id, symbol=symbol, side=side)
        if before is None:
            raise
        return before, False
    return order, True


def ordered_before(client_order_id: uuid.UUID, *, symbol: str, side: Side) -> Order | None:
    """The master's order of that id. Raises MasterOrderRefused when it is not what is asked for now."""
    order = Order.objects.select_related("instrument", "account").filter(client_order_id=client_order_id).first()
    if order is None:
        return None
    asked = (Role.MASTER, settings.VENUE, OrderOrigin.MANUAL, symbol.strip().upper(), side)
    if asked != (order.account.role, order.account.venue, order.origin, order.instrument.symbol, order.side):
        raise MasterOrderRefused("client_order_id_used", "This client_order_id is another order's. Make a new one.")
    return order


def entry_amount(*, notional: str | None = None, quantity: str | None = None) -> Money | Quantity:
    """What a person typed: exactly one of US dollars and base quantity, above zero. Raises MasterOrderRefused."""
    if (notional is None) == (quantity is None):
        raise MasterOrderRefused("amount", "Give either a notional in US dollars or a quantity.")
    amount: Money | Quantity
    try:
        amount = Money(parse_decimal(notional)) if notional is not None else Quantity(parse_decimal(quantity or ""))
    except AmountError as error:
        raise MasterOrderRefused("amount", f"This amount cannot be used: {error}.") from None
    master_orders.require_positive(amount)
    return amount


def exit_fraction(text: str) -> Fraction:
    """The share to sell that a person typed, above 0 and at most 1: `1`, `0.5` or `1/3`. Raises MasterOrderRefused."""
    sentence = f"{text!r} is not a share of the position: write a number above 0 and at most 1, such as 1, 0.5 or 1/3."
    if len(text) > 40 or not set(text.strip()) <= set("0123456789./"):
        raise MasterOrderRefused("fraction", sentence)
    try:
        fraction = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise MasterOrderRefused("fraction", sentence) from None
    if not 0 < fraction <= 1:
        raise MasterOrderRefused("fraction", sentence)
    return fraction
