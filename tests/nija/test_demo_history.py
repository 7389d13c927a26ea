"""The demo's history: the real engine on a moved clock, against a paper exchange over HTTP, from nothing to now."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from accounts.models import RiskSettings
from copytrade.models import CopyOrder, CopyStatus
from nija import demo, demo_history, demo_process
from nija.demo_history import Deed, Extent, MovedClock, Pace
from trading.domain import order_state
from trading.models import (
    Account,
    EquityPoint,
    Execution,
    Lane,
    MarketPrice,
    Order,
    OrderOrigin,
    Position,
    Role,
    Signal,
)
from trading.paper.server import PaperSettings, RunningExchange, run_in_thread

PASSWORD = "a long enough password"
CENT = Decimal("0.01")


@pytest.fixture
def exchange(transactional_db: None, settings: Any, tmp_path: Path, redis_url: str) -> Iterator[RunningExchange]:
    state = tmp_path / "paper.sqlite3"
    with run_in_thread(PaperSettings(state=state, market="demo", rate_tier="intermediate")) as running:
        settings.KRAKEN_API_URL, settings.VENUE = running.url, "paper"
        settings.VENUE_IS_LOCAL = settings.ORDERS_ALLOWED = True
        yield running


def balances_at(exchange: RunningExchange, account: Account) -> dict[str, Decimal]:
    """What the exchange holds for the account that our key belongs to, by the label it was opened with."""
    known = {row["label"]: row["account"] for row in exchange.get("/paper/accounts")["accounts"]}
    shown = exchange.get(f"/paper/accounts/{known[account.user.email]}")
    return {asset: Decimal(amount) for asset, amount in shown["balances"].items()}


@pytest.mark.system
@pytest.mark.timeout(120)
def test_the_history_is_rich_ends_flat_and_settled_and_agrees_with_the_exchange(exchange: RunningExchange) -> None:
    said: list[str] = []
    before = datetime.now(UTC)
    passwords = {person.email: PASSWORD for person in demo.PEOPLE}
    # Only the moments that always count: the steps between them depend on the machine.
    demo_history.make(paper_url=exchange.url, passwords=passwords, say=said.append, extent=Extent(wall_s=2.0))
    now = datetime.now(UTC)

    assert any(line.startswith("making the demo's history: ") for line in said)
    copies = CopyOrder.objects.filter(order__state="filled")
    assert copies.count() >= 10
    assert CopyOrder.objects.filter(cap="max_risk", order__state="filled").exists()
    assert {"symbol_not_allowed", "below_quantity_min"} <= set(
        CopyOrder.objects.filter(status=CopyStatus.SKIPPED).values_list("reason", flat=True)
    )
    assert Order.objects.filter(origin=OrderOrigin.STRATEGY, side="buy", state="filled").count() >= 2
    assert {account.equity_points.count() >= 15 for account in Account.objects.all()} == {True}

    # Nothing is under way, and every pair is free for the strategy.
    assert not Order.objects.filter(state__in=order_state.LIVE).exists()
    assert not CopyOrder.objects.filter(status=CopyStatus.PENDING).exists()
    assert not Signal.objects.filter(fan_out__isnull=True).exists()
    assert not Lane.objects.filter(leased_until__isnull=False).exists()
    assert not Position.objects.filter(is_open=True).exists()
    assert not RiskSettings.objects.exclude(denied_symbols=[]).exists()
    # Nothing of the master's account is unread, which would be told as an alert.
    assert Account.objects.filter(role=Role.MASTER, trades_read_at__gt=now - timedelta(minutes=1)).exists()

    for account in Account.objects.select_related("user"):
        held = balances_at(exchange, account)
        assert {asset for asset, amount in held.items() if amount} == {"ZUSD"}
        # Balances are told in four decimals.
        assert 0 <= held["ZUSD"] - account.balances.get(asset="ZUSD").total < Decimal("0.0001")
        deposited = next(Decimal(p.usd) for p in demo.PEOPLE if p.email == account.user.email and p.usd)
        flow = sum(
            (e.notional if e.side == "sell" else -e.notional) - e.fee for e in Execution.objects.filter(account=account)
        )
        assert held["ZUSD"] == deposited + flow
        # Nobody paid in or out, so that no curve may show it.
        paid = {round(point.equity - point.profit - deposited, 2) for point in account.equity_points.all()}
        assert {amount for amount in paid if abs(amount) > CENT} == set(), account.user.email

    # It begins long ago, ends now, and real nonces go on above it.
    first, last = EquityPoint.objects.order_by("at").first(), EquityPoint.objects.order_by("at").last()
    assert first is not None
    assert last is not None
    assert first.at < before - timedelta(minutes=80)
    assert now - timedelta(seconds=5) < last.at <= now
    assert exchange.get("/paper/market")["clock"] == "real"
    assert all(lane.last_nonce < now.timestamp() * 1e9 for lane in Lane.objects.all())


@pytest.mark.system
def test_the_market_is_about_to_burst_when_the_history_ends(exchange: RunningExchange, settings: Any) -> None:
    settings.MASTER_PAIRS = ["BEAM-USD"]
    extent = Extent(past=timedelta(minutes=1), wall_s=1.0, starts_after_s=4.0)
    passwords = {person.email: PASSWORD for person in demo.PEOPLE}
    demo_history.make(paper_url=exchange.url, passwords=passwords, say=lambda _text: None, extent=extent)

    ended = exchange.get("/paper/market")
    ask = Decimal(ended["quotes"]["BEAMUSD"]["ask"])
    exchange.post("/paper/clock", mode="manual", now=ended["wall_time"] + 150)
    assert Decimal(exchange.get("/paper/market")["quotes"]["BEAMUSD"]["bid"]) > ask * Decimal("1.05")


def test_a_database_with_an_account_gets_no_history(db: None, django_user_model: Any) -> None:
    assert demo_process.is_wanted()
    Account.objects.create(
        user=django_user_model.objects.create_user(email="ada@nija.example", password=PASSWORD),
        role=Role.FOLLOWER,
        venue="paper",
        created_at=datetime.now(UTC),
    )
    assert not demo_process.is_wanted()


def test_another_exchange_than_the_demos_own_gets_no_history(db: None, settings: Any) -> None:
    settings.VENUE = "https://api.kraken.com"
    assert demo_process.run() == 1
    settings.VENUE, settings.VENUE_IS_LOCAL = "paper", False
    assert demo_process.run() == 1
    assert not MarketPrice.objects.exists()


def test_the_moved_clock_gives_rising_nonces_whether_it_moves_or_not() -> None:
    clock = MovedClock(datetime(2026, 5, 1, 12, tzinfo=UTC))
    taken = [clock.ns(), clock.ns()]
    clock.move(0.25)
    taken.append(clock.ns())
    clock.move(30)
    taken.append(clock.ns())
    assert taken == sorted(set(taken))
    assert clock.now() == datetime(2026, 5, 1, 12, 0, 30, 250_000, tzinfo=UTC)
    assert taken[-1] <= clock.now().timestamp() * 1e9


def test_a_late_history_takes_longer_steps_but_never_past_a_deed() -> None:
    end = datetime(2026, 5, 1, 12, tzinfo=UTC)
    now = end - timedelta(minutes=60)
    pace = Pace(end=end, wall_end_s=0.0, deeds=[Deed(50.0), Deed(20.0)])
    assert pace.next_s(now, wanted_s=45.0, took_s=1.0) == 600.0
    assert pace.due(now) == []
    assert pace.due(end - timedelta(minutes=50)) == [Deed(50.0)]
    assert pace.next_s(end - timedelta(minutes=50), wanted_s=45.0, took_s=1.0) == 1800.0
    assert pace.due(end - timedelta(minutes=20)) == [Deed(20.0)]
    assert pace.next_s(end - timedelta(minutes=20), wanted_s=45.0, took_s=1.0) == 1200.0
    assert pace.next_s(end, wanted_s=45.0, took_s=1.0) == 0.0
