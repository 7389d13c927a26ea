"""No entry above any cap, none that could not be sold again, and every refusal says what it takes."""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from copytrade.domain.reasons import Cap, SkipReason
from copytrade.domain.sizing import FollowerFunds, Limits, MasterEntry, Sized, Skipped, size_entry, smallest_notional
from trading.domain.instrument import Instrument, Side
from trading.domain.money import Money, Price, Quantity, Ratio

D = Decimal
ONE = Ratio(D(1))
BEAM = Instrument(
    symbol="BEAM-USD",
    pair_id="BEAMUSD",
    altname="BEAMUSD",
    base_asset="BEAM",
    quote_asset="ZUSD",
    tick_size=D("0.000001"),
    lot_size=D("0.00001"),
    quantity_min=Quantity(D(200)),
    notional_min=Money(D("0.5")),
)
MASTER = MasterEntry(notional=Money(D("9.9353")), equity=Money(D("60.534")), price=Price(D("0.002918")))
LIMITS = Limits(multiplier=ONE, max_risk=Ratio(D("0.1")), max_slippage=Ratio(D("0.005")), taker_fee=Ratio(D("0.008")))


def funds(equity: str, *, free: str | None = None, taken: str = "0") -> FollowerFunds:
    return FollowerFunds(equity=Money(D(equity)), free_cash=Money(D(free or equity)), already_taken=Money(D(taken)))


def between(low: int, high: int, *, digits: int) -> st.SearchStrategy[Decimal]:
    return st.integers(low * 10**digits, high * 10**digits).map(lambda n: D(n).scaleb(-digits))


def percent(low: int, high: int) -> st.SearchStrategy[Ratio]:
    return between(low, high, digits=4).map(Ratio.from_percent)


@st.composite
def masters(draw: st.DrawFn) -> MasterEntry:
    """He puts 2 to 30 % of his equity in, at a price of a tenth of a cent to two cents."""
    equity = Money(draw(between(50, 100_000, digits=4)))
    price = Price(D(draw(st.integers(1_000, 20_000))).scaleb(-6))
    return MasterEntry(notional=equity * draw(percent(2, 30)), equity=equity, price=price)


@st.composite
def rich_followers(draw: st.DrawFn) -> FollowerFunds:
    """With so much that some cap, and no minimum, decides most of the time."""
    equity = Money(draw(between(1_000, 1_000_000, digits=4)))
    return FollowerFunds(
        equity=equity, free_cash=equity * draw(percent(1, 100)), already_taken=equity * draw(percent(0, 1))
    )


@st.composite
def poor_followers(draw: st.DrawFn) -> FollowerFunds:
    equity = Money(draw(between(1, 300, digits=4)))
    return FollowerFunds(equity=equity, free_cash=equity * draw(percent(10, 100)), already_taken=Money.zero())


@st.composite
def all_limits(draw: st.DrawFn) -> Limits:
    return Limits(
        multiplier=Ratio(draw(between(1, 10, digits=6))),
        max_risk=draw(percent(2, 10)),
        max_slippage=draw(percent(0, 5)),
        taker_fee=draw(percent(0, 1)),
    )


def sized(decision: Sized | Skipped) -> Sized:
    assert isinstance(decision, Sized), decision
    return decision


@settings(max_examples=40)
@given(masters(), rich_followers(), all_limits())
def test_no_entry_is_above_any_cap(master: MasterEntry, mine: FollowerFunds, limits: Limits) -> None:
    fine = replace(BEAM, tick_size=D("1e-10"))
    result = size_entry(master, mine, limits, instrument=fine)
    assume(isinstance(result, Sized))
    at_signal = sized(result).quantity.at(master.price)
    # Divisions keep fifty digits; one part in 10^40 is not a cent.
    assert at_signal <= mine.equity * (master.notional / master.equity) * limits.multiplier * Ratio(D(1) + D("1e-40"))
    assert at_signal + mine.already_taken <= mine.equity * limits.max_risk
    worst = fine.limit_price(master.price * (ONE + limits.max_slippage), Side.BUY)
    assert sized(result).quantity.at(worst) * (ONE + limits.taker_fee) <= mine.free_cash


@settings(max_examples=40)
@given(masters(), rich_followers(), all_limits())
def test_an_entry_is_a_whole_number_of_lots_and_twice_the_minimum(
    master: MasterEntry, mine: FollowerFunds, limits: Limits
) -> None:
    result = size_entry(master, mine, limits, instrument=BEAM)
    assume(isinstance(result, Sized))
    quantity = sized(result).quantity
    assert BEAM.round_quantity(quantity) == quantity
    assert quantity >= BEAM.quantity_min * Ratio(D(2))
    assert quantity.at(master.price) >= BEAM.notional_min * Ratio(D(2))


@settings(max_examples=40)
@given(masters(), rich_followers(), all_limits(), st.sampled_from(["equity", "free_cash", "max_risk", "multiplier"]))
def test_more_money_or_a_higher_limit_never_buys_less(
    master: MasterEntry, mine: FollowerFunds, limits: Limits, what: str
) -> None:
    before = size_entry(master, mine, limits, instrument=BEAM)
    assume(isinstance(before, Sized))
    if what in ("equity", "free_cash"):
        mine = replace(mine, **{what: getattr(mine, what) * Ratio(D("1.5"))})
    else:
        limits = replace(limits, **{what: getattr(limits, what) * Ratio(D("1.5"))})
    assert sized(size_entry(master, mine, limits, instrument=BEAM)).quantity >= sized(before).quantity


@settings(max_examples=40)
@given(masters(), poor_followers(), all_limits())
def test_the_balance_that_a_refusal_names_is_enough(master: MasterEntry, mine: FollowerFunds, limits: Limits) -> None:
    result = size_entry(master, mine, limits, instrument=BEAM)
    assume(isinstance(result, Skipped) and result.reason in _TOO_SMALL)
    assert isinstance(result, Skipped)
    named = re.search(r"about \$([\d,]+\.\d\d) of balance", result.sentence)
    assert named is not None
    missing = Money(D(named[1].replace(",", ""))) * Ratio(D("1.01")) + Money(D("0.01")) - mine.equity
    richer = replace(mine, equity=mine.equity + missing, free_cash=mine.free_cash + missing)
    assert isinstance(size_entry(master, richer, limits, instrument=BEAM), Sized)


_TOO_SMALL = (SkipReason.BELOW_QUANTITY_MIN, SkipReason.BELOW_NOTIONAL_MIN)


@pytest.mark.parametrize(
    ("equity", "proportional", "notional", "quantity"),
    [("84.5785", "13.88", "8.46", "2898.51"), ("65.8698", "10.81", "6.59", "2257.36")],
)
def test_the_golden_followers_are_capped_at_ten_per_cent(
    equity: str, proportional: str, notional: str, quantity: str
) -> None:
    result = sized(size_entry(MASTER, funds(equity), LIMITS, instrument=BEAM))
    assert f"{result.proportional.value:.2f} {result.notional.value:.2f}" == f"{proportional} {notional}"
    assert f"{result.quantity.value:.2f}" == quantity
    assert result.cap is Cap.MAX_RISK


def test_a_small_trade_of_the_master_is_copied_in_proportion() -> None:
    small = replace(MASTER, notional=Money(D("4.8")))
    result = sized(size_entry(small, funds("100"), LIMITS, instrument=BEAM))
    assert f"{result.notional.value:.3f}" == "7.929"
    assert result.cap is Cap.NONE


def test_free_cash_caps_with_fee_and_slippage_left_over() -> None:
    result = sized(size_entry(MASTER, funds("100", free="5"), LIMITS, instrument=BEAM))
    assert result.cap is Cap.CASH
    assert result.notional < Money(D("4.94"))


@pytest.mark.parametrize(
    ("mine", "reason", "words"),
    [
        (funds("100", taken="10"), SkipReason.RISK_USED_UP, "Your 10 % for this trade is already used: $10.00."),
        (funds("100", free="-3"), SkipReason.NO_FREE_CASH, "No free US dollars are left"),
        (funds("11"), SkipReason.BELOW_QUANTITY_MIN, "would be 376.97052 BEAM"),
        (funds("100", taken="9.5"), SkipReason.BELOW_QUANTITY_MIN, "takes about $106.67 of balance"),
    ],
)
def test_a_refusal_says_why(mine: FollowerFunds, reason: SkipReason, words: str) -> None:
    result = size_entry(MASTER, mine, LIMITS, instrument=BEAM)
    assert isinstance(result, Skipped)
    assert result.reason is reason
    assert words in result.sentence


@pytest.mark.parametrize(("notional", "multiplier"), [("0", "1"), ("0.00001", "0.000001")])
def test_next_to_nothing_is_refused_without_a_balance_that_nobody_has(notional: str, multiplier: str) -> None:
    """A fill so small that Kraken tells a cost of 0.00000."""
    master = replace(MASTER, notional=Money(D(notional)), equity=Money(D(10**9)))
    refused = size_entry(master, funds("84.57"), replace(LIMITS, multiplier=Ratio(D(multiplier))), instrument=BEAM)
    assert isinstance(refused, Skipped)
    assert refused.reason is SkipReason.BELOW_QUANTITY_MIN
    assert refused.sentence.endswith("the smallest that can be sold again is worth $1.17.")


def test_an_entry_below_twice_the_minimum_notional_is_refused_naming_the_balance() -> None:
    cheap = replace(BEAM, quantity_min=Quantity(D("0.1")))
    result = size_entry(MASTER, funds("9.90"), LIMITS, instrument=cheap)
    assert isinstance(result, Skipped)
    assert result.reason is SkipReason.BELOW_NOTIONAL_MIN
    assert "worth $1.00, which takes about $10.00 of balance" in result.sentence


def test_the_smallest_entry_is_twice_the_larger_minimum() -> None:
    assert smallest_notional(BEAM, price=Price(D("0.01"))) == Money(D(4))
    assert smallest_notional(BEAM, price=Price(D("0.001"))) == Money(D(1))
