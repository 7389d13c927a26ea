"""Limits are read when an entry is claimed, with the account locked; every refusal has its reason."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from accounts.models import Credential, RiskSettings
from copytrade.domain.reasons import SkipReason
from copytrade.models import CopyOrder
from copytrade.services import entries, fan_out, release
from tests.functional.scenario import BEAM, Fleet, gather
from tests.support.world import World
from trading.domain.instrument import Side
from trading.models import Account, Instrument, OrderKind, Position, Role, Signal, Venue
from trading.selectors import profit
from trading.selectors.books import positions as position_books
from trading.selectors.equity import worth_of
from trading.services import balances, equity, halts, market, sending

pytestmark = pytest.mark.django_db(transaction=True)

D = Decimal


def copies() -> list[int]:
    return list(CopyOrder.objects.filter(kind="entry", status="pending").order_by("pk").values_list("pk", flat=True))


def signal_without_copies(fleet: Fleet, **order: str) -> None:
    fleet.buy(**order)
    fleet.world.send(OrderKind.ENTRY)
    fan_out.claim_signals(clock=fleet.world.clock)


def later(fleet: Fleet, seconds: float = 365 * 86_400) -> Any:
    return fleet.world.clock.now() + timedelta(seconds=seconds)


SETTINGS: dict[str, tuple[dict[str, Any], SkipReason]] = {
    "off": ({"state": "off"}, SkipReason.COPYING_OFF),
    "closing": ({"state": "close_only"}, SkipReason.CLOSE_ONLY),
    "denying": ({"denied_symbols": [BEAM]}, SkipReason.SYMBOL_NOT_ALLOWED),
    "choosy": ({"allowed_symbols": ["BTC-USD"]}, SkipReason.SYMBOL_NOT_ALLOWED),
    "tiny": ({"multiplier": D("0.00001")}, SkipReason.BELOW_QUANTITY_MIN),
    "small": ({"allocation": D("50")}, SkipReason.BELOW_QUANTITY_MIN),
}


def test_every_setting_of_a_follower_is_obeyed_when_his_entry_is_claimed(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, *SETTINGS, "stopped", "lost", "fell", "held", "keyless", "weak", "fine")
    for name, (change, _) in SETTINGS.items():
        RiskSettings.objects.filter(user__email=f"{name}@nija.example").update(**change)
    expected = {name: reason for name, (_, reason) in SETTINGS.items()}
    halts.stop_account(fleet["stopped"].account, actor="stopped", reason="", clock=fleet.world.clock)
    expected["stopped"] = SkipReason.STOPPED_BY_USER
    for name, until_s, reason in (("lost", 3600, SkipReason.DAILY_LOSS), ("fell", 10**9, SkipReason.DRAWDOWN)):
        RiskSettings.objects.filter(user__email=f"{name}@nija.example").update(
            close_only_until=later(fleet, until_s), close_only_reason="A loss reached your limit"
        )
        expected[name] = reason
    Account.objects.filter(pk=fleet["held"].account.pk).update(held_at=fleet.world.clock.now(), held_reason="Odd")
    expected["held"] = SkipReason.ACCOUNT_HELD
    keys = Credential.objects.filter
    keys(user=fleet["keyless"].account.user).update(status=Credential.Status.DISCONNECTED)
    expected["keyless"] = SkipReason.NO_KEY
    keys(user=fleet["weak"].account.user).update(entries_blocked_reason="Kraken says the key may not trade.")
    expected["weak"] = SkipReason.KEY_PROBLEM

    fleet.buy()
    fleet.live(3)

    for name, reason in expected.items():
        copied = fleet.copy(fleet[name])
        assert (copied.status, copied.reason) == ("skipped", reason), name
        assert copied.sentence
        assert fleet.asked(fleet[name]) == 0
    assert "of balance" in fleet.copy(fleet["tiny"]).sentence
    assert fleet.held(fleet["fine"]) > 0


def test_a_master_order_in_two_signals_takes_max_risk_once(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada", multiplier=D(10), max_risk=D("0.05"))
    fleet.buy(notional="60")
    fleet.world.send(OrderKind.ENTRY)
    first = Signal.objects.get()
    # The later fills of the same order in a signal of their own, as when the first had waited a second.
    second = Signal.objects.get()
    second.pk, second.sequence, second.created_at = None, 2, fleet.world.clock.now()
    second.save()
    Position.objects.filter(account=fleet.master.account).update(signal_count=2)
    fan_out.claim_signals(clock=fleet.world.clock)
    fleet.world.copy(copies())
    fleet.world.copy(copies())
    taken = fleet.copy(fleet["ada"], sequence=first.sequence)
    assert (taken.status, taken.cap) == ("ordered", "max_risk")
    assert fleet.copy(fleet["ada"], sequence=2).reason in ("risk_used_up", "below_quantity_min")
    bought = sum(order.filled for order in fleet.orders(fleet["ada"], OrderKind.ENTRY))
    assert bought * first.price <= D("0.05") * 1000


def test_two_signals_in_flight_share_the_cash_there_is(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada", multiplier=D(10), max_slippage=D("0.05"))
    trader = fleet["ada"]
    # A thousand in coins that are managed, a hundred and fifty in cash: cash decides.
    fleet.world.pin("XBTUSD", bid="50000", ask="50001")
    fleet.world.paper("POST", f"/accounts/{trader.paper_id}/deposit", asset="ZUSD", amount="-850")
    fleet.world.paper("POST", f"/accounts/{trader.paper_id}/deposit", asset="XXBT", amount="0.02")
    Position.objects.create(
        account=trader.account,
        instrument=fleet.world.instrument("BTC-USD"),
        managed=D("0.02"),
        cost=D(1000),
        is_open=True,
        opened_at=fleet.world.clock.now(),
        updated_at=fleet.world.clock.now(),
    )
    fleet.world.move(31)
    fleet.world.pin("ETHUSD", bid="3000", ask="3000.01")
    fleet.buy(notional="100")
    fleet.buy(notional="100", symbol="ETH-USD")
    for _ in range(2):
        fleet.world.send(OrderKind.ENTRY)
    fan_out.claim_signals(clock=fleet.world.clock)
    claimed = entries._claim(copies(), freshened=True, clock=fleet.world.clock).outgoing
    assert len(claimed) == 1
    trader.account.refresh_from_db()
    worth = worth_of([trader.account], now=fleet.world.clock.now())[trader.account.pk]
    assert worth.free_cash is not None
    assert worth.free_cash.value < D(40)
    fleet.world.move(1)
    sending.transmit(claimed, clock=fleet.world.clock)
    fleet.world.move(1)
    fleet.world.copy(copies())
    assert [o.state for o in fleet.orders(trader, OrderKind.ENTRY)] == ["filled", "filled"]
    second = CopyOrder.objects.exclude(signal__sequence=2).get(account=trader.account, cap="cash")
    assert second.status == "ordered"
    assert D(fleet.world.at_exchange(trader)["balances"]["ZUSD"]) >= 0


def test_no_more_positions_are_opened_than_allowed_but_an_open_one_may_grow_and_be_sold(
    make_world: Callable[..., World],
) -> None:
    fleet = gather(make_world, "ada", max_open_positions=1)
    fleet.world.pin("ETHUSD", bid="3000", ask="3000.01")
    fleet.buy(notional="50")
    fleet.live(3)
    fleet.buy(notional="50", symbol="ETH-USD")
    fleet.live(3)
    refused = CopyOrder.objects.get(account=fleet["ada"].account, signal__instrument__symbol="ETH-USD")
    assert (refused.reason, "1 positions open and allow 1" in refused.sentence) == ("max_positions", True)
    fleet.buy(notional="50")
    fleet.live(3)
    assert fleet.copy(fleet["ada"], sequence=2).status == "ordered"
    assert len(fleet.at_exchange(fleet["ada"], "buy")) == 2
    fleet.sell()
    fleet.live(4)
    assert fleet.held(fleet["ada"]) == 0


def test_a_stale_balance_is_read_at_once_before_sizing(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada")
    fleet.world.paper("POST", f"/accounts/{fleet['ada'].paper_id}/deposit", asset="ZUSD", amount="-500")
    fleet.world.move(31)
    Account.objects.filter(role=Role.MASTER).update(balances_as_of=fleet.world.clock.now())
    signal_without_copies(fleet)
    fleet.world.copy(copies())
    copied = fleet.copy(fleet["ada"])
    assert (copied.equity, copied.equity_source) == (500, "live")


def test_a_cached_balance_sizes_an_entry_while_kraken_does_not_answer_and_an_old_one_does_not(
    make_world: Callable[..., World],
) -> None:
    fleet = gather(make_world, "ada")
    fleet.spoil("http_502_before", name="ada", endpoint="BalanceEx", times=1000)
    fleet.world.move(280)
    fleet.buy(notional="50")
    fleet.live(3)
    copied = fleet.copy(fleet["ada"])
    assert (copied.status, copied.equity_source) == ("ordered", "cached")
    fleet.world.move(120)
    fleet.buy(notional="50")
    fleet.live(3)
    copied = fleet.copy(fleet["ada"], sequence=2)
    assert (copied.status, copied.reason, copied.equity_source) == ("skipped", "balance_unknown", "unknown")
    assert "Kraken did not answer" in copied.sentence
    assert copied.equity is None


def test_an_entry_needs_a_known_clock_and_an_exit_does_not(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada")
    fleet.buy()
    fleet.live(3)
    signal_without_copies(fleet, notional="50")
    Venue.objects.update(offset_ms=650)
    assert fleet.world.copy(copies()) == 0
    copied = fleet.copy(fleet["ada"], sequence=2)
    assert (copied.reason, "650 ms behind" in copied.sentence) == ("clock_unknown", True)
    fleet.sell()
    fleet.live(4)
    assert fleet.held(fleet.master) == fleet.held(fleet["ada"]) == 0


def test_an_exits_deadline_is_of_the_exchanges_clock(make_world: Callable[..., World]) -> None:
    """Ours is six seconds behind, and an order lives for five."""
    fleet = gather(make_world, "ada")
    fleet.buy()
    fleet.live(3)

    def pass_by(seconds: float) -> None:
        fleet.world.clock.move(seconds)
        fleet.world.paper("POST", "/clock", mode="manual", now=fleet.world.clock.now().timestamp() + 6)

    pass_by(60)
    market.measure_venue_clock(clock=fleet.world.clock, sleep=pass_by)
    fleet.sell()
    for _ in range(4):
        fleet.world.round()
        pass_by(1)
    assert [o.state for o in fleet.orders(fleet["ada"], OrderKind.EXIT)] == ["filled"]
    assert fleet.asked(fleet.master) == fleet.asked(fleet["ada"]) == 2


def test_an_entry_in_a_pair_kraken_has_closed_is_skipped(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada")
    signal_without_copies(fleet)
    Instrument.objects.filter(symbol=BEAM).update(tradable=False)
    fleet.world.copy(copies())
    assert fleet.copy(fleet["ada"]).reason == "not_tradable"


def test_an_account_without_free_dollars_is_told_so(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada")
    fleet.by_hand("ada", Side.BUY, quantity="198000", price="0.005")
    fleet.world.paper("POST", f"/accounts/{fleet['ada'].paper_id}/deposit", asset="ZUSD", amount="-2.08")
    fleet.world.move(31)
    fleet.buy()
    fleet.live(3)
    assert fleet.copy(fleet["ada"]).reason == "no_free_cash"
    assert len(fleet.at_exchange(fleet["ada"], "buy")) == 1


def test_a_days_loss_closes_entries_until_midnight_and_lets_exits_go(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada", max_daily_loss=D(3))
    equity.record(clock=fleet.world.clock)
    fleet.buy()
    fleet.live(3)
    fleet.world.pin("BEAMUSD", bid="0.009700", ask="0.009701")
    equity.record(clock=fleet.world.clock)
    fleet.buy(notional="50")
    fleet.live(3)
    copied = fleet.copy(fleet["ada"], sequence=2)
    assert copied.reason == "daily_loss"
    assert "reached your limit" in copied.sentence
    risk = RiskSettings.objects.get(user=fleet["ada"].account.user)
    assert risk.close_only_until is not None
    midnight = (fleet.world.clock.now() + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    assert risk.close_only_until == midnight
    fleet.sell()
    fleet.live(4)
    assert fleet.held(fleet["ada"]) == 0


def test_coins_taken_over_or_sold_by_hand_lose_nothing_and_trip_no_limit(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada", "ben", max_daily_loss=D(3), max_drawdown=D("0.01"))
    fleet.buy()
    fleet.live(3)
    fleet.world.pin("BEAMUSD", bid="0.020000", ask="0.020001")
    fleet.world.move(31)
    balances.refresh_due(clock=fleet.world.clock)
    equity.record(clock=fleet.world.clock)
    before = profit.totals([fleet["ada"].account.pk, fleet["ben"].account.pk])
    release.release_all(fleet["ada"].account, actor="ada", clock=fleet.world.clock)
    fleet.by_hand("ben", Side.SELL, quantity=str(fleet.held(fleet["ben"])))
    for _ in range(6):
        fleet.world.move(10)
        balances.refresh_due(clock=fleet.world.clock)
        equity.record(clock=fleet.world.clock)
    assert not Position.objects.filter(account__role=Role.FOLLOWER, is_open=True).exists()
    for trader in (fleet["ada"], fleet["ben"]):
        after = profit.totals([trader.account.pk])[trader.account.pk]
        assert after == before[trader.account.pk]
        assert after.value > 80
        assert RiskSettings.objects.get(user=trader.account.user).close_only_until is None
    assert all(check.findings == [] for check in position_books.checks())


def test_a_drawdown_closes_entries_until_resumed_and_counts_anew_from_there(make_world: Callable[..., World]) -> None:
    fleet = gather(make_world, "ada", max_drawdown=D("0.01"))
    risk = RiskSettings.objects.filter(user=fleet["ada"].account.user)
    equity.record(clock=fleet.world.clock)
    fleet.buy()
    fleet.live(3)
    # A loss of 0.8 %, and a withdrawal of half the account: no drawdown of one per cent.
    fleet.world.paper("POST", f"/accounts/{fleet['ada'].paper_id}/deposit", asset="ZUSD", amount="-500")
    fleet.world.move(31)
    fleet.world.pin("BEAMUSD", bid="0.009300", ask="0.009301")
    balances.refresh_due(clock=fleet.world.clock)
    equity.record(clock=fleet.world.clock)
    assert risk.get().close_only_until is None
    fleet.world.move(30)
    fleet.world.pin("BEAMUSD", bid="0.008900", ask="0.008901")
    balances.refresh_due(clock=fleet.world.clock)
    equity.record(clock=fleet.world.clock)
    assert "drawdown" in risk.get().close_only_reason
    fleet.buy(notional="50")
    fleet.live(3)
    assert fleet.copy(fleet["ada"], sequence=2).reason == "drawdown"

    halts.resume_account(fleet["ada"].account, actor="ada", clock=fleet.world.clock)
    fleet.world.move(30)
    equity.record(clock=fleet.world.clock)
    assert risk.get().close_only_until is None, "resuming is not undone by the fall that was known"
    fleet.world.pin("BEAMUSD", bid="0.007800", ask="0.007801")
    equity.record(clock=fleet.world.clock)
    assert risk.get().close_only_until is not None
