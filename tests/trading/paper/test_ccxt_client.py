"""The unmodified ccxt Kraken client trades on the paper exchange: a second opinion on the protocol."""

from __future__ import annotations

import decimal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.trading.paper.conftest import Client
from trading.paper.server import RunningExchange

# Its import changes how decimals round and fail in the whole process, which no other test may be judged by.
with decimal.localcontext():
    import ccxt


@pytest.fixture
def kraken(exchange: RunningExchange, account_at: Callable[..., Client]) -> Iterator[Any]:
    client = account_at(exchange)
    made = ccxt.kraken({"apiKey": client.api_key, "secret": client.api_secret, "enableRateLimit": False})
    made.urls["api"] = dict.fromkeys(made.urls["api"], exchange.url)
    yield made
    made.session.close()


def test_ccxt_loads_markets_and_prices(kraken: Any) -> None:
    markets = kraken.load_markets()
    assert {"BTC/USD", "DOGE/USD", "BEAM/USD"} <= set(markets)
    beam = markets["BEAM/USD"]
    assert (beam["limits"]["amount"]["min"], beam["precision"]["price"]) == (400, 0.000001)
    ticker = kraken.fetch_ticker("BEAM/USD")
    assert (ticker["bid"], ticker["ask"]) == (0.002917, 0.002918)
    assert len(kraken.fetch_ohlcv("BEAM/USD", "1m")) == 720
    assert kraken.fetch_order_book("BEAM/USD")["asks"][0][0] == 0.002918
    assert kraken.fetch_status()["status"] == "ok"
    assert kraken.fetch_time() > 0


def test_ccxt_trades_cancels_and_reads_its_trades(kraken: Any) -> None:
    assert kraken.fetch_balance()["USD"]["free"] == 100
    bought = kraken.create_order("BEAM/USD", "market", "buy", 3404.8349)
    order = kraken.fetch_order(bought["id"])
    assert (order["status"], order["filled"], order["average"]) == ("closed", 3404.8349, 0.002918)
    resting = kraken.create_order("BEAM/USD", "limit", "sell", 1000, 0.0031, {"clientOrderId": "ccxt-1"})
    (shown,) = kraken.fetch_open_orders("BEAM/USD")
    assert (shown["id"], shown["price"], shown["remaining"]) == (resting["id"], 0.0031, 1000)
    assert kraken.fetch_balance()["BEAM"]["used"] == 1000
    kraken.cancel_order(resting["id"])
    assert kraken.fetch_open_orders("BEAM/USD") == []
    kraken.create_order("BEAM/USD", "limit", "sell", 3404.8349, 0.0029, {"timeInForce": "IOC"})
    sale, purchase = sorted(kraken.fetch_my_trades("BEAM/USD"), key=lambda trade: trade["side"], reverse=True)
    assert (sale["side"], sale["price"]) == ("sell", 0.002917)
    assert (purchase["order"], purchase["amount"], purchase["takerOrMaker"]) == (bought["id"], 3404.8349, "taker")
    assert len(kraken.fetch_closed_orders("BEAM/USD")) == 3
    assert kraken.fetch_balance()["BEAM"]["total"] == 0


def test_ccxt_recognises_the_refusals(kraken: Any) -> None:
    with pytest.raises(ccxt.InsufficientFunds):
        kraken.create_order("BEAM/USD", "market", "buy", 40_000)
    with pytest.raises(ccxt.InvalidOrder):
        kraken.create_order("BEAM/USD", "market", "buy", 1)
    kraken.apiKey = "unknown"
    with pytest.raises(ccxt.AuthenticationError):
        kraken.fetch_balance()
