"""`manage.py backtest --strategy apex --data DIR --from 2024-07-01 --to 2024-11-01`: the strategy on past candles."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.models.risk import RiskSettings
from trading.backtest import asking, publishing, tables
from trading.backtest.result import compute
from trading.backtest.terms import BacktestRefused, Progress
from trading.paper.matching import Fees
from trading.strategy import registry

FEES = Fees()


class Command(BaseCommand):
    help = "Trade past candles with the master's own decisions; prints statistics and writes a report."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--strategy", default=settings.MASTER_STRATEGY, help=f"one of {', '.join(registry.names())}"
        )
        parser.add_argument("--data", required=True, type=Path, help="directory of PAIR_minutes.csv or .csv.gz files")
        parser.add_argument("--from", dest="start", required=True, help="first instant, such as 2024-07-01, UTC")
        parser.add_argument("--to", dest="end", required=True, help="last instant, not included")
        parser.add_argument("--capital", default="1000", help="US dollars to begin with (1000)")
        parser.add_argument("--pairs", default="", help="such as BTC-USD,ETH-USD; all files of the directory otherwise")
        parser.add_argument("--interval", default="", help="minutes, when the directory has files of several intervals")
        parser.add_argument("--spread-bps", default="4", help="between bid and ask, in basis points (4)")
        parser.add_argument(
            "--maker-fee", default=str(FEES.maker_percent), help="percent (0.40); nothing rests here, so none pays it"
        )
        parser.add_argument("--taker-fee", default=str(FEES.taker_percent), help="percent (0.80)")
        parser.add_argument(
            "--looks", default="path", choices=["path", "close"], help="along each candle, or only at its close"
        )
        parser.add_argument("--out", type=Path, help="directory to write to; below the data directory otherwise")

    def handle(self, *_: Any, **options: Any) -> None:
        try:
            strategy = asking.strategy_named(options["strategy"])
            terms = asking.terms_of(
                options,
                entry_notional_percent=settings.MASTER_ENTRY_NOTIONAL_PERCENT,
                max_slippage=RiskSettings._meta.get_field("max_slippage").default,
            )
            choice = asking.choice_of(options["pairs"], options["interval"])
            with ProgressBar() as progress:
                result = compute(options["data"], strategy=strategy, choice=choice, terms=terms, progress=progress)
                directory = options["out"] or asking.default_directory(settings.NIJA_DATA_DIR, result.name)
                progress("writing", 0.0)
                publishing.publish(result, directory)
        except BacktestRefused as refusal:
            raise CommandError(str(refusal)) from None
        self.stdout.write(tables.text_of(result))
        self.stdout.write(f"\nReport: {directory / publishing.REPORT}")


class ProgressBar:
    """How far each part of the work is, on stderr; a file or a pipe gets nothing but the first label."""

    #: Where each part begins, in thousandths of the whole, as five pairs of 35,000 candles took.
    _BEGINS = {"reading": 0, "preparing": 350, "trading": 450, "counting": 700, "writing": 750}
    _LENGTH = 1000

    def __init__(self) -> None:
        self._bar = click.progressbar(length=self._LENGTH, label="backtest", file=sys.stderr, show_eta=False)

    def __enter__(self) -> Progress:
        self._bar.__enter__()
        return self._tell

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._bar.update(self._LENGTH - self._bar.pos)
        self._bar.__exit__(None, None, None)

    def _tell(self, label: str, share: float) -> None:
        begins = self._BEGINS[label.partition(" ")[0]]
        ends = min((each for each in self._BEGINS.values() if each > begins), default=self._LENGTH)
        self._bar.label = label
        self._bar.update(max(0, int(begins + share * (ends - begins)) - self._bar.pos))
