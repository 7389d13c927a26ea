"""Every call of the client, spoken to the paper exchange over HTTP: two readings of Kraken's protocol meet."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from tests.support.paper import PaperExchange
from tests.support.waiting import WaitingClient
from trading.domain.instrument import Instrument, Side
from trading.domain.money import Money, Price, Quantity, Ratio
from trading.kraken.connections import LoopTransport
from trading.kraken.endpoints import AddOrder, OrderType, PrivateClient, PublicClient, TimeInForce
from trading.kraken.errors import CommandRejected, CredentialsRefused, OutcomeUnknown
from trading.kraken.senders import of_this_process
from trading.kraken.signing import Credentials
from trading.kraken.symbols import SymbolMap, build_instruments
from trading.kraken.transport import RequestsTransport
from trading.kraken.values import VenueStatus


@dataclass
class Account:
    client: WaitingClient
    credentials: Credentials
    _nonces: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def nonce(self) -> int:
        return next(self._nonces)


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PaperExchange]:
    directory: Path = tmp_path_factory.mktemp("paper")
    exchange = PaperExchange.start(directory=directory, options={"rate_tier": "none"})
    yield exchange
    exchange.stop()


@pytest.fixture(scope="module")
def transport(paper: PaperExchange) -> Iterator[LoopTransport]:
    transport = LoopTransport(paper.url)
    yield transport
    of_this_process().run(transport.close)


@pytest.fixture(scope="module")
def public(paper: PaperExchange) -> Iterator[PublicClient]:
    transport = RequestsTransport(paper.url)
    yield PublicClient(transport)
    transport.close()


@pytest.fixture(scope="module")
def symbols(public: PublicClient) -> SymbolMap:
    return build_instruments(public.assets(), public.asset_pairs())


@pytest.fixture(scope="module")
def beam(symbols: SymbolMap) -> Instrument:
    found = symbols.instrument("BEAM-USD")
    assert found is not None
    return found


@pytest.fixture
def account(paper: PaperExchange, transport: LoopTransport) -> Account:
    created = paper.create_account("client test", balances={"ZUSD": "1000", "BEAM": "5000"})
    credentials = Credentials.from_text(created.api_key, created.api_secret)
    return Account(client=WaitingClient(PrivateClient(transport, credentials)), credentials=credentials)


def _order(beam: Instrument, side: Side, quantity: str) -> AddOrder:
    return AddOrder(
        altname=beam.altname,
        side=side,
        ordertype=OrderType.MARKET,
        quantity=Quantity(Decimal(quantity)),
        cl_ord_id=str(uuid.uuid4()),
        deadline=datetime.now(UTC) + timedelta(seconds=20),
    )


def _far_limit(beam: Instrument, public: PublicClient) -> AddOrder:
    bid = public.ticker([beam.altname])[beam.pair_id].bid
    price = beam.limit_price(bid * Ratio(Decimal("0.5")), Side.BUY)
    return replace(_order(beam, Side.BUY, "2000"), ordertype=OrderType.LIMIT, price=price)


def test_the_market_is_read(public: PublicClient, beam: Instrument) -> None:
    assert abs(public.time() - datetime.now(UTC)) < timedelta(seconds=5)
    assert public.system_status().takes_orders
    ticker = public.ticker([beam.altname])[beam.pair_id]
    assert ticker.bid <= ticker.ask
    book = public.depth(beam.altname)
    assert book.bids[0].price < book.asks[0].price
    candles = public.ohlc(beam.altname, 1)
    assert len(candles) > 100
    assert [candle.time for candle in candles] == sorted({candle.time for candle in candles})


def test_a_bought_quantity_is_told_alike_by_every_call(account: Account, beam: Instrument) -> None:
    client, order = account.client, _order(beam, Side.BUY, "2000")
    started = datetime.now(UTC) - timedelta(seconds=2)
    txid = client.add_order(order, nonce=account.nonce()).txid
    assert txid is not None
    (closed,) = client.closed_orders(nonce=account.nonce(), cl_ord_id=order.cl_ord_id, start=started).orders
    queried = client.query_orders([txid], nonce=account.nonce())[txid]
    assert closed == queried
    assert closed.txid == txid
    assert closed.cl_ord_id == order.cl_ord_id
    assert closed.status is VenueStatus.CLOSED
    assert closed.altname == beam.altname
    assert closed.executed == order.quantity
    trades = client.query_trades(closed.trade_ids, nonce=account.nonce())
    history = client.trades_history(nonce=account.nonce(), start=started)
    assert {trade.trade_id: trade for trade in history.trades} == trades
    assert {trade.order_txid for trade in trades.values()} == {txid}
    assert {trade.pair_id for trade in trades.values()} == {beam.pair_id}
    assert sum((trade.quantity.value for trade in trades.values()), Decimal(0)) == closed.executed.value
    assert sum((trade.fee.value for trade in trades.values()), Decimal(0)) == closed.fee.value
    balances = client.balance_ex(nonce=account.nonce())
    assert balances.by_asset[beam.base_asset].total == Decimal(7000)
    # A balance is shown to the ledger's four decimals, a trade to more.
    assert abs(balances.usd().total - (1000 - closed.cost.value - closed.fee.value)) < Decimal("0.0001")


def test_a_resting_order_holds_funds_until_it_is_cancelled(
    account: Account, beam: Instrument, public: PublicClient
) -> None:
    client, order = account.client, _far_limit(beam, public)
    txid = client.add_order(order, nonce=account.nonce()).txid
    (resting,) = client.open_orders(nonce=account.nonce(), cl_ord_id=order.cl_ord_id).orders
    assert (resting.txid, resting.status, resting.average_price) == (txid, VenueStatus.OPEN, None)
    assert client.balance_ex(nonce=account.nonce()).usd().hold > 0
    assert client.cancel_order(cl_ord_id=order.cl_ord_id, nonce=account.nonce()).count == 1
    assert client.open_orders(nonce=account.nonce(), cl_ord_id=order.cl_ord_id).orders == ()
    (cancelled,) = client.closed_orders(nonce=account.nonce(), cl_ord_id=order.cl_ord_id).orders
    assert cancelled.status is VenueStatus.CANCELED
    assert cancelled.closed_at is not None
    assert client.balance_ex(nonce=account.nonce()).usd().hold == 0
    with pytest.raises(CommandRejected) as refused:
        client.cancel_order(cl_ord_id=order.cl_ord_id, nonce=account.nonce())
    assert refused.value.says("EOrder:Unknown order")


def test_an_immediate_limit_out_of_reach_ends_without_a_fill(
    account: Account, beam: Instrument, public: PublicClient
) -> None:
    order = replace(_far_limit(beam, public), timeinforce=TimeInForce.IMMEDIATE_OR_CANCEL)
    account.client.add_order(order, nonce=account.nonce())
    (ended,) = account.client.closed_orders(nonce=account.nonce(), cl_ord_id=order.cl_ord_id).orders
    assert ended.is_final
    assert not ended.executed
    assert ended.average_price is None


def test_a_second_order_with_an_open_client_order_id_proves_nothing(
    account: Account, beam: Instrument, public: PublicClient
) -> None:
    order = _far_limit(beam, public)
    account.client.add_order(order, nonce=account.nonce())
    with pytest.raises(OutcomeUnknown) as unknown:
        account.client.add_order(order, nonce=account.nonce())
    assert unknown.value.says("EOrder:Duplicate order")


def test_an_order_that_is_only_checked_is_not_placed(account: Account, beam: Instrument) -> None:
    order = replace(_order(beam, Side.BUY, "2000"), validate=True)
    assert account.client.add_order(order, nonce=account.nonce()).txid is None
    assert account.client.closed_orders(nonce=account.nonce()).orders == ()


@pytest.mark.parametrize(
    ("quantity", "code"),
    [("99999999", "EOrder:Insufficient funds"), ("0.00000001", "EOrder:Order minimum not met")],
    ids=["too much", "too little"],
)
def test_a_refused_order_is_certainly_not_placed(account: Account, beam: Instrument, quantity: str, code: str) -> None:
    with pytest.raises(CommandRejected) as refused:
        account.client.add_order(_order(beam, Side.SELL, quantity), nonce=account.nonce())
    assert refused.value.says(code)


def test_a_limit_price_off_the_tick_is_refused(account: Account, beam: Instrument, public: PublicClient) -> None:
    order = _far_limit(beam, public)
    assert order.price is not None
    off_the_tick = order.price + Price(beam.tick_size / 10)
    with pytest.raises(CommandRejected):
        account.client.add_order(replace(order, price=off_the_tick), nonce=account.nonce())


def test_a_used_nonce_proves_nothing(account: Account) -> None:
    account.client.balance_ex(nonce=10)
    with pytest.raises(OutcomeUnknown) as unknown:
        account.client.balance_ex(nonce=10)
    assert unknown.value.says("EAPI:Invalid nonce")


def test_the_key_tells_what_it_may_do(account: Account, paper: PaperExchange, transport: LoopTransport) -> None:
    info = account.client.api_key_info(nonce=account.nonce())
    assert {"query-funds", "modify-trades", "close-trades"} <= info.permissions
    assert "withdraw-funds" not in info.permissions
    assert info.nonce_window == 0
    assert info.iban


def test_a_missing_permission_is_a_refusal_of_the_credentials(paper: PaperExchange, transport: LoopTransport) -> None:
    created = paper.create_account("reader", balances={"ZUSD": "1"}, permissions=["query-open-trades"])
    client = WaitingClient(PrivateClient(transport, Credentials.from_text(created.api_key, created.api_secret)))
    with pytest.raises(CredentialsRefused) as refused:
        client.balance_ex(nonce=1)
    assert refused.value.says("EGeneral:Permission denied")


def test_another_secret_is_a_wrong_signature(account: Account, transport: LoopTransport) -> None:
    forged = Credentials(key=account.credentials.key, secret=b"another secret of many bytes")
    with pytest.raises(CredentialsRefused) as refused:
        WaitingClient(PrivateClient(transport, forged)).balance_ex(nonce=account.nonce())
    assert refused.value.says("EAPI:Invalid signature")


def test_fees_and_the_value_of_all_balances(account: Account, beam: Instrument) -> None:
    rate = account.client.trade_volume([beam.altname], nonce=account.nonce())[beam.pair_id]
    assert rate.taker == Ratio(Decimal("0.008"))
    assert rate.maker == Ratio(Decimal("0.004"))
    assert account.client.trade_balance(nonce=account.nonce()).equivalent > Money(Decimal(1000))
