"""The null exchange speaks to the product's own client, refuses what Kraken refuses, and the whole benchmark runs."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from decimal import Decimal

import pytest

from tests.benchmarks import null_books
from tests.benchmarks.null_exchange import BASE_DIR, NullExchange
from tests.support.waiting import WaitingClient
from trading.domain.instrument import Side
from trading.domain.money import Money, Price, Quantity
from trading.kraken.connections import LoopTransport
from trading.kraken.endpoints import AddOrder, OrderType, PrivateClient, PublicClient, TimeInForce
from trading.kraken.errors import CredentialsRefused, KrakenError, OutcomeUnknown
from trading.kraken.signing import Credentials
from trading.kraken.symbols import build_instruments
from trading.kraken.transport import RequestsTransport
from trading.kraken.values import VenueStatus


@pytest.fixture(scope="module")
def exchange() -> Iterator[NullExchange]:
    with NullExchange(latency_ms=5) as running:
        yield running


def client_of(exchange: NullExchange, index: int, *, secret_of: int | None = None) -> WaitingClient:
    secret = null_books.secret_text_of(index if secret_of is None else secret_of)
    credentials = Credentials.from_text(null_books.api_key_of(index), secret)
    return WaitingClient(PrivateClient(LoopTransport(exchange.url), credentials))


def purchase(quantity: str = "100", price: str = "0.010051") -> AddOrder:
    return AddOrder(
        altname="BEAMUSD",
        side=Side.BUY,
        ordertype=OrderType.LIMIT,
        quantity=Quantity(Decimal(quantity)),
        price=Price(Decimal(price)),
        timeinforce=TimeInForce.IMMEDIATE_OR_CANCEL,
        cl_ord_id=str(uuid.uuid4()),
    )


def sale(quantity: str) -> AddOrder:
    return AddOrder(
        altname="BEAMUSD",
        side=Side.SELL,
        ordertype=OrderType.MARKET,
        quantity=Quantity(Decimal(quantity)),
        cl_ord_id=str(uuid.uuid4()),
    )


def test_it_lists_pairs_that_the_engine_can_trade(exchange: NullExchange) -> None:
    public = PublicClient(RequestsTransport(exchange.url))

    known = build_instruments(public.assets(), public.asset_pairs())

    assert {instrument.symbol for instrument in known.instruments} == {"BEAM-USD", "ADA-USD"}
    assert public.ticker(["BEAMUSD"])["BEAMUSD"].ask == Price(Decimal("0.010001"))


def test_an_order_is_filled_whole_and_can_be_read_back_and_sold_again(exchange: NullExchange) -> None:
    kraken, nonce = client_of(exchange, 1), time.time_ns()

    bought = kraken.add_order(purchase("100"), nonce=nonce).txid or ""
    order = kraken.query_orders([bought], nonce=nonce + 1)[bought]
    trade = kraken.query_trades(order.trade_ids, nonce=nonce + 2)[order.trade_ids[0]]

    assert order.status is VenueStatus.CLOSED
    assert (trade.quantity, trade.price) == (Quantity(Decimal(100)), Price(Decimal("0.010001")))
    kraken.add_order(sale("100"), nonce=nonce + 3)
    held = kraken.balance_ex(nonce=nonce + 4).by_asset
    assert held["BEAM"].total == 0
    fees = (Money(Decimal("1.0001")).value + Money(Decimal("1.0000")).value) * null_books.FEE
    assert held["ZUSD"].total == null_books.cash_of(1) - Decimal("0.0001") - fees


def test_a_limit_below_the_market_buys_nothing(exchange: NullExchange) -> None:
    kraken, nonce = client_of(exchange, 2), time.time_ns()

    placed = kraken.add_order(purchase(price="0.009"), nonce=nonce).txid or ""

    order = kraken.query_orders([placed], nonce=nonce + 1)[placed]
    assert (order.status, order.executed) == (VenueStatus.CANCELED, Quantity.zero())


def test_a_wrong_signature_and_a_nonce_that_does_not_rise_are_refused_and_counted(exchange: NullExchange) -> None:
    kraken, nonce = client_of(exchange, 3), time.time_ns()
    kraken.balance_ex(nonce=nonce)

    with pytest.raises(KrakenError, match="nonce"):
        kraken.balance_ex(nonce=nonce)
    with pytest.raises(CredentialsRefused):
        client_of(exchange, 3, secret_of=4).balance_ex(nonce=nonce + 1)

    counts = exchange.ask("stats")["counts"]
    assert (counts["refused nonces"], counts["refused signatures"]) == (1, 1)


def test_nobody_sells_what_he_does_not_hold(exchange: NullExchange) -> None:
    with pytest.raises(KrakenError, match=r"(?i)funds"):
        client_of(exchange, 5).add_order(sale("1000"), nonce=time.time_ns())


def test_an_owner_sells_half_on_the_exchanges_own_page_and_the_time_of_each_balance_is_kept(
    exchange: NullExchange,
) -> None:
    kraken, nonce = client_of(exchange, 6), time.time_ns()
    kraken.add_order(purchase("100"), nonce=nonce)
    began = time.time()
    cash = kraken.balance_ex(nonce=nonce + 1).by_asset["ZUSD"].total

    exchange.ask("sell_by_hand/6")

    held = kraken.balance_ex(nonce=nonce + 2).by_asset
    assert (held["BEAM"].total, held["ZUSD"].total) == (Decimal(50), cash + Decimal("0.498"))
    reads = exchange.ask("balance_reads")["6"]
    assert len(reads) == 2
    assert began <= reads[0] <= reads[1] <= time.time()


def test_an_order_whose_answer_is_lost_is_there_and_the_next_one_is_answered(exchange: NullExchange) -> None:
    kraken, nonce = client_of(exchange, 7), time.time_ns()
    exchange.ask("lose_answer")

    with pytest.raises(OutcomeUnknown):
        kraken.add_order(purchase("100"), nonce=nonce)

    assert kraken.balance_ex(nonce=nonce + 1).by_asset["BEAM"].total == 100
    assert kraken.add_order(sale("100"), nonce=nonce + 2).txid


@pytest.mark.system
def test_the_background_benchmark_runs_and_finds_nothing_wrong() -> None:
    command = [sys.executable, "-m", "tests.benchmarks.background", "--followers", "100", "--window-s", "60"]

    done = subprocess.run(command, cwd=BASE_DIR, capture_output=True, text=True, timeout=280, check=False)

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "sales booked: 10; sales by hand noticed: 20" in done.stdout
    assert done.stdout.count("target: ") == 3


@pytest.mark.system
def test_the_benchmark_runs_and_finds_nothing_wrong() -> None:
    command = [sys.executable, "-m", "tests.benchmarks.fan_out", "--sizes", "10"]

    done = subprocess.run(command, cwd=BASE_DIR, capture_output=True, text=True, timeout=170, check=False)

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "target: MISSED: 0.0, at most 0: met" in done.stdout
