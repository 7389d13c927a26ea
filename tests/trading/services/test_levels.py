from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from pytest_django.fixtures import Settings

from copytrade.services import watch
from tests.trading.services import master_books
from tests.trading.services.master_books import NOW, D, MovedClock
from trading.domain.money import Money, Price, Ratio
from trading.domain.order_state import OrderState
from trading.models import Account, AssetBalance, Instrument, Levels, Order, OrderKind, OrderOrigin, Position
from trading.models import EntryPlan as KeptPlan
from trading.services import alerts, levels, master_orders
from trading.services.master_orders import StrategyEntry
from trading.strategy.plan import EntryPlan, Target

pytestmark = pytest.mark.django_db

#: Entry 0.003: stop 0.00288, targets 0.00318 / 0.00327 / 0.00339 for 40, 30 and 30 per cent, trail 0.00012.
PLAN = EntryPlan(
    reference=Price(D("0.003")),
    stop_distance=Ratio(D("0.04")),
    targets=(
        Target(Ratio(D("0.06")), Fraction(2, 5)),
        Target(Ratio(D("0.09")), Fraction(3, 10)),
        Target(Ratio(D("0.13")), Fraction(3, 10)),
    ),
    trail=Ratio(D("0.04")),
    stagnation_below=Ratio(D("0.03")),
    stagnation_after_s=3600,
    max_holding_s=7200,
)


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def account() -> Account:
    return master_books.master()


@pytest.fixture
def beam(account: Account) -> Instrument:
    return master_books.instrument()


@pytest.fixture
def position(account: Account, beam: Instrument, clock: MovedClock) -> Position:
    """10,000 BEAM that the strategy bought at 0.003."""
    master_books.price(beam, bid="0.002999", ask="0.003")
    order = _enter(beam, "30", clock, market_at=NOW - timedelta(seconds=20))
    return master_books.fill(order, at_price="0.003", now=clock.now())


def _enter(beam: Instrument, usd: str, clock: MovedClock, *, market_at: datetime) -> Order:
    """The strategy asks for it."""
    return master_orders.plan_entry(
        instrument=beam,
        amount=Money(D(usd)),
        origin=OrderOrigin.STRATEGY,
        reason="apex: score 80",
        clock=clock,
        asked_by=StrategyEntry("apex", "1", "abc", PLAN, market_at),
    )


def _at(bid: str, clock: MovedClock, beam: Instrument) -> list[Order]:
    """Two seconds later the best bid is `bid`."""
    clock.advance(2)
    master_books.price(beam, bid=bid, ask=bid, now=clock.now())
    return levels.watch(clock=clock)


def _kept() -> Levels:
    return Levels.objects.get()


def test_levels_come_from_the_entrys_plan_and_the_price_really_paid(
    position: Position, clock: MovedClock, beam: Instrument
) -> None:
    assert _at("0.003", clock, beam) == []
    kept = _kept()
    assert (kept.entry_price, kept.strategy, kept.version) == (D("0.003"), "apex", "1")
    assert kept.opened_market_at == NOW - timedelta(seconds=20)
    assert kept.plan["stop"] == "0.00288"
    assert [target["level"] for target in kept.plan["targets"]] == ["0.00318", "0.00327", "0.00339"]
    assert kept.plan["trailing"] is None


def test_a_position_opened_by_hand_gets_no_levels(account: Account, beam: Instrument, clock: MovedClock) -> None:
    master_books.price(beam)
    order = master_orders.plan_entry(
        instrument=beam, amount=Money(D(30)), origin=OrderOrigin.MANUAL, reason="", clock=clock
    )
    master_books.fill(order, at_price="0.003", now=clock.now())
    assert _at("0.0001", clock, beam) == []
    assert not Levels.objects.exists()


def test_a_position_bought_by_hand_after_the_strategys_was_sold_gets_no_levels_either(
    position: Position, account: Account, beam: Instrument, clock: MovedClock
) -> None:
    clock.advance(10)
    sale = master_orders.plan_exit(
        instrument=beam, fraction=Fraction(1), origin=OrderOrigin.MANUAL, reason="", clock=clock
    )
    master_books.fill(sale, at_price="0.003", now=clock.now())
    _at("0.003", clock, beam)
    again = master_orders.plan_entry(
        instrument=beam, amount=Money(D(20)), origin=OrderOrigin.MANUAL, reason="", clock=clock
    )
    clock.advance(10)
    master_books.fill(again, at_price="0.003", now=clock.now())
    assert _at("0.001", clock, beam) == []
    assert not Levels.objects.exists()


def test_the_stop_sells_everything_with_the_reason(position: Position, clock: MovedClock, beam: Instrument) -> None:
    (order,) = _at("0.00288", clock, beam)
    assert (order.quantity, order.kind, order.limit_price) == (D(10000), OrderKind.EXIT, None)
    assert (order.origin, order.state) == (OrderOrigin.STRATEGY, OrderState.READY)
    assert order.reason == "stop: price 0.00288 is at or below 0.00288"
    assert (order.strategy, order.strategy_version, order.parameters_hash) == ("apex", "1", "abc")


def test_a_sale_by_hand_of_what_a_strategy_bought_names_no_strategy(
    position: Position, clock: MovedClock, beam: Instrument
) -> None:
    order = master_orders.plan_exit(
        instrument=beam, fraction=Fraction(1), origin=OrderOrigin.MANUAL, reason="", clock=clock
    )
    assert (order.strategy, order.strategy_version, order.parameters_hash) == ("", "", "")


def test_three_targets_sell_their_shares_one_after_the_other(
    position: Position, clock: MovedClock, beam: Instrument
) -> None:
    sold = []
    for bid in ("0.00318", "0.00327", "0.0034"):
        (order,) = _at(bid, clock, beam)
        sold.append(order.quantity)
        assert _at(bid, clock, beam) == []
        master_books.fill(order, at_price=bid, now=clock.now())
    assert sold == [D(4000), D(3000), D(3000)]
    assert not Position.objects.get().is_open
    _at("0.0034", clock, beam)
    assert not Levels.objects.exists()


def test_the_count_of_targets_advances_with_the_order_that_sells(
    position: Position, clock: MovedClock, beam: Instrument
) -> None:
    (order,) = _at("0.00318", clock, beam)
    assert (_kept().plan["targets_hit"], _kept().plan["exit_order"]) == (1, order.pk)
    assert [target["hit"] for target in _kept().plan["targets"]] == [True, False, False]


def test_a_look_that_read_the_position_before_it_had_levels_does_not_undo_what_another_counted(
    position: Position, clock: MovedClock, beam: Instrument
) -> None:
    read_early = Position.objects.select_related("account", "instrument", "levels").get(pk=position.pk)
    (order,) = _at("0.00318", clock, beam)
    known = levels._levels_of(read_early, now=clock.now())
    assert known is not None
    for plan in (known.plan, _kept().plan):
        assert (plan["targets_hit"], plan["exit_order"]) == (1, order.pk)


def test_while_an_exit_is_on_its_way_no_target_is_counted(
    position: Position, clock: MovedClock, beam: Instrument
) -> None:
    master_orders.plan_exit(instrument=beam, fraction=Fraction(1, 2), origin=OrderOrigin.MANUAL, reason="", clock=clock)
    assert _at("0.00318", clock, beam) == []
    assert _kept().plan["targets_hit"] == 0
    assert _kept().plan["highest"] == "0.00318"


def test_a_sale_that_came_to_nothing_is_asked_for_again_after_a_pause_that_doubles(
    position: Position, clock: MovedClock, beam: Instrument, account: Account
) -> None:
    AssetBalance.objects.create(account=account, asset=beam.base_asset, total=D(10_000), as_of=clock.now())
    for number, pause_s in enumerate((3, 6, 12, 24, 30, 30), start=1):
        (sale,) = _at("0.00318", clock, beam)
        assert (sale.quantity, sale.exit_number) == (D(4000), number)
        Order.objects.filter(pk=sale.pk).update(state=OrderState.REJECTED, closed_at=clock.now())
        clock.advance(pause_s - 2.5)
        assert _at("0.00318", clock, beam) == []
        assert _kept().plan["targets_hit"] == 0
        clock.advance(-1)


def test_after_a_refusal_what_is_free_is_sold_and_what_is_on_hold_waits(
    position: Position, clock: MovedClock, beam: Instrument, account: Account
) -> None:
    balance = AssetBalance.objects.create(
        account=account, asset=beam.base_asset, total=D(10_000), hold=D(7_000), as_of=clock.now()
    )
    (first,) = _at("0.0028", clock, beam)
    assert first.quantity == D(10_000)
    Order.objects.filter(pk=first.pk).update(state=OrderState.REJECTED, closed_at=clock.now())
    clock.advance(3)
    (second,) = _at("0.0028", clock, beam)
    assert second.quantity == D(3_000)
    Order.objects.filter(pk=second.pk).update(state=OrderState.REJECTED, closed_at=clock.now())
    balance.hold = D(9_999)
    balance.save()
    clock.advance(6)
    assert _at("0.0028", clock, beam) == []
    balance.hold = D(0)
    balance.save()
    (third,) = _at("0.0028", clock, beam)
    assert third.quantity == D(10_000)


def test_a_target_of_which_a_part_was_on_hold_is_asked_for_again_with_what_is_missing(
    position: Position, clock: MovedClock, beam: Instrument, account: Account
) -> None:
    base = {"account": account, "asset": beam.base_asset}
    AssetBalance.objects.create(**base, total=D(10_000), hold=D(7_500), as_of=clock.now())
    (whole,) = _at("0.00318", clock, beam)
    Order.objects.filter(pk=whole.pk).update(state=OrderState.REJECTED, closed_at=clock.now())
    clock.advance(3)
    (part,) = _at("0.00318", clock, beam)
    master_books.fill(part, at_price="0.00318", now=clock.now())
    (missing,) = _at("0.0032", clock, beam)
    assert (part.quantity, missing.quantity) == (D(2_500), D(1_500))
    master_books.fill(missing, at_price="0.0032", now=clock.now())
    assert _at("0.0032", clock, beam) == []
    assert _kept().plan["targets_hit"] == 1


def test_a_high_seen_while_nothing_could_be_sold_is_kept(
    position: Position, clock: MovedClock, beam: Instrument, account: Account
) -> None:
    base = {"account": account, "asset": beam.base_asset}
    balance = AssetBalance.objects.create(**base, total=D(10_000), hold=D(9_999), as_of=clock.now())
    (first,) = _at("0.00318", clock, beam)
    Order.objects.filter(pk=first.pk).update(state=OrderState.REJECTED, closed_at=clock.now())
    clock.advance(3)
    for bid in ("0.00318", "0.0033", "0.00338"):
        assert _at(bid, clock, beam) == []
    assert _kept().plan["highest"] == "0.00338"
    balance.hold = D(0)
    balance.save()
    (sale,) = _at("0.0032", clock, beam)
    assert (sale.quantity, sale.reason.startswith("trailing stop")) == (D(10_000), True)


def test_an_alert_about_a_sale_ends_when_nobody_wants_to_sell_any_more_and_the_next_is_told_anew(
    position: Position, clock: MovedClock, beam: Instrument, account: Account
) -> None:
    (first,) = _at("0.00318", clock, beam)
    Order.objects.filter(pk=first.pk).update(state=OrderState.REJECTED, closed_at=clock.now(), refusal="No")
    clock.advance(20)
    assert _at("0.0031", clock, beam) == []
    watch.look(clock=clock)
    assert alerts.standing("unsold:").count() == 1
    clock.advance(400)
    watch.look(clock=clock)
    assert not alerts.standing("unsold:").exists()
    for _ in range(2):
        (sale,) = _at("0.0028", clock, beam)
        Order.objects.filter(pk=sale.pk).update(state=OrderState.REJECTED, closed_at=clock.now(), refusal="Again")
        clock.advance(20)
    watch.look(clock=clock)
    assert "Again" in alerts.standing("unsold:").get().message


def test_after_the_first_target_the_trailing_stop_follows_the_highest_bid(
    position: Position, clock: MovedClock, beam: Instrument
) -> None:
    (first,) = _at("0.0032", clock, beam)
    master_books.fill(first, at_price="0.0032", now=clock.now())
    assert _at("0.00326", clock, beam) == []
    assert _kept().plan["trailing"] == "0.00314"
    assert _at("0.00315", clock, beam) == []
    (last,) = _at("0.00314", clock, beam)
    assert last.quantity == D(6000)
    assert last.reason.startswith("trailing stop")


def test_what_was_sold_by_hand_counts_towards_the_targets(
    position: Position, clock: MovedClock, beam: Instrument
) -> None:
    _at("0.003", clock, beam)
    by_hand = master_orders.plan_exit(
        instrument=beam, fraction=Fraction(1, 5), origin=OrderOrigin.MANUAL, reason="", clock=clock
    )
    master_books.fill(by_hand, at_price="0.003", now=clock.now())
    (order,) = _at("0.00318", clock, beam)
    # The plan keeps 60 % of what was bought after its first target.
    assert position.managed - D(2000) - order.quantity == D(6000)


def test_a_part_too_small_for_kraken_becomes_the_whole(position: Position, clock: MovedClock, beam: Instrument) -> None:
    Instrument.objects.update(quantity_min=D(4500))
    (order,) = _at("0.00318", clock, beam)
    assert order.quantity == D(10000)
    assert order.reason.endswith("a part is less than Kraken sells")


def test_time_ends_a_position_by_the_exchanges_clock(
    position: Position, clock: MovedClock, beam: Instrument, settings: Settings
) -> None:
    settings.VENUE_IS_LOCAL = False
    clock.advance(7100)
    assert _at("0.0031", clock, beam) == []
    clock.advance(100)
    (order,) = _at("0.0031", clock, beam)
    assert order.reason.startswith("time: held")


def test_a_stale_price_decides_nothing(position: Position, clock: MovedClock, beam: Instrument) -> None:
    master_books.price(beam, bid="0.0001", ask="0.0001", now=clock.now())
    clock.advance(31)
    assert levels.watch(clock=clock) == []


def test_an_error_in_one_position_does_not_stop_the_watch_of_the_next(
    position: Position, account: Account, clock: MovedClock, beam: Instrument
) -> None:
    _at("0.003", clock, beam)
    other = master_books.instrument("SOL-USD", quantity_min="1")
    master_books.price(other, bid="0.002999", ask="0.003", now=clock.now())
    order = master_orders.plan_entry(
        instrument=other,
        amount=Money(D(10)),
        origin=OrderOrigin.STRATEGY,
        reason="",
        clock=clock,
        asked_by=StrategyEntry("apex", "1", "abc", PLAN, NOW),
    )
    master_books.fill(order, at_price="0.003", now=clock.now())
    Levels.objects.update(strategy="forgotten")
    clock.advance(2)
    for row in (beam, other):
        master_books.price(row, bid="0.0028", ask="0.0028", now=clock.now())
    (exit_order,) = levels.watch(clock=clock)
    assert exit_order.instrument == other


def test_levels_that_cannot_be_made_do_not_stop_the_watch_of_the_next(
    position: Position, clock: MovedClock, beam: Instrument
) -> None:
    other = master_books.instrument("ADA-USD", quantity_min="1")
    master_books.price(other, bid="0.002999", ask="0.003", now=clock.now())
    order = master_orders.plan_entry(
        instrument=other,
        amount=Money(D(10)),
        origin=OrderOrigin.STRATEGY,
        reason="",
        clock=clock,
        asked_by=StrategyEntry("apex", "1", "abc", PLAN, NOW),
    )
    master_books.fill(order, at_price="0.003", now=clock.now())
    KeptPlan.objects.filter(order__instrument=beam).update(plan={"reference": "spoilt"})
    clock.advance(2)
    for row in (beam, other):
        master_books.price(row, bid="0.0028", ask="0.0028", now=clock.now())
    (sale,) = levels.watch(clock=clock)
    assert sale.instrument == other


def test_a_partly_booked_entry_waits_for_its_levels(position: Position, clock: MovedClock, beam: Instrument) -> None:
    Order.objects.update(state=OrderState.PARTIAL)
    assert _at("0.0001", clock, beam) == []
    assert not Levels.objects.exists()


def _entered_again_over_dust(position: Position, clock: MovedClock, beam: Instrument) -> Order:
    """All but what Kraken does not sell went, and the strategy enters anew at a price below its old stop."""
    assert _at("0.003", clock, beam) == []
    Position.objects.filter(pk=position.pk).update(managed=D(1))
    assert _at("0.0028", clock, beam) == []
    return _enter(beam, "20", clock, market_at=NOW)


def test_the_levels_of_dust_do_not_decide_over_a_new_entry_that_is_partly_booked(
    position: Position, clock: MovedClock, beam: Instrument
) -> None:
    again = _entered_again_over_dust(position, clock, beam)
    master_books.fill(again, at_price="0.0028", now=clock.now())
    Order.objects.filter(pk=again.pk).update(state=OrderState.PARTIAL)
    assert _at("0.0028", clock, beam) == []
    Order.objects.filter(pk=again.pk).update(state=OrderState.FILLED)
    assert _at("0.0028", clock, beam) == []
    assert _kept().entry_order == again
    (sale,) = _at("0.0026", clock, beam)
    assert sale.reason.startswith("stop")


def test_the_levels_of_dust_do_not_decide_over_an_entry_booked_while_a_look_waited(
    position: Position, clock: MovedClock, beam: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = _entered_again_over_dust(position, clock, beam)
    lock, booked = master_orders.lock_position, list[Position]()

    def waited(account: Account, instrument: Instrument) -> Position | None:
        if not booked:
            booked.append(master_books.fill(again, at_price="0.0028", now=clock.now()))
        return lock(account, instrument)

    monkeypatch.setattr(master_orders, "lock_position", waited)
    assert _at("0.0028", clock, beam) == []
    assert booked
    assert not Order.objects.filter(kind=OrderKind.EXIT).exists()
    assert _at("0.0028", clock, beam) == []
    assert _kept().entry_order == again


def test_more_bought_by_hand_is_sold_in_the_same_proportions(
    position: Position, clock: MovedClock, beam: Instrument
) -> None:
    _at("0.003", clock, beam)
    more = master_orders.plan_entry(
        instrument=beam, amount=Money(D(15)), origin=OrderOrigin.MANUAL, reason="", clock=clock
    )
    master_books.fill(more, at_price="0.003", now=clock.now())
    (order,) = _at("0.00318", clock, beam)
    assert order.quantity == (D(10000) + more.quantity) * Decimal("0.4")


def test_without_a_master_nothing_is_watched(clock: MovedClock) -> None:
    assert levels.watch(clock=clock) == []
