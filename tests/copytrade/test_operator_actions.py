"""What operators and followers can do by page: each act is confirmed, written down, and theirs alone to do."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal

import pytest
from django.test import Client, override_settings

from accounts.models import Credential, RiskSettings
from copytrade.models import CloseInstruction
from copytrade.selectors import attention
from tests.copytrade import books
from tests.copytrade.books import Fleet
from tests.copytrade.test_pages import as_operator, as_user, read
from trading.models import Account, Adjustment, Control, Event, EventKind, Inspection, Order, Position, Pulse
from trading.services import alerts
from trading.services.alerts import Alarm

#: Services commit by themselves.
pytestmark = pytest.mark.django_db(transaction=True)
OPERATOR = "operator@example.com"


@pytest.fixture
def fleet() -> Fleet:
    return books.fleet()


@pytest.fixture
def ann(fleet: Fleet) -> Account:
    return books.follower(fleet, "ann@example.com")


def alarm(fleet: Fleet, ann: Account, subject: str = "exit:1:2") -> Event:
    alerts.tell({subject: Alarm("2898 BEAM should have been sold", ann.pk)}, now=fleet.now)
    return Event.objects.get(subject=subject)


def logged(kind: EventKind) -> Event:
    event = Event.objects.get(kind=kind)
    assert event.actor == OPERATOR
    return event


def pages(fleet: Fleet, ann: Account) -> list[str]:
    """Every page for operators that this is about, reading and acting."""
    order = Order.objects.filter(account=ann).first()
    check, event = books.checked(fleet), alarm(fleet, ann)
    assert order is not None
    account = f"/operator/accounts/{ann.pk}/"
    return [
        "/operator/alerts/",
        f"/operator/alerts/{event.pk}/",
        "/operator/books/",
        f"/operator/books/{check.pk}/",
        account,
        f"{account}close/",
        "/operator/close/",
        f"/operator/orders/{order.pk}/",
    ]


def test_these_pages_are_for_operators_and_nothing_is_done_for_others(fleet: Fleet, ann: Account) -> None:
    alerts.hold(ann, "unexplained", now=fleet.now)
    acting = [f"/operator/accounts/{ann.pk}/lift/", "/operator/books/check/"]
    for address in (*pages(fleet, ann), *acting):
        assert as_user(ann).post(address, {"phrase": "close all positions", "note": "x"}).status_code == 403, address
        assert Client().post(address).status_code == 302, address
    assert Client(enforce_csrf_checks=True).post(acting[0]).status_code in {302, 403}
    ann.refresh_from_db()
    assert ann.held_at is not None
    assert not CloseInstruction.objects.exists()
    assert not Inspection.objects.filter(finished_at=None).exists()


def test_acting_needs_the_form_of_the_page(fleet: Fleet, ann: Account) -> None:
    alerts.hold(ann, "unexplained", now=fleet.now)
    client = Client(enforce_csrf_checks=True)
    client.force_login(books.user(OPERATOR, staff=True))
    assert client.post(f"/operator/accounts/{ann.pk}/lift/", {"note": "x"}).status_code == 403
    ann.refresh_from_db()
    assert ann.held_at is not None


def test_looking_changes_nothing(fleet: Fleet, ann: Account) -> None:
    client = as_operator()
    alerts.hold(ann, "unexplained", now=fleet.now)
    before = Event.objects.count()
    for address in (*pages(fleet, ann), f"/operator/accounts/{ann.pk}/lift/"):
        assert client.get(address).status_code == 200, address
    assert Event.objects.count() == before + 1, "the alarm of this test"
    assert not CloseInstruction.objects.exists()


def test_a_hold_is_lifted_with_a_note(fleet: Fleet, ann: Account) -> None:
    alerts.hold(ann, "Execution T does not match its order", now=fleet.now)
    client = as_operator()
    assert "Execution T does not match its order" in read(client, f"/operator/accounts/{ann.pk}/lift/")
    client.post(f"/operator/accounts/{ann.pk}/lift/", {"note": "a split trade"})
    ann.refresh_from_db()
    assert ann.held_at is None
    assert "a split trade" in logged(EventKind.LIFTED).message


def test_an_alert_is_resolved_with_a_note_and_leaves_the_list(fleet: Fleet, ann: Account) -> None:
    event, client = alarm(fleet, ann), as_operator()
    assert "2898 BEAM should have been sold" in read(client, "/operator/")
    assert "NIJA goes on trying to sell" in read(client, f"/operator/alerts/{event.pk}/")
    client.post(f"/operator/alerts/{event.pk}/", {"note": "the owner sells at Kraken"})
    assert "Nothing waits for a look" in read(client, "/operator/alerts/")
    assert "Seen, still so" in read(client, "/operator/alerts/?show=all")
    assert "the owner sells at Kraken" in logged(EventKind.RESOLVED).message


def test_every_kind_of_alert_says_what_to_do() -> None:
    for word, sentence in attention.ADVICE.items():
        subject = word.replace(":", ":7:") if ":" in word else f"{word}:1"
        assert attention.advice(Event(subject=subject)) == sentence
    assert attention.advice(Event(subject="order:7:unknown")) == attention.ADVICE["order"]
    assert attention.advice(Event(subject="")) == attention.NO_ADVICE


def test_alerts_are_paged_and_none_is_lost(fleet: Fleet, ann: Account) -> None:
    alerts.tell({f"exit:{n}": Alarm(f"alarm {n:03d}") for n in range(120)}, now=fleet.now)
    client, seen, address = as_operator(), [], "/operator/alerts/"
    for _ in range(3):
        page = client.get(address).context
        seen += [event.message for event in page["rows"]]
        address = f"/operator/alerts/?before={page['following']}"
    assert sorted(seen) == [f"alarm {n:03d}" for n in range(120)]


@pytest.mark.parametrize("phrase", ["", "yes", "close all position"])
def test_without_the_phrase_nothing_is_sold(fleet: Fleet, ann: Account, phrase: str) -> None:
    client = as_operator()
    Control.objects.create(stopped_at=fleet.now)
    for address in (f"/operator/accounts/{ann.pk}/close/", "/operator/close/"):
        client.post(address, {"phrase": phrase})
    as_user(ann).post("/leave/sell/", {"phrase": phrase})
    assert not CloseInstruction.objects.exists()


def test_closing_one_account_asks_for_its_positions_only(fleet: Fleet, ann: Account) -> None:
    ben = books.follower(fleet, "ben@example.com")
    client = as_operator()
    text = read(client, f"/operator/accounts/{ann.pk}/close/")
    assert "1 position of ann@example.com will be sold" in text
    client.post(f"/operator/accounts/{ann.pk}/close/", {"phrase": " Close all  positions"})
    assert [close.account_id for close in CloseInstruction.objects.all()] == [ann.pk]
    assert CloseInstruction.objects.get().actor == OPERATOR
    assert logged(EventKind.CLOSE_ALL).account == ann
    assert Position.objects.get(account=ben, is_open=True)


def test_everybody_is_closed_only_after_entries_were_stopped(fleet: Fleet, ann: Account) -> None:
    client = as_operator()
    assert "stop entries first" in read(client, "/operator/close/")
    response = client.post("/operator/close/", {"phrase": "close all positions"}, follow=True)
    assert "Stop entries first" in response.content.decode()
    assert not CloseInstruction.objects.exists()
    Control.objects.update_or_create(pk=1, defaults={"stopped_at": fleet.now})
    assert "2 open positions of the master and 1 follower" in read(client, "/operator/close/")
    client.post("/operator/close/", {"phrase": "close all positions"})
    assert {close.account_id for close in CloseInstruction.objects.all()} == {ann.pk, fleet.master.pk}
    assert Order.objects.get(account=fleet.master, kind="exit", instrument=fleet.beam).state == "ready"
    assert logged(EventKind.CLOSE_ALL).message == "2 open positions are being sold of 2 accounts."


def test_what_the_master_cannot_sell_is_said(fleet: Fleet, ann: Account) -> None:
    Control.objects.update_or_create(pk=1, defaults={"stopped_at": fleet.now})
    Position.objects.filter(account=fleet.master).update(managed="0.00000001")
    response = as_operator().post("/operator/close/", {"phrase": "close all positions"}, follow=True)
    assert "BEAM held is less than Kraken sells" in response.content.decode()
    assert not Order.objects.filter(account=fleet.master, kind="exit", state="ready").exists()


def test_a_sale_of_the_masters_under_way_is_no_reason_against_closing_the_rest(fleet: Fleet, ann: Account) -> None:
    Control.objects.update_or_create(pk=1, defaults={"stopped_at": fleet.now})
    books.order(
        fleet.master,
        fleet.beam,
        kind="exit",
        quantity="1",
        now=fleet.now,
        exit_number=9,
        state="unknown",
        venue_order_id="",
    )
    response = as_operator().post("/operator/close/", {"phrase": "close all positions"}, follow=True)
    assert "2 open positions are being sold" in response.content.decode()
    assert CloseInstruction.objects.filter(account=fleet.master).count() == 1


def test_the_page_of_an_account_shows_it_whole(fleet: Fleet, ann: Account) -> None:
    alarm(fleet, ann)
    stuck = books.order(
        ann, fleet.beam, kind="exit", quantity="5", now=fleet.now, exit_number=2, state="manual", venue_order_id=""
    )
    text = read(as_operator(), f"/operator/accounts/{ann.pk}/")
    for expected in (
        "ann@example.com",
        "abcd…wxyz",
        "BEAM-USD",
        "2,898.50925",
        "76.12",
        "2898 BEAM should have been sold",
    ):
        assert expected in text
    assert f"/operator/orders/{stuck.pk}/" in as_operator_html(ann)
    assert "sealed" not in text


def test_what_is_told_to_owners_is_told_of_them_to_operators(fleet: Fleet, ann: Account) -> None:
    pages, client = ("/operator/", "/operator/followers/", f"/operator/accounts/{ann.pk}/"), as_operator()
    for change, told in (
        ({"stopped_at": fleet.now}, "Stopped by the owner"),
        ({"stopped_at": None, "state": "close_only"}, "The owner's risk settings say close only"),
    ):
        RiskSettings.objects.filter(user=ann.user).update(**change)
        for page in pages:
            text = read(client, page)
            assert told in text
            assert not re.search(r"\b(by you|[Yy]our risk settings|until you)\b", text)


def as_operator_html(ann: Account) -> str:
    client = Client()
    client.force_login(books.user("second@example.com", staff=True))
    return client.get(f"/operator/accounts/{ann.pk}/").content.decode()


def test_a_persons_case_is_asked_of_the_execution_process_once(fleet: Fleet, ann: Account) -> None:
    stuck = books.order(
        ann, fleet.beam, kind="exit", quantity="5", now=fleet.now, exit_number=2, state="manual", venue_order_id=""
    )
    client, address = as_operator(), f"/operator/orders/{stuck.pk}/"
    assert "A person must decide" in read(client, address)
    client.post(address, {"verdict": "exists", "txid": ""})
    assert not Inspection.objects.exists()
    client.post(address, {"verdict": "exists", "txid": "OABCDE-FGHIJ-KLMNOP"})
    client.post(address, {"verdict": "absent"})
    asked = Inspection.objects.get()
    assert asked.report == {
        "order": stuck.pk,
        "verdict": "exists",
        "txid": "OABCDE-FGHIJ-KLMNOP",
        "actor": OPERATOR,
    }
    assert "A decision is being held against Kraken" in read(client, address)
    stuck.refresh_from_db()
    assert stuck.state == "manual", "nothing changes by asking"


def test_without_a_key_the_page_promises_no_look_at_kraken(fleet: Fleet, ann: Account) -> None:
    stuck = books.order(
        ann, fleet.beam, kind="exit", quantity="5", now=fleet.now, exit_number=2, state="manual", venue_order_id=""
    )
    client, address = as_operator(), f"/operator/orders/{stuck.pk}/"
    looks = "NIJA looks once more"
    assert looks in client.get(address).content.decode()
    Credential.objects.filter(user=ann.user).delete()
    html = client.get(address).content.decode()
    assert looks not in html
    assert "Kraken is not asked, for this account has no key." in html
    assert "taken as never placed without a look at Kraken" in html
    told = client.post(address, {"verdict": "absent"}, follow=True).content.decode()
    assert "Your decision is being carried out" in told
    assert "A decision is being carried out." in told
    assert "held against Kraken" not in told


@pytest.mark.parametrize(("state", "word"), [("acked", "At Kraken"), ("canceled", "Cancelled"), ("ready", "Pending")])
def test_an_orders_state_has_the_word_of_the_other_pages(fleet: Fleet, ann: Account, state: str, word: str) -> None:
    order = Order.objects.filter(account=ann).first()
    assert order is not None
    Order.objects.filter(pk=order.pk).update(state=state)
    text = read(as_operator(), f"/operator/orders/{order.pk}/")
    assert re.search(rf"{word}\.", text)
    assert state not in text


def test_an_order_that_is_settled_cannot_be_decided(fleet: Fleet, ann: Account) -> None:
    settled = Order.objects.filter(account=ann).first()
    assert settled is not None
    as_operator().post(f"/operator/orders/{settled.pk}/", {"verdict": "absent"})
    assert not Inspection.objects.exists()


def test_check_now_asks_once(fleet: Fleet, ann: Account) -> None:
    client = as_operator()
    client.post("/operator/books/check/")
    client.post("/operator/books/check/")
    assert Inspection.objects.get().asked_by == OPERATOR
    assert "Under way" in read(client, "/operator/books/")


def test_the_page_of_the_books_shows_every_row_that_contradicts(fleet: Fleet, ann: Account) -> None:
    rows = [{"account": ann.pk, "row": "position 7", "sentence": "managed quantity: 1 here, executions make 2"}]
    books.checked(fleet, findings=rows, missed=1)
    text = read(as_operator(), "/operator/books/")
    assert "1 row contradicts" in text
    assert "ann@example.com, position 7: managed quantity: 1 here, executions make 2" in text
    assert "master@example.com: Kraken refused its key" in text


@pytest.mark.parametrize(
    ("age_s", "missed", "sentence"),
    [
        (60, 0, "Money is safe: books green"),
        (60, 1, "except 1 account that could not be compared with Kraken"),
        (3600, 0, "the books were last checked 1 h 0 min ago"),
    ],
)
def test_the_first_line_says_how_the_books_stand(
    fleet: Fleet, ann: Account, age_s: int, missed: int, sentence: str
) -> None:
    books.checked(fleet, age_s=age_s, missed=missed)
    assert sentence in read(as_operator(), "/operator/")


def test_an_exit_that_is_owed_is_on_the_operators_page_with_its_reason(fleet: Fleet, ann: Account) -> None:
    from copytrade.models import FanOut

    Position.objects.filter(account=ann).update(opened_sequence=1)
    sale = fleet.sale
    sale.pk, sale.instrument, sale.sequence, sale.managed_before = None, fleet.beam, 2, sale.quantity
    sale.created_at = fleet.now - timedelta(seconds=75)
    sale.save()
    for signal in (fleet.buy, sale):
        FanOut.objects.create(signal=signal, claimed_at=fleet.now, followers=1)
    text = read(as_operator(), "/operator/")
    assert "1 position still held though its exit is due." in text
    assert "2,898.50925 BEAM-USD" in text
    assert "No sale was tried yet." in text


def test_the_queues_are_shown_with_their_age(fleet: Fleet, ann: Account) -> None:
    Pulse.objects.create(queue="planning", at=fleet.now - timedelta(seconds=2), since=fleet.now)
    Pulse.objects.create(queue="exits", at=None, since=fleet.now)
    text = read(as_operator(), "/operator/")
    assert "answered" in text
    assert "never answered" in text
    assert "0 waiting" in text


def test_a_follower_has_everything_copied_sold(fleet: Fleet, ann: Account) -> None:
    client = as_user(ann)
    assert "1 copied position is open: 2,898.50925 BEAM-USD" in read(client, "/leave/")
    client.post("/leave/sell/", {"phrase": "Sell everything"})
    close = CloseInstruction.objects.get()
    assert (close.account, close.actor) == (ann, "ann@example.com")
    assert Event.objects.get(kind=EventKind.CLOSE_ALL).actor == "ann@example.com"


def test_a_follower_takes_over_what_was_copied_and_nobody_elses(fleet: Fleet, ann: Account) -> None:
    ben = books.follower(fleet, "ben@example.com")
    response = as_user(ann).post("/leave/hand-over/", follow=True)
    assert "2898.50925 BEAM: yours now" in response.content.decode()
    assert not Position.objects.filter(account=ann, is_open=True).exists()
    assert Position.objects.get(account=ben, is_open=True).managed == Decimal("2898.50925")
    assert Adjustment.objects.get().kind == "released"


def test_the_master_neither_sells_nor_takes_over_here(fleet: Fleet) -> None:
    client = as_user(fleet.master)
    assert client.get("/leave/").status_code == 302
    client.post("/leave/sell/", {"phrase": "sell everything"})
    client.post("/leave/hand-over/")
    assert Position.objects.get(account=fleet.master, is_open=True)
    assert not Order.objects.filter(account=fleet.master, state="ready").exists()


@override_settings(VENUE="http://127.0.0.1:1")
def test_accounts_of_another_exchange_are_not_found(fleet: Fleet, ann: Account) -> None:
    Account.objects.filter(pk=ann.pk).update(venue="https://elsewhere")
    client = as_operator()
    for page in ("", "lift/", "close/"):
        assert client.get(f"/operator/accounts/{ann.pk}/{page}").status_code == 404
