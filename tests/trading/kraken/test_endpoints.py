from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.waiting import WaitingClient
from tests.trading.kraken.payloads import PlayedBack, payload
from trading.domain.instrument import Side
from trading.domain.money import Price, Quantity
from trading.kraken.endpoints import (
    PRIVATE_TIMEOUT_S,
    AddOrder,
    OrderType,
    PrivateClient,
    PublicClient,
    TimeInForce,
    rfc3339,
)
from trading.kraken.errors import CommandRejected, OutcomeUnknown, RateLimited, Unparsable
from trading.kraken.signing import Credentials, sign

SECRET = "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg=="
CREDENTIALS = Credentials.from_text("key", SECRET)
NONCE = 1616492376594
CL_ORD_ID = "6d1b345e-2821-40e2-ad83-4ecb18a06876"
START = datetime(2025, 11, 22, 8, 10, 0, 999999, tzinfo=UTC)

LIMIT = AddOrder(
    altname="XBTUSD",
    side=Side.BUY,
    ordertype=OrderType.LIMIT,
    quantity=Quantity(Decimal("1.25")),
    cl_ord_id=CL_ORD_ID,
    price=Price(Decimal("37500.0")),
    timeinforce=TimeInForce.IMMEDIATE_OR_CANCEL,
    deadline=datetime(2026, 11, 22, 12, 0, 5, 123999, tzinfo=timezone(timedelta(hours=1))),
)
MARKET = AddOrder(
    altname="BEAMUSD",
    side=Side.SELL,
    ordertype=OrderType.MARKET,
    quantity=Quantity(Decimal("2898.51000000")),
    cl_ord_id=CL_ORD_ID,
)


def _private(name: str) -> tuple[WaitingClient, PlayedBack]:
    transport = PlayedBack(payload(name))
    return WaitingClient(PrivateClient(transport, CREDENTIALS)), transport


def _answered(body: bytes, *, status: int = 200) -> WaitingClient:
    return WaitingClient(PrivateClient(PlayedBack(body, status=status), CREDENTIALS))


def test_a_private_call_is_signed_over_the_bytes_it_sends() -> None:
    client, transport = _private("balance_ex")
    client.balance_ex(nonce=NONCE)
    assert transport.path == "/0/private/BalanceEx"
    assert transport.body == b"nonce=1616492376594"
    assert transport.headers["API-Key"] == "key"
    assert transport.headers["API-Sign"] == sign(
        transport.path, nonce=str(NONCE), body=transport.body, secret=CREDENTIALS.secret
    )
    assert transport.headers["Content-Type"].startswith("application/x-www-form-urlencoded")
    assert transport.timeout_s == PRIVATE_TIMEOUT_S == 8.0


def test_a_limit_order_sends_all_that_the_design_asks_for_and_nothing_else() -> None:
    client, transport = _private("add_order")
    added = client.add_order(LIMIT, nonce=NONCE)
    assert added.txid == "OUF4EM-FRGI2-MQMWZD"
    assert transport.form == {
        "nonce": str(NONCE),
        "ordertype": "limit",
        "type": "buy",
        "volume": "1.25",
        "pair": "XBTUSD",
        "cl_ord_id": CL_ORD_ID,
        "oflags": "fciq",
        "price": "37500",
        "timeinforce": "IOC",
        "deadline": "2026-11-22T11:00:05.123Z",
    }


def test_a_market_order_sends_neither_price_nor_time_in_force() -> None:
    client, transport = _private("add_order")
    client.add_order(MARKET, nonce=NONCE)
    assert set(transport.form) == {"nonce", "ordertype", "type", "volume", "pair", "cl_ord_id", "oflags"}
    assert transport.form["volume"] == "2898.51"


def test_validate_is_sent_only_when_asked_for() -> None:
    client, transport = _private("add_order_validated")
    order = AddOrder(
        altname="BEAMUSD",
        side=Side.SELL,
        ordertype=OrderType.MARKET,
        quantity=Quantity(Decimal(1)),
        cl_ord_id=CL_ORD_ID,
        validate=True,
    )
    assert client.add_order(order, nonce=NONCE).txid is None
    assert transport.form["validate"] == "true"


def test_an_accepted_order_that_kraken_does_not_name_has_an_unknown_outcome() -> None:
    with pytest.raises(OutcomeUnknown):
        _answered(payload("add_order_validated")).add_order(MARKET, nonce=NONCE)


def test_a_refused_order_is_certainly_not_placed() -> None:
    with pytest.raises(CommandRejected) as refused:
        _answered(b'{"error":["EOrder:Insufficient funds"]}').add_order(MARKET, nonce=NONCE)
    assert refused.value.certainly_not_placed


@pytest.mark.parametrize("status", [302, 429, 502, 520])
def test_an_order_answered_by_a_gateway_has_an_unknown_outcome(status: int) -> None:
    with pytest.raises(OutcomeUnknown):
        _answered(b"<html></html>", status=status).add_order(MARKET, nonce=NONCE)


def test_throttling_is_unknown_for_an_order_and_a_limit_for_a_read() -> None:
    client = _answered(b'{"error":["EService: Throttled: 1763800123"]}')
    with pytest.raises(OutcomeUnknown):
        client.add_order(MARKET, nonce=NONCE)
    with pytest.raises(OutcomeUnknown):
        client.cancel_order(txid="OUF4EM-FRGI2-MQMWZD", nonce=NONCE)
    with pytest.raises(RateLimited):
        client.balance_ex(nonce=NONCE)


def test_a_cancellation_goes_by_either_id() -> None:
    client, transport = _private("cancel_order")
    client.cancel_order(txid="OUF4EM-FRGI2-MQMWZD", nonce=NONCE)
    assert transport.form == {"nonce": str(NONCE), "txid": "OUF4EM-FRGI2-MQMWZD"}
    client.cancel_order(cl_ord_id=CL_ORD_ID, nonce=NONCE)
    assert transport.form == {"nonce": str(NONCE), "cl_ord_id": CL_ORD_ID}


@pytest.mark.parametrize("ids", [{}, {"txid": "OUF4EM-FRGI2-MQMWZD", "cl_ord_id": CL_ORD_ID}, {"txid": "12345"}])
def test_a_cancellation_that_could_reach_other_orders_is_never_sent(ids: dict[str, str]) -> None:
    client, transport = _private("cancel_order")
    with pytest.raises(ValueError, match="this call takes"):
        client.cancel_order(nonce=NONCE, **ids)
    assert transport.body == b""


CALLS: dict[str, tuple[str, Callable[[WaitingClient], Any], dict[str, str]]] = {
    "open orders": ("open_orders", lambda c: c.open_orders(nonce=NONCE), {"trades": "true"}),
    "open orders by client order id": (
        "open_orders",
        lambda c: c.open_orders(nonce=NONCE, cl_ord_id=CL_ORD_ID),
        {"trades": "true", "cl_ord_id": CL_ORD_ID},
    ),
    "closed orders": (
        "closed_orders",
        lambda c: c.closed_orders(nonce=NONCE, cl_ord_id=CL_ORD_ID, start=START, ofs=50),
        {"trades": "true", "consolidate_taker": "false", "cl_ord_id": CL_ORD_ID, "start": "1763799000", "ofs": "50"},
    ),
    "orders by id": (
        "query_orders",
        lambda c: c.query_orders(["OBCMZD-JIEE7-77TH3F", "OUF4EM-FRGI2-MQMWZD"], nonce=NONCE),
        {"txid": "OBCMZD-JIEE7-77TH3F,OUF4EM-FRGI2-MQMWZD", "trades": "true", "consolidate_taker": "false"},
    ),
    "trades": (
        "trades_history",
        lambda c: c.trades_history(nonce=NONCE, start=START),
        {"consolidate_taker": "false", "start": "1763799000"},
    ),
    "trades by id": (
        "query_trades",
        lambda c: c.query_trades(["THVRQM-33VKH-UCI7BS"], nonce=NONCE),
        {"txid": "THVRQM-33VKH-UCI7BS"},
    ),
    "fees": ("trade_volume", lambda c: c.trade_volume(["XBTUSD", "BEAMUSD"], nonce=NONCE), {"pair": "XBTUSD,BEAMUSD"}),
    "value of all balances": ("trade_balance", lambda c: c.trade_balance(nonce=NONCE), {"asset": "ZUSD"}),
    "key": ("api_key_info", lambda c: c.api_key_info(nonce=NONCE), {}),
}


@pytest.mark.parametrize(("name", "call", "params"), list(CALLS.values()), ids=list(CALLS))
def test_a_read_sends_these_fields(name: str, call: Callable[[WaitingClient], Any], params: dict[str, str]) -> None:
    client, transport = _private(name)
    assert call(client)
    assert transport.form == {"nonce": str(NONCE), **params}


@pytest.mark.parametrize("nonce", [0, -1, 2**64])
def test_a_nonce_that_kraken_cannot_hold_is_never_sent(nonce: int) -> None:
    client, transport = _private("balance_ex")
    with pytest.raises(ValueError, match="nonce"):
        client.balance_ex(nonce=nonce)
    assert transport.body == b""


@pytest.mark.parametrize("count", [0, 51])
def test_a_query_of_no_or_too_many_orders_is_never_sent(count: int) -> None:
    client, _ = _private("query_orders")
    with pytest.raises(ValueError, match="1 to 50"):
        client.query_orders(["OBCMZD-JIEE7-77TH3F"] * count, nonce=NONCE)


@pytest.mark.parametrize("count", [0, 21])
def test_a_query_of_no_or_too_many_trades_is_never_sent(count: int) -> None:
    client, _ = _private("query_trades")
    with pytest.raises(ValueError, match="1 to 20"):
        client.query_trades(["THVRQM-33VKH-UCI7BS"] * count, nonce=NONCE)


@pytest.mark.parametrize(
    "changes",
    [
        {"quantity": Quantity.zero()},
        {"quantity": Quantity(Decimal(-1))},
        {"price": None},
        {"price": Price.zero()},
        {"ordertype": OrderType.MARKET},
        {"cl_ord_id": ""},
        {"cl_ord_id": "x" * 37},
        {"deadline": datetime(2026, 11, 22)},
    ],
)
def test_an_order_that_makes_no_sense_cannot_be_written(changes: dict[str, Any]) -> None:
    fields: dict[str, Any] = {name: getattr(LIMIT, name) for name in AddOrder.__slots__}
    with pytest.raises(ValueError, match=r"an order|a limit|a deadline"):
        AddOrder(**(fields | changes))


@given(st.decimals(min_value=Decimal("0.00000001"), max_value=10**9, places=8))
def test_a_quantity_is_sent_without_exponent_and_without_loss(value: Decimal) -> None:
    order = AddOrder(
        altname="BEAMUSD",
        side=Side.SELL,
        ordertype=OrderType.MARKET,
        quantity=Quantity(value),
        cl_ord_id=CL_ORD_ID,
    )
    sent = dict(order.params())["volume"]
    assert "E" not in sent.upper()
    assert Decimal(sent) == value


@given(st.datetimes(min_value=datetime(2020, 1, 1), max_value=datetime(2100, 1, 1)))
def test_a_deadline_on_the_wire_is_never_later_than_the_one_meant(at: datetime) -> None:
    aware = at.replace(tzinfo=UTC)
    sent = datetime.fromisoformat(rfc3339(aware))
    assert timedelta(0) <= aware - sent < timedelta(milliseconds=1)


def _public(name: str) -> tuple[PublicClient, PlayedBack]:
    transport = PlayedBack(payload(name))
    return PublicClient(transport), transport


def test_the_exchanges_clock() -> None:
    client, transport = _public("time")
    assert client.time() == datetime(2025, 11, 22, 8, 26, 40, tzinfo=UTC)
    assert transport.path == "/0/public/Time"


def test_the_exchanges_status() -> None:
    client, _ = _public("system_status")
    assert client.system_status().takes_orders


def test_the_lists_of_assets_and_pairs() -> None:
    assert _public("assets")[0].assets()["XXBT"].altname == "XBT"
    assert _public("asset_pairs")[0].asset_pairs()["XXBTZUSD"].wsname == "XBT/USD"


def test_tickers_of_several_pairs_are_one_call() -> None:
    client, transport = _public("ticker")
    assert "XXBTZUSD" in client.ticker(["XBTUSD", "BEAMUSD"])
    assert transport.params == {"pair": "XBTUSD,BEAMUSD"}


def test_candles_name_pair_and_interval() -> None:
    client, transport = _public("ohlc")
    assert len(client.ohlc("XBTUSD", 5)) == 2
    assert transport.params == {"pair": "XBTUSD", "interval": "5"}


def test_newer_candles_alone_are_asked_for_by_the_start_of_one_that_is_known() -> None:
    client, transport = _public("ohlc")
    client.ohlc("XBTUSD", 5, since=1_719_835_200)
    assert transport.params == {"pair": "XBTUSD", "interval": "5", "since": "1719835200"}


def test_an_interval_that_kraken_does_not_keep_is_never_asked_for() -> None:
    with pytest.raises(ValueError, match="interval"):
        _public("ohlc")[0].ohlc("XBTUSD", 7)


def test_the_order_book_of_a_pair() -> None:
    client, transport = _public("depth")
    assert client.depth("XBTUSD", count=10).asks[0].price == Price(Decimal("91000.1"))
    assert transport.params == {"pair": "XBTUSD", "count": "10"}


def test_market_data_in_a_strange_form_is_unparsable() -> None:
    with pytest.raises(Unparsable):
        PublicClient(PlayedBack(b'{"error":[],"result":{}}')).time()
