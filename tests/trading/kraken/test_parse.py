from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from tests.trading.kraken.payloads import result
from trading.domain.instrument import Side
from trading.domain.money import Money, Price, Quantity, Ratio
from trading.kraken import parse
from trading.kraken.errors import Unparsable
from trading.kraken.values import VenueOrder, VenueStatus

OPEN_TXID = "OQCLML-BW3P3-BUCMWZ"


def _open_order(**changes: Any) -> VenueOrder:
    row = result("open_orders")["open"][OPEN_TXID] | changes
    return parse.orders({OPEN_TXID: row})[OPEN_TXID]


def test_an_open_order_with_a_partial_fill() -> None:
    order = _open_order()
    assert order == VenueOrder(
        txid=OPEN_TXID,
        cl_ord_id="6d1b345e-2821-40e2-ad83-4ecb18a06876",
        status=VenueStatus.OPEN,
        raw_status="open",
        side=Side.BUY,
        altname="XBTUSD",
        quantity=Quantity(Decimal("1.25")),
        executed=Quantity(Decimal("0.375")),
        cost=Money(Decimal("33753.7")),
        fee=Money(Decimal("135.01")),
        average_price=Price(Decimal(90010)),
        reason="",
        opened_at=datetime(2025, 11, 22, 8, 10, 0, 897400, tzinfo=UTC),
        closed_at=None,
        trade_ids=("TCCCTY-WE2O6-P3NB37",),
    )
    assert not order.is_final


def test_borrowed_money_and_amounts_in_quote_are_told() -> None:
    plain = _open_order()
    assert (plain.on_margin, plain.in_quote) == (False, False)
    descr = result("open_orders")["open"][OPEN_TXID]["descr"]
    assert _open_order(descr=descr | {"leverage": "5:1"}).on_margin
    assert _open_order(oflags="viqc,fciq").in_quote


def test_a_cancelled_order_without_a_fill_has_no_average_price() -> None:
    page = parse.orders_page(result("closed_orders"), "closed")
    (order,) = page.orders
    assert page.count == 1
    assert order.status is VenueStatus.CANCELED
    assert order.is_final
    assert order.average_price is None
    assert order.cl_ord_id is None
    assert order.reason == "User requested"
    assert order.closed_at == datetime(2025, 11, 22, 5, 41, 40, 48200, tzinfo=UTC)
    assert order.trade_ids == ()


def test_a_filled_order_names_its_trades() -> None:
    order = parse.orders(result("query_orders"))["OBCMZD-JIEE7-77TH3F"]
    assert order.status is VenueStatus.CLOSED
    assert order.executed == order.quantity == Quantity(Decimal("2898.51"))
    assert order.average_price == Price(Decimal("0.002918"))
    assert order.reason == ""
    assert len(order.trade_ids) == 2


def test_a_missing_average_price_follows_from_cost_and_quantity() -> None:
    order = _open_order(price="0.00000", vol_exec="2", cost="5")
    assert order.average_price == Price(Decimal("2.5"))


@pytest.mark.parametrize("status", ["pending", "open", "closed", "canceled", "expired"])
def test_every_status_of_kraken_is_known(status: str) -> None:
    assert _open_order(status=status).raw_status == status


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "partially_filled"},
        {"status": None},
        {"vol": None},
        {"vol": "-1"},
        {"vol_exec": "NaN"},
        {"vol_exec": None},
        {"cost": []},
        {"fee": "x"},
        {"opentm": None},
        {"opentm": "soon"},
        {"descr": None},
        {"descr": {"pair": "XBTUSD", "type": "hold"}},
        {"descr": {"type": "buy"}},
        {"trades": "TCCCTY-WE2O6-P3NB37"},
        {"trades": [7]},
        {"cl_ord_id": 7},
    ],
)
def test_an_order_that_does_not_fit_is_unparsable(changes: dict[str, Any]) -> None:
    with pytest.raises(Unparsable):
        _open_order(**changes)


def test_an_answer_without_its_wrapper_is_unparsable() -> None:
    with pytest.raises(Unparsable):
        parse.orders_page({}, "open")


def test_a_trade() -> None:
    page = parse.trades_page(result("trades_history"))
    (trade,) = page.trades
    assert trade.trade_id == "THVRQM-33VKH-UCI7BS"
    assert trade.order_txid == OPEN_TXID
    assert trade.pair_id == "XXBTZUSD"
    assert trade.side is Side.BUY
    assert trade.quantity == Quantity(Decimal("0.02"))
    assert trade.price == Price(Decimal(90010))
    assert trade.cost == Money(Decimal("1800.2"))
    assert trade.fee == Money(Decimal("7.2008"))
    assert trade.at == datetime(2025, 11, 22, 8, 11, 40, 880200, tzinfo=UTC)
    assert trade.maker is True


@pytest.mark.parametrize("name", ["ordertxid", "pair", "time", "type", "price", "cost", "fee", "vol"])
def test_a_trade_that_lacks_a_field_is_unparsable(name: str) -> None:
    rows = result("query_trades")
    del rows["THVRQM-33VKH-UCI7BS"][name]
    with pytest.raises(Unparsable):
        parse.trades(rows)


def test_balances_take_strings_and_numbers_and_know_what_is_held() -> None:
    balances = parse.balances(result("balance_ex"))
    assert balances.by_asset["XXBT"].available == Decimal("0.4012")
    assert balances.by_asset["USD.F"].total == Decimal("20.5")


def test_spendable_dollars_include_the_auto_earning_part() -> None:
    usd = parse.balances(result("balance_ex")).usd()
    assert usd.total == Decimal("25455.71")
    assert usd.available == Decimal("17205.95")


def test_spendable_bitcoin_leaves_out_what_is_bonded() -> None:
    bitcoin = parse.balances(result("balance_ex")).spendable("XXBT", altname="XBT")
    assert bitcoin.total == Decimal("1.3435")
    assert bitcoin.available == Decimal("0.5012")


def test_an_asset_kraken_does_not_list_is_held_at_zero() -> None:
    assert parse.balances(result("balance_ex")).spendable("SOL", altname="SOL").total == 0


def test_more_held_than_there_is_leaves_nothing_available() -> None:
    balances = parse.balances({"ZUSD": {"balance": "1", "hold_trade": "2"}})
    assert balances.usd().available == 0


def test_a_debt_is_told_as_it_is() -> None:
    balances = parse.balances({"ZUSD": {"balance": "1"}, "ZEUR": {"balance": "-0.01"}})
    assert balances.by_asset["ZEUR"].total == Decimal("-0.01")


@pytest.mark.parametrize("row", [{}, {"balance": None}, {"balance": "NaN"}, {"balance": "1", "hold_trade": "-1"}, "12"])
def test_a_balance_that_makes_no_sense_is_unparsable_and_never_zero(row: object) -> None:
    with pytest.raises(Unparsable):
        parse.balances({"ZUSD": row})


def test_a_ticker() -> None:
    ticker = parse.tickers(result("ticker"))["XXBTZUSD"]
    assert (ticker.bid, ticker.ask, ticker.last) == (
        Price(Decimal("91000.0")),
        Price(Decimal("91000.1")),
        Price(Decimal("91000.1")),
    )


@pytest.mark.parametrize("ask", [[], None, ["0.00000"], ["-1"], "91000"])
def test_a_ticker_without_a_price_is_unparsable(ask: object) -> None:
    rows = result("ticker")
    rows["XXBTZUSD"]["a"] = ask
    with pytest.raises(Unparsable):
        parse.tickers(rows)


def test_a_pair_without_a_price_does_not_spoil_the_prices_of_others() -> None:
    rows = result("ticker")
    rows["EMPTY"] = rows["XXBTZUSD"] | {"b": ["0.00000", "0", "0.000"]}
    assert set(parse.tickers(rows)) == {"XXBTZUSD"}


def test_candles_are_oldest_first() -> None:
    first, second = parse.candles(result("ohlc"))
    assert (first.time, second.time) == (1763798400, 1763798460)
    assert first.low == Decimal("90950.0")
    assert first.volume == Decimal("3.39243896")
    assert first.count == 23


def test_a_candle_that_contradicts_itself_is_unparsable() -> None:
    rows = result("ohlc")
    rows["XXBTZUSD"][0][2] = "1"
    with pytest.raises(Unparsable):
        parse.candles(rows)


def test_an_answer_with_two_series_is_unparsable() -> None:
    with pytest.raises(Unparsable):
        parse.candles(result("ohlc") | {"XETHZUSD": []})


def test_an_order_book_keyed_by_any_name_is_read() -> None:
    book = parse.depth({"XBT/USD": result("depth")["XXBTZUSD"]})
    assert book.asks[0].price == Price(Decimal("91000.1"))
    assert book.bids[0].quantity == Quantity(Decimal("1.115"))


def test_a_placed_order_names_exactly_one_order() -> None:
    assert parse.added_order(result("add_order"), validate=False).txid == "OUF4EM-FRGI2-MQMWZD"


@pytest.mark.parametrize("txid", [None, [], ["A", "B"], [""], [None], "OUF4EM-FRGI2-MQMWZD"])
def test_a_placed_order_without_a_name_is_unparsable_and_so_unknown(txid: object) -> None:
    with pytest.raises(Unparsable):
        parse.added_order(result("add_order") | {"txid": txid}, validate=False)


def test_a_validated_order_has_no_name() -> None:
    validated = parse.added_order(result("add_order_validated"), validate=True)
    assert validated.txid is None
    assert validated.description == "buy 1.25000000 XBTUSD @ limit 37500.0"


def test_a_cancellation_under_way_says_so() -> None:
    cancelled = parse.cancelled_order(result("cancel_order"))
    assert (cancelled.count, cancelled.pending) == (1, True)


def test_the_key_info_in_camel_case() -> None:
    info = parse.api_key_info(result("api_key_info"))
    assert info.name == "my-api-key"
    assert "modify-trades" in info.permissions
    assert info.iban == "AA88 N84G WOAK NMOI"
    assert info.nonce_window == 0
    assert info.valid_until is None
    assert info.query_from is None
    assert info.query_to is None
    assert info.ip_allowlist == ()


@pytest.mark.parametrize("names", [("queryFrom", "queryTo"), ("query_from", "query_to")])
def test_the_key_info_tells_between_which_dates_the_key_sees(names: tuple[str, str]) -> None:
    bounds = dict(zip(names, ("1767225600", "1798761600"), strict=True))
    told = {name: value for name, value in result("api_key_info").items() if name not in ("queryFrom", "queryTo")}
    info = parse.api_key_info({**told, **bounds})
    assert info.query_from == datetime(2026, 1, 1, tzinfo=UTC)
    assert info.query_to == datetime(2027, 1, 1, tzinfo=UTC)


def test_the_key_info_in_snake_case() -> None:
    info = parse.api_key_info(result("api_key_info_snake_case"))
    assert info.permissions == {"query-funds", "withdraw-funds"}
    assert info.nonce_window == 5000
    assert info.valid_until == datetime(2027, 1, 15, 8, 0, tzinfo=UTC)
    assert info.ip_allowlist == ("192.0.2.7",)


@pytest.mark.parametrize("name", ["permissions", "nonceWindow"])
def test_a_key_info_that_lacks_what_safety_needs_is_unparsable(name: str) -> None:
    found = result("api_key_info")
    del found[name]
    with pytest.raises(Unparsable):
        parse.api_key_info(found)


def test_permissions_that_are_not_texts_are_unparsable() -> None:
    with pytest.raises(Unparsable):
        parse.api_key_info(result("api_key_info") | {"permissions": [{"query-funds": True}]})


def test_fees_are_ratios() -> None:
    rate = parse.fee_rates(result("trade_volume"))["XXBTZUSD"]
    assert rate.taker == Ratio(Decimal("0.008"))
    assert rate.maker == Ratio(Decimal("0.004"))


def test_a_pair_without_a_maker_schedule_pays_the_takers_fee() -> None:
    found = result("trade_volume")
    del found["fees_maker"]
    assert parse.fee_rates(found)["XXBTZUSD"].maker == Ratio(Decimal("0.008"))


def test_a_fee_of_everything_is_unparsable() -> None:
    found = result("trade_volume")
    found["fees"]["XXBTZUSD"]["fee"] = "100"
    with pytest.raises(Unparsable):
        parse.fee_rates(found)


def test_the_value_of_all_balances() -> None:
    assert parse.trade_balance(result("trade_balance")).equivalent == Money(Decimal("983691.5512"))


def test_one_strange_pair_is_left_out_and_the_rest_is_read(caplog: pytest.LogCaptureFixture) -> None:
    rows = result("asset_pairs")
    rows["XETHZUSD"]["pair_decimals"] = "two"
    rows["XTZUSD"] = None
    read = parse.asset_pairs(rows)
    assert "XXBTZUSD" in read
    assert not {"XETHZUSD", "XTZUSD"} & set(read)
    assert "XETHZUSD" in caplog.text


def test_a_list_of_nothing_but_strange_pairs_is_unparsable() -> None:
    with pytest.raises(Unparsable):
        parse.asset_pairs({"XXBTZUSD": {}})


def test_a_missing_tick_size_follows_from_the_price_decimals() -> None:
    assert parse.asset_pairs(result("asset_pairs"))["XDGUSD"].tick_size == Decimal("0.0000001")


@pytest.mark.parametrize("changes", [{"tick_size": "0"}, {"lot_multiplier": 10}, {"lot_decimals": 40}])
def test_a_pair_without_usable_steps_is_left_out(changes: dict[str, Any]) -> None:
    rows = result("asset_pairs")
    rows["XXBTZUSD"] |= changes
    assert "XXBTZUSD" not in parse.asset_pairs(rows)
