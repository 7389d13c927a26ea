"""What a person typed, as terms. Everything that cannot be used is refused with one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from trading.backtest.sources import Choice
from trading.backtest.terms import BacktestRefused, Looks, Terms
from trading.domain.money import AmountError, Money, Ratio, parse_decimal
from trading.paper.matching import Fees
from trading.strategy import registry
from trading.strategy.registry import Strategy, UnknownStrategyError

#: Candle files begin in 2013; what lies outside these years is a slip of the finger.
_YEARS = range(2010, 2101)


def strategy_named(name: str) -> Strategy:
    try:
        return registry.get(name)
    except UnknownStrategyError as error:
        text = str(error)
        raise BacktestRefused(f"{text[0].upper()}{text[1:]}.") from None


def terms_of(options: Mapping[str, str], *, entry_notional_percent: str, max_slippage: Decimal) -> Terms:
    """`options` are `start`, `end`, `capital`, `spread_bps`, `maker_fee`, `taker_fee` and `looks`, as typed."""
    return Terms(
        start_s=_instant("--from", options["start"]),
        end_s=_instant("--to", options["end"]),
        capital=Money(_number("--capital", options["capital"])),
        entry_notional=Ratio.from_percent(_number("MASTER_ENTRY_NOTIONAL_PERCENT", entry_notional_percent)),
        max_slippage=Ratio(max_slippage),
        spread_bps=_number("--spread-bps", options["spread_bps"]),
        fees=Fees(
            maker_percent=_number("--maker-fee", options["maker_fee"]),
            taker_percent=_number("--taker-fee", options["taker_fee"]),
        ),
        looks=Looks(options["looks"]),
    )


def choice_of(pairs: str, interval: str) -> Choice:
    if interval and not (interval.isascii() and interval.isdigit() and len(interval) <= 5):
        raise BacktestRefused(f"--interval is a number of minutes, not {interval!r}.")
    symbols = tuple(name.strip().upper() for name in pairs.split(",") if name.strip())
    return Choice(symbols, int(interval) if interval else None)


def default_directory(data_dir: Path, name: str) -> Path:
    return data_dir / "backtests" / name


def _number(option: str, text: str) -> Decimal:
    try:
        return parse_decimal(text.strip())
    except AmountError as error:
        raise BacktestRefused(f"{option} cannot be used: {error}.") from None


def _instant(option: str, text: str) -> int:
    """Unix seconds of a day or an instant; without an offset it is UTC."""
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise BacktestRefused(
            f"{option} is a day or an instant such as 2024-07-01 or 2024-07-01T12:00, not {text!r}."
        ) from None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    if at.year not in _YEARS:
        raise BacktestRefused(f"{option} is a year from {_YEARS[0]} to {_YEARS[-1]}, not {at.year}.")
    return int(at.timestamp())
