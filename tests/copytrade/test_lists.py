"""The history and the list of a signal's outcomes: narrowed, searched by order id, exported, and never somebody else's."""

from __future__ import annotations

import csv
import io
from datetime import timedelta

import pytest
from django.test import Client

from accounts.models import RiskSettings
from copytrade.models import CopyOrder, CopyStatus
from copytrade.selectors import copies, operator
from copytrade.selectors.copies import CopyRow
from tests.copytrade import books
from tests.copytrade.books import Fleet
from tests.copytrade.test_pages import as_operator, as_user, read
from trading.domain.order_state import OrderState
from trading.models import Account, Event, Execution, Order, Signal
from trading.services import alerts
from trading.services.alerts import Alarm

pytestmark = pytest.mark.django_db


@pytest.fixture
def fleet() -> Fleet:
    return books.fleet()


@pytest.fixture
def ann(fleet: Fleet) -> Account:
    return books.follower(fleet, "ann@example.com")


def rows(client: Client, address: str) -> list[CopyRow]:
    response = client.get(address)
    assert response.status_code == 200, address
    found: list[CopyRow] = response.context["rows"]
    return found


def lines(client: Client, address: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(client.get(address).content.decode())))


def bought(owner: Account) -> Order:
    return Order.objects.get(account=owner, kind="entry")


def test_every_copy_is_in_exactly_one_outcome_of_the_filter(ann: Account) -> None:
    copy = CopyOrder.objects.get(account=ann, kind="entry")
    for state in OrderState:
        Order.objects.filter(pk=copy.order_id).update(state=state)
        _in_one_outcome(copy.pk)
    for status in (CopyStatus.PENDING, CopyStatus.SKIPPED, CopyStatus.MISSED, CopyStatus.ORDERED):
        CopyOrder.objects.filter(pk=copy.pk).update(status=status, order=None)
        _in_one_outcome(copy.pk)


def _in_one_outcome(copy_id: int) -> None:
    found = [key for key, (_, which) in copies.OUTCOMES.items() if CopyOrder.objects.filter(which, pk=copy_id).exists()]
    assert len(found) == 1, CopyOrder.objects.select_related("order").get(pk=copy_id)


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        ("filled", "filled"),
        ("canceled", "partly"),
        ("sending", "pending"),
        ("rejected", "refused"),
        ("manual", "unknown"),
    ],
)
def test_history_is_narrowed_to_an_outcome(ann: Account, state: str, outcome: str) -> None:
    Order.objects.filter(account=ann, kind="exit").update(state="missed")
    Order.objects.filter(pk=bought(ann).pk).update(state=state)
    client = as_user(ann)
    assert [row.order for row in rows(client, f"/history/?outcome={outcome}")] == [bought(ann)]
    assert [row.copy.kind for row in rows(client, "/history/?outcome=missed")] == ["exit"]


def test_history_is_searched_by_krakens_order_id_or_a_part_of_it(ann: Account) -> None:
    client, order = as_user(ann), bought(ann)
    for text in (
        order.venue_order_id,
        order.venue_order_id.lower(),
        order.venue_order_id[3:9],
        f"%20{order.venue_order_id}%20",
    ):
        assert order in [row.order for row in rows(client, f"/history/?order={text}")]
    assert [row.order for row in rows(client, f"/history/?order={order.venue_order_id}")] == [order]


def test_history_is_searched_by_the_client_order_id(ann: Account) -> None:
    client, order = as_user(ann), bought(ann)
    for text in (str(order.client_order_id), order.client_order_id.hex, str(order.client_order_id).upper()):
        assert [row.order for row in rows(client, f"/history/?order={text}")] == [order]


def test_a_search_finds_no_order_of_somebody_else(fleet: Fleet, ann: Account) -> None:
    ben = books.follower(fleet, "ben@example.com")
    others = bought(ben)
    for text in (others.venue_order_id, str(others.client_order_id)):
        assert rows(as_user(ann), f"/history/?order={text}") == []
        assert lines(as_user(ann), f"/history/?order={text}&format=csv") == []


def test_a_search_without_a_hit_says_what_is_searched(ann: Account) -> None:
    text = read(as_user(ann), "/history/?order=OZZZZZ")
    assert "No order of yours has the id OZZZZZ" in text
    assert "Show everything" in text


def test_signs_that_a_database_refuses_find_nothing_and_break_nothing(ann: Account) -> None:
    assert rows(as_user(ann), "/history/?order=%00%25_'&symbol=%00X") == []


def test_the_export_has_what_the_page_was_narrowed_to_with_both_order_ids(ann: Account) -> None:
    client, order = as_user(ann), bought(ann)
    (line,) = lines(client, "/history/?kind=entry&format=csv")
    assert line["order_id"] == order.venue_order_id
    assert line["client_order_id"] == str(order.client_order_id)
    page = client.get("/history/?kind=entry").content.decode()
    assert 'href="?kind=entry&amp;format=csv"' in page


def test_paging_keeps_the_filter(fleet: Fleet) -> None:
    owner = books.account(books.user("many@example.com"), now=fleet.now)
    for number in range(60):
        fleet.buy.pk, fleet.buy.sequence = None, 100 + number
        fleet.buy.save()
        CopyOrder.objects.create(signal=fleet.buy, account=owner, kind="entry", status="missed", created_at=fleet.now)
    page = as_user(owner).get("/history/?outcome=missed&range=7d")
    assert f"outcome=missed&amp;range=7d&amp;before={page.context['following']}" in page.content.decode()


def test_a_signal_has_one_row_for_every_follower_with_all_that_became_of_it(fleet: Fleet, ann: Account) -> None:
    small = books.account(books.user("small@example.com"), cash="18.2", now=fleet.now)
    books.skipped(fleet, small)
    address = f"/operator/signals/{fleet.buy.pk}/"
    text = read(as_operator(), address)
    order = bought(ann)
    for part in ("ann@example.com", "Reduced", "2,898.50925 BEAM", "$0.07", "0.03 s", order.venue_order_id):
        assert part in text
    for part in ("small@example.com", "Skipped", "the smallest sellable copy is 800 BEAM"):
        assert part in text


def test_a_signals_outcomes_are_narrowed_searched_and_exported(fleet: Fleet, ann: Account) -> None:
    small = books.account(books.user("small@example.com"), cash="18.2", now=fleet.now)
    books.skipped(fleet, small)
    client, address, order = as_operator(), f"/operator/signals/{fleet.buy.pk}/", bought(ann)

    def followers(query: str) -> list[str]:
        return [line["follower"] for line in lines(client, f"{address}?{query}&format=csv")]

    assert followers("") == ["ann@example.com", "small@example.com"]
    assert followers("outcome=skipped") == ["small@example.com"]
    assert followers("search=ANN@") == ["ann@example.com"]
    assert followers(f"search={order.venue_order_id}") == ["ann@example.com"]
    assert followers(f"search={order.client_order_id}") == ["ann@example.com"]
    assert followers("outcome=nonsense") == followers("")
    (line,) = lines(client, f"{address}?search=ann@&format=csv")
    assert (line["outcome"], line["slippage_bps"], line["fee"]) == ("reduced", "0.0", "0.0677")
    assert float(line["lag_s"]) == pytest.approx(0.03)
    assert "None of the 2 outcomes of this signal fits" in read(client, f"{address}?search=nobody@")
    assert as_user(ann).get(f"{address}?format=csv").status_code == 403


def test_an_address_that_a_spreadsheet_would_run_is_exported_as_text(fleet: Fleet) -> None:
    """Anybody may sign up with an address that begins with `=`, and it is the operator who opens the file."""
    bad = books.account(books.user("=cmd|'/c'!a0@example.com"), cash="18.2", now=fleet.now)
    books.skipped(fleet, bad)
    (line,) = lines(as_operator(), f"/operator/signals/{fleet.buy.pk}/?format=csv")
    assert line["follower"] == "'=cmd|'/c'!a0@example.com"


def test_followers_are_narrowed_by_state_and_address_and_exported(fleet: Fleet, ann: Account) -> None:
    held = books.account(books.user("held@example.com"), cash="50", now=fleet.now)
    Account.objects.filter(pk=held.pk).update(held_at=fleet.now, held_reason="a fill nobody asked for")
    RiskSettings.objects.filter(user=books.account(books.user("off@example.com"), now=fleet.now).user).update(
        state="off"
    )
    client = as_operator()

    def found(query: str) -> list[str]:
        shown = [row.account.user.email for row in client.get(f"/operator/followers/?{query}").context["rows"]]
        assert [line["follower"] for line in lines(client, f"/operator/followers/?{query}&format=csv")] == shown
        return shown

    assert found("") == ["ann@example.com", "held@example.com", "off@example.com"]
    assert found("state=attention") == ["held@example.com"]
    assert found("state=off") == ["off@example.com"]
    assert found("search=ANN@") == ["ann@example.com"]
    assert found("state=off&search=ann@") == []
    assert found("state=nonsense&search=%00") == found("")
    assert "No follower matches" in read(client, "/operator/followers/?state=stopped")
    (line,) = lines(client, "/operator/followers/?state=attention&format=csv")
    assert (line["state"], line["equity"], line["max_risk"]) == ("attention", "50", "0.100000")
    assert line["reason"] == "Entries wait for a person to look: a fill nobody asked for."
    assert as_user(ann).get("/operator/followers/?format=csv").status_code == 403


def test_every_follower_and_signal_is_exported_part_by_part(
    fleet: Fleet, ann: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operator, "PART", 1)
    monkeypatch.setitem(operator.signals_page.__kwdefaults__, "size", 1)
    books.account(books.user("ben@example.com"), now=fleet.now)
    client = as_operator()
    followers = [line["follower"] for line in lines(client, "/operator/followers/?format=csv")]
    assert followers == ["ann@example.com", "ben@example.com"]
    signals = [int(line["id"]) for line in lines(client, "/operator/signals/?format=csv")]
    assert signals == sorted((fleet.buy.pk, fleet.sale.pk), reverse=True)


def test_paging_keeps_what_followers_and_signals_were_narrowed_to(
    fleet: Fleet, ann: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    books.account(books.user("anna@example.com"), now=fleet.now)
    for page in (operator.followers_page, operator.signals_page):
        monkeypatch.setitem(page.__kwdefaults__, "size", 1)
    client = as_operator()
    html = client.get("/operator/followers/?search=ann").content.decode()
    assert f'href="?search=ann&amp;after={ann.pk}"' in html
    html = client.get("/operator/signals/?range=30d").content.decode()
    newest = max(fleet.buy.pk, fleet.sale.pk)
    assert f'href="?range=30d&amp;before={newest}"' in html
    rest = client.get(f"/operator/signals/?range=30d&before={newest}").context["rows"]
    assert [row.signal.pk for row in rest] == [min(fleet.buy.pk, fleet.sale.pk)]


def test_signals_are_narrowed_by_time_trade_and_symbol_and_exported(fleet: Fleet, ann: Account) -> None:
    client = as_operator()

    def found(query: str) -> list[int]:
        shown = [row.signal.pk for row in client.get(f"/operator/signals/?{query}").context["rows"]]
        assert [int(line["id"]) for line in lines(client, f"/operator/signals/?{query}&format=csv")] == shown
        return shown

    both = sorted((fleet.buy.pk, fleet.sale.pk), reverse=True)
    assert found("") == found("range=30d&kind=&symbol=") == found("range=x&kind=x") == both
    assert found("symbol=BEAM-USD") == [fleet.buy.pk]
    assert found("kind=entry") == [fleet.buy.pk]
    assert found("kind=exit") == [fleet.sale.pk]
    assert found("symbol=NONE-USD") == []
    Signal.objects.filter(pk=fleet.buy.pk).update(executed_at=fleet.now - timedelta(days=3))
    assert found("range=1d") == [fleet.sale.pk]
    assert "No signal matches" in read(client, "/operator/signals/?symbol=NONE-USD")
    line = next(line for line in lines(client, "/operator/signals/?format=csv") if int(line["id"]) == fleet.buy.pk)
    assert (line["side"], line["quantity"], line["reduced"], line["copied"]) == ("buy", "3404.8349", "1", "0")
    assert line["order_id"] == fleet.buy.order.venue_order_id
    assert as_user(ann).get("/operator/signals/").status_code == 403


def test_alerts_cycles_and_fills_are_exported_as_their_pages_show_them(fleet: Fleet, ann: Account) -> None:
    client = as_operator()
    alerts.tell({"exit:1:2": Alarm("=BEAM should have been sold", ann.pk)}, now=fleet.now)
    event = Event.objects.get()
    (line,) = lines(client, "/operator/alerts/?format=csv")
    assert (line["state"], line["message"], line["follower"]) == (
        "open",
        "'=BEAM should have been sold",
        "ann@example.com",
    )
    Event.objects.filter(pk=event.pk).update(resolved_at=fleet.now, resolved_by="me@example.com", resolution="seen")
    assert lines(client, "/operator/alerts/?format=csv") == []
    (line,) = lines(client, "/operator/alerts/?show=all&format=csv")
    assert (line["state"], line["resolved_by"], line["note"]) == ("seen", "me@example.com", "seen")
    Event.objects.filter(pk=event.pk).update(ended_at=fleet.now)
    assert lines(client, "/operator/alerts/?show=all&format=csv")[0]["state"] == "settled"

    shown = client.get("/operator/strategy/").context["cycles"]
    symbols = [each.candidate.instrument.symbol for row in shown for each in row.candidates]
    exported = lines(client, "/operator/strategy/?format=csv")
    assert [line["symbol"] for line in exported] == symbols
    vetoed = next(line for line in exported if " " in line["vetoes"])
    assert vetoed["decision"]
    veto = vetoed["vetoes"].split()[0]
    told = lines(client, f"/operator/strategy/?veto={veto}&format=csv")
    assert told
    assert all(veto in line["vetoes"].split() for line in told)
    assert lines(client, "/operator/strategy/?before=1&format=csv") == []

    order = bought(ann)
    Execution.objects.create(
        account=ann, instrument=order.instrument, order=order, trade_id="TAAAAA-BBBBB-CCCCCC", side="buy",
        quantity="2", price="0.5", notional="1", fee="0.004", executed_at=fleet.now, booked_at=fleet.now,
    )  # fmt: skip
    address = f"positions/{order.instrument.symbol}/?range=1d&format=csv"
    (line,) = lines(as_user(ann), f"/{address}")
    assert (line["side"], line["quantity"], line["fee"], line["trade_id"]) == (
        "buy",
        "2",
        "0.004",
        "TAAAAA-BBBBB-CCCCCC",
    )
    assert lines(client, f"/operator/accounts/{ann.pk}/{address}") == [line]
    ben = books.account(books.user("ben@example.com"), now=fleet.now)
    assert lines(as_user(ben), f"/{address}") == []
