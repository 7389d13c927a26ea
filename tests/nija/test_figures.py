"""How amounts, instants and states read on a page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nija.templatetags import figures
from trading.domain.money import AmountError, Money, Ratio

NOW = datetime(2026, 11, 22, 12, 4, 31, tzinfo=UTC)
CONTEXT = {"now": NOW}


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def words(markup: str) -> str:
    parser = _Text()
    parser.feed(markup)
    return " ".join("".join(parser.parts).split())


def test_money_has_cents_and_its_full_digits_on_hover() -> None:
    markup = figures.money(Decimal("9.935308"))
    assert words(markup) == "$9.94"
    assert 'title="$9.935308"' in markup


def test_thousands_are_grouped() -> None:
    assert words(figures.money(Decimal("1234567.891"))) == "$1,234,567.89"
    assert words(figures.quantity(Decimal("3404.8349"), "BEAM")) == "3,404.8349 BEAM"


def test_an_amount_below_a_cent_keeps_two_digits_that_count() -> None:
    assert words(figures.money(Decimal("0.0032"))) == "$0.0032"
    assert words(figures.money(Decimal("0.00000312"))) == "$0.0000031"


def test_unknown_money_is_a_dash_with_its_reason() -> None:
    text = words(figures.money(None, "unknown since 12:02"))
    assert text == "\N{EN DASH} unknown since 12:02"
    assert "0.00" not in text


def test_known_zero_is_a_number() -> None:
    assert words(figures.money(Decimal(0))) == "$0.00"


def test_an_amount_of_the_domain_is_shown_by_its_value() -> None:
    assert words(figures.money(Money(Decimal("8.46")))) == "$8.46"
    assert words(figures.percent(Ratio(Decimal("0.164")))) == "16.4 %"


@pytest.mark.parametrize(
    ("value", "text", "tone"),
    [("1.2", "▲ +$1.20", "positive"), ("-0.4", "▼ −$0.40", "negative")],
)
def test_a_change_has_an_arrow_a_sign_and_a_colour(value: str, text: str, tone: str) -> None:
    markup = figures.change(Decimal(value))
    assert words(markup) == text
    assert tone in markup


def test_no_change_has_neither_sign_nor_colour() -> None:
    markup = figures.change(Decimal(0))
    assert words(markup) == "$0.00"
    assert "positive" not in markup
    assert "negative" not in markup


def test_a_float_is_refused() -> None:
    with pytest.raises(AmountError, match="not a decimal amount"):
        figures.money(0.1)


@settings(max_examples=60, deadline=None)
@given(st.decimals(min_value="-99999999", max_value="99999999", places=8))
def test_grouping_changes_no_digit(value: Decimal) -> None:
    text = figures.grouped(value).replace(",", "").replace(figures.MINUS, "-")
    assert Decimal(text) == value


@settings(max_examples=60, deadline=None)
@given(st.decimals(min_value="-9999999", max_value="9999999", places=9).filter(bool))
def test_money_that_is_not_zero_never_reads_as_zero(value: Decimal) -> None:
    assert any(digit in figures.dollars(value) for digit in "123456789")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "just now"), (48, "48 s ago"), (240, "4 min ago"), (11520, "3 h 12 min ago"), (200000, "2 d ago")],
)
def test_ages_are_said_in_their_largest_unit(seconds: int, text: str) -> None:
    markup = figures.ago(CONTEXT, NOW - timedelta(seconds=seconds))
    assert words(markup) == text
    assert 'data-relative="ago"' in markup


def test_the_instant_of_an_age_is_on_hover() -> None:
    assert 'title="2026-11-22 12:03:43.000 UTC"' in figures.ago(CONTEXT, NOW - timedelta(seconds=48))


def test_a_countdown_ends_in_now() -> None:
    assert words(figures.until(CONTEXT, NOW + timedelta(seconds=26))) == "in 26 s"
    assert words(figures.until(CONTEXT, NOW - timedelta(seconds=1))) == "now"


def test_another_day_is_named() -> None:
    assert words(figures.clock(CONTEXT, NOW)) == "12:04:31"
    assert words(figures.clock(CONTEXT, NOW - timedelta(days=1))) == "21 Nov 12:04:31"


def test_a_figure_says_of_when_and_from_where() -> None:
    assert words(figures.as_of(CONTEXT, NOW, "live")) == "as of 12:04:31, live"
    assert words(figures.as_of(CONTEXT, NOW - timedelta(seconds=48), "cached")) == "cached 48 s ago"
    assert words(figures.as_of(CONTEXT, NOW - timedelta(minutes=9), "unknown")) == "unknown since 11:55:31"
    assert words(figures.as_of(CONTEXT, None, "unknown", "no key connected")) == "unknown: no key connected"


def test_a_state_is_a_dot_and_a_word() -> None:
    markup = figures.state("close_only")
    assert words(markup) == "Close only"
    assert 'class="dot"' in markup


def test_an_id_is_escaped_and_can_be_copied() -> None:
    markup = figures.ident('O"><b>')
    assert "<b>" not in markup
    assert "data-copy=" in markup


def test_slippage_and_bare_statistics_carry_a_real_minus() -> None:
    assert words(figures.bps(Decimal("-11.1"))) == "\N{MINUS SIGN}11.1 bps"
    assert words(figures.bps(Decimal("0.0"))) == "0.0 bps"
    assert words(figures.decimals(-0.65)) == "\N{MINUS SIGN}0.65"
    assert words(figures.decimals(Decimal("0.2449"))) == "0.24"
    assert words(figures.decimals(None)) == "\N{EN DASH}"
