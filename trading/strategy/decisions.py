"""What a strategy answers: entry decisions with every veto, exit decisions with the exact share to sell."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from math import isfinite

from trading.domain.money import Price, Ratio, plain
from trading.strategy.plan import EntryPlan


class Part(StrEnum):
    """The five parts of an entry score."""

    TREND = "trend"
    MOMENTUM = "momentum"
    PRICE_ACTION = "price_action"
    VOLUME = "volume"
    STRUCTURE = "structure"


class Veto(StrEnum):
    """Every reason for which a candidate is not entered, in the order in which they are listed."""

    WARM_UP = "warm_up"
    ILLIQUID = "illiquid"
    NO_BREAKOUT = "no_breakout"
    TREND = "trend"
    WEAK_TREND = "weak_trend"
    DIRECTION = "direction"
    MOMENTUM = "momentum"
    OVERBOUGHT = "overbought"
    BELOW_VWAP = "below_vwap"
    THIN_VOLUME = "thin_volume"
    OVEREXTENDED = "overextended"
    TOO_VOLATILE = "too_volatile"
    SCORE = "score"
    EDGE = "edge"


class ExitReason(StrEnum):
    STOP = "stop"
    TRAILING = "trailing"
    TARGET_1 = "target_1"
    TARGET_2 = "target_2"
    TARGET_3 = "target_3"
    TIME = "time"
    STAGNATION = "stagnation"


TARGET_REASONS = (ExitReason.TARGET_1, ExitReason.TARGET_2, ExitReason.TARGET_3)


@dataclass(frozen=True, slots=True)
class VetoNote:
    """One veto and its sentence with the numbers that led to it."""

    veto: Veto
    sentence: str


@dataclass(frozen=True, slots=True)
class PointLine:
    """The points that one rule gave, of at most `maximum`."""

    rule: str
    points: Decimal
    maximum: Decimal


@dataclass(frozen=True, slots=True)
class PartScore:
    part: Part
    lines: tuple[PointLine, ...]

    @property
    def points(self) -> Decimal:
        return sum((line.points for line in self.lines), Decimal(0))

    @property
    def maximum(self) -> Decimal:
        return sum((line.maximum for line in self.lines), Decimal(0))


@dataclass(frozen=True, slots=True)
class Edge:
    """What the first target leaves: target - round trip - slippage, all as ratios of the entry notional."""

    target: Ratio
    round_trip: Ratio
    slippage: Ratio

    @property
    def left(self) -> Ratio:
        return self.target - self.round_trip - self.slippage

    @property
    def sentence(self) -> str:
        return (
            f"edge: target {percent(self.target)}, round trip {percent(self.round_trip)}, "
            f"slippage {percent(self.slippage)}: {percent(self.left)} left"
        )


@dataclass(frozen=True, slots=True)
class EntryDecision:
    """The verdict on one pair at one closed candle.

    `candle_time` is the start of that candle (unix seconds, market time; None without candles), `score` runs from 0 to
    100. `plan` and `edge` are None only while the warm-up veto stands.
    """

    candle_time: int | None
    score: Decimal
    parts: tuple[PartScore, ...]
    vetoes: tuple[VetoNote, ...]
    plan: EntryPlan | None
    edge: Edge | None

    @property
    def enter(self) -> bool:
        return not self.vetoes

    def as_json(self) -> dict[str, object]:
        """For a JSON column: decimals as text, nothing lost that a page shows."""
        return {
            "candle_time": self.candle_time,
            "enter": self.enter,
            "score": plain(self.score),
            "parts": [
                {
                    "part": part.part.value,
                    "points": plain(part.points),
                    "maximum": plain(part.maximum),
                    "lines": [
                        {"rule": line.rule, "points": plain(line.points), "maximum": plain(line.maximum)}
                        for line in part.lines
                    ],
                }
                for part in self.parts
            ],
            "vetoes": [{"veto": note.veto.value, "sentence": note.sentence} for note in self.vetoes],
            "plan": self.plan.as_json() if self.plan else None,
            "edge": self.edge.sentence if self.edge else None,
        }


@dataclass(frozen=True, slots=True)
class OpenPosition:
    """A position that the strategy manages.

    `opened_at` is market time in unix seconds. `fraction_left` is the share of the bought quantity that is still
    managed, `highest` the highest price seen since the entry, `targets_hit` how many targets were sold at, `stop` the
    protective level (the plan's at first).
    """

    entry_price: Price
    opened_at: int
    plan: EntryPlan
    fraction_left: Fraction
    highest: Price
    targets_hit: int
    stop: Price

    @classmethod
    def opened(cls, plan: EntryPlan, *, entry_price: Price, opened_at: int) -> OpenPosition:
        """A position just bought: the plan's distances measured from the price that was really paid."""
        return cls(
            entry_price=entry_price,
            opened_at=opened_at,
            plan=plan,
            fraction_left=Fraction(1),
            highest=entry_price,
            targets_hit=0,
            stop=plan.stop_from(entry_price),
        )


@dataclass(frozen=True, slots=True)
class ExitDecision:
    """Sell `fraction` (0 < fraction <= 1) of the quantity that is managed now.

    `level` is the price that was crossed (None for time and stagnation); `targets_hit` is the position's new count once
    the sale is done.
    """

    reason: ExitReason
    fraction: Fraction
    level: Price | None
    targets_hit: int
    sentence: str


def percent(ratio: Ratio) -> str:
    """`ratio` as people read it: at most two decimals, a space before the sign."""
    rounded = plain(ratio.percent.quantize(Decimal("0.01")))
    return f"{'0' if rounded == '-0' else rounded} %"


def shown(price: Price) -> str:
    """`price` as people read it: a level is a product of many digits, of which eight that count are enough."""
    return plain(Decimal(f"{price.value:.8g}"))


def lasted(seconds: int) -> str:
    """A time in the market as people read it, such as "23 h 55 min"."""
    hours, minutes = divmod(seconds // 60, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def figure(value: float, digits: int) -> str:
    """A statistic with `digits` digits that count, a real minus and no exponent: a histogram of BEAM is −0.0000047."""
    text = plain(Decimal(f"{value:.{digits}g}")) if isfinite(value) else "unknown"
    return text.replace("-", "\N{MINUS SIGN}")
