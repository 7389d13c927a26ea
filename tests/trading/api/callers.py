"""People who call the API, and the rows they may or may not see."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from rest_framework.test import APIClient

from accounts.models import User
from accounts.services import tokens
from tests.copytrade import books
from trading.models import Account, Execution, Instrument, Order, OrderKind

D = Decimal
NOW = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)


def by_token(user: User) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {tokens.create(user).token.reveal()}")
    return client


def operator(email: str = "operator@example.com") -> User:
    return books.user(email, staff=True)


def rows(client: APIClient, address: str, **query: Any) -> list[dict[str, Any]]:
    response = client.get(f"/api/v1/{address}/", query)
    assert response.status_code == 200, response.content
    found: list[dict[str, Any]] = response.json()["results"]
    return found


def fill(order: Order, *, at: datetime = NOW, part: str = "1") -> Execution:
    """One execution of a part of `order` at its average price."""
    quantity = order.quantity * D(part)
    return Execution.objects.create(
        account=order.account,
        instrument=order.instrument,
        order=order,
        trade_id=f"T{Execution.objects.count():05d}-ABCDE-FGHIJK",
        side=order.side,
        quantity=quantity,
        price=D("0.0029180"),
        notional=quantity * D("0.002918"),
        fee=D("0.0677000"),
        executed_at=at,
        booked_at=at + timedelta(seconds=1),
    )


def orders(account: Account, instrument: Instrument, *, count: int, now: datetime = NOW) -> list[Order]:
    """Filled entries a minute apart, each with one execution, the newest last."""
    found = []
    for number in range(count):
        at = now + timedelta(minutes=number)
        order = books.order(account, instrument, kind=OrderKind.ENTRY, quantity="2898.50925", now=at)
        fill(order, at=at)
        found.append(order)
    return found
