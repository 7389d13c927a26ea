from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest
from django.core.management import CommandError, call_command

from tests.trading.services import master_books
from trading.domain.order_state import OrderState
from trading.models import Instrument, Order, OrderOrigin
from trading.services import master_orders

pytestmark = pytest.mark.django_db


@pytest.fixture
def beam() -> Instrument:
    now = datetime.now(UTC)
    account = master_books.master(now=now)
    row = master_books.instrument()
    master_books.price(row, now=now)
    assert account.pk
    return row


def _place(*arguments: str) -> str:
    out = io.StringIO()
    call_command("place_master_order", *arguments, stdout=out)
    return out.getvalue()


def _settle_as(monkeypatch: pytest.MonkeyPatch, state: OrderState, **fields: object) -> None:
    def settled(order: Order) -> Order:
        Order.objects.filter(pk=order.pk).update(state=state, **fields)
        order.refresh_from_db()
        return order

    monkeypatch.setattr(master_orders, "wait_until_settled", settled)


def test_a_buy_waits_for_its_fill_and_prints_it(beam: Instrument, monkeypatch: pytest.MonkeyPatch) -> None:
    _settle_as(
        monkeypatch,
        OrderState.FILLED,
        filled="3404.8349",
        filled_notional="9.9353082382",
        fee="0.0795",
        venue_order_id="OABCDE-FGHIJ-KLMNOP",
    )
    printed = _place("BEAM-USD", "buy", "--quantity", "3404.8349")
    assert printed == (
        "buy 3404.8349 BEAM-USD at 0.002918, $9.9353082382, fee $0.0795, order OABCDE-FGHIJ-KLMNOP (filled)\n"
    )
    assert Order.objects.get().origin == OrderOrigin.MANUAL


def test_a_sale_takes_a_share_of_the_position(beam: Instrument, monkeypatch: pytest.MonkeyPatch) -> None:
    account = master_orders.master_account()
    assert account is not None
    master_books.hold(account, beam, "3404.8349")
    _settle_as(monkeypatch, OrderState.FILLED, filled="3404.8349", filled_notional="10")
    assert _place("beam-usd", "sell", "--fraction", "1").startswith("sell 3404.8349 BEAM-USD at ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("NOPE-USD", "buy", "--notional", "5"), "not a pair"),
        (("BEAM-USD", "buy", "--notional", "NaN"), "cannot be used"),
        (("BEAM-USD", "buy", "--notional=-5"), "above zero"),
        (("BEAM-USD", "buy", "--quantity", "1e20"), "larger than any amount"),
        (("BEAM-USD", "buy", "--notional", "999999999999999"), "BEAM-USD: 999999999999999 is more than can be ordered"),
        (("BEAM-USD", "buy", "--quantity", "999999999999999"), "are free"),
        (("BEAM-USD", "buy", "--notional=-1e-999999999"), "more decimal places"),
        (("BEAM-USD", "buy"), "either a notional"),
        (("BEAM-USD", "sell", "--fraction", "2"), "not a share"),
        (("BEAM-USD", "sell"), "manages no BEAM-USD"),
    ],
)
def test_what_cannot_be_done_ends_in_a_sentence(beam: Instrument, arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(CommandError, match=words):
        _place(*arguments)
    assert not Order.objects.exists()


def test_an_order_without_a_fill_says_why(beam: Instrument, monkeypatch: pytest.MonkeyPatch) -> None:
    _settle_as(monkeypatch, OrderState.REJECTED, refusal="The account has not enough free balance for this order.")
    with pytest.raises(CommandError, match=r"Nothing was traded: The account has not enough free balance"):
        _place("BEAM-USD", "buy", "--notional", "9.94")


def test_an_order_that_takes_too_long_is_not_called_failed(beam: Instrument, monkeypatch: pytest.MonkeyPatch) -> None:
    _settle_as(monkeypatch, OrderState.UNKNOWN)
    with pytest.raises(CommandError, match=r"not final after 30 s; its state is unknown"):
        _place("BEAM-USD", "buy", "--notional", "9.94")
