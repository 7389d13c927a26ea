"""One timed pass of the master's strategy: what it saw, what it thought of every pair, what it entered."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings

from trading import doorbell
from trading.domain import order_state
from trading.domain.master_sizing import POSITIONS_MAX
from trading.domain.money import Money, Price, Quantity, Ratio, plain
from trading.domain.rate_profile import RateProfile, rate_profile
from trading.kraken.endpoints import PublicClient
from trading.models import (
    Account,
    Candidate,
    EntryPlan,
    Instrument,
    MarketPrice,
    Order,
    OrderKind,
    OrderOrigin,
    Position,
    Schedule,
    StrategyCycle,
)
from trading.selectors import equity
from trading.services import candles, market, master_orders
from trading.services.clock import Clock
from trading.services.master_orders import MasterOrderRefused, Problem, StrategyEntry
from trading.strategy import registry
from trading.strategy.decisions import EntryDecision
from trading.strategy.registry import Strategy

logger = logging.getLogger(__name__)

SCHEDULE = "master-cycle"
BALANCES_TASK = "trading.tasks.refresh_balances"
CLOCK_TASK = "trading.tasks.measure_venue_clock"
#: A cycle that died holds the next one up for so long; longer than any cycle lasts.
LEASE = timedelta(seconds=120)
#: What passes by itself within seconds is looked at again soon, a few times in a row only.
PASSING = frozenset({"clock_unknown", "balance_unknown", "market_data"})
SOON = timedelta(seconds=3)
SOON_MAX = 8
#: Good enough to judge by; an order is sized with a fresh one.
PRICE_USABLE_FOR = timedelta(seconds=30)
#: Candles older than so many intervals say nothing about now.
STALE_AFTER_INTERVALS = 3
KEPT_FOR = timedelta(days=7)
#: Once in so many cycles as many and more are forgotten.
PRUNED_EVERY, PRUNED_MAX = 50, 200
PROBLEM_MAX = 300


@dataclass(slots=True)
class Judgement:
    """One pair in one cycle. Vetoes are in the order in which they were found: the strategy's, then the engine's."""

    instrument: Instrument
    decision: EntryDecision | None = None
    vetoes: list[dict[str, str]] = field(default_factory=list)
    order: Order | None = None

    def veto(self, code: str, sentence: str) -> None:
        self.vetoes.append({"code": code, "sentence": sentence})

    @property
    def candle_at(self) -> datetime | None:
        time = self.decision.candle_time if self.decision else None
        return None if time is None else datetime.fromtimestamp(time, UTC)

    @property
    def score(self) -> Decimal:
        return self.decision.score if self.decision else Decimal(0)


@dataclass(frozen=True, slots=True)
class Situation:
    """What the engine knows of the master when it judges; `market_at` is market time."""

    problems: Sequence[Problem]
    open_ids: frozenset[int]
    live_ids: frozenset[int]
    last_entry_at: datetime | None
    market_at: datetime
    prices: Mapping[int, MarketPrice]
    #: Of every candle that was entered already: instrument and market time of its close.
    entered: frozenset[tuple[int, datetime]]
    now: datetime
    profile: RateProfile


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a cycle ended: the code of what stopped every entry, and when the next may follow if one waits for that."""

    code: str = ""
    next_entry_at: datetime | None = None


def run_due_cycle(*, clock: Clock, client: PublicClient | None = None) -> StrategyCycle | None:
    """Run the master's strategy if it is due and nobody else runs it; None when there was nothing to do."""
    account = master_orders.master_account()
    if account is None:
        return None
    # Before the claim: a name that is not registered must not hold up the cycles of its successor.
    strategy = registry.get(settings.MASTER_STRATEGY)
    now = clock.now()
    due_at = _claim(now)
    if due_at is None:
        return None
    cycle = StrategyCycle.objects.create(
        due_at=due_at,
        started_at=now,
        strategy=strategy.name,
        version=strategy.version,
        parameters_hash=strategy.parameters_hash,
    )
    outcome = Outcome()
    try:
        outcome = _run(cycle, account, strategy, clock=clock, client=client or market.public_client())
    except Exception as error:
        cycle.problem = f"The cycle failed: {type(error).__name__}. The log has the details."
        raise
    finally:
        cycle.finished_at = clock.now()
        cycle.save()
        _schedule_next(cycle, outcome, lease_ends_at=now + LEASE)
        if cycle.pk % PRUNED_EVERY == 0:
            _prune(strategy, now=now)
        doorbell.changed([account.user_id])
    return cycle


def _claim(now: datetime) -> datetime | None:
    """The due time that this call may work on, held until the lease ends; None when it is not due or taken."""
    row, _ = Schedule.objects.get_or_create(name=SCHEDULE, defaults={"due_at": now})
    if row.due_at > now:
        return None
    taken = Schedule.objects.filter(name=SCHEDULE, due_at=row.due_at).update(due_at=now + LEASE)
    return row.due_at if taken == 1 else None


def _schedule_next(cycle: StrategyCycle, outcome: Outcome, *, lease_ends_at: datetime) -> None:
    """After the profile's pause; sooner when something passes by itself or a candidate only waits for the spacing."""
    profile = rate_profile(Money(cycle.equity) if cycle.equity is not None else None)
    pause = profile.monitoring
    if outcome.code in PASSING:
        latest = StrategyCycle.objects.filter(strategy=cycle.strategy).order_by("-due_at")[:SOON_MAX]
        if any(not each.problem for each in latest) or len(latest) < SOON_MAX:
            pause = min(SOON, pause)
    assert cycle.finished_at is not None
    due_at = max(cycle.started_at + pause, cycle.finished_at)
    if outcome.next_entry_at is not None:
        due_at = min(due_at, max(outcome.next_entry_at, cycle.finished_at))
    Schedule.objects.filter(name=SCHEDULE, due_at=lease_ends_at).update(due_at=due_at)


def _run(cycle: StrategyCycle, account: Account, strategy: Strategy, *, clock: Clock, client: PublicClient) -> Outcome:
    """Judge, enter and record."""
    market.refresh_prices(clock=clock, client=client)
    pairs = Instrument.objects.filter(venue=settings.VENUE, symbol__in=settings.MASTER_PAIRS).select_related("price")
    instruments = sorted(pairs, key=lambda row: settings.MASTER_PAIRS.index(row.symbol))
    reads = candles.read(instruments, minutes=settings.MASTER_CANDLE_MINUTES, client=client)
    # Reading the market takes seconds, in which his last order may have been booked.
    account.refresh_from_db(fields=["balances_as_of", "last_fill_at", "taker_fee"])
    worth = equity.worth_of([account], now=clock.now())[account.pk]
    profile = rate_profile(worth.equity)
    cycle.profile, cycle.equity = profile.name, worth.equity.value if worth.equity else None
    situation = _situation(account, instruments, reads, worth=worth, clock=clock)
    judged = [_judge(row, reads[row.pk], strategy, account, situation) for row in instruments]
    next_entry_at = None
    if worth.equity is not None:
        next_entry_at = _enter(judged, strategy, situation, equity_now=worth.equity, clock=clock)
    _store(cycle, judged)
    return Outcome(_conclude(cycle, reads, situation), next_entry_at)


def _conclude(cycle: StrategyCycle, reads: Mapping[int, candles.Read], situation: Situation) -> str:
    """Ring for what is missing and keep the cycle's problem. Returns its code, empty when there is none."""
    missing = {problem.code for problem in situation.problems}
    if "balance_unknown" in missing:
        doorbell.ring(BALANCES_TASK)
    if "clock_unknown" in missing:
        doorbell.ring(CLOCK_TASK)
    if not any(read.candles is not None for read in reads.values()):
        why = next((read.problem for read in reads.values()), "none of MASTER_PAIRS is known.")
        cycle.problem = f"The market could not be read: {why}"[:PROBLEM_MAX]
        return "market_data"
    if situation.problems:
        cycle.problem = situation.problems[0].sentence[:PROBLEM_MAX]
        return situation.problems[0].code
    return ""


def _situation(
    account: Account,
    instruments: Sequence[Instrument],
    reads: Mapping[int, candles.Read],
    *,
    worth: equity.Worth,
    clock: Clock,
) -> Situation:
    now = clock.now()
    positions = Position.objects.filter(account=account, is_open=True).select_related("instrument__price")
    orders = Order.objects.filter(account=account)
    entries = orders.filter(kind=OrderKind.ENTRY, origin=OrderOrigin.STRATEGY).order_by("-created_at")
    interval_s = settings.MASTER_CANDLE_MINUTES * 60
    ends = [int(read.candles.time[-1]) + interval_s for read in reads.values() if read.candles and len(read.candles)]
    # A market replayed on this machine has a clock of its own; anywhere else market time is the exchange's time.
    replayed = settings.VENUE_IS_LOCAL and ends
    return Situation(
        problems=master_orders.entry_problems(account, now=now, worth=worth),
        open_ids=frozenset(row.instrument_id for row in positions if not _is_dust(row)),
        live_ids=frozenset(orders.filter(state__in=order_state.LIVE).values_list("instrument_id", flat=True)),
        last_entry_at=entries.values_list("created_at", flat=True).first(),
        market_at=datetime.fromtimestamp(max(ends), UTC) if replayed else market.kraken_now(clock),
        prices={row.pk: row.price for row in instruments if hasattr(row, "price")},
        entered=_entered(account, ends),
        now=now,
        profile=rate_profile(worth.equity),
    )


def _entered(account: Account, ends: Sequence[int]) -> frozenset[tuple[int, datetime]]:
    """Entries on candles that closed at one of `ends` (unix seconds)."""
    closed_at = [datetime.fromtimestamp(end, UTC) for end in set(ends)]
    plans = EntryPlan.objects.filter(order__account=account, market_at__in=closed_at)
    return frozenset(plans.values_list("order__instrument_id", "market_at"))


def _is_dust(position: Position) -> bool:
    """What is left can never be sold, so it neither fills a place nor keeps its pair from being entered."""
    price = getattr(position.instrument, "price", None)
    return price is not None and not position.instrument.rules.sellable(Quantity(position.managed), price.bid_price)


def _judge(
    instrument: Instrument, read: candles.Read, strategy: Strategy, account: Account, situation: Situation
) -> Judgement:
    """Everything that speaks against this pair; an error in one pair is a veto of that pair."""
    judgement = Judgement(instrument)
    price = situation.prices.get(instrument.pk)
    if read.candles is None:
        judgement.veto("market_data", read.problem)
    else:
        spread = _spread(price)
        try:
            judgement.decision = strategy.evaluate_entry(
                read.candles, fees=master_orders.taker_fee(account), slippage=spread
            )
        except Exception:
            logger.exception("%s on %s", strategy.name, instrument.symbol)
            judgement.veto("strategy_error", f"The strategy failed on {instrument.symbol}: see the log.")
        else:
            for note in judgement.decision.vetoes:
                judgement.veto(note.veto.value, note.sentence)
    _engine_vetoes(judgement, situation, price=price)
    return judgement


def _spread(price: MarketPrice | None) -> Ratio:
    """What a buy at the ask and a sale at the bid lose together; zero without a price, which is a veto of its own."""
    return (Price(price.ask) - Price(price.bid)).per(Price(price.ask)) if price is not None else Ratio.zero()


def _engine_vetoes(judgement: Judgement, situation: Situation, *, price: MarketPrice | None) -> None:
    instrument, candle_at = judgement.instrument, judgement.candle_at
    for problem in situation.problems:
        judgement.veto(problem.code, problem.sentence)
    if not instrument.tradable:
        judgement.veto("not_tradable", f"{instrument.symbol} cannot be traded at Kraken at the moment.")
    if price is None or situation.now - price.as_of > PRICE_USABLE_FOR:
        judgement.veto("price_unknown", f"Kraken does not tell the price of {instrument.symbol} at the moment.")
    if instrument.pk in situation.open_ids:
        judgement.veto("position_open", f"A position in {instrument.symbol} is already open.")
    if instrument.pk in situation.live_ids:
        judgement.veto("live_order", f"An order for {instrument.symbol} is still on its way.")
    taken = len(situation.open_ids | situation.live_ids)
    if taken >= POSITIONS_MAX:
        judgement.veto("position_cap", f"{taken} positions are open or being opened, and {POSITIONS_MAX} is the most.")
    if candle_at is not None:
        closed_at = _closed_at(candle_at)
        interval = timedelta(minutes=settings.MASTER_CANDLE_MINUTES)
        if situation.market_at - closed_at > STALE_AFTER_INTERVALS * interval:
            judgement.veto("stale_candles", f"The newest closed candle ended at {closed_at:%Y-%m-%d %H:%M} UTC.")
        if (instrument.pk, closed_at) in situation.entered:
            judgement.veto("same_candle", f"{instrument.symbol} was already entered on this candle.")
    if situation.last_entry_at is not None and (
        situation.now - situation.last_entry_at < situation.profile.entry_spacing
    ):
        judgement.veto("spacing", _spacing_sentence(situation.profile))


def _enter(
    judged: Sequence[Judgement], strategy: Strategy, situation: Situation, *, equity_now: Money, clock: Clock
) -> datetime | None:
    """Enter the best candidate that nothing speaks against; when it is refused, the next best. The others wait.

    Returns from when on one that waits for nothing else may be entered; None when none does.
    """
    notional = equity_now * Ratio.from_percent(settings.MASTER_ENTRY_NOTIONAL_PERCENT)
    free = [each for each in judged if not each.vetoes and each.decision is not None]
    last_entry_at = situation.last_entry_at
    entered = False
    for each in sorted(free, key=lambda one: (-one.score, one.instrument.symbol)):
        if entered:
            each.veto("spacing", _spacing_sentence(situation.profile))
            continue
        assert each.decision is not None
        assert each.decision.plan is not None, "a decision without vetoes has a plan"
        assert each.candle_at is not None, "a decision without vetoes has a candle"
        try:
            each.order = master_orders.plan_entry(
                instrument=each.instrument,
                amount=notional,
                origin=OrderOrigin.STRATEGY,
                reason=f"{strategy.name}: score {plain(each.score)} of 100, {_prospect(each.decision)}",
                clock=clock,
                asked_by=StrategyEntry(
                    strategy=strategy.name,
                    version=strategy.version,
                    parameters_hash=strategy.parameters_hash,
                    plan=each.decision.plan,
                    market_at=_closed_at(each.candle_at),
                ),
            )
        except MasterOrderRefused as refusal:
            each.veto(refusal.code, refusal.sentence)
        else:
            entered, last_entry_at = True, each.order.created_at
    spaced = any(each.vetoes and {veto["code"] for veto in each.vetoes} == {"spacing"} for each in judged)
    return last_entry_at + situation.profile.entry_spacing if spaced and last_entry_at is not None else None


def _prospect(decision: EntryDecision) -> str:
    """What the entry may bring, as the edge gate reckoned it."""
    assert decision.plan is not None
    if decision.edge is None:
        return f"target {decision.plan.targets[0].distance.percent:.2f} % above"
    return decision.edge.sentence.removeprefix("edge: ")


def _store(cycle: StrategyCycle, judged: Sequence[Judgement]) -> None:
    Candidate.objects.bulk_create(
        Candidate(
            cycle=cycle,
            instrument=each.instrument,
            candle_at=each.candle_at,
            score=float(each.score),
            parts=_parts(each.decision),
            vetoes=each.vetoes,
            order=each.order,
        )
        for each in judged
    )


def _parts(decision: EntryDecision | None) -> dict[str, Any]:
    """Points by part, with the rules that gave them; decimals as text."""
    if decision is None:
        return {}
    return {
        part.part.value: {
            "points": plain(part.points),
            "maximum": plain(part.maximum),
            "lines": [
                {"rule": line.rule, "points": plain(line.points), "maximum": plain(line.maximum)} for line in part.lines
            ],
        }
        for part in decision.parts
    }


def _closed_at(candle_at: datetime) -> datetime:
    return candle_at + timedelta(minutes=settings.MASTER_CANDLE_MINUTES)


def _spacing_sentence(profile: RateProfile) -> str:
    spacing_s = int(profile.entry_spacing.total_seconds())
    return f"Entries are at least {spacing_s} s apart ({profile.name}); this one waits for its turn."


def _prune(strategy: Strategy, *, now: datetime) -> None:
    """Forget cycles that nobody looks at any more; orders keep their own plan."""
    old = StrategyCycle.objects.filter(strategy=strategy.name, due_at__lt=now - KEPT_FOR).order_by("due_at")
    ids = list(old.values_list("pk", flat=True)[:PRUNED_MAX])
    if ids:
        StrategyCycle.objects.filter(pk__in=ids).delete()
