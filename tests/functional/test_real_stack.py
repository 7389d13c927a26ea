"""The golden numbers through the real processes: web, Celery workers, beat, Redis, database and exchange over HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
import requests
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from accounts.models import User
from nija import importing
from tests.support.paper import PaperExchange
from tests.support.stack import Stack
from trading.models import Execution, Order, Pulse, Venue
from trading.services.pulses import QUEUES

pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE_S = 40


def until(true: Callable[[], Any], *, what: str) -> Any:
    """Waits for something the processes do; fails with `what` after `PATIENCE_S`."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.1)
    raise AssertionError(f"waited {PATIENCE_S} s for {what}")


@pytest.fixture
def exchange(paper_exchange: Callable[..., PaperExchange], settings: Any) -> Iterator[PaperExchange]:
    running = paper_exchange(market="pinned", rate_tier="intermediate")
    settings.KRAKEN_API_URL = settings.VENUE = running.url
    settings.VENUE_IS_LOCAL = settings.ORDERS_ALLOWED = True
    pin(running, bid="0.002917", ask="0.002918")
    return running


def pin(exchange: PaperExchange, *, bid: str, ask: str) -> None:
    body = {"pair": "BEAMUSD", "bid": bid, "ask": ask}
    requests.post(f"{exchange.url}/paper/market/pin", json=body, timeout=10).raise_for_status()


def join(exchange: PaperExchange, email: str, *, usd: str, role: str = "follower") -> None:
    account = exchange.create_account(email, balances={"ZUSD": usd})
    line = {"email": email, "role": role, "api_key": account.api_key, "api_secret": account.api_secret}
    outcomes = list(importing.run(importing.from_jsonl([json.dumps(line)]), waiting=importing.Waiting(timeout_s=30)))
    assert [outcome.accepted for outcome in outcomes] == [True], str(outcomes[0])


def seen(exchange: PaperExchange, email: str) -> Any:
    """The account as the exchange holds it."""
    accounts = requests.get(f"{exchange.url}/paper/accounts", timeout=10).json()["accounts"]
    (found,) = [account for account in accounts if account["label"] == email]
    return requests.get(f"{exchange.url}/paper/accounts/{found['account']}", timeout=10).json()


def beam(exchange: PaperExchange, email: str) -> Decimal:
    return Decimal(seen(exchange, email)["balances"].get("BEAM", "0"))


def test_the_golden_numbers_hold_through_celery(exchange: PaperExchange, start_stack: Callable[..., Stack]) -> None:
    people = {"ada@nija.example": "84.5785", "ben@nija.example": "65.8698"}
    with_no_strategy = {"MASTER_PAIRS": "BEAM-USD", "NIJA_VENUE": exchange.url}
    start_stack(kraken_api_url=exchange.url, with_web=False, **with_no_strategy)
    join(exchange, "master@nija.example", usd="60.534", role="master")
    for email, usd in people.items():
        join(exchange, email, usd=usd)
    until(lambda: all_balances_known(3), what="every balance")
    until(lambda: Venue.objects.filter(offset_ms__isnull=False).exists(), what="the exchange's clock")

    said = StringIO()
    call_command("place_master_order", "BEAM-USD", "buy", "--quantity", "3404.8349", stdout=said)
    assert "3404.8349" in said.getvalue().replace(",", "")
    until(lambda: all(booked(email, "buy") for email in people), what="both copies to be booked")
    assert {email: f"{beam(exchange, email):.2f}" for email in people} == {
        "ada@nija.example": "2898.51",
        "ben@nija.example": "2257.36",
    }
    bought = {email: beam(exchange, email) for email in people}

    pin(exchange, bid="0.003100", ask="0.003101")
    call_command("place_master_order", "BEAM-USD", "sell", "--fraction", "1", stdout=said)
    until(lambda: all(booked(email, "sell") for email in people), what="both exits to be booked")

    for email, quantity in bought.items():
        account = seen(exchange, email)
        executed = {order["descr"]["type"]: Decimal(order["vol_exec"]) for order in account["orders"]}
        assert executed == {"buy": quantity, "sell": quantity}
        assert len(account["orders"]) == account["requests"]["accepted_orders"] == 2
        assert account["requests"]["invalid_nonces"] == 0
        assert account["requests"]["max_in_flight"] == 1
        assert beam(exchange, email) == 0
        ours = Order.objects.filter(account__user__email=email)
        assert {o.venue_order_id for o in ours} == {order["txid"] for order in account["orders"]}
    assert beam(exchange, "master@nija.example") == 0


def all_balances_known(count: int) -> bool:
    return User.objects.filter(trading_account__balances_as_of__isnull=False).count() == count


def booked(email: str, side: str) -> bool:
    return Execution.objects.filter(account__user__email=email, side=side).exists()


def test_workers_keep_their_connections(exchange: PaperExchange, start_stack: Callable[..., Stack]) -> None:
    start_stack(kraken_api_url=exchange.url, with_web=False, NIJA_VENUE=exchange.url)
    until(lambda: pulses_since(timezone.now() - timedelta(seconds=5)) == len(QUEUES), what="every worker to live")
    began, before = timezone.now(), connections_begun()
    # Meanwhile beat rings for some twelve tasks a second.
    until(lambda: pulses_since(began + timedelta(seconds=5)) == len(QUEUES), what="two more rounds of pulses")
    tasks_at_least = 60
    assert connections_begun() - before < tasks_at_least / 3


def pulses_since(at: datetime) -> int:
    return Pulse.objects.filter(at__gt=at).count()


def connections_begun() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT sessions FROM pg_stat_database WHERE datname = current_database()")
        ((sessions,),) = cursor.fetchall()
    return int(sessions)
