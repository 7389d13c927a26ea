"""How large an order of the master is. Pure; the rounding is the instrument's."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from trading.domain.instrument import Instrument, Side
from trading.domain.money import Money, Price, Quantity, Ratio

ONE = Ratio(Decimal(1))
TWICE = Ratio(Decimal(2))
#: Positions that the master's strategy may have open or being opened.
POSITIONS_MAX = 8


@dataclass(frozen=True, slots=True)
class Funds:
    """The account's copy equity and the quote it may still spend."""

    equity: Money
    free_cash: Money


@dataclass(frozen=True, slots=True)
class SizedEntry:
    quantity: Quantity
    limit_price: Price
    equity_before: Money


@dataclass(frozen=True, slots=True)
class TooSmall:
    """Why an entry is refused: the order is too small for Kraken, or the account for the order."""

    code: str
    sentence: str


@dataclass(frozen=True, slots=True)
class PartTooSmall:
    """Why a sale is refused: Kraken does not take so little."""

    code: str
    sentence: str


def size_entry(
    rules: Instrument, *, amount: Money | Quantity, ask: Price, max_slippage: Ratio, fee: Ratio, funds: Funds
) -> SizedEntry | TooSmall:
    """A buy of `amount` at the ask, limited to the ask plus `max_slippage`, at least twice Kraken's minimum.

    Twice, so that what is bought can be sold again at a lower price.
    """
    wanted = amount / ask if isinstance(amount, Money) else amount
    quantity = rules.round_quantity(wanted)
    limit_price = rules.limit_price(ask * (ONE + max_slippage), Side.BUY)
    smallest, cheapest = rules.quantity_min * TWICE, rules.notional_min * TWICE
    if quantity < smallest or quantity.at(ask) < cheapest or not quantity:
        needed = max(smallest.at(ask), cheapest)
        return TooSmall(
            "below_minimum",
            f"{quantity} {_base(rules)} is less than twice Kraken's minimum, so that it might not be sellable again; "
            f"at least {_dollars(needed)} are needed.",
        )
    cost = quantity.at(max(limit_price, ask)) * (ONE + fee)
    if cost > funds.free_cash:
        return TooSmall(
            "no_free_cash",
            f"the order may cost {_dollars(cost)} with slippage and fee, and {_dollars(funds.free_cash)} are free.",
        )
    if not funds.equity > Money.zero():
        return TooSmall("no_free_cash", "the master's equity is zero.")
    return SizedEntry(quantity=quantity, limit_price=limit_price, equity_before=funds.equity)


def size_exit(
    rules: Instrument, *, managed: Quantity, fraction: Fraction, bid: Price | None, free: Quantity | None = None
) -> Quantity | PartTooSmall:
    """`fraction` of `managed`, down to the lot; all of it when the rest could not be sold; of that what is `free`, if known.

    Without a known `bid` only Kraken's smallest quantity is looked at, since an exit never waits for a price.
    """
    whole = rules.round_quantity(managed)
    if not _sellable(rules, whole, bid):
        if not managed:
            return PartTooSmall("dust", "nothing is held, so there is nothing to sell.")
        return PartTooSmall("dust", f"the {managed} {_base(rules)} held is less than Kraken sells.")
    part = rules.floor_fraction(Fraction(managed.value) * fraction)
    if not _sellable(rules, managed - part, bid):
        part = whole
    if free is not None and free < part:
        part = rules.round_quantity(free)
        if not _sellable(rules, part, bid):
            return PartTooSmall(
                "on_hold",
                f"of the {managed} {_base(rules)} held only {free} are free; orders at Kraken hold the rest. Cancel them there.",
            )
    if not _sellable(rules, part, bid):
        return PartTooSmall("part_too_small", f"{part} {_base(rules)} is less than Kraken sells; sell a larger share.")
    return part


def _sellable(rules: Instrument, quantity: Quantity, bid: Price | None) -> bool:
    if bid is None:
        return quantity >= rules.quantity_min and bool(quantity)
    return bool(quantity) and rules.sellable(quantity, bid)


def _base(rules: Instrument) -> str:
    """The base asset as people write it."""
    return rules.symbol.partition("-")[0]


def _dollars(amount: Money) -> str:
    return f"${amount.value:.2f}"
