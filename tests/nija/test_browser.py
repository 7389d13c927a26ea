"""Every page in a real browser, narrow and wide, light and dark; live updates and what a lost connection looks like."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import requests
from allauth.account.models import EmailAddress
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from accounts.models import User
from nija import processes
from nija.data_directory import free_port
from tests.copytrade import books, test_positions
from tests.support.stack import database_url
from trading import doorbell
from trading.models import Account, AssetBalance, Candle, Order

pytestmark = pytest.mark.system

D = Decimal

START_TIMEOUT_S = 60
WAIT_MS = 20_000
VISITOR_PAGES = ("/", "/accounts/login/", "/accounts/signup/", "/accounts/password/reset/", "/nothing-here/")
FOLLOWER_PAGES = (
    "/dashboard/",
    "/history/",
    "/positions/BEAM-USD/",
    "/positions/DOGE-USD/",
    "/stop/",
    "/leave/",
    "/settings/risk/",
    "/settings/account/",
    "/kraken/",
    "/operator/",
)
OPERATOR_PAGES = (
    "/operator/",
    "/operator/followers/",
    "/operator/stop/",
    "/operator/alerts/",
    "/operator/books/",
    "/operator/close/",
)
WIDER_THAN_THE_SCREEN = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def chromium(chromium_path: str) -> Iterator[Browser]:
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        # Playwright's own event loop runs in this thread; the tests use the database from it all the same.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = playwright.chromium.launch(executable_path=chromium_path, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass(slots=True)
class Site:
    """A web process on the test's database."""

    url: str
    process: subprocess.Popen[bytes]

    def cookies(self, user: User) -> list[dict[str, str]]:
        session = SessionStore()
        session[SESSION_KEY] = str(user.pk)
        session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
        session[HASH_SESSION_KEY] = user.get_session_auth_hash()
        session.save()
        assert session.session_key is not None
        return [{"name": settings.SESSION_COOKIE_NAME, "value": session.session_key, "url": self.url}]


@pytest.fixture
def site(transactional_db: None, redis_url: str, tmp_path: Path) -> Iterator[Site]:
    port = free_port()
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "nija.settings",
        "DATABASE_URL": database_url(),
        "REDIS_URL": redis_url,
        "NIJA_DATA_DIR": str(tmp_path),
    }
    with (tmp_path / "web.log").open("wb") as log:
        process = subprocess.Popen(
            processes.web_command(port=port), env=environment, cwd=settings.BASE_DIR, stdout=log, stderr=log
        )
    try:
        running = Site(f"http://127.0.0.1:{port}", process)
        _wait_for(running, tmp_path / "web.log")
        yield running
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait_for(site: Site, log: Path) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            requests.get(site.url, timeout=5)
            return
        except requests.RequestException:
            if site.process.poll() is not None or time.monotonic() > end:
                pytest.fail(f"the web process did not start: {log.read_text()[-2000:]}")
            time.sleep(0.1)


def _faults(page: Page) -> list[str]:
    """Collects what the browser complains of, refused resources and scripts included; addresses answered 4xx are no fault."""
    found: list[str] = []

    def heard(kind: str, text: str) -> None:
        if kind in {"error", "warning"} and "the server responded with a status of 40" not in text:
            found.append(f"{page.url}: {text}")

    page.on("console", lambda message: heard(message.type, message.text))
    page.on("pageerror", lambda error: heard("error", str(error)))
    return found


def _look(context: BrowserContext, site: Site, addresses: tuple[str, ...]) -> None:
    page = context.new_page()
    faults = _faults(page)
    for address in addresses:
        response = page.goto(site.url + address, wait_until="load")
        assert response is not None
        assert response.status < 500, address
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
            assert page.evaluate(WIDER_THAN_THE_SCREEN) <= 0, f"{address} scrolls sideways"
        expect(page.locator("h1")).to_have_count(1)
        expect(page.locator(".site-head .badge")).to_be_visible()
    page.close()
    assert not faults


@pytest.mark.parametrize("width", [360, 1440])
def test_no_page_scrolls_sideways_or_breaks_the_security_policy(chromium: Browser, site: Site, width: int) -> None:
    fleet = books.fleet()
    ann = books.follower(fleet, "ann@example.com")
    books.history(ann, now=fleet.now)
    _traded(fleet, ann)
    small = books.account(books.user("somebody.with.a.long.address@a.long.domain.example.com"), now=fleet.now)
    copy = books.skipped(fleet, small)
    operator = books.user("operator@example.com", staff=True)
    fresh = books.user("new@example.com")
    EmailAddress.objects.create(user=ann.user, email=ann.user.email, verified=True, primary=True)
    visits: tuple[tuple[User | None, tuple[str, ...]], ...] = (
        (None, VISITOR_PAGES),
        (ann.user, (*FOLLOWER_PAGES, *(f"/copies/{each}/" for each in ann.copies.values_list("pk", flat=True)))),
        (small.user, ("/dashboard/", f"/copies/{copy.pk}/")),
        (
            operator,
            (*OPERATOR_PAGES, f"/operator/signals/{fleet.buy.pk}/", f"/operator/accounts/{ann.pk}/positions/BEAM-USD/"),
        ),
        (fresh, ("/dashboard/", "/history/", "/kraken/")),
    )
    for user, addresses in visits:
        context = chromium.new_context(viewport={"width": width, "height": 800})
        if user is not None:
            context.add_cookies(site.cookies(user))  # type: ignore[arg-type]
        _look(context, site, addresses)
        context.close()


def _traded(fleet: books.Fleet, owner: Account) -> None:
    """What the chart of a position shows: candles, a fill, the master's levels."""
    test_positions.candles(fleet, count=120)
    test_positions.with_levels(fleet)
    for order in Order.objects.filter(account=owner, kind="entry"):
        test_positions.executed(order, price="0.002918", at=fleet.buy.executed_at)


@pytest.fixture
def dashboard(chromium: Browser, site: Site) -> Iterator[Callable[..., Page]]:
    contexts: list[BrowserContext] = []

    def show(user: User, address: str = "/dashboard/") -> Page:
        context = chromium.new_context(viewport={"width": 1200, "height": 900})
        contexts.append(context)
        context.add_cookies(site.cookies(user))  # type: ignore[arg-type]
        page = context.new_page()
        with page.expect_response("**/live/"):
            page.goto(site.url + address)
        return page

    yield show
    for context in contexts:
        context.close()


def test_a_change_shows_on_an_open_page_without_a_reload(dashboard: Callable[[User], Page]) -> None:
    fleet = books.fleet()
    ann = books.follower(fleet, "ann@example.com")
    page = dashboard(ann.user)
    page.evaluate("window.notReloaded = true")
    AssetBalance.objects.filter(account=ann).update(total=D("1234.5"))
    doorbell.changed([ann.user_id])
    expect(page.locator("#balances").get_by_text("$1,234.50").first).to_be_visible(timeout=WAIT_MS)
    assert page.evaluate("window.notReloaded")
    expect(page.locator("#stale-bar")).to_be_hidden()


def test_a_page_without_a_connection_says_since_when_it_is_stale(dashboard: Callable[[User], Page], site: Site) -> None:
    fleet = books.fleet(now=None)
    ann = books.follower(fleet, "ann@example.com")
    page = dashboard(ann.user)
    site.process.terminate()
    site.process.wait(timeout=20)
    expect(page.locator("#stale-bar")).to_contain_text("Stale since", timeout=WAIT_MS * 2)
    assert page.evaluate("document.body.classList.contains('is-stale')")


def test_the_readers_choice_of_colours_outlives_the_page(dashboard: Callable[[User], Page]) -> None:
    page = dashboard(books.follower(books.fleet(), "ann@example.com").user)
    page.get_by_role("button", name="Dark").click()
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.get_by_role("button", name="System").click()
    assert page.evaluate("document.documentElement.dataset.theme === undefined")


def test_a_dangerous_form_asks_first_and_does_nothing_when_told_to_go_back(
    dashboard: Callable[[User], Page],
) -> None:
    fleet = books.fleet()
    ann = books.follower(fleet, "ann@example.com")
    risk = ann.user.risk
    risk.stopped_at = fleet.now - timedelta(minutes=4)
    risk.save()
    page = dashboard(ann.user)
    page.get_by_role("button", name="Resume copying").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("under your risk settings")
    dialog.get_by_role("button", name="Go back").click()
    risk.refresh_from_db()
    assert risk.stopped_at is not None
    page.get_by_role("button", name="Resume copying").click()
    # The page refreshes itself meanwhile: the form that is asked about must still be in it.
    with page.expect_response(lambda response: response.request.headers.get("x-live") == "1", timeout=WAIT_MS * 4):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_timeout(300)
    dialog.get_by_role("button", name="Resume copying").click()
    expect(page.get_by_text("Copying has resumed")).to_be_visible(timeout=WAIT_MS)
    risk.refresh_from_db()
    assert risk.stopped_at is None


#: How many of an element's canvases have something drawn on them.
DRAWN = """element => [...element.querySelectorAll("canvas")].filter(canvas => {
    if (!canvas.width || !canvas.height) return false;
    const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    return data.some(value => value !== 0);
}).length"""


def test_the_candles_of_a_position_are_drawn_and_a_new_one_joins_them_without_a_reload(
    dashboard: Callable[..., Page],
) -> None:
    fleet = books.fleet()
    ann = books.follower(fleet, "ann@example.com")
    _traded(fleet, ann)
    page = dashboard(ann.user, "/positions/BEAM-USD/")
    faults = _faults(page)
    chart = page.locator("[data-candles]")
    expect(chart).to_have_attribute("data-bars", re.compile(r"\d+"), timeout=WAIT_MS)
    assert chart.evaluate(DRAWN) >= 2, "the market and its prices are drawn"
    before = int(chart.get_attribute("data-bars") or 0)
    page.evaluate("window.notReloaded = true")
    Candle.objects.create(
        instrument=fleet.beam, interval_min=1, starts_at=fleet.now.replace(second=0, microsecond=0), open=D("0.00292"),
        high=D("0.00297"), low=D("0.00291"), close=D("0.00296"), volume=D(5),
    )  # fmt: skip
    doorbell.changed([ann.user_id])
    expect(chart).to_have_attribute("data-bars", str(before + 1), timeout=WAIT_MS)
    expect(page.locator("#candle-values")).to_contain_text("close 0.002960")
    assert page.evaluate("window.notReloaded")
    page.emulate_media(color_scheme="dark")
    page.reload()
    expect(chart).to_have_attribute("data-bars", str(before + 1), timeout=WAIT_MS)
    assert not faults


def test_a_keyboard_walks_along_the_candles_to_the_fill(dashboard: Callable[..., Page]) -> None:
    fleet = books.fleet()
    ann = books.follower(fleet, "ann@example.com")
    _traded(fleet, ann)
    page = dashboard(ann.user, "/positions/BEAM-USD/")
    expect(page.locator("[data-candles]")).to_have_attribute("data-bars", re.compile(r"\d+"), timeout=WAIT_MS)
    page.locator("[data-candles]").focus()
    page.keyboard.press("Home")
    values = page.locator("#candle-values")
    for _ in range(40):
        if "Bought" in values.inner_text():
            break
        page.keyboard.press("ArrowRight")
    expect(values).to_contain_text("Bought 2898.50925 BEAM at 0.002918, order O")


def test_equity_is_drawn_with_its_drawdown_and_a_payment_marked(dashboard: Callable[..., Page]) -> None:
    fleet = books.fleet()
    ann = books.follower(fleet, "ann@example.com")
    books.history(ann, now=fleet.now, count=40)
    for point in ann.equity_points.order_by("-at")[:10]:
        point.equity, point.cash = point.equity + 25, point.cash + 25
        point.save()
    page = dashboard(ann.user, "/dashboard/?range=7d")
    faults = _faults(page)
    charts = page.locator(".chart")
    expect(charts).to_have_count(2)
    expect(charts.first.locator(".u-legend")).to_contain_text("Paid in", timeout=WAIT_MS)
    assert [chart.evaluate(DRAWN) for chart in charts.all()] == [1, 1]
    expect(page.locator("#equity-numbers")).to_contain_text("1 payment in or out")
    assert not faults
