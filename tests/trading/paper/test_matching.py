"""Properties of the engine without HTTP: money is neither made nor lost, nothing ever goes below zero."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from trading.paper import matching, order_entry
from trading.paper.engine import Exchange
from trading.paper.errors import KrakenError
from trading.paper.limits import RateLimits
from trading.paper.market import PinnedMarket
from trading.paper.matching import Fees, Liquidity
from trading.paper.pairs import PAIRS, ZERO
from trading.paper.records import Account
from trading.paper.store import Store

BEAM = PAIRS["BEAMUSD"]
TICK = BEAM.tick
START = Decimal(50)


@contextmanager
def fresh_exchange(fees: Fees) -> Iterator[tuple[Exchange, Account]]:
    with tempfile.TemporaryDirectory() as directory:
        store = Store(Path(directory) / "paper.sqlite3")
        market = PinnedMarket([BEAM], spread_bps=Decimal(4))
        exchange = Exchange(market, store, fees=fees, limits=RateLimits())
        yield exchange, exchange.accounts.create("test", {"USD": START, "BEAM": Decimal(5000)}, now=0.0)
        store.close()


def check_books(exchange: Exchange, account: Account) -> None:
    """Balances are what the trades made of the deposits, holds are covered, orders agree with their trades."""
    usd, beam = START, Decimal(5000)
    for trade in exchange.trades_of(account):
        sign = 1 if trade.side == "buy" else -1
        beam += sign * trade.volume
        usd -= sign * trade.cost + trade.fee
    assert account.balances == {"ZUSD": usd, "BEAM": beam}
    for asset, hold in exchange.holds_of(exchange.open_orders_of(account)).items():
        assert ZERO <= hold <= account.balances[asset]
    for order in exchange.orders_of(account):
        trades = [exchange.trades[txid] for txid in order.trades]
        assert order.executed == sum((trade.volume for trade in trades), ZERO) <= order.volume
        assert order.cost == sum((trade.cost for trade in trades), ZERO)
        assert order.fee == sum((trade.fee for trade in trades), ZERO)
        assert (order.status == "closed") == (order.executed == order.volume)


steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("order"),
            st.sampled_from(["buy", "sell"]),
            st.decimals("1", "9000", places=8),
            st.one_of(st.none(), st.integers(2000, 4000)),
            st.sampled_from(["GTC", "IOC", "FOK"]),
        ),
        st.tuples(st.just("pin"), st.integers(2000, 4000), st.integers(0, 50)),
        st.tuples(st.just("liquidity"), st.one_of(st.none(), st.decimals("40", "3000", places=3)), st.booleans()),
        st.tuples(st.just("cancel"), st.integers(0, 10)),
    ),
    max_size=25,
)
percents = st.decimals("0", "2", places=2)


def play(exchange: Exchange, account: Account, step: tuple[object, ...], now: float) -> None:
    match step:
        case ("order", str(side), Decimal() as volume, ticks, str(timeinforce)):
            fields = {"type": side, "volume": str(volume), "timeinforce": timeinforce, "ordertype": "market"}
            if isinstance(ticks, int):
                fields |= {"ordertype": "limit", "price": f"{TICK * ticks:f}"}
            exchange.add_order(account, order_entry.read(fields, pair=BEAM, now=now), now=now)
        case ("pin", int(bid), int(spread)):
            exchange.market.pin(BEAM, bid=TICK * bid, ask=TICK * (bid + spread))
            exchange.match_resting(now=now)
        case ("liquidity", most, bool(waits)):
            size = most if isinstance(most, Decimal) else None
            exchange.liquidity["*"] = Liquidity(match_max=size, order_max=size and size * 2, market_orders_wait=waits)
            exchange.match_resting(now=now)
        case ("cancel", int(index)):
            exchange.cancel(account, exchange.orders_of(account)[index : index + 1], now=now)


@given(steps, percents, percents)
@hypothesis_settings(max_examples=60, deadline=None)
def test_no_sequence_of_orders_makes_money_or_a_negative_balance(
    sequence: list[tuple[object, ...]], maker: Decimal, taker: Decimal
) -> None:
    with fresh_exchange(Fees(min(maker, taker), max(maker, taker))) as (exchange, account):
        waited = False
        for number, step in enumerate(sequence):
            waited = waited or (step[0] == "liquidity" and step[2] is True)
            before = {**account.balances}, len(exchange.orders_of(account))
            try:
                play(exchange, account, step, float(number))
            except KrakenError:
                assert before == (account.balances, len(exchange.orders_of(account)))
            if not waited:
                check_books(exchange, account)
        assert all(amount >= 0 for amount in account.balances.values())


@given(
    st.decimals("0.000001", "100000", places=6),
    st.decimals("0.00000001", "1000000", places=8),
    st.decimals("0", "5", places=2),
)
def test_cost_and_fee_are_rounded_half_up_to_the_pairs_cost_decimals(
    price: Decimal, volume: Decimal, percent: Decimal
) -> None:
    fill = matching.fill(BEAM, price, volume, fees=Fees(ZERO, percent), maker=False)
    half = Decimal("0.000000005")
    assert fill.cost.as_tuple().exponent == fill.fee.as_tuple().exponent == -8
    assert -half <= fill.cost - price * volume <= half
    assert -half <= fill.fee - fill.cost * percent / 100 <= half


@given(
    st.decimals("0.00000001", "100000", places=8),
    st.one_of(st.none(), st.decimals("1", "5000", places=4)),
    st.one_of(st.none(), st.decimals("0", "5000", places=4)),
)
def test_slices_add_up_to_what_the_market_gives_and_none_is_too_large(
    wanted: Decimal, match_max: Decimal | None, order_max: Decimal | None
) -> None:
    slices = Liquidity(match_max, order_max).slices(wanted)
    assert sum(slices, ZERO) == (wanted if order_max is None else min(wanted, order_max))
    assert all(volume > 0 for volume in slices)
    if match_max is not None and len(slices) < 1000:
        assert max(slices, default=ZERO) <= match_max


def test_a_waiting_market_order_that_grows_too_dear_is_cancelled_not_overdrawn() -> None:
    with fresh_exchange(Fees()) as (exchange, account):
        exchange.market.pin(BEAM, bid=TICK * 2900, ask=TICK * 2900)
        exchange.liquidity["*"] = Liquidity(order_max=Decimal(400), market_orders_wait=True)
        request = {"type": "buy", "ordertype": "market", "volume": "17000"}
        exchange.add_order(account, order_entry.read(request, pair=BEAM, now=0.0), now=0.0)
        exchange.market.pin(BEAM, bid=TICK * 999_000, ask=TICK * 999_000)
        exchange.match_resting(now=1.0)
        (order,) = exchange.orders_of(account)
        assert (order.status, order.reason, order.executed) == ("canceled", "Insufficient funds", Decimal(400))
        assert account.balances["ZUSD"] > 0
