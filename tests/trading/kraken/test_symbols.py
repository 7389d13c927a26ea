from __future__ import annotations

from decimal import Decimal

import pytest

from tests.trading.kraken.payloads import result
from trading.domain.instrument import Instrument
from trading.domain.money import Money, Quantity
from trading.kraken import parse
from trading.kraken.symbols import SymbolMap, build_instruments


@pytest.fixture
def symbols() -> SymbolMap:
    return build_instruments(parse.assets(result("assets")), parse.asset_pairs(result("asset_pairs")))


def test_an_instrument_carries_the_rules_of_its_pair(symbols: SymbolMap) -> None:
    assert symbols.instrument("BTC-USD") == Instrument(
        symbol="BTC-USD",
        pair_id="XXBTZUSD",
        altname="XBTUSD",
        base_asset="XXBT",
        quote_asset="ZUSD",
        tick_size=Decimal("0.1"),
        lot_size=Decimal("0.00000001"),
        quantity_min=Quantity(Decimal("0.00005")),
        notional_min=Money(Decimal("0.5")),
        tradable=True,
    )


@pytest.mark.parametrize("name", ["BTC-USD", "XBTUSD", "XXBTZUSD", "XBT/USD"])
def test_a_pair_is_found_under_each_of_its_names(symbols: SymbolMap, name: str) -> None:
    found = symbols.instrument(name)
    assert found is not None
    assert found.pair_id == "XXBTZUSD"


@pytest.mark.parametrize(
    ("symbol", "altname"), [("DOGE-USD", "XDGUSD"), ("XTZ-USD", "XTZUSD"), ("BEAM-USD", "BEAMUSD")]
)
def test_names_are_looked_up_and_never_cut_up(symbols: SymbolMap, symbol: str, altname: str) -> None:
    found = symbols.instrument(symbol)
    assert found is not None
    assert found.altname == altname


@pytest.mark.parametrize("name", ["BTC-EUR", "XXBTZEUR", "ETH-BTC", "ETHXBT"])
def test_a_pair_in_another_currency_is_known_but_unsupported(symbols: SymbolMap, name: str) -> None:
    assert symbols.is_unsupported_quote(name)
    assert symbols.instrument(name) is None


@pytest.mark.parametrize("name", ["XXBTZUSD.d", "XBTUSD.d", "XXBTZUSD:BTNL", "XBTUSD:BTNL"])
def test_dark_pools_and_foreign_venues_are_left_out(symbols: SymbolMap, name: str) -> None:
    assert symbols.find(name) is None


def test_an_unknown_pair_is_not_called_unsupported(symbols: SymbolMap) -> None:
    assert symbols.find("NOPE-USD") is None
    assert not symbols.is_unsupported_quote("NOPE-USD")


def test_a_pair_that_is_not_online_is_not_tradable(symbols: SymbolMap) -> None:
    found = symbols.instrument("ETH-USD")
    assert found is not None
    assert not found.tradable


def test_the_stem_of_a_suffixed_balance_is_the_altname(symbols: SymbolMap) -> None:
    assert symbols.altname_of_asset("XXBT") == "XBT"
    assert symbols.altname_of_asset("NEW") == "NEW"


def test_no_symbol_is_given_twice(symbols: SymbolMap) -> None:
    given = [instrument.symbol for instrument in symbols.instruments] + [pair.symbol for pair in symbols.unsupported]
    assert len(given) == len(set(given))
