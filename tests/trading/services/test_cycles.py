from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from tests.trading.services import master_books
from tests.trading.services.master_books import NOW, D, FakePublic, MovedClock, ticker
from trading import doorbell
from trading.domain.money import Price, Ratio
from trading.domain.order_state import OrderState
from trading.kraken.errors import OutcomeUnknown, Unavailable
from trading.kraken.values import Candle
from trading.models import (
    Account,
    Candidate,
    Control,
    EntryPlan,
    Instrument,
    Order,
    OrderOrigin,
    Schedule,
    StrategyCycle,
    Venue,
)
from trading.paper.server import run_in_thread
from trading.paper.settings import PaperSettings
from trading.services import cycles
from trading.services.clock import SYSTEM
from trading.strategy import registry
from trading.strategy.candles import Candles
from trading.strategy.decisions import (
    EntryDecision,
    ExitDecision,
    OpenPosition,
    Part,
    PartScore,
    PointLine,
    Veto,
    VetoNote,
)
from trading.strategy.plan import EntryPlan as Plan
from trading.strategy.plan import Target

pytestmark = pytest.mark.django_db

PAIRS = ["BEAM-USD", "SOL-USD", "XRP-USD"]


def _plan(close: Decimal) -> Plan:
    return Plan(
        reference=Price(close),
        stop_distance=Ratio(D("0.04")),
        targets=(Target(Ratio(D("0.06")), Fraction(1)),),
        trail=Ratio(D("0.04")),
        stagnation_below=Ratio(D("0.03")),
        stagnation_after_s=3600,
        max_holding_s=7200,
    )


@dataclass
class Scripted:
    """A strategy whose score is the volume of the last candle and that enters from 50 points on."""

    name: str = "scripted"
    version: str = "3"
    parameters_hash: str = "abc"
    warm_up: int = 1
    saw: list[tuple[Candles, Ratio, Ratio]] = field(default_factory=list)

    def prepare(self, candles: Candles) -> registry.PreparedEntries:
        raise NotImplementedError

    def evaluate_entry(self, candles: Candles, *, fees: Ratio, slippage: Ratio) -> EntryDecision:
        self.saw.append((candles, fees, slippage))
        score = D(int(candles.volume[-1]))
        if score == 13:
            raise ZeroDivisionError("unlucky")
        vetoes = (VetoNote(Veto.SCORE, f"score: {score} of 100, 50 needed"),) if score < 50 else ()
        parts = (PartScore(Part.TREND, (PointLine("volume", score, D(100)),)),)
        return EntryDecision(int(candles.time[-1]), score, parts, vetoes, _plan(D("0.003")), None)

    def evaluate_exit(self, position: OpenPosition, *, price: Price, market_time: int) -> ExitDecision | None:
        return None


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def account() -> Account:
    return master_books.master()


@pytest.fixture
def strategy(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Scripted:
    scripted = Scripted()
    monkeypatch.setitem(registry._STRATEGIES, "scripted", scripted)
    settings.MASTER_STRATEGY, settings.MASTER_PAIRS, settings.MASTER_CANDLE_MINUTES = "scripted", PAIRS, 1
    return scripted


@pytest.fixture
def public(clock: MovedClock, account: Account, strategy: Scripted) -> FakePublic:
    fake = FakePublic(clock=clock)
    for symbol, score in zip(PAIRS, (60, 80, 40), strict=True):
        row = master_books.instrument(symbol)
        fake.tickers[row.pair_id] = ticker("0.002997", "0.003")
        fake.candles[row.altname] = candles_ending(NOW, score=score)
    return fake


@pytest.fixture
def rung(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tasks whose bells were rung, in place of a message broker."""
    heard: list[str] = []
    monkeypatch.setattr(doorbell, "ring", lambda task, *_: heard.append(task))
    return heard


def candles_ending(at: datetime, *, score: int) -> list[Candle]:
    """Two closed candles, the last with `score` as its volume, and one still forming whose volume shouts 99."""
    start = int(at.timestamp()) - 120
    volumes = (10, score, 99)
    p = D("0.003")
    return [Candle(start + 60 * n, p, p, p, p, p, D(volume), 5) for n, volume in enumerate(volumes)]


def _run(clock: MovedClock, public: FakePublic) -> StrategyCycle:
    cycle = cycles.run_due_cycle(clock=clock, client=public)  # type: ignore[arg-type]
    assert cycle is not None
    return cycle


def _candidate(cycle: StrategyCycle, symbol: str) -> Candidate:
    return Candidate.objects.get(cycle=cycle, instrument__symbol=symbol)


def _codes(cycle: StrategyCycle, symbol: str) -> list[str]:
    return [veto["code"] for veto in _candidate(cycle, symbol).vetoes]


def test_the_best_candidate_is_entered_and_the_others_keep_their_reasons(clock: MovedClock, public: FakePublic) -> None:
    cycle = _run(clock, public)
    order = Order.objects.get()
    assert (order.instrument.symbol, order.state, order.origin) == ("SOL-USD", OrderState.READY, OrderOrigin.STRATEGY)
    # Twelve per cent of 60.534 at the ask of 0.003, down to the lot.
    assert order.quantity == D("2421.36")
    assert order.reason == "scripted: score 80 of 100, target 6.00 % above"
    assert _candidate(cycle, "SOL-USD").order == order
    assert (_codes(cycle, "BEAM-USD"), _codes(cycle, "XRP-USD")) == (["spacing"], ["score"])
    assert (cycle.problem, cycle.profile, cycle.equity) == ("", "LOW_CAPITAL", D("60.534"))


def test_the_entrys_plan_is_kept_with_the_market_time_at_which_its_candle_closed(
    clock: MovedClock, public: FakePublic
) -> None:
    _run(clock, public)
    plan = EntryPlan.objects.get()
    assert (plan.strategy, plan.version, plan.parameters_hash, plan.market_at) == ("scripted", "3", "abc", NOW)
    assert Plan.from_json(plan.plan) == _plan(D("0.003"))


def test_every_candidate_keeps_its_score_by_part_and_the_candle_it_saw(clock: MovedClock, public: FakePublic) -> None:
    candidate = _candidate(_run(clock, public), "XRP-USD")
    assert (candidate.score, candidate.candle_at) == (40.0, NOW - timedelta(minutes=1))
    assert candidate.parts["trend"]["points"] == "40"
    assert candidate.vetoes == [{"code": "score", "sentence": "score: 40 of 100, 50 needed"}]


def test_the_strategy_sees_closed_candles_the_accounts_own_fee_and_the_spread(
    clock: MovedClock, public: FakePublic, strategy: Scripted, account: Account
) -> None:
    Account.objects.update(taker_fee=D("0.0026"))
    _run(clock, public)
    candles, fees, slippage = strategy.saw[0]
    assert len(candles) == 2
    assert fees == Ratio(D("0.0026"))
    assert slippage == Ratio(D("0.001"))


def test_before_the_fees_were_read_the_entry_tier_is_assumed(
    clock: MovedClock, public: FakePublic, strategy: Scripted
) -> None:
    _run(clock, public)
    assert strategy.saw[0][1] == Ratio(D("0.008"))


def test_the_first_cycle_is_due_at_once_and_the_next_after_the_profiles_pause(
    clock: MovedClock, public: FakePublic
) -> None:
    public.candles["BEAMUSD"] = candles_ending(NOW, score=30)
    _run(clock, public)
    assert Schedule.objects.get().due_at == NOW + timedelta(seconds=30)
    clock.advance(29)
    assert cycles.run_due_cycle(clock=clock, client=public) is None  # type: ignore[arg-type]
    clock.advance(1)
    assert _run(clock, public).due_at == NOW + timedelta(seconds=30)


def test_a_rich_master_looks_every_five_seconds(clock: MovedClock, public: FakePublic, account: Account) -> None:
    account.balances.update(total=D(5000))
    public.candles["BEAMUSD"] = candles_ending(NOW, score=30)
    assert _run(clock, public).profile == "AGGRESSIVE"
    assert Schedule.objects.get().due_at == NOW + timedelta(seconds=5)


@pytest.mark.parametrize(("cash", "spacing_s"), [("60.534", 3), ("500", 2), ("5000", 1)])
def test_a_candidate_that_only_waits_for_the_spacing_is_entered_when_that_is_over(
    cash: str, spacing_s: int, clock: MovedClock, public: FakePublic, account: Account
) -> None:
    account.balances.update(total=D(cash))
    _run(clock, public)
    assert Schedule.objects.get().due_at == NOW + timedelta(seconds=spacing_s)
    clock.advance(spacing_s)
    second = _run(clock, public)
    entered = Order.objects.order_by("pk")
    assert [order.instrument.symbol for order in entered] == ["SOL-USD", "BEAM-USD"]
    assert entered[1].created_at - entered[0].created_at == timedelta(seconds=spacing_s)
    pause = {3: 30, 2: 10, 1: 5}[spacing_s]
    assert Schedule.objects.get().due_at == second.started_at + timedelta(seconds=pause)


def test_an_order_names_the_strategy_that_asked_for_it(clock: MovedClock, public: FakePublic) -> None:
    _run(clock, public)
    order = Order.objects.get()
    assert (order.strategy, order.strategy_version, order.parameters_hash) == ("scripted", "3", "abc")


def test_a_strategy_that_is_not_registered_holds_up_no_cycle(
    clock: MovedClock, public: FakePublic, settings: Settings
) -> None:
    settings.MASTER_STRATEGY = "forgotten"
    with pytest.raises(registry.UnknownStrategyError, match="no strategy is called 'forgotten'"):
        _run(clock, public)
    settings.MASTER_STRATEGY = "scripted"
    assert _run(clock, public).due_at == NOW


def test_a_cycle_that_another_process_has_claimed_is_not_run_twice(clock: MovedClock, public: FakePublic) -> None:
    inside: list[object] = []
    answer = public.ticker

    def meanwhile(names: list[str]) -> object:
        inside.append(cycles.run_due_cycle(clock=clock, client=public))  # type: ignore[arg-type]
        return answer(names)

    public.ticker = meanwhile  # type: ignore[method-assign, assignment]
    _run(clock, public)
    assert inside
    assert set(inside) == {None}
    assert StrategyCycle.objects.count() == 1


def test_one_pair_is_never_entered_twice_on_the_same_candle(clock: MovedClock, public: FakePublic) -> None:
    _run(clock, public)
    Order.objects.update(state=OrderState.MISSED)
    clock.advance(30)
    cycle = _run(clock, public)
    assert _codes(cycle, "SOL-USD") == ["same_candle"]
    assert Order.objects.latest("pk").instrument.symbol == "BEAM-USD"


@pytest.mark.parametrize(
    "problem", [Unavailable("Kraken could not be reached."), OutcomeUnknown("HTML"), KeyError("x")]
)
def test_one_pairs_failure_is_that_pairs_alone(clock: MovedClock, public: FakePublic, problem: Exception) -> None:
    public.candles["SOLUSD"] = problem
    cycle = _run(clock, public)
    assert _codes(cycle, "SOL-USD") == ["market_data"]
    assert Order.objects.get().instrument.symbol == "BEAM-USD"


def test_candles_that_make_no_sense_and_a_strategy_that_fails_are_vetoes_of_their_pair(
    clock: MovedClock, public: FakePublic
) -> None:
    upside_down = candles_ending(NOW, score=90)
    upside_down.reverse()
    public.candles["SOLUSD"] = upside_down
    public.candles["XRPUSD"] = candles_ending(NOW, score=13)
    cycle = _run(clock, public)
    assert (_codes(cycle, "SOL-USD"), _codes(cycle, "XRP-USD")) == (["market_data"], ["strategy_error"])
    assert Order.objects.get().instrument.symbol == "BEAM-USD"


def test_a_cycle_that_cannot_read_the_market_is_kept_with_the_problem(clock: MovedClock, public: FakePublic) -> None:
    public.failure = Unavailable("Kraken could not be reached.")
    cycle = _run(clock, public)
    assert cycle.problem.startswith("The market could not be read:")
    assert "could not be reached" in cycle.problem
    assert cycle.finished_at is not None
    assert Candidate.objects.filter(cycle=cycle).count() == 3
    assert not Order.objects.exists()


def test_what_passes_by_itself_is_looked_at_again_soon_but_not_for_ever(
    clock: MovedClock, public: FakePublic, account: Account
) -> None:
    Account.objects.update(balances_as_of=None)
    pauses = []
    for _ in range(cycles.SOON_MAX + 1):
        cycle = _run(clock, public)
        due_at = Schedule.objects.get().due_at
        pauses.append((due_at - clock.now()).seconds)
        clock.at = due_at
    assert "balance is not known" in cycle.problem
    assert pauses[: cycles.SOON_MAX - 1] == [3] * (cycles.SOON_MAX - 1)
    assert pauses[-1] == 30


def test_an_unmeasured_clock_stops_entries_and_is_asked_for_without_waiting(
    clock: MovedClock, public: FakePublic, rung: list[str]
) -> None:
    Venue.objects.update(offset_ms=None, offset_at=None)
    cycle = _run(clock, public)
    assert _codes(cycle, "SOL-USD") == ["clock_unknown"]
    assert cycles.CLOCK_TASK in rung
    assert "time" not in public.asked
    assert Schedule.objects.get().due_at == NOW + timedelta(seconds=3)


def _open_position(account: Account) -> None:
    master_books.hold(account, Instrument.objects.get(symbol="SOL-USD"), "5000")


def _live_order(account: Account) -> None:
    row = Instrument.objects.get(symbol="SOL-USD")
    Order.objects.create(
        account=account,
        instrument=row,
        kind="entry",
        origin="manual",
        side="buy",
        quantity=D(1000),
        state=OrderState.UNKNOWN,
        created_at=NOW,
    )


def _stop(_: Account) -> None:
    Control.objects.create(stopped_at=NOW, reason="a drill")


def _eight_positions(account: Account) -> None:
    for number in range(8):
        master_books.hold(account, master_books.instrument(f"C{number}-USD", quantity_min="1"), "1000")
        master_books.price(Instrument.objects.get(symbol=f"C{number}-USD"))


def _just_entered(account: Account) -> None:
    _live_order(account)
    Order.objects.update(
        state=OrderState.MISSED,
        origin="strategy",
        created_at=NOW - timedelta(seconds=2),
        instrument=Instrument.objects.get(symbol="XRP-USD"),
    )


@pytest.mark.parametrize(
    ("arrange", "code"),
    [
        (_open_position, "position_open"),
        (_live_order, "live_order"),
        (_stop, "halted"),
        (_eight_positions, "position_cap"),
        (_just_entered, "spacing"),
    ],
)
def test_the_engines_own_vetoes_stand_beside_the_strategys(
    arrange: Callable[[Account], None], code: str, clock: MovedClock, public: FakePublic, account: Account
) -> None:
    arrange(account)
    assert code in _codes(_run(clock, public), "SOL-USD")
    assert not Order.objects.filter(instrument__symbol="SOL-USD", origin=OrderOrigin.STRATEGY).exists()


def test_a_stop_is_the_cycles_problem_and_every_pairs_veto(clock: MovedClock, public: FakePublic) -> None:
    Control.objects.create(stopped_at=NOW, reason="a drill")
    cycle = _run(clock, public)
    assert cycle.problem == "Entries are stopped: a drill."
    assert all(_codes(cycle, symbol)[-1] == "halted" for symbol in PAIRS)
    assert not Order.objects.exists()


def test_entry_blocking_blocks_whatever_the_database_says(
    clock: MovedClock, public: FakePublic, settings: Settings
) -> None:
    settings.ENTRY_BLOCKING = True
    cycle = _run(clock, public)
    assert "entries_blocked" in _codes(cycle, "SOL-USD")
    assert not Order.objects.exists()


def test_what_is_left_of_a_sold_position_and_cannot_be_sold_does_not_keep_its_pair_shut(
    clock: MovedClock, public: FakePublic, account: Account
) -> None:
    master_books.hold(account, Instrument.objects.get(symbol="SOL-USD"), "0.5")
    _run(clock, public)
    assert Order.objects.get().instrument.symbol == "SOL-USD"


def test_a_pair_whose_candles_stand_still_beside_the_others_is_stale(clock: MovedClock, public: FakePublic) -> None:
    public.candles["SOLUSD"] = candles_ending(NOW - timedelta(minutes=4), score=80)
    assert _codes(_run(clock, public), "SOL-USD") == ["stale_candles"]


def test_on_the_real_exchange_candles_are_measured_against_its_clock(
    clock: MovedClock, public: FakePublic, settings: Settings
) -> None:
    settings.VENUE_IS_LOCAL = False
    for name in list(public.candles):
        public.candles[name] = candles_ending(NOW - timedelta(minutes=4), score=80)
    assert _codes(_run(clock, public), "SOL-USD") == ["stale_candles"]


def test_an_entry_that_is_refused_leaves_its_reason_and_the_next_best_its_chance(
    clock: MovedClock, public: FakePublic
) -> None:
    Instrument.objects.filter(symbol="SOL-USD").update(quantity_min=D(100000))
    cycle = _run(clock, public)
    assert _codes(cycle, "SOL-USD") == ["below_minimum"]
    assert Order.objects.get().instrument.symbol == "BEAM-USD"


def test_without_a_master_nothing_is_due(clock: MovedClock, strategy: Scripted) -> None:
    assert cycles.run_due_cycle(clock=clock, client=FakePublic()) is None  # type: ignore[arg-type]
    assert not Schedule.objects.exists()


def test_cycles_older_than_a_week_are_forgotten_and_their_orders_kept(
    clock: MovedClock, public: FakePublic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cycles, "PRUNED_EVERY", 1)
    first = _run(clock, public)
    StrategyCycle.objects.filter(pk=first.pk).update(due_at=datetime(2026, 6, 1, tzinfo=UTC))
    clock.advance(30)
    _run(clock, public)
    assert not StrategyCycle.objects.filter(pk=first.pk).exists()
    assert Order.objects.filter(instrument__symbol="SOL-USD").exists()


def test_the_paper_exchanges_market_is_judged_by_the_real_strategy_over_http(
    account: Account, tmp_path: Path, settings: Settings
) -> None:
    with run_in_thread(PaperSettings(state=tmp_path / "paper.sqlite3", market="demo")) as exchange:
        settings.KRAKEN_API_URL = exchange.url
        Account.objects.update(balances_as_of=SYSTEM.now())
        Venue.objects.update(offset_at=SYSTEM.now())
        cycle = cycles.run_due_cycle(clock=SYSTEM)
    assert cycle is not None
    assert (cycle.problem, cycle.strategy) == ("", "apex")
    candidates = Candidate.objects.filter(cycle=cycle)
    assert candidates.count() == len(settings.MASTER_PAIRS)
    assert all(set(each.parts) == {part.value for part in Part} for each in candidates)
    assert all(each.order or each.vetoes for each in candidates)
