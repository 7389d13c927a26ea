"""A finished backtest with everything that belongs to it, and what names it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from trading.backtest import sources
from trading.backtest.curve import Curve, curve_of
from trading.backtest.simulation import Run, simulate
from trading.backtest.sources import Source
from trading.backtest.statistics import Statistics, statistics_of
from trading.backtest.terms import Progress, Terms, digest
from trading.domain.money import Money, Price, Quantity, Ratio, plain
from trading.strategy.registry import Strategy

#: Rises when the same inputs give other figures because the fill model changed.
MODEL = "1"
HASH_SHOWN = 12


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    strategy: Strategy
    sources: Sequence[Source]
    run: Run
    curve: Curve
    statistics: Statistics

    @property
    def terms(self) -> Terms:
        return self.run.terms

    @property
    def inputs_hash(self) -> str:
        """SHA-256 over everything that the figures depend on: strategy, parameters, terms, fill model, files."""
        terms = [f"{name}={value}" for name, value in json_value(self.terms).items()]
        strategy = [self.strategy.name, self.strategy.version, self.strategy.parameters_hash]
        files = [f"{source.name} {source.sha256}" for source in self.sources]
        return digest([MODEL, *strategy, *terms, *files])

    @property
    def name(self) -> str:
        """What the directory is called: apex-20240701-20241101-0123456789ab."""
        span = f"{self._named_day(self.terms.start_s)}-{self._named_day(self.terms.end_s)}"
        return f"{self.strategy.name}-{span}-{self.inputs_hash[:HASH_SHOWN]}"

    @staticmethod
    def _named_day(seconds: int) -> str:
        at = datetime.fromtimestamp(seconds, UTC)
        return f"{at:%Y%m%d}" if seconds % 86_400 == 0 else f"{at:%Y%m%dT%H%M}"

    @property
    def parameters(self) -> dict[str, Any]:
        """The strategy's thresholds by name, as JSON values; empty for a strategy without a parameter object."""
        given = getattr(self.strategy, "parameters", None)
        if not dataclasses.is_dataclass(given):
            return {}
        return {field.name: json_value(getattr(given, field.name)) for field in dataclasses.fields(given)}

    def as_json(self) -> dict[str, Any]:
        """summary.json: amounts and exact numbers are texts, ratios of statistics JSON numbers. No wall clock."""
        terms = self.terms
        return {
            "kind": "nija-backtest",
            "name": self.name,
            "strategy": self.strategy.name,
            "version": self.strategy.version,
            "parameters": self.parameters,
            "parameters_hash": self.strategy.parameters_hash,
            "inputs_hash": self.inputs_hash,
            "fill_model": MODEL,
            "from": instant(terms.start_s),
            "to": instant(terms.end_s),
            "interval_minutes": self.sources[0].tape.step_s // 60,
            "pairs": [source.tape.symbol for source in self.sources],
            "capital": json_value(terms.capital),
            "entry_notional_percent": plain(terms.entry_notional.percent),
            "spread_bps": plain(terms.spread_bps),
            "maker_fee_percent": plain(terms.fees.maker_percent),
            "taker_fee_percent": plain(terms.fees.taker_percent),
            "looks": terms.looks.value,
            "data": [_source_json(source) for source in self.sources],
            "statistics": json_value(self.statistics),
            "entries_refused": dict(sorted(self.run.refused.items())),
        }


def compute(directory: Path, *, strategy: Strategy, choice: sources.Choice, terms: Terms, progress: Progress) -> Result:
    """Read, trade, count. Writes nothing. Raises BacktestRefused with a sentence."""
    found = sources.read(directory, choice=choice, terms=terms, progress=progress)
    run = simulate([source.tape for source in found], strategy=strategy, terms=terms, progress=progress)
    progress("counting", 1.0)
    curve = curve_of(run)
    found.sort(key=lambda source: source.tape.symbol)
    return Result(strategy, found, run, curve, statistics_of(run, curve))


def instant(seconds: int) -> str:
    """RFC 3339, UTC."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def json_value(value: Any) -> Any:
    """Decimals, amounts and fractions as text; floats, whole numbers and None as they are."""
    if dataclasses.is_dataclass(value) and not isinstance(value, (Money, Price, Quantity, Ratio)):
        return {field.name: json_value(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [json_value(each) for each in value]
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, (Money, Price, Quantity, Ratio, Fraction)):
        return str(value)
    return value


def _source_json(source: Source) -> dict[str, Any]:
    tape = source.tape
    return {
        "file": source.name,
        "sha256": source.sha256,
        "pair": tape.symbol,
        "candles": len(tape),
        "candles_traded": len(tape) - tape.first,
        "flat_candles": tape.flat,
        "first": instant(tape.start + tape.first * tape.step_s),
        "last": instant(tape.start + tape.last * tape.step_s),
    }
