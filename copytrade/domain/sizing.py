"""How much of the master's entry one follower takes (DESIGN section 3, Entry). Pure; money in quote, quantities in base."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from copytrade.domain.reasons import Cap, SkipReason
from trading.domain.instrument import Instrument
from trading.domain.money import AmountError, Money, Price, Quantity, Ratio

ONE = Ratio(Decimal(1))
#: An entry must be worth selling again even after it has lost half of its value, or half of it was sold.
MINIMUM_FACTOR = Ratio(Decimal(2))


@dataclass(frozen=True, slots=True)
class MasterEntry:
    """What a signal says: notional and equity of the master, and the average price of its fills."""

    notional: Money
    equity: Money
    price: Price


@dataclass(frozen=True, slots=True)
class FollowerFunds:
    """`free_cash` has own reservations already taken off; `already_taken` is what this master order has cost so far."""

    equity: Money
    free_cash: Money
    already_taken: Money


@dataclass(frozen=True, slots=True)
class Limits:
    multiplier: Ratio
    max_risk: Ratio
    max_slippage: Ratio
    taker_fee: Ratio


@dataclass(frozen=True, slots=True)
class Sized:
    quantity: Quantity
    notional: Money
    proportional: Money
    cap: Cap


@dataclass(frozen=True, slots=True)
class Skipped:
    reason: SkipReason
    sentence: str
    proportional: Money | None = None
    notional: Money | None = None
    cap: Cap = Cap.NONE


def size_entry(master: MasterEntry, funds: FollowerFunds, limits: Limits, *, instrument: Instrument) -> Sized | Skipped:
    """The largest entry that proportion, risk and cash allow, rounded down to the lot; never up through a cap."""
    proportional = funds.equity * (master.notional / master.equity) * limits.multiplier
    by_risk = funds.equity * limits.max_risk - funds.already_taken
    by_cash = funds.free_cash / _cost_factor(limits)
    if by_risk <= Money.zero():
        sentence = f"Your {_percent(limits.max_risk)} for this trade is already used: {_usd(funds.already_taken)}."
        return Skipped(SkipReason.RISK_USED_UP, sentence, proportional, Money.zero(), Cap.MAX_RISK)
    if by_cash <= Money.zero():
        return Skipped(SkipReason.NO_FREE_CASH, "No free US dollars are left in your account.", proportional)
    notional = min(proportional, by_risk, by_cash)
    cap = Cap.NONE if notional == proportional else Cap.MAX_RISK if notional == by_risk else Cap.CASH
    quantity = instrument.round_quantity(notional / master.price)
    needed = smallest_notional(instrument, price=master.price)
    if quantity < instrument.quantity_min * MINIMUM_FACTOR:
        reason = SkipReason.BELOW_QUANTITY_MIN
    elif quantity.at(master.price) < instrument.notional_min * MINIMUM_FACTOR:
        reason = SkipReason.BELOW_NOTIONAL_MIN
    else:
        return Sized(quantity, notional, proportional, cap)
    sentence = _too_small(quantity, needed, _balance_needed(needed, master, funds, limits), instrument=instrument)
    return Skipped(reason, sentence, proportional, notional, cap)


def smallest_notional(instrument: Instrument, *, price: Price) -> Money:
    """Twice Kraken's minimum, so that the exit is sellable."""
    return max(instrument.quantity_min.at(price), instrument.notional_min) * MINIMUM_FACTOR


def _balance_needed(needed: Money, master: MasterEntry, funds: FollowerFunds, limits: Limits) -> Money | None:
    """The equity at which proportion, risk and cash would all allow `needed`; None when the master spent so little that it
    would be beyond all amounts."""
    share = master.notional / master.equity * limits.multiplier
    if not share.value > 0:
        return None
    try:
        by_share = needed / share
    except AmountError:
        return None
    in_positions = max(Money.zero(), funds.equity - funds.free_cash)
    return max(
        by_share,
        (needed + funds.already_taken) / limits.max_risk,
        needed * _cost_factor(limits) + in_positions,
    )


def _cost_factor(limits: Limits) -> Ratio:
    """What a notional at the signal price can cost at most: Kraken takes the fee of the price paid, slippage included."""
    return (ONE + limits.taker_fee) * (ONE + limits.max_slippage)


def _too_small(quantity: Quantity, needed: Money, balance: Money | None, *, instrument: Instrument) -> str:
    base = instrument.symbol.partition("-")[0]
    takes = "" if balance is None else f", which takes about {_usd(balance)} of balance"
    return f"This copy would be {quantity} {base}; the smallest that can be sold again is worth {_usd(needed)}{takes}."


def _usd(amount: Money) -> str:
    return f"${amount.value:,.2f}"


def _percent(ratio: Ratio) -> str:
    return f"{ratio.percent.normalize():f} %"
