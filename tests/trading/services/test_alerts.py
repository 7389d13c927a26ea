"""Alerts: once per subject while the cause stands, gone when it is gone, quiet once a person has seen to it; mails."""

from __future__ import annotations

import socket
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.core.mail.backends import locmem
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.copytrade import books
from tests.support.world import StepClock
from trading.models import Account, Event, EventKind, Order, Schedule
from trading.services import alert_mail, alerts
from trading.services.alerts import Alarm

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def clock() -> StepClock:
    return StepClock(books.fleet().now)


@pytest.fixture(autouse=True)
def _mailbox(settings: Any) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    mail.outbox = []


def keep(clock: StepClock, *subjects: str, besides: tuple[str, ...] = ()) -> None:
    alarms = {subject: Alarm(f"{subject} is wrong") for subject in subjects}
    alerts.keep_to("test:", alarms, now=clock.now(), besides=besides)


def told() -> list[str]:
    return list(Event.objects.filter(kind="alert").order_by("pk").values_list("subject", flat=True))


def test_an_alert_is_raised_once_while_its_cause_stands(clock: StepClock) -> None:
    for _ in range(3):
        keep(clock, "test:1")
        clock.move(5)
    assert told() == ["test:1"]
    assert alerts.unresolved().count() == 1


def test_an_alert_passes_when_its_cause_is_gone_and_comes_again_with_it(clock: StepClock) -> None:
    keep(clock, "test:1", "test:2")
    clock.move(5)
    keep(clock, "test:2")
    (first,) = Event.objects.filter(subject="test:1")
    assert (first.resolved_at, first.ended_at, first.resolution) == (clock.now(), clock.now(), "Passed by itself")
    assert alerts.unresolved().get().subject == "test:2"
    keep(clock, "test:1", "test:2")
    assert told() == ["test:1", "test:2", "test:1"]


def test_what_an_order_was_told_for_first_does_not_hide_what_comes_later(clock: StepClock) -> None:
    order = Order.objects.earliest("pk")
    for cause in ("unknown", "unknown", "unbooked"):
        alerts.raise_once(order, cause, f"It is {cause}", now=clock.now())
    assert told() == [f"order:{order.pk}:unknown", f"order:{order.pk}:unbooked"]


def test_many_orders_are_told_in_as_many_statements_as_one_and_each_once(clock: StepClock) -> None:
    orders = list(Order.objects.order_by("pk"))
    assert len(orders) > 1
    counted = []
    for several in (orders[:1], orders, orders):
        with CaptureQueriesContext(connection) as queries:
            alerts.raise_each([(order, "unknown", "Nobody knows") for order in several], now=clock.now())
        counted.append([sql for query in queries if not (sql := query["sql"]).startswith(("BEGIN", "COMMIT"))])
    assert [len(sqls) for sqls in counted] == [4, 4, 2]
    assert told() == [f"order:{order.pk}:unknown" for order in orders]
    assert set(Order.objects.filter(alerted_at=clock.now())) == set(orders)


def test_what_a_person_resolved_stays_quiet_until_the_cause_has_gone_and_come_back(clock: StepClock) -> None:
    keep(clock, "test:1")
    event = alerts.unresolved().get()
    assert alerts.resolve(event.pk, actor="op@nija.example", note="known", clock=clock)
    assert not alerts.resolve(event.pk, actor="op@nija.example", note="again", clock=clock)
    keep(clock, "test:1")
    assert told() == ["test:1"]
    assert not alerts.unresolved().exists()
    keep(clock)
    event.refresh_from_db()
    assert (event.resolved_by, event.resolution, event.ended_at) == ("op@nija.example", "known", clock.now())
    keep(clock, "test:1")
    assert alerts.unresolved().count() == 1
    logged = Event.objects.get(kind=EventKind.RESOLVED)
    assert (logged.actor, logged.message) == ("op@nija.example", "Resolved: known (was: test:1 is wrong)")


def test_what_could_not_be_looked_at_stays_as_it_is(clock: StepClock) -> None:
    keep(clock, "test:1")
    keep(clock, besides=("test:1",))
    assert alerts.unresolved().count() == 1


def test_other_subjects_are_no_business_of_a_prefix(clock: StepClock) -> None:
    alerts.tell({"other:1": Alarm("else")}, now=clock.now())
    keep(clock)
    assert alerts.unresolved().get().subject == "other:1"


def test_lifting_a_hold_lets_the_account_open_again_and_is_written_down(clock: StepClock) -> None:
    account = Account.objects.get(role="master")
    alerts.hold(account, "Execution T does not match its order", now=clock.now())
    alerts.hold(account, "another reason", now=clock.now())
    assert alerts.unresolved().get().message == "Execution T does not match its order"
    assert alerts.lift(account, actor="op@nija.example", note="looked at", clock=clock)
    assert not alerts.lift(account, actor="op@nija.example", note="again", clock=clock)
    account.refresh_from_db()
    assert (account.held_at, account.held_reason) == (None, "")
    assert not alerts.unresolved().exists()
    logged = Event.objects.get(kind=EventKind.LIFTED)
    assert logged.message == "Hold lifted: looked at (was: Execution T does not match its order)"
    alerts.hold(account, "a second hold", now=clock.now())
    assert alerts.unresolved().get().message == "a second hold"


def test_each_alert_is_mailed_once_to_the_operators_and_to_nobody_else(clock: StepClock) -> None:
    books.user("op@nija.example", staff=True)
    books.user("somebody@nija.example")
    keep(clock, "test:1", "test:2")
    assert alert_mail.send(clock=clock) == 2
    assert alert_mail.send(clock=clock) == 0
    assert [message.to for message in mail.outbox] == [["op@nija.example"]] * 2
    assert mail.outbox[0].subject == "NIJA: needs attention: test:1 is wrong"
    assert "test:1 is wrong" in str(mail.outbox[0].body)


def test_many_alerts_are_one_digest_and_the_next_waits_a_minute(clock: StepClock) -> None:
    books.user("op@nija.example", staff=True)
    keep(clock, *(f"test:{number:03d}" for number in range(60)))
    assert alert_mail.send(clock=clock) == 60
    (digest,) = mail.outbox
    assert digest.subject == "NIJA: 60 alerts"
    assert "and 10 more" in str(digest.body)
    alerts.tell({"later:1": Alarm("later")}, now=clock.now())
    assert alert_mail.send(clock=clock) == 0
    clock.move(61)
    assert alert_mail.send(clock=clock) == 1
    assert len(mail.outbox) == 2


def test_without_a_mail_server_an_alert_waits_and_is_not_lost(
    clock: StepClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    books.user("op@nija.example", staff=True)
    keep(clock, "test:1")

    def refuse(_self: object) -> None:
        raise ConnectionRefusedError

    with monkeypatch.context() as patch:
        patch.setattr(locmem.EmailBackend, "open", refuse)
        assert alert_mail.send(clock=clock) == 0
    assert alert_mail.send(clock=clock) == 1
    assert len(mail.outbox) == 1


def test_a_silent_mail_server_holds_up_one_process_and_only_for_seconds(clock: StepClock, settings: Any) -> None:
    assert settings.EMAIL_TIMEOUT == 5
    books.user("op@nija.example", staff=True)
    keep(clock, "test:1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = silent.getsockname()
        settings.EMAIL_TIMEOUT = 0.2
        assert alert_mail.send(clock=clock) == 0
    assert Event.objects.get(subject="test:1").mailed_at is None


def test_who_meets_another_that_is_mailing_leaves_it_to_him(clock: StepClock) -> None:
    books.user("op@nija.example", staff=True)
    keep(clock, "test:1")
    Schedule.objects.create(name=alert_mail.TURN, due_at=clock.now() + alert_mail.TURN_MAX)
    assert alert_mail.send(clock=clock) == 0
    assert mail.outbox == []
    # He died with it.
    clock.move(61)
    assert alert_mail.send(clock=clock) == 1


def test_an_alert_of_long_ago_is_not_mailed(clock: StepClock) -> None:
    books.user("op@nija.example", staff=True)
    alerts.tell({"test:1": Alarm("old")}, now=clock.now() - timedelta(hours=2))
    assert alert_mail.send(clock=clock) == 0
