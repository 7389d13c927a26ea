"""What an operator sees of the master's strategy: its parameters, its cycles with every veto, its levels, its backtests."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db.models import Exists, OuterRef, Prefetch, QuerySet, TextField
from django.db.models.functions import Cast

from copytrade.selectors import position
from copytrade.selectors.operator import MASTER_SCHEDULE
from copytrade.selectors.position import Level
from trading.domain.money import Money
from trading.domain.rate_profile import RateProfile, rate_profile
from trading.models import (
    Account,
    Candidate,
    Instrument,
    MarketPrice,
    Position,
    Role,
    Schedule,
    StrategyCycle,
)
from trading.selectors import backtests, parameters
from trading.selectors.backtests import Backtest
from trading.selectors.parameters import Group
from trading.strategy import registry
from trading.strategy.decisions import Veto
from trading.strategy.registry import Strategy

#: Each is a row per pair with all of its vetoes.
PAGE = 5
#: So many of the last cycles say which vetoes one can choose, and how often there was an entry.
LOOKED_BACK = 100
_CODE = re.compile(r"[a-z0-9_]{1,40}", re.ASCII)


@dataclass(frozen=True, slots=True)
class PartRow:
    part: str
    points: str
    maximum: str
    lines: Sequence[Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class CandidateRow:
    candidate: Candidate
    parts: Sequence[PartRow]


@dataclass(frozen=True, slots=True)
class CycleRow:
    cycle: StrategyCycle
    candidates: Sequence[CandidateRow]

    @property
    def entered(self) -> int:
        return sum(row.candidate.order_id is not None for row in self.candidates)


@dataclass(frozen=True, slots=True)
class LevelsRow:
    """An open position of the master. `levels` is empty for one that was opened by hand."""

    position: Position
    price: MarketPrice | None
    levels: Sequence[Level]
    strategy: str


@dataclass(frozen=True, slots=True)
class StrategyView:
    """`strategy` is None, and `problem` a sentence, when the configured name is not registered."""

    name: str
    strategy: Strategy | None
    problem: str
    master: Account | None
    last: StrategyCycle | None
    next_at: datetime | None
    profile: RateProfile
    looked_back: int
    entered: int
    introduction: str
    groups: Sequence[Group]
    positions: Sequence[LevelsRow]
    backtests: Sequence[Backtest]
    veto_codes: Sequence[str]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the reader asked to see of the cycles; empty is everything."""

    pair: str = ""
    veto: str = ""


def view() -> StrategyView:
    name = settings.MASTER_STRATEGY
    try:
        strategy, problem = registry.get(name), ""
    except registry.UnknownStrategyError as error:
        strategy, problem = None, str(error)
    last = StrategyCycle.objects.filter(finished_at__isnull=False).order_by("-pk").first()
    due = Schedule.objects.filter(name=MASTER_SCHEDULE).first()
    master = Account.objects.filter(venue=settings.VENUE, role=Role.MASTER).select_related("user").first()
    recent = list(StrategyCycle.objects.order_by("-pk").values_list("pk", flat=True)[:LOOKED_BACK])
    judged = list(Candidate.objects.filter(cycle_id__in=recent).values_list("vetoes", "order_id", "cycle_id"))
    return StrategyView(
        name=name,
        strategy=strategy,
        problem=problem,
        master=master,
        last=last,
        next_at=due.due_at if due else None,
        profile=rate_profile(Money(last.equity) if last is not None and last.equity is not None else None),
        looked_back=len(recent),
        entered=len({cycle_id for _, order_id, cycle_id in judged if order_id is not None}),
        introduction=parameters.introduction(strategy) if strategy else "",
        groups=parameters.groups(strategy) if strategy else [],
        positions=_positions(master) if master is not None else [],
        backtests=backtests.latest(),
        veto_codes=sorted({each["code"] for vetoes, _, _ in judged for each in vetoes} | {each.value for each in Veto}),
    )


def wanted(*, pair: str, veto: str) -> Wanted:
    """Only what can be asked for: a pair of this exchange, a word that can be a veto's."""
    listed = pair if pair and "\x00" not in pair and _instruments().filter(symbol=pair).exists() else ""
    return Wanted(listed, veto if _CODE.fullmatch(veto) else "")


def pairs() -> list[str]:
    """Those the strategy looks at, and no other."""
    return [symbol for symbol in settings.MASTER_PAIRS if symbol]


def cycles(asked: Wanted, *, before: int | None) -> tuple[list[CycleRow], int | None]:
    """One page, newest first, and the id that the next one begins before. A filter leaves only the candidates it names."""
    shown = _candidates(asked)
    found = StrategyCycle.objects.order_by("-pk")
    if asked.pair or asked.veto:
        found = found.filter(Exists(shown.filter(cycle_id=OuterRef("pk"))))
    if before is not None:
        found = found.filter(pk__lt=before)
    ordered = shown.select_related("instrument", "order").order_by("-score", "pk")
    page = list(found.prefetch_related(Prefetch("candidates", queryset=ordered, to_attr="shown"))[: PAGE + 1])
    following = page[PAGE - 1].pk if len(page) > PAGE else None
    return [_row(cycle) for cycle in page[:PAGE]], following


def candidates(asked: Wanted, *, before: int | None) -> QuerySet[Candidate]:
    """The candidates of the pages from this one on, without their points: newest cycle first, best score first."""
    found = _candidates(asked).select_related("cycle", "instrument", "order").defer("parts")
    if before is not None:
        found = found.filter(cycle_id__lt=before)
    return found.order_by("-cycle_id", "-score", "pk")


def _candidates(asked: Wanted) -> QuerySet[Candidate]:
    found = Candidate.objects.all()
    if asked.pair:
        found = found.filter(instrument__venue=settings.VENUE, instrument__symbol=asked.pair)
    if asked.veto:
        # SQLite cannot look into a JSON list; both databases print an object the same way, code first.
        found = found.annotate(told=Cast("vetoes", TextField())).filter(told__contains=f'"code": "{asked.veto}"')
    return found


def _row(cycle: StrategyCycle) -> CycleRow:
    shown: Sequence[Candidate] = cycle.shown  # type: ignore[attr-defined]
    return CycleRow(cycle, [CandidateRow(candidate, _parts(candidate)) for candidate in shown])


def _parts(candidate: Candidate) -> list[PartRow]:
    return [
        PartRow(name.replace("_", " "), part["points"], part["maximum"], part.get("lines", ()))
        for name, part in candidate.parts.items()
    ]


def _positions(master: Account) -> list[LevelsRow]:
    held = Position.objects.filter(account=master, is_open=True).select_related("instrument", "levels").order_by("pk")
    rows = list(held)
    prices = MarketPrice.objects.in_bulk([row.instrument_id for row in rows], field_name="instrument_id")
    found = []
    for row in rows:
        levels, price = getattr(row, "levels", None), prices.get(row.instrument_id)
        if levels is None:
            found.append(LevelsRow(row, price, [], ""))
        else:
            found.append(
                LevelsRow(row, price, position.levels_of(levels, price), f"{levels.strategy} {levels.version}")
            )
    return found


def _instruments() -> QuerySet[Instrument]:
    return Instrument.objects.filter(venue=settings.VENUE)
