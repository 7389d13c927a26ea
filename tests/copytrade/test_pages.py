"""The pages of followers and operators."""

from __future__ import annotations

import csv
import io
import re
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Credential, RiskSettings
from copytrade.models import CopyOrder
from tests.copytrade import books
from tests.copytrade.books import Fleet
from tests.nija.test_figures import words
from trading.models import Account, Control, Event, MarketPrice, Order

pytestmark = pytest.mark.django_db

PAGES = ("/dashboard/", "/history/", "/stop/")
OPERATOR_PAGES = ("/operator/", "/operator/followers/", "/operator/signals/", "/operator/stop/")


@pytest.fixture
def fleet() -> Fleet:
    return books.fleet()


@pytest.fixture
def ann(fleet: Fleet) -> Account:
    return books.follower(fleet, "ann@example.com")


def read(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200, address
    return words(response.content.decode())


def as_user(account: Account) -> Client:
    client = Client()
    client.force_login(account.user)
    return client


def as_operator() -> Client:
    client = Client()
    client.force_login(books.user("operator@example.com", staff=True))
    return client


def test_the_dashboard_answers_its_question_in_the_first_line(ann: Account) -> None:
    text = read(as_user(ann), "/dashboard/")
    assert "Copying is on. 1 position open, $84.67" in text
    assert "as of " in text
    assert "live" in text


def test_the_dashboard_shows_profit_net_of_fees(ann: Account) -> None:
    text = read(as_user(ann), "/dashboard/")
    # 2898.50925 × 0.002950 − 8.5277 + 5.11
    assert "Profit in total▲ +$5.13" in text.replace(" ▲", "▲")


def test_the_dashboard_shows_the_copy_with_its_fee_order_id_and_cap(ann: Account) -> None:
    text = read(as_user(ann), "/dashboard/")
    copy = CopyOrder.objects.get(account=ann, kind="entry")
    assert copy.order is not None
    assert copy.order.venue_order_id in text
    assert "$8.46 instead of $13.88: your limit in one trade left 10 % of your equity." in text
    assert "$0.07" in text


def test_an_unknown_balance_is_a_dash_with_a_reason_and_no_zero(ann: Account) -> None:
    Account.objects.filter(pk=ann.pk).update(balances_as_of=timezone.now() - timedelta(minutes=20))
    text = read(as_user(ann), "/dashboard/")
    assert "Kraken's balance is not known" in text
    assert "unknown since" in text
    assert "$0.00" not in text.split("Profit today")[0]


def test_a_position_without_a_price_says_so_instead_of_being_worth_nothing(fleet: Fleet, ann: Account) -> None:
    MarketPrice.objects.filter(instrument=fleet.beam).delete()
    text = read(as_user(ann), "/dashboard/")
    assert "price not known" in text
    assert "a price is not known" in text


def test_somebody_without_a_key_is_told_how_to_begin(client: Client) -> None:
    client.force_login(books.user("new@example.com"))
    text = read(client, "/dashboard/")
    assert "connect your Kraken account first" in text
    assert "Connect Kraken" in text


def test_an_operator_without_an_account_goes_to_the_operators_page(fleet: Fleet) -> None:
    response = as_operator().get("/dashboard/")
    assert response["Location"] == "/operator/"


def test_the_masters_own_dashboard_offers_no_stop_of_copying(fleet: Fleet) -> None:
    text = read(as_user(fleet.master), "/dashboard/")
    assert "This is the master account" in text
    assert "Stop copying" not in text


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"state": "off"}, "Copying is switched off"),
        ({"state": "close_only"}, "close only"),
        ({"stop_reason": "", "stopped_at": "now"}, "Stopped by you"),
        ({"close_only_until": "tomorrow", "close_only_reason": "Today's loss"}, "Exits only until"),
    ],
)
def test_what_keeps_entries_back_is_said_in_the_first_line(ann: Account, fields: dict[str, str], sentence: str) -> None:
    instants = {"now": timezone.now(), "tomorrow": timezone.now() + timedelta(days=1)}
    RiskSettings.objects.filter(user=ann.user).update(**{k: instants.get(v, v) for k, v in fields.items()})
    headline = read(as_user(ann), "/dashboard/").split("Balances and profit")[0]
    assert sentence in headline


def test_a_held_account_and_a_blocked_key_need_attention(ann: Account) -> None:
    Credential.objects.filter(user=ann.user).update(entries_blocked_reason="The key can withdraw now. Replace it.")
    assert "The key can withdraw now" in read(as_user(ann), "/dashboard/")
    Account.objects.filter(pk=ann.pk).update(held_at=timezone.now(), held_reason="the books differ")
    assert "the books differ. 1 position open" in read(as_user(ann), "/dashboard/")


def test_stopping_is_confirmed_counted_and_undone(ann: Account) -> None:
    client = as_user(ann)
    assert "1 open position stays, and its exits still run." in read(client, "/stop/")
    response = client.post("/stop/", {"action": "stop"}, follow=True)
    text = words(response.content.decode())
    assert "Copying is stopped: no entry was on its way. 1 open position stays" in text
    assert "Stopped by you" in text
    ann.user.risk.refresh_from_db()
    assert ann.user.risk.stopped_at is not None
    client.post("/stop/", {"action": "resume"})
    ann.user.risk.refresh_from_db()
    assert ann.user.risk.stopped_at is None


def test_a_look_at_the_stop_page_stops_nothing(ann: Account) -> None:
    as_user(ann).get("/stop/")
    ann.user.risk.refresh_from_db()
    assert ann.user.risk.stopped_at is None


def test_a_reason_that_no_database_keeps_does_not_keep_everybody_from_being_stopped(fleet: Fleet) -> None:
    as_operator().post("/operator/stop/", {"action": "stop", "reason": "strange\0 prices"})
    control = Control.objects.get()
    assert control.stopped_at is not None
    assert control.reason == "strange prices"


def test_the_operators_stop_is_told_to_every_follower(fleet: Fleet, ann: Account) -> None:
    operator = as_operator()
    assert "No new entries for the master and 1 follower. 2 open positions stay" in read(operator, "/operator/stop/")
    operator.post("/operator/stop/", {"action": "stop", "reason": "strange prices"})
    assert Control.objects.get().stopped_at is not None
    assert "The operator stopped entries for everybody: strange prices." in read(as_user(ann), "/dashboard/")
    operator.post("/operator/stop/", {"action": "resume"})
    assert Control.objects.get().stopped_at is None
    assert list(Event.objects.order_by("pk").values_list("kind", flat=True)) == ["stopped", "resumed"]


def test_a_reason_with_its_own_full_stop_ends_with_one(fleet: Fleet, ann: Account) -> None:
    operator = as_operator()
    operator.post("/operator/stop/", {"action": "stop", "reason": "Strange prices."})
    for client, address in ((operator, "/operator/"), (operator, "/operator/stop/"), (as_user(ann), "/stop/")):
        text = read(client, address)
        assert "Strange prices." in text
        assert "Strange prices.." not in text
    assert "for everybody: Strange prices. Your own stop comes on top" in read(as_user(ann), "/stop/")


def test_a_stop_without_a_reason_names_nobody_to_the_followers(fleet: Fleet, ann: Account) -> None:
    as_operator().post("/operator/stop/", {"action": "stop", "reason": " "})
    text = read(as_user(ann), "/dashboard/")
    assert "The operator stopped entries for everybody: no reason was given." in text
    assert "operator@example.com" not in text
    assert Event.objects.get().actor == "operator@example.com"


@pytest.mark.parametrize("address", [*PAGES, *OPERATOR_PAGES])
def test_no_page_is_open_to_a_visitor(client: Client, fleet: Fleet, address: str) -> None:
    response = client.get(address)
    assert response.status_code == 302
    assert response["Location"].startswith("/accounts/login/")


def test_the_masters_dashboard_is_his_also_while_entries_are_stopped(fleet: Fleet) -> None:
    client = as_user(fleet.master)
    for _ in range(2):
        text = read(client, "/dashboard/")
        assert "bought by NIJA" in text
        for followers in (
            "Latest copies",
            "Size against the master",
            "In one trade",
            "Sell or take over",
            "Stop copying",
        ):
            assert followers not in text
        Control.objects.update_or_create(pk=1, defaults={"stopped_at": fleet.now})


def test_resuming_while_everybody_is_stopped_says_so(fleet: Fleet, ann: Account) -> None:
    Control.objects.update_or_create(pk=1, defaults={"stopped_at": fleet.now, "reason": "a drill"})
    page = as_user(ann).post("/stop/", {"action": "resume"}, follow=True).content.decode()
    assert (
        "Your own stop is lifted, but no entry is copied yet. The operator stopped entries for everybody: a drill"
        in page
    )


def test_resuming_over_a_daily_loss_says_that_it_closes_again(fleet: Fleet, ann: Account) -> None:
    client = as_user(ann)
    mine = RiskSettings.objects.filter(user=ann.user)
    mine.update(close_only_until=fleet.now + timedelta(hours=3), close_only_reason="Today's loss")
    response = client.post("/stop/", {"action": "resume"}, follow=True)
    assert "Today&#x27;s loss still counts" in response.content.decode()
    mine.update(close_only_until=fleet.now + timedelta(days=36_500), close_only_reason="A drawdown")
    response = client.post("/stop/", {"action": "resume"}, follow=True)
    assert "The next entry of the master is copied" in response.content.decode()
    assert mine.get().close_only_until is None


@pytest.mark.parametrize("address", OPERATOR_PAGES)
def test_operators_pages_are_closed_to_followers(ann: Account, address: str) -> None:
    client = as_user(ann)
    assert client.get(address).status_code == 403
    assert client.post(address).status_code in {403, 405}
    assert not Control.objects.filter(stopped_at__isnull=False).exists()


def test_nobody_reads_another_users_copy(fleet: Fleet, ann: Account) -> None:
    ben = books.follower(fleet, "ben@example.com")
    copy = CopyOrder.objects.filter(account=ann).first()
    assert copy is not None
    assert as_user(ann).get(f"/copies/{copy.pk}/").status_code == 200
    assert as_user(ben).get(f"/copies/{copy.pk}/").status_code == 404
    assert as_user(ben).get("/copies/999999/").status_code == 404
    assert "ann@example.com" not in read(as_user(ben), "/history/")


def test_an_operator_reads_every_copy_and_signal(fleet: Fleet, ann: Account) -> None:
    client = as_operator()
    for copy in CopyOrder.objects.all():
        assert "ann@example.com" in read(client, f"/copies/{copy.pk}/")
    assert "ann@example.com" in read(client, f"/operator/signals/{fleet.buy.pk}/")
    assert client.get("/operator/signals/999999/").status_code == 404


def test_a_copy_tells_its_story_in_golden_numbers(ann: Account) -> None:
    copy = CopyOrder.objects.get(account=ann, kind="entry")
    text = read(as_user(ann), f"/copies/{copy.pk}/")
    for part in (
        "3,404.8349 BEAM at 0.002918 = $9.94",
        "16.4 % of an account of $60.53",
        "$13.88",
        "the limit in one trade, at 10 % of your equity$8.46",
        "2,898.50925 BEAM immediate-or-cancel limit 0.002932",
        "slippage 0.0 bps",
    ):
        assert part in text
    assert "4,757" not in text


def test_a_sale_shows_the_part_that_the_master_sold(ann: Account) -> None:
    copy = CopyOrder.objects.get(account=ann, kind="exit")
    text = read(as_user(ann), f"/copies/{copy.pk}/")
    assert "100 % of the position" in text
    assert "Limits and stops never hold back an exit." in text


def test_a_skipped_copy_says_what_would_change_it(fleet: Fleet) -> None:
    small = books.account(books.user("small@example.com"), cash="18.2", now=fleet.now)
    copy = books.skipped(fleet, small)
    text = read(as_user(small), f"/copies/{copy.pk}/")
    assert "the smallest sellable copy is 800 BEAM, about $23.40 of balance" in text


def test_a_copys_reason_speaks_to_its_owner_and_of_him_to_operators(fleet: Fleet) -> None:
    full = books.account(books.user("full@example.com"), now=fleet.now)
    copy = books.skipped(fleet, full)
    own, operator = as_user(full), as_operator()
    for stored, told in (("Stopped: strange prices..", "Stopped: strange prices."), ("Held: a debt", "Held: a debt.")):
        CopyOrder.objects.filter(pk=copy.pk).update(sentence=stored)
        text = read(own, f"/copies/{copy.pk}/")
        assert told in text
        assert f"{told}." not in text
    for to_owner, of_owner in (
        ("You have 3 positions open and allow 3.", "The owner has 3 positions open and allows 3."),
        ("You stopped copying. Resume to copy the next entry.", "The owner stopped copying."),
        ("Your risk settings do not allow BEAM-USD.", "The owner's risk settings do not allow BEAM-USD."),
        ("No free US dollars are left in your account.", "No free US dollars are left in the owner's account."),
        ("You had sold your share of this already.", "The owner had sold their share of this already."),
        ("No Kraken key is connected. Connect one to copy.", "connected. They connect one to copy."),
    ):
        CopyOrder.objects.filter(pk=copy.pk).update(sentence=to_owner)
        assert to_owner in read(own, f"/copies/{copy.pk}/")
        for page in (f"/copies/{copy.pk}/", f"/operator/signals/{fleet.buy.pk}/"):
            assert of_owner in read(operator, page)
        assert of_owner in operator.get(f"/operator/signals/{fleet.buy.pk}/?format=csv").content.decode()


@pytest.mark.parametrize(
    ("state", "filled", "word"),
    [
        ("ready", "0", "Pending"),
        ("sending", "0", "Sending"),
        ("acked", "0", "At Kraken"),
        ("partial", "10", "Filling"),
        ("canceled", "10", "Partly filled"),
        ("canceled", "0", "Not filled"),
        ("rejected", "0", "Rejected"),
        ("unknown", "0", "Outcome unknown"),
        ("not_placed", "0", "Not placed"),
        ("manual", "0", "Needs attention"),
        ("missed", "0", "Missed"),
        ("skipped", "0", "Skipped"),
        ("filled", "10", "Reduced"),
    ],
)
def test_every_state_of_an_order_has_its_word(ann: Account, state: str, filled: str, word: str) -> None:
    copy = CopyOrder.objects.get(account=ann, kind="entry")
    Order.objects.filter(pk=copy.order_id).update(state=state, filled=Decimal(filled))
    assert word in read(as_user(ann), f"/copies/{copy.pk}/").split("How it came about")[0]


def test_history_is_paged_by_cursor_and_loses_nothing(fleet: Fleet) -> None:
    owner = books.account(books.user("many@example.com"), now=fleet.now)
    for number in range(60):
        signal = fleet.buy
        signal.pk, signal.sequence = None, 100 + number
        signal.save()
        CopyOrder.objects.create(
            signal=signal, account=owner, kind="entry", status="missed", sentence=f"n{number:03d}", created_at=fleet.now
        )
    client = as_user(owner)
    first = client.get("/history/")
    following = first.context["following"]
    second = client.get(f"/history/?before={following}")
    seen = [row.sentence for page in (first, second) for row in page.context["rows"]]
    assert seen == [f"n{number:03d}." for number in reversed(range(60))]
    assert second.context["following"] is None


def test_history_can_be_narrowed_and_nonsense_asks_for_everything(ann: Account) -> None:
    client = as_user(ann)
    assert len(client.get("/history/?kind=exit").context["rows"]) == 1
    assert len(client.get("/history/?symbol=BEAM-USD").context["rows"]) == 1
    assert len(client.get("/history/?outcome=missed").context["rows"]) == 0
    assert len(client.get("/history/?kind=x&outcome=y&range=z&before=q").context["rows"]) == 2


def test_history_as_csv_has_every_digit(ann: Account) -> None:
    response = as_user(ann).get("/history/?format=csv")
    lines = list(csv.DictReader(io.StringIO(response.content.decode())))
    assert [line["side"] for line in lines] == ["sell", "buy"]
    assert lines[1]["filled_quantity"] == "2898.50925"
    assert lines[1]["notional"] == "8.45784999"


def test_the_operators_page_says_whether_money_is_safe(fleet: Fleet, ann: Account) -> None:
    client = as_operator()
    assert "Nothing is known to be wrong: the books have not been checked yet" in read(client, "/operator/")
    books.checked(fleet)
    # Just after midnight the day stands before the time.
    safe = r"Money is safe: books green (\d\d \w+ (\d{4} )?)?\d\d:\d\d:\d\d, no exit overdue, no unknown order"
    assert re.search(safe, read(client, "/operator/"))
    Order.objects.filter(account=ann, kind="entry").update(state="unknown")
    text = read(client, "/operator/")
    assert "Money is safe" not in text
    assert "1 order with an unknown outcome." in text


def test_a_follower_left_behind_by_the_master_is_counted(fleet: Fleet, ann: Account) -> None:
    fleet.master.positions.update(is_open=False, managed=0)
    assert "1 position still held though its exit is due." in read(as_operator(), "/operator/")


def test_the_operators_page_shows_the_cycle_its_vetoes_and_the_next_one(fleet: Fleet, ann: Account) -> None:
    text = read(as_operator(), "/operator/")
    assert "A position in BEAM-USD is already open." in text
    assert "The trend is weak" in text
    assert "2 vetoes in order" in text
    assert "Next cyclein 2" in text.replace("Next cycle in", "Next cyclein")


def test_the_operators_page_counts_outcomes_and_the_lag(fleet: Fleet, ann: Account) -> None:
    small = books.account(books.user("small@example.com"), cash="18.2", now=fleet.now)
    books.skipped(fleet, small)
    row = next(r for r in as_operator().get("/operator/").context["view"].signals if r.signal.pk == fleet.buy.pk)
    assert (row.copied, row.reduced, row.skipped, row.other) == (0, 1, 1, 0)
    assert row.median_lag_s == 0.03


def test_pages_ask_as_many_questions_for_twelve_followers_as_for_one(fleet: Fleet, ann: Account) -> None:
    client = as_operator()

    def asked(address: str) -> int:
        client.get(address)
        with CaptureQueriesContext(connection) as queries:
            client.get(address)
        return len(queries)

    addresses = ("/operator/", "/operator/followers/", f"/operator/signals/{fleet.buy.pk}/")
    before = [asked(address) for address in addresses]
    for number in range(11):
        books.follower(fleet, f"more{number}@example.com")
    assert [asked(address) for address in addresses] == before
    assert max(before) < 40


def test_the_dashboard_asks_as_many_questions_for_many_copies_as_for_few(ann: Account, fleet: Fleet) -> None:
    client = as_user(ann)
    books.history(ann, now=fleet.now, count=100)

    def asked() -> int:
        client.get("/dashboard/")
        with CaptureQueriesContext(connection) as queries:
            client.get("/dashboard/")
        return len(queries)

    before = asked()
    for number in range(8):
        signal = fleet.buy
        signal.pk, signal.sequence = None, 100 + number
        signal.save()
        CopyOrder.objects.create(signal=signal, account=ann, kind="entry", status="missed", created_at=fleet.now)
    books.history(ann, now=fleet.now - timedelta(minutes=1), count=300)
    assert asked() == before


def test_the_curve_is_thinned_and_keeps_the_newest_point(ann: Account, fleet: Fleet) -> None:
    books.history(ann, now=fleet.now, count=400)
    points = as_user(ann).get("/dashboard/?range=all").context["board"].curve.points
    assert 60 < len(points) <= 120
    newest = ann.equity_points.order_by("-at").first()
    assert newest is not None
    assert points[-1].at == newest.at
    assert [point.at for point in points] == sorted(point.at for point in points)


def test_entries_blocked_by_configuration_are_said_on_both_dashboards(fleet: Fleet, ann: Account) -> None:
    with override_settings(ENTRY_BLOCKING=True):
        assert "ENTRY_BLOCKING" in read(as_user(ann), "/dashboard/")
        assert "ENTRY_BLOCKING" in read(as_operator(), "/operator/")


def test_a_signals_page_names_the_strategy_that_asked_for_it(fleet: Fleet) -> None:
    client, address = as_operator(), f"/operator/signals/{fleet.buy.pk}/"
    assert "apex 1, parameters" not in read(client, address)
    fleet.buy.strategy, fleet.buy.strategy_version, fleet.buy.parameters_hash = "apex", "1", "0123456789abcdef"
    fleet.buy.save()
    assert "apex 1, parameters 0123456789ab" in read(client, address)
