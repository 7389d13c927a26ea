"""report.html stands alone: nothing is fetched, nothing but our own scripts runs, and a browser draws all of it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

import pytest
from django.core.management import call_command
from playwright.sync_api import sync_playwright

from tests.trading.backtest.tapes import bars_of, write
from tests.trading.strategy.markets import walk
from trading.backtest.report import SCRIPTS, STYLES, _as_script, _inline

LENGTH = 600


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    for name, places, start, seed in (("SOLUSD", 2, 140.0, 8), ("XRPUSD", 5, 0.5, 108)):
        market = walk(seed, length=LENGTH, start=start)
        write(folder, name, bars_of(market, places=places), volumes=[f"{value:.8f}" for value in market.volume])
    call_command(
        "backtest", strategy="apex", data=folder, start="2024-07-01", end="2024-07-03T02:00", out=folder / "out"
    )
    return folder / "out"


def test_nothing_in_the_report_is_fetched_from_elsewhere(directory: Path) -> None:
    page = (directory / "report.html").read_text()
    assert not re.search(r"<(link|img|iframe|script)[^>]*\b(href|src)=", page)
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_the_policy_names_every_script_and_style_and_nothing_else(directory: Path) -> None:
    page, policy = (
        (directory / "report.html").read_text(),
        json.loads((directory / "summary.json").read_text())["report_policy"],
    )
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    inside = re.findall(r"<(?:script|style)>(.*?)</(?:script|style)>", page, re.S)
    assert len(inside) == len(STYLES) + len(SCRIPTS)
    named = set(re.findall(r"'sha256-([^']+)'", policy))
    assert named == {base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in inside}
    assert policy.replace("'", "&#x27;") in page


def test_what_is_put_inside_cannot_end_its_element() -> None:
    for name in (*STYLES, *SCRIPTS):
        text = _inline(name).lower()
        assert "</script" not in text
        assert "</style" not in text
        assert "<!--" not in text
        assert "\r" not in text
    assert _as_script({"a": "</script><!--&"}) == '{"a":"\\u003c/script\\u003e\\u003c!--\\u0026"}'


@pytest.mark.system
def test_a_browser_draws_curves_candles_and_a_chosen_trade(directory: Path, chromium_path: str) -> None:
    told: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path, args=["--no-sandbox"])
        try:
            page = browser.new_page(viewport={"width": 360, "height": 800})
            page.on("console", lambda message: told.append(message.text))
            page.on("pageerror", lambda error: told.append(str(error)))
            page.goto((directory / "report.html").as_uri())
            page.wait_for_selector("#candles canvas")
            assert page.locator("#equity canvas").count() == 1
            assert page.locator("#drawdown canvas").count() == 1
            assert page.get_attribute("#candles", "data-bars") == str(LENGTH)
            page.click("[data-pair='XRP-USD']")
            assert page.inner_text("#candle-values").startswith("XRP-USD, candles of 5 minutes, ")
            page.click("[data-trade='1']")
            assert re.search(r"^Trade 1: bought at [\d.]+, ", page.inner_text("#candle-values"))
            assert page.get_attribute("[data-trade='1']", "aria-pressed") == "true"
            assert page.evaluate("document.documentElement.scrollWidth") == 360
        finally:
            browser.close()
    assert told == []
