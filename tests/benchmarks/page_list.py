"""What `make bench-pages` asks for: every page and list that grows with followers or history, seen by one set of readers."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlencode

from django.conf import settings
from django.db.models import Model, QuerySet
from django.test import Client

from accounts.models import User
from accounts.services import tokens
from copytrade.models import CopyOrder
from tests.benchmarks import page_rows
from trading.models import Account, Event, Execution, Order, Position, Signal, StrategyCycle

PAGE_MAX_MS, API_MAX_MS = 300.0, 100.0
OPERATOR = "operator@nija.example"
M = TypeVar("M", bound=Model)
SESSION_BACKEND = settings.AUTHENTICATION_BACKENDS[0]


@dataclass(frozen=True, slots=True)
class Page:
    """One address as one reader asks for it. `limit_ms` None: told, and nothing promised."""

    name: str
    client: Client
    address: str
    limit_ms: float | None


@dataclass(frozen=True, slots=True)
class Scene:
    """One follower and one signal to look at, and the people who look. `deep` rows lie in the middle of what they page through."""

    account: Account
    signal: Signal
    position: Position
    copy: CopyOrder
    order: Order
    follower: Client
    operator: Client
    follower_api: Client
    operator_api: Client


def scene(number: int, *, newest: bool) -> Scene:
    """Of follower `number`, with the newest entry, which everybody got, or an old one that few had a part in."""
    account = page_rows.account(number)
    operator = User.objects.filter(email=OPERATOR).first() or User.objects.create_user(OPERATOR, is_staff=True)
    copied = CopyOrder.objects.filter(account=account, order__isnull=False, kind="entry").order_by("pk")
    copy = (
        copied.select_related("signal", "order").reverse()[0]
        if newest
        else _middle(copied.select_related("signal", "order"))
    )
    assert copy.order is not None, "filtered above"
    held = Position.objects.filter(account=account, is_open=True).select_related("instrument").latest("pk")
    return Scene(
        account=account,
        signal=copy.signal if newest else _middle(Signal.objects.filter(kind="entry")),
        position=held,
        copy=copy,
        order=copy.order,
        follower=_by_session(account.user),
        operator=_by_session(operator),
        follower_api=_by_token(account.user),
        operator_api=_by_token(operator),
    )


def pages(scene: Scene) -> list[Page]:
    """In the same order for every scene."""
    return [*_followers(scene), *_operators(scene), *_api(scene), *_exports(scene)]


def _followers(scene: Scene) -> Iterator[Page]:
    symbol = scene.position.instrument.symbol
    deep = _middle(CopyOrder.objects.filter(account=scene.account)).pk
    for name, address in (
        ("dashboard", "/dashboard/"),
        ("dashboard, whole curve", "/dashboard/?range=all"),
        ("history", "/history/"),
        ("history, deep", f"/history/?before={deep}"),
        ("history, filled", "/history/?outcome=filled&range=30d"),
        ("history, one symbol", f"/history/?symbol={symbol}&kind=exit"),
        ("history, outcome nobody had", "/history/?outcome=unknown"),
        ("history, order id", f"/history/?order={scene.order.venue_order_id[2:9]}"),
        ("history, our order id", f"/history/?order={scene.order.client_order_id}"),
        ("copy", f"/copies/{scene.copy.pk}/"),
        ("position", f"/positions/{symbol}/"),
        ("position, 7 days", f"/positions/{symbol}/?range=7d"),
        ("stop", "/stop/"),
        ("risk", "/settings/risk/"),
        ("kraken", "/kraken/"),
    ):
        yield Page(f"follower: {name}", scene.follower, address, PAGE_MAX_MS)


def _operators(scene: Scene) -> Iterator[Page]:
    symbol, account, signal = scene.position.instrument.symbol, scene.account.pk, scene.signal.pk
    within = _middle(CopyOrder.objects.filter(signal=scene.signal)).account_id
    middle = _middle(Account.objects.filter(role="follower")).pk
    event = _middle(Event.objects.filter(kind="alert")).pk
    cycle = _middle(StrategyCycle.objects.all()).pk
    for name, address in (
        ("overview", "/operator/"),
        ("followers", "/operator/followers/"),
        ("followers, deep", f"/operator/followers/?after={middle}"),
        ("followers in need", "/operator/followers/?state=attention"),
        ("followers, address", f"/operator/followers/?search={scene.account.user.email}"),
        ("signals", "/operator/signals/"),
        ("signals, deep", f"/operator/signals/?kind=entry&before={signal}"),
        ("signal", f"/operator/signals/{signal}/"),
        ("signal, deep", f"/operator/signals/{signal}/?after={within}"),
        ("signal, skipped", f"/operator/signals/{signal}/?outcome=skipped"),
        ("signal, follower", f"/operator/signals/{signal}/?search={scene.account.user.email}"),
        ("account", f"/operator/accounts/{account}/"),
        ("account, master", f"/operator/accounts/{page_rows.account(0).pk}/"),
        ("position", f"/operator/accounts/{account}/positions/{symbol}/"),
        ("order", f"/operator/orders/{scene.order.pk}/"),
        ("strategy", "/operator/strategy/"),
        ("strategy, deep", f"/operator/strategy/?before={cycle}"),
        ("strategy, rare veto", "/operator/strategy/?veto=edge"),
        ("alerts", "/operator/alerts/"),
        ("alerts, all, deep", f"/operator/alerts/?show=all&before={event}"),
        ("alert", f"/operator/alerts/{event}/"),
        ("books", "/operator/books/"),
        ("stop", "/operator/stop/"),
        ("close all", "/operator/close/"),
    ):
        yield Page(f"operator: {name}", scene.operator, address, PAGE_MAX_MS)


def _api(scene: Scene) -> Iterator[Page]:
    symbol = scene.position.instrument.symbol
    mine = {"account": scene.account}
    lists: list[tuple[str, QuerySet[Any], str]] = [
        ("orders", Order.objects.filter(**mine), "state=filled&kind=exit"),
        ("fills", Execution.objects.filter(**mine), f"symbol={symbol}&side=sell"),
        ("copies", CopyOrder.objects.filter(**mine), "state=canceled"),
    ]
    for name, rows, asked in lists:
        yield _list(f"{name}", scene.follower_api, name, rows=None)
        yield _list(f"{name}, deep", scene.follower_api, name, rows=rows)
        yield _list(f"{name}, {asked}", scene.follower_api, name, rows=None, asked=asked)
        yield _list(f"{name} of all", scene.operator_api, name, rows=None, asked="account=all")
        yield _list(
            f"{name} of all, deep",
            scene.operator_api,
            name,
            rows=rows.model._default_manager.all(),
            asked="account=all",
        )
        yield _list(f"{name} of one account", scene.operator_api, name, rows=None, asked=f"account={scene.account.pk}")
    yield _list(
        "copies of one signal", scene.operator_api, "copies", rows=None, asked=f"account=all&signal={scene.signal.pk}"
    )
    yield _list("signals", scene.follower_api, "signals", rows=None)
    yield _list("signals, deep", scene.follower_api, "signals", rows=Signal.objects.all())
    yield _list("signals, one symbol", scene.follower_api, "signals", rows=None, asked=f"symbol={symbol}&kind=exit")
    yield _list("positions", scene.follower_api, "positions", rows=None)
    yield _list("positions, open", scene.follower_api, "positions", rows=None, asked="state=open")
    for name, address in (
        ("balances", "balances/"),
        ("credentials", "credentials/"),
        ("emergency stop", "emergency-stop/"),
        ("one order", f"orders/{scene.order.client_order_id}/"),
        ("one copy", f"copies/{scene.copy.pk}/"),
    ):
        yield Page(f"API: {name}", scene.follower_api, f"/api/v1/{address}", API_MAX_MS)


def _exports(scene: Scene) -> Iterator[Page]:
    """Written whole, at most 10,000 lines: nobody waits for one at a glance."""
    yield Page("CSV: history", scene.follower, "/history/?format=csv", None)
    yield Page("CSV: signal", scene.operator, f"/operator/signals/{scene.signal.pk}/?format=csv", None)


def _list(name: str, client: Client, path: str, *, rows: QuerySet[Any] | None, asked: str = "") -> Page:
    """The first page, or with `rows` the one in their middle."""
    query = asked
    if rows is not None:
        cursor = b64encode(urlencode({"p": str(_middle(rows).pk)}).encode("ascii")).decode("ascii")
        query = "&".join(part for part in (asked, urlencode({"cursor": cursor})) if part)
    return Page(f"API: {name}", client, f"/api/v1/{path}/?{query}", API_MAX_MS)


def _middle(rows: QuerySet[M]) -> M:
    return rows.order_by("pk")[rows.count() // 2]


def _by_session(user: User) -> Client:
    client = Client()
    client.force_login(user, backend=SESSION_BACKEND)
    return client


def _by_token(user: User) -> Client:
    return Client(headers={"authorization": f"Token {tokens.create(user).token.reveal()}"})
