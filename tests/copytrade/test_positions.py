"""The page of one position: what is held in words, the market for its chart, and nobody else's."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client

from copytrade.models import CopyOrder
from tests.copytrade import books
from tests.copytrade.books import Fleet
from tests.copytrade.test_pages import as_operator, as_user, read
from trading.models import Account, Candle, EntryPlan, Execution, Levels, MarketPrice, Order, Position

pytestmark = pytest.mark.django_db

D = Decimal
PAGE = "/positions/BEAM-USD/"


@pytest.fixture
def fleet() -> Fleet:
    return books.fleet()


@pytest.fixture
def ann(fleet: Fleet) -> Account:
    """A follower whose copy of the master's purchase was executed 42 minutes ago."""
    owner = books.follower(fleet, "ann@example.com")
    bought = Order.objects.get(account=owner, kind="entry")
    executed(bought, price="0.002918", at=fleet.buy.executed_at)
    return owner


def executed(order: Order, *, price: str, at: datetime, quantity: Decimal | None = None) -> Execution:
    amount = order.quantity if quantity is None else quantity
    return Execution.objects.create(
        account=order.account, instrument=order.instrument, order=order, trade_id=f"T{order.pk}-{amount}",
        side=order.side, quantity=amount, price=D(price), notional=amount * D(price), fee=D("0.0677"), executed_at=at,
        booked_at=at + timedelta(milliseconds=220),
    )  # fmt: skip


def with_levels(fleet: Fleet) -> Levels:
    """A stop, a trailing stop, one target reached and one ahead."""
    targets = [
        {"level": "0.0029300001", "fraction": "2/5", "hit": True},
        {"level": "0.00301", "fraction": "3/5", "hit": False},
    ]
    master = Position.objects.get(account=fleet.master, instrument=fleet.beam)
    order = fleet.buy.order
    EntryPlan.objects.create(
        order=order, strategy="apex", version="1", parameters_hash="0" * 64, plan={}, market_at=fleet.now
    )
    return Levels.objects.create(
        position=master, entry_order=order, strategy="apex", version="1", parameters_hash="0" * 64,
        entry_price=D("0.002918"), opened_market_at=fleet.now, updated_at=fleet.now,
        plan={"stop": "0.00285", "trailing": "0.0029071234", "targets": targets},
    )  # fmt: skip


def candles(fleet: Fleet, *, count: int) -> None:
    """One a minute, the newest of which has just closed."""
    whole = fleet.now.replace(second=0, microsecond=0)
    Candle.objects.bulk_create(
        Candle(
            instrument=fleet.beam, interval_min=1, starts_at=whole - timedelta(minutes=count - n), open=D("0.0029"),
            high=D("0.00295") + D(n % 7) / 10**6, low=D("0.00288"), close=D("0.00292"), volume=D(1000),
        )
        for n in range(count)
    )  # fmt: skip


def drawn(client: Client, address: str = PAGE) -> dict[str, Any]:
    page = client.get(address).content.decode()
    found = re.search(r'<script id="position-drawn" type="application/json">(.*?)</script>', page)
    assert found is not None
    told: dict[str, Any] = json.loads(found.group(1))
    return told


def close(owner: Account, fleet: Fleet, *, price: str, ago: timedelta) -> Order:
    sold = books.order(owner, fleet.beam, kind="exit", quantity="2898.50925", now=fleet.now - ago, exit_number=2)
    executed(sold, price=price, at=fleet.now - ago)
    Position.objects.filter(account=owner, instrument=fleet.beam).update(managed=0, cost=0, is_open=False)
    return sold


def test_the_first_line_says_what_is_held_and_what_it_is_worth(ann: Account) -> None:
    text = read(as_user(ann), PAGE)
    # 2898.50925 × 0.002950 = 8.5506; it cost 8.5277
    assert "You hold 2,898.50925 BEAM, worth $8.55, up $0.02 after fees." in text
    assert "as of " in text


def test_a_loss_and_an_unknown_price_are_said_as_such(fleet: Fleet, ann: Account) -> None:
    MarketPrice.objects.filter(instrument=fleet.beam).update(bid=D("0.0028"))
    assert "down $0.41 after fees." in read(as_user(ann), PAGE)
    MarketPrice.objects.filter(instrument=fleet.beam).delete()
    text = read(as_user(ann), PAGE)
    assert "You hold 2,898.50925 BEAM; its price is not known." in text
    assert "$0.00" not in text


def test_a_closed_position_says_when_and_with_what(fleet: Fleet, ann: Account) -> None:
    close(ann, fleet, price="0.0030", ago=timedelta(minutes=12))
    text = read(as_user(ann), PAGE)
    # 2898.50925 × (0.0030 − 0.002918) − 2 × 0.0677
    assert "Nothing of BEAM is held; last closed 12 min ago with ▲ +$0.10 after fees." in text
    assert "Nothing is held" in text


def test_a_pair_never_traded_teaches_what_will_appear(fleet: Fleet, ann: Account) -> None:
    text = read(as_user(ann), "/positions/DOGE-USD/")
    assert "Nothing of DOGE is held, and nothing was ever bought here." in text
    assert "No candle in this range yet" in text
    assert "becomes a row here and a mark in the chart" in text


def test_the_masters_levels_are_listed_at_the_pairs_own_precision_with_those_reached(
    fleet: Fleet, ann: Account
) -> None:
    with_levels(fleet)
    page = as_user(ann).get(PAGE)
    levels = page.context["view"].levels
    assert [(level.label, level.hit) for level in levels] == [
        ("Target 2", False), ("Target 1", True), ("Trailing stop", False), ("Stop", False),
    ]  # fmt: skip
    text = read(as_user(ann), PAGE)
    assert "Trailing stop0.002907" in text.replace("Trailing stop ", "Trailing stop")
    assert "reached: 40 % of what was bought" in text
    assert "These levels are the master's. You leave when the master does, and sell the same part." in text
    lines = {line["label"]: line for line in drawn(as_user(ann))["lines"]}
    assert set(lines) == {"Target 1", "Target 2", "Trailing stop", "Stop", "Average cost", "Price now"}
    assert lines["Target 1"]["hit"]
    assert lines["Average cost"]["price"] == pytest.approx(8.5277 / 2898.50925)


def test_dashboards_show_levels_at_the_pairs_own_precision(fleet: Fleet, ann: Account) -> None:
    with_levels(fleet)
    text = read(as_user(ann), "/dashboard/")
    assert "0.002907" in text
    assert "0.0029071234" not in text


def test_a_position_the_master_opened_by_hand_has_no_levels_and_says_so(ann: Account) -> None:
    assert "The master opened this position by hand." in read(as_user(ann), PAGE)


def test_what_the_master_has_left_already_says_so(fleet: Fleet, ann: Account) -> None:
    Position.objects.filter(account=fleet.master).update(is_open=False, managed=0)
    assert "The master holds none of this" in read(as_user(ann), PAGE)


def test_every_fill_has_its_figures_its_order_id_and_leads_to_its_copy(fleet: Fleet, ann: Account) -> None:
    copy = CopyOrder.objects.get(account=ann, kind="entry")
    assert copy.order is not None
    page = as_user(ann).get(PAGE).content.decode()
    fills = page[page.index('id="fills"') :]
    assert f'href="/copies/{copy.pk}/"' in fills
    for part in ("2,898.50925 BEAM", "0.002918", "$8.46", "$0.07", copy.order.venue_order_id):
        assert part in fills
    (mark,) = drawn(as_user(ann))["fills"]
    assert (mark["quantity"], mark["price"], mark["buys"]) == ("2898.50925", "0.002918", True)


def test_an_exit_that_is_owed_is_said_first(fleet: Fleet, ann: Account) -> None:
    sold = books.order(
        ann, fleet.beam, kind="exit", quantity="2898.50925", now=fleet.now, exit_number=2, state="sending",
        reason="The master sold", filled=D(0), venue_order_id="",
    )  # fmt: skip
    assert "The master sold: the sale is on its way to Kraken. No limit and no stop holds it back." in read(
        as_user(ann), PAGE
    )
    Order.objects.filter(pk=sold.pk).update(state="manual")
    assert "A sale needs a person to look at it" in read(as_user(ann), PAGE)


def test_an_exit_that_waits_for_the_minimum_gives_its_reason(fleet: Fleet, ann: Account) -> None:
    fleet.sale.pk, fleet.sale.instrument, fleet.sale.sequence = None, fleet.beam, 9
    fleet.sale.save()
    copy = CopyOrder.objects.create(signal=fleet.sale, account=ann, kind="exit", status="pending", created_at=fleet.now)
    assert "the sale is being planned" in read(as_user(ann), PAGE)
    copy.status, copy.reason, copy.sentence = "skipped", "waiting_min", "What is owed is below Kraken's minimum."
    copy.save()
    assert "What is owed is below Kraken's minimum." in read(as_user(ann), PAGE)


def test_nobody_sees_another_users_position(fleet: Fleet, ann: Account) -> None:
    ben = books.account(books.user("ben@example.com"), now=fleet.now)
    text = read(as_user(ben), PAGE)
    assert "nothing was ever bought here" in text
    assert "2,898" not in text
    assert drawn(as_user(ben))["fills"] == []
    address = f"/operator/accounts/{ann.pk}/positions/BEAM-USD/"
    assert as_user(ben).get(address).status_code == 403
    assert as_user(ann).get(address).status_code == 403
    assert Client().get(address).status_code == 302
    assert Client().get(PAGE).status_code == 302


def test_an_operator_sees_anybodys_and_the_masters_with_its_signals(fleet: Fleet, ann: Account) -> None:
    executed(fleet.buy.order, price="0.002918", at=fleet.buy.executed_at)
    Execution.objects.filter(order=fleet.buy.order).update(signal=fleet.buy)
    client = as_operator()
    text = read(client, f"/operator/accounts/{ann.pk}/positions/BEAM-USD/")
    assert "This account holds 2,898.50925 BEAM" in text
    assert "ann@example.com" in text
    page = client.get(f"/operator/accounts/{fleet.master.pk}/positions/BEAM-USD/").content.decode()
    assert f'href="/operator/signals/{fleet.buy.pk}/"' in page
    assert client.get("/operator/accounts/999999/positions/BEAM-USD/").status_code == 404


@pytest.mark.parametrize("symbol", ["NONE-USD", "beam-usd", "%00", "..%2F"])
def test_a_pair_that_does_not_exist_is_not_found(ann: Account, symbol: str) -> None:
    assert as_user(ann).get(f"/positions/{symbol}/").status_code == 404
    assert as_user(ann).get(f"/positions/{symbol}/candles/?from=1&bar=1").status_code == 404


def test_somebody_without_an_account_is_led_to_the_beginning(fleet: Fleet) -> None:
    client = Client()
    client.force_login(books.user("new@example.com"))
    assert client.get(PAGE)["Location"] == "/dashboard/"


def test_candles_come_from_the_window_the_page_asked_for_and_go_on_from_the_newest(fleet: Fleet, ann: Account) -> None:
    candles(fleet, count=200)
    client = as_user(ann)
    source = client.get(PAGE).context["candles_url"]
    bars = client.get(source).json()["bars"]
    # Since half an hour before the purchase of 42 minutes ago, the bar under way left out.
    assert 70 <= len(bars) <= 73
    assert bars[-1][1:] == [0.0029, 0.00295 + (199 % 7) / 10**6, 0.00288, 0.00292]
    further = re.sub(r"from=\d+", f"from={bars[-1][0]}", source)
    assert client.get(further).json()["bars"] == bars[-1:]


def test_the_window_of_a_closed_position_ends_after_it(fleet: Fleet, ann: Account) -> None:
    candles(fleet, count=200)
    Execution.objects.filter(account=ann).update(executed_at=fleet.now - timedelta(minutes=150))
    close(ann, fleet, price="0.0030", ago=timedelta(minutes=120))
    client = as_user(ann)
    bars = client.get(client.get(PAGE).context["candles_url"]).json()["bars"]
    assert bars[-1][0] <= (fleet.now - timedelta(minutes=90)).timestamp()
    assert len(client.get(client.get(PAGE + "?range=1d").context["candles_url"]).json()["bars"]) >= 100


@pytest.mark.parametrize(
    "asked",
    ["", "from=1", "from=1&bar=1", "from=x&bar=1", "from=9999999999&bar=1", "from=-5&bar=1", "from=1&bar=7&until=2"],
)
def test_candles_are_refused_to_another_question(ann: Account, asked: str) -> None:
    assert as_user(ann).get(f"{PAGE}candles/?{asked}").status_code == 400


def test_a_nonsense_range_shows_the_usual_one(ann: Account) -> None:
    assert as_user(ann).get(PAGE + "?range=never").context["view"].range == "opened"


def test_the_dashboard_and_the_copy_lead_to_the_position(ann: Account) -> None:
    client = as_user(ann)
    copy = CopyOrder.objects.get(account=ann, kind="entry")
    for address in ("/dashboard/", f"/copies/{copy.pk}/"):
        assert f'href="{PAGE}"' in client.get(address).content.decode()
    assert f"/operator/accounts/{ann.pk}{PAGE}" in as_operator().get(f"/copies/{copy.pk}/").content.decode()
