from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from accounts.models import Credential, RiskSettings
from tests.trading.services import master_books
from tests.trading.services.master_books import NOW, D, MovedClock
from trading.domain.instrument import Side
from trading.domain.money import Money, Quantity
from trading.domain.order_state import OrderState
from trading.models import Account, AssetBalance, Control, Instrument, MarketPrice, Order, OrderOrigin, Position, Venue
from trading.services import manual_orders, market, master_orders
from trading.services.master_orders import MasterOrderRefused

pytestmark = pytest.mark.django_db

GOLDEN = Quantity(D("3404.8349"))
MANUAL = OrderOrigin.MANUAL


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def account() -> Account:
    return master_books.master()


@pytest.fixture
def beam(account: Account) -> Instrument:
    row = master_books.instrument()
    master_books.price(row)
    return row


def _buy(beam: Instrument, clock: MovedClock, amount: Money | Quantity = GOLDEN) -> Order:
    return master_orders.plan_entry(instrument=beam, amount=amount, origin=MANUAL, reason="By hand", clock=clock)


def _sell(beam: Instrument, clock: MovedClock, fraction: Fraction = Fraction(1)) -> Order:
    return master_orders.plan_exit(instrument=beam, fraction=fraction, origin=MANUAL, reason="Profit", clock=clock)


def _refusal(beam: Instrument, clock: MovedClock, amount: Money | Quantity = GOLDEN) -> MasterOrderRefused:
    with pytest.raises(MasterOrderRefused) as caught:
        _buy(beam, clock, amount)
    assert not Order.objects.exists()
    return caught.value


def test_the_golden_entry_is_ready_limited_and_carries_the_equity_before_it(
    beam: Instrument, clock: MovedClock
) -> None:
    order = _buy(beam, clock)
    order.refresh_from_db()
    assert (order.state, order.side, order.quantity) == (OrderState.READY, Side.BUY, D("3404.8349"))
    assert (order.limit_price, order.equity_before) == (D("0.002932"), D("60.534"))
    assert order.expires_at == NOW + timedelta(seconds=10)


def test_what_is_booked_while_a_price_is_asked_for_counts_once(
    beam: Instrument, clock: MovedClock, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, ask = _buy(beam, clock, Money(D(6))), market.fresh_price

    def slow(instrument: Instrument, *, clock: MovedClock) -> MarketPrice:
        master_books.fill(first, at_price="0.002918", now=clock.now())
        Account.objects.filter(pk=account.pk).update(last_fill_at=clock.now())
        return ask(instrument, clock=clock)

    monkeypatch.setattr(market, "fresh_price", slow)
    order = _buy(beam, clock, Money(D(5)))
    assert first.equity_before == D("60.534")
    assert order.equity_before is not None
    # What was bought is worth the bid, and was paid at the ask.
    assert D("60.52") < order.equity_before < D("60.534")


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-5", "0", "1e30", "ten", ""])
def test_an_amount_that_is_no_usable_number_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(MasterOrderRefused, match=r"(cannot be used|is above zero)"):
        manual_orders.entry_amount(notional=text)


def test_a_buy_takes_either_money_or_a_quantity() -> None:
    with pytest.raises(MasterOrderRefused, match="either"):
        manual_orders.entry_amount(notional="5", quantity="5")
    assert manual_orders.entry_amount(quantity="5") == Quantity(D(5))


@pytest.mark.parametrize("text", ["0", "1.01", "-1", "NaN", "1/0", "half", "1e-999999999"])
def test_a_share_to_sell_lies_above_zero_and_at_most_one(text: str) -> None:
    with pytest.raises(MasterOrderRefused, match="is not a share"):
        manual_orders.exit_fraction(text)


def test_a_share_may_be_written_as_a_fraction() -> None:
    assert manual_orders.exit_fraction("1/3") == Fraction(1, 3)


@pytest.mark.parametrize("symbol", ["DOGGY-USD", "BTC-EUR", "", "'; DROP TABLE"])
def test_an_unknown_symbol_is_refused(symbol: str, beam: Instrument) -> None:
    with pytest.raises(MasterOrderRefused, match="not a pair that Kraken quotes in US dollars"):
        master_orders.find_instrument(symbol)


def test_a_symbol_is_found_however_it_is_typed(beam: Instrument) -> None:
    assert master_orders.find_instrument(" beam-usd ") == beam


def test_entry_blocking_in_the_environment_blocks(beam: Instrument, clock: MovedClock, settings: Settings) -> None:
    settings.ENTRY_BLOCKING = True
    assert _refusal(beam, clock).code == "entries_blocked"


def test_orders_that_are_not_allowed_on_this_exchange_are_refused(
    beam: Instrument, clock: MovedClock, settings: Settings
) -> None:
    settings.ORDERS_ALLOWED = False
    assert "LIVE_TRADING" in _refusal(beam, clock).sentence


def test_the_platforms_stop_refuses_entries_with_its_reason(beam: Instrument, clock: MovedClock) -> None:
    Control.objects.create(stopped_at=NOW, reason="a drill")
    assert _refusal(beam, clock).sentence == "Entries are stopped: a drill."


def test_the_masters_own_stop_refuses_entries(beam: Instrument, clock: MovedClock, account: Account) -> None:
    account.user.risk.stopped_at = NOW
    account.user.risk.save()
    assert _refusal(beam, clock).code == "master_stopped"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"state": "close_only"}, "Close only"),
        ({"state": "off"}, "Off"),
        ({"close_only_until": NOW + timedelta(hours=1), "close_only_reason": "A loss"}, "A loss"),
    ],
)
def test_the_masters_own_settings_and_limits_refuse_entries(
    beam: Instrument, clock: MovedClock, account: Account, changes: dict[str, Any], says: str
) -> None:
    RiskSettings.objects.filter(user=account.user).update(**changes)
    refusal = _refusal(beam, clock)
    assert (refusal.code, says in refusal.sentence) == ("master_closed", True)


def test_a_limit_that_has_passed_refuses_nothing(beam: Instrument, clock: MovedClock, account: Account) -> None:
    RiskSettings.objects.filter(user=account.user).update(close_only_until=NOW, close_only_reason="A loss")
    assert _buy(beam, clock).state == OrderState.READY


def test_a_key_that_drifted_and_no_key_at_all_refuse_entries(beam: Instrument, clock: MovedClock) -> None:
    Credential.objects.update(entries_blocked_reason="This key could take money out.")
    assert _refusal(beam, clock).sentence == "This key could take money out."
    Credential.objects.all().delete()
    assert _refusal(beam, clock).code == "no_key"


def test_a_held_master_refuses_entries(beam: Instrument, clock: MovedClock, account: Account) -> None:
    Account.objects.update(held_at=NOW, held_reason="an execution nobody can explain")
    assert _refusal(beam, clock).code == "account_held"


def test_an_unmeasured_clock_refuses_entries(beam: Instrument, clock: MovedClock) -> None:
    Venue.objects.update(offset_at=NOW - timedelta(seconds=61))
    assert _refusal(beam, clock).code == "clock_unknown"


def test_an_exchange_in_maintenance_refuses_entries(beam: Instrument, clock: MovedClock) -> None:
    Venue.objects.update(status="maintenance")
    assert _refusal(beam, clock).code == "venue_status"


def test_an_unknown_balance_never_sizes_an_entry(beam: Instrument, clock: MovedClock) -> None:
    Account.objects.update(balances_as_of=NOW - timedelta(seconds=301), balances_error="Kraken did not answer in time.")
    refusal = _refusal(beam, clock)
    assert refusal.code == "balance_unknown"
    assert "did not answer in time" in refusal.sentence


def test_an_untradable_pair_is_refused(beam: Instrument, clock: MovedClock) -> None:
    beam.tradable = False
    assert _refusal(beam, clock).code == "not_tradable"


def test_less_than_twice_the_minimum_is_refused(beam: Instrument, clock: MovedClock) -> None:
    assert _refusal(beam, clock, Money(D("2.32"))).code == "below_minimum"


def test_more_than_the_free_cash_is_refused(beam: Instrument, clock: MovedClock) -> None:
    assert _refusal(beam, clock, Money(D("61"))).code == "no_free_cash"


def test_without_a_master_there_is_no_order(clock: MovedClock) -> None:
    row = master_books.instrument()
    assert _refusal(row, clock).code == "no_master"


def test_a_silent_exchange_gives_no_price_to_buy_at(
    beam: Instrument, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*_: object, **__: object) -> MarketPrice:
        raise market.PriceUnknown("Kraken does not tell the price of BEAM-USD at the moment.")

    monkeypatch.setattr(market, "fresh_price", silent)
    assert _refusal(beam, clock).code == "price_unknown"


def test_cash_that_a_waiting_entry_will_spend_is_not_spent_twice(beam: Instrument, clock: MovedClock) -> None:
    _buy(beam, clock, Money(D(40)))
    with pytest.raises(MasterOrderRefused, match="are free"):
        _buy(beam, clock, Money(D(40)))


def test_what_was_bought_since_the_balance_was_read_is_not_spent_again_and_counts_as_equity_once(
    beam: Instrument, clock: MovedClock
) -> None:
    first = _buy(beam, clock, Quantity(D(10000)))
    clock.advance(1)
    master_books.fill(first, at_price="0.002918", now=clock.now())
    Account.objects.update(last_fill_at=clock.now())
    second = _buy(beam, clock)
    # 60.534 - 29.18 in cash, and 10,000 at the bid of 0.002917.
    assert second.equity_before == D("60.534") - D("29.18") + D("29.17")
    Order.objects.filter(pk=second.pk).update(state=OrderState.NOT_PLACED)
    with pytest.raises(MasterOrderRefused, match=r"\$31.35 are free"):
        _buy(beam, clock, Money(D("31.3")))


def test_an_exit_sells_the_managed_quantity_at_market_and_takes_the_next_number(
    beam: Instrument, clock: MovedClock, account: Account
) -> None:
    position = master_books.hold(account, beam, "3404.8349")
    order = _sell(beam, clock)
    position.refresh_from_db()
    assert (order.state, order.side, order.quantity) == (OrderState.READY, Side.SELL, D("3404.8349"))
    assert (order.limit_price, order.exit_number, position.exit_count) == (None, 1, 1)


def test_a_second_exit_waits_until_the_first_is_final(beam: Instrument, clock: MovedClock, account: Account) -> None:
    master_books.hold(account, beam, "3404.8349")
    first = _sell(beam, clock, Fraction(1, 2))
    with pytest.raises(MasterOrderRefused, match="already on its way"):
        _sell(beam, clock)
    master_books.fill(first, at_price="0.0029", now=NOW)
    assert _sell(beam, clock).quantity == D("3404.8349") - D("1702.4174")
    assert Position.objects.get().exit_count == 2


def test_an_exit_reads_no_stop_no_block_no_clock_and_no_balance(
    beam: Instrument, clock: MovedClock, account: Account, settings: Settings
) -> None:
    master_books.hold(account, beam, "3404.8349")
    settings.ENTRY_BLOCKING = True
    Control.objects.create(stopped_at=NOW, reason="a drill")
    Venue.objects.all().delete()
    AssetBalance.objects.all().delete()
    MarketPrice.objects.all().delete()
    Account.objects.update(held_at=NOW, balances_as_of=None)
    account.user.risk.stopped_at = NOW
    account.user.risk.save()
    assert _sell(beam, clock).state == OrderState.READY


def test_selling_what_the_master_does_not_have_is_refused(beam: Instrument, clock: MovedClock) -> None:
    with pytest.raises(MasterOrderRefused, match="manages no BEAM-USD"):
        _sell(beam, clock)


def test_waiting_ends_when_the_order_is_final_and_gives_up_in_time(beam: Instrument, clock: MovedClock) -> None:
    order = _buy(beam, clock)
    pauses: list[float] = []
    waited = master_orders.wait_until_settled(order, timeout_s=1.0, sleep=pauses.append)
    assert (waited.state, len(pauses)) == (OrderState.READY, 5)

    def meanwhile(_: float) -> None:
        master_books.fill(order, at_price="0.002918", now=NOW)

    assert master_orders.wait_until_settled(order, sleep=meanwhile).state == OrderState.FILLED
    assert master_orders.average_price(order) is not None


def test_words_of_a_sale_and_of_a_buy_do_not_mix(beam: Instrument, clock: MovedClock) -> None:
    for side, amounts in ((Side.SELL, {"notional": "5"}), (Side.BUY, {"fraction": "1"})):
        with pytest.raises(MasterOrderRefused, match="fraction"):
            manual_orders.plan_from_text(symbol="BEAM-USD", side=side, amounts=amounts, reason="", clock=clock)
    assert Decimal(0) == sum(Order.objects.values_list("quantity", flat=True))
