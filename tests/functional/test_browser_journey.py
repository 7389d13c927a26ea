"""One newcomer's way through the pages in a real browser, with the real processes behind them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from playwright.sync_api import Page, expect, sync_playwright

from tests.functional.test_real_stack import all_balances_known, beam, join, pin, seen, until
from tests.support.paper import PaperExchange
from tests.support.stack import Stack
from trading.models import Order, Venue

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.system, pytest.mark.timeout(300)]

EMAIL = "newcomer@example.org"
PASSWORD = "four plain words together"
WAIT_MS = 20_000


@pytest.fixture
def exchange(paper_exchange: Callable[..., PaperExchange], settings: Any) -> PaperExchange:
    running = paper_exchange(market="pinned", rate_tier="intermediate")
    settings.KRAKEN_API_URL = settings.VENUE = running.url
    settings.VENUE_IS_LOCAL = settings.ORDERS_ALLOWED = True
    pin(running, bid="0.002917", ask="0.002918")
    return running


@pytest.fixture
def page(chromium_path: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    """A phone-sized page that fails the test at its end if the console ever showed an error."""
    # Playwright runs an event loop in this thread, which Django would take for an asynchronous view.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    errors: list[str] = []
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
        browser = playwright.chromium.launch(executable_path=chromium_path, args=options)
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        context.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        context.on("weberror", lambda error: errors.append(str(error.error)))
        context.set_default_timeout(WAIT_MS)
        yield context.new_page()
        browser.close()
    assert errors == []


def test_a_newcomer_connects_sees_a_copy_stops_and_is_still_sold_out(
    exchange: PaperExchange, start_stack: Callable[..., Stack], page: Page
) -> None:
    stack = start_stack(kraken_api_url=exchange.url, MASTER_PAIRS="BEAM-USD", NIJA_VENUE=exchange.url)
    join(exchange, "master@nija.example", usd="60.534", role="master")

    _sign_up(page, stack)
    key, secret = _create_paper_account(page, stack)
    _connect(page, stack, key=key, secret=secret)
    until(lambda: all_balances_known(2), what="both balances")
    until(lambda: Venue.objects.filter(offset_ms__isnull=False).exists(), what="the exchange's clock")

    page.goto(f"{stack.url}/dashboard/")
    call_command("place_master_order", "BEAM-USD", "buy", "--quantity", "3404.8349", stdout=StringIO())
    row = page.get_by_role("row", name=re.compile("Buy BEAM-USD"))
    # Without a reload: the page hears of it and fetches itself again.
    expect(row).to_be_visible(timeout=WAIT_MS)
    bought = until(lambda: Order.objects.filter(account__user__email=EMAIL, state="filled").first(), what="the fill")
    expect(row).to_contain_text(bought.venue_order_id)
    held = beam(exchange, "newcomer")
    assert held == bought.filled > 0

    page.get_by_role("link", name="Stop copying").or_(page.get_by_role("button", name="Stop copying")).first.click()
    page.get_by_role("button", name="Stop copying").click()
    expect(page.get_by_text(re.compile("Stopped by you"))).to_be_visible()

    call_command("place_master_order", "BEAM-USD", "buy", "--notional", "9", stdout=StringIO())
    page.goto(f"{stack.url}/dashboard/")
    skipped = page.get_by_role("row", name=re.compile("Buy BEAM-USD")).filter(has_text="Skipped")
    expect(skipped).to_be_visible(timeout=WAIT_MS)
    assert beam(exchange, "newcomer") == held

    pin(exchange, bid="0.003100", ask="0.003101")
    call_command("place_master_order", "BEAM-USD", "sell", "--fraction", "1", stdout=StringIO())
    expect(page.get_by_role("row", name=re.compile("Sell BEAM-USD")).first).to_contain_text(
        re.compile("Filled|Sold"), timeout=WAIT_MS
    )
    assert beam(exchange, "newcomer") == 0
    orders = seen(exchange, "newcomer")["orders"]
    assert sorted((o["descr"]["type"], Decimal(o["vol_exec"])) for o in orders) == [("buy", held), ("sell", held)]


def _sign_up(page: Page, stack: Stack) -> None:
    page.goto(stack.url)
    page.get_by_role("link", name="Create an account").first.click()
    page.locator("input[name=email]").fill(EMAIL)
    page.locator("input[name=password1]").fill(PASSWORD)
    page.locator("input[name=password2]").fill(PASSWORD)
    page.get_by_role("button", name="Create the account").click()
    page.locator("input[name=code]").wait_for()
    mail = page.context.new_page()
    mail.goto(f"{stack.url}/mail/")
    found = re.search(r"^\s*([A-Z0-9]{3,6}-[A-Z0-9]{3,6})\s*$", mail.locator("pre").first.inner_text(), re.MULTILINE)
    assert found is not None, mail.locator("pre").first.inner_text()
    mail.close()
    page.locator("input[name=code]").fill(found[1])
    page.locator("main button[type=submit]").first.click()
    expect(page).to_have_url(re.compile("/dashboard/"))


def _create_paper_account(page: Page, stack: Stack) -> tuple[str, str]:
    page.goto(f"{stack.url}/kraken/")
    with page.context.expect_page() as opened:
        page.locator("#paper-accounts").click()
    paper = opened.value
    paper.locator("#label").fill("newcomer")
    paper.get_by_test_id("paper-usd").fill("84.5785")
    paper.get_by_test_id("paper-create").click()
    key = paper.get_by_test_id("paper-api-key").inner_text()
    secret = paper.get_by_test_id("paper-api-secret").inner_text()
    paper.close()
    return key, secret


def _connect(page: Page, stack: Stack, *, key: str, secret: str) -> None:
    page.goto(f"{stack.url}/kraken/")
    page.locator("input[name=api_key]").fill(key)
    page.locator("input[name=api_secret]").fill(secret)
    page.get_by_role("button", name="Connect").click()
    expect(page.get_by_text("Your Kraken account is connected.")).to_be_visible(timeout=WAIT_MS)
