"""One run: a bad half minute, then everything heals, then everybody must be at rest and every digit right."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from copytrade.services import books
from tests.simulation import coverage, final
from tests.simulation.broker import QUEUES_OF, Broker, Worker
from tests.simulation.database.base import Hooks
from tests.simulation.edges import everything_simulated
from tests.simulation.monitor import Monitor
from tests.simulation.network import Network
from tests.simulation.people import People
from tests.simulation.scheduler import NS, Scheduler, Stuck, Thread
from tests.simulation.template import Template
from trading.kraken.limits import Tier
from trading.paper.gateway import Gateway
from trading.services import halts
from trading.services.clock import SystemClock

#: The engine's tasks that handle money. Cycles, levels, charts and key checks have tests of their own.
TASKS = frozenset(
    {
        *(f"trading.tasks.{name}" for name in ("emit_due_signals", "send_entries", "send_exits", "resolve_unknown")),
        *(f"trading.tasks.{name}" for name in ("book_answered", "book_orders", "refresh_prices", "refresh_balances")),
        *(f"trading.tasks.{name}" for name in ("measure_venue_clock", "cancel_entries", "watch_outside_trades")),
        "trading.tasks.record_equity",
        *(f"copytrade.tasks.{name}" for name in ("claim_signals", "execute_entries", "sweep_entries", "plan_exits")),
        "copytrade.tasks.look_at_exits_again",
    }
)
WORKERS_PER_KIND = 2
STEPS_MAX = 60_000
CONVERGES_WITHIN_NS = 60 * NS
ALL_CALM_NS = NS
RESTARTS_AFTER_NS = (NS // 2, 5 * NS)
KILLS_MAX = 5
#: A kill is meant for one point, and happens there one time in so many; or anywhere, one pause in so many, and soon when none has
#: happened for a while.
MEANT_ONE_IN, ANYWHERE_ONE_IN, SOON_ONE_IN = 2, 3000, 100
MEANT_WITHIN_NS = 12 * NS
#: One point of each run in turn, some of the rare and of the rarest: few of those that are meant come about.
RAREST_MEANT, RARE_MEANT = 3, 4
#: What every run must have met.
MASTER_ACTS_MIN, SIGNALS_MIN, FAULT_KINDS_MIN = 10, 10, 3
#: What is still missing of the signals then, because little gets through, is traded when all is well again.
PATIENCE_NS = 20 * NS
#: Its own, and of its sale in two parts.
SIGNALS_OF_A_PURCHASE = 3
BEFALLS_WITHIN_NS = 12 * NS
QUIET_ONE_IN = 4
#: So long after the last stop things go wrong, its cancels among them.
STILL_BAD_NS = 3 * NS
#: A lease outlives its request by four seconds, which is what a clock may be set forward; the issue says five back.
CLOCK_STEPS_MS = (-5000, -2000, -700, -300, 300, 700, 2000, 3500)
SKEW_MAX_NS = 35 * NS // 10
#: Of an offset that has not been measured anew the exchange's deadlines know nothing for so long.
UNNOTICED_NS = 25 * NS
#: What is younger is left out by check_books (trading.selectors.books.reading.QUIET).
BOOKS_REST_S = 31


@dataclass
class Result:
    seed: int
    steps: int
    trace: str
    violations: list[str]
    points: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    acts: Counter[str] = field(default_factory=Counter)
    signals: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    doubts: Counter[str] = field(default_factory=Counter)
    settled_after_s: float = 0.0
    cpu_s: float = 0.0

    def met(self) -> Counter[str]:
        """By cell of the coverage table."""
        return self.faults + self.kills + self.acts + self.doubts


class Simulation:
    def __init__(self, template: Template, seed: int) -> None:
        self.seed = seed
        self.scheduler = Scheduler(seed=seed, now_ns=template.clock.now_ns + NS)
        self.chance = self.scheduler.random
        self._run = f"run-{seed}"
        self.database, exchange = template.copy(self._run)
        self._template = template
        gateway = Gateway(exchange, exchange._store)
        self.network = Network(self.scheduler, gateway, fault_share=self.chance.randrange(2, 16))
        self.broker = Broker(
            self.scheduler,
            TASKS,
            fault_share=self.chance.randrange(2, 20),
            beat_share=self.chance.randrange(20, 101),
        )
        self.monitor = Monitor(self.scheduler, self.network, self.database)
        self.network.before_write, self.network.accepted = self.monitor.before_write, self.monitor.accepted
        self.workers: dict[str, Worker] = {}
        self.kills: Counter[str] = Counter()
        self.task_errors: list[str] = []
        self.clock = SystemClock()
        self.people = People(
            self.scheduler,
            self.network,
            self.clock,
            template.paper_ids,
            enough=self._enough,
            entry_taken=self.monitor.entry_is_taken,
            stopped=self.monitor.stops.reported,
        )
        #: Three of four runs end with a stop at any moment, and everything is sold while it stands.
        self._ends_stopped = self.chance.randrange(4) > 0
        #: What owners sold by hand is noticed when nothing was traded for a while.
        self._ends_quietly = self.chance.randrange(QUIET_ONE_IN) == 0
        #: A starter key's budget bears few trades a minute; in most runs there are more.
        self.tier = Tier.STARTER if self.people.are_slow else Tier.PRO
        self._healing = False
        #: What to do with the rows before they are thrown away.
        self.at_end: Callable[[], None] = lambda: None
        self.skew_ns = 0
        self.connections: dict[str, Any] = {}
        self._settled_after_s = 0.0
        self._began_ns = self.scheduler.now_ns
        self._world: Counter[str] = Counter()
        self._doubts: Counter[str] = Counter()
        self._kills_left = self.chance.randrange(2, KILLS_MAX)
        # Each for a point of its own, or the points that everybody passes at once would have them all.
        self._meant = {
            coverage.KILLS[seed % len(coverage.KILLS)],
            coverage.RAREST[0],
            *self.chance.sample(coverage.RAREST, RAREST_MEANT),
            *self.chance.sample(coverage.RARE_KILLS, RARE_MEANT),
        }

    def run(self) -> Result:
        started_s = time.process_time()
        with everything_simulated(self):
            try:
                self._bad_times()
                self._heal()
                self.monitor.violations += final.check(self)
                self._doubts = self.monitor.judge_doubts()
            except Stuck as error:
                self.monitor.broken(f"I15: {error}")
            finally:
                self.at_end()
                self._close()
        violations = [*self.monitor.violations, *self.network.violations, *self.task_errors]
        return Result(
            seed=self.seed,
            steps=self.scheduler.steps,
            trace=self.scheduler.trace,
            violations=violations,
            points=self.scheduler.points,
            faults=self._faults,
            kills=self.kills,
            acts=self.people.acts + self.monitor.stops.met,
            signals=self.signals,
            outcomes=self.outcomes,
            doubts=self._doubts,
            settled_after_s=self._settled_after_s,
            cpu_s=time.process_time() - started_s,
        )

    def _bad_times(self) -> None:
        for kind, queues in QUEUES_OF.items():
            for number in range(WORKERS_PER_KIND):
                worker = Worker(f"{kind}-{number}", queues, self.scheduler, self.broker, self._task_failed)
                self.workers[worker.name] = worker
                worker.start()
        self.scheduler.at(0, self.broker.tick)
        self.scheduler.at(NS, self.people.match)
        self.people.start()
        self.scheduler.on_pause = self._passing
        self._plan_the_world()
        self.scheduler.run(until=lambda: self.people.over, steps_max=STEPS_MAX)
        if self._ends_quietly:
            self._in_person(self.people.sell_by_hand_and_rest)
        if self._ends_stopped:
            self._in_person(self.people.stop_amid_a_purchase)
            self._in_person(lambda: self.scheduler.sleep(self.chance.randrange(1, STILL_BAD_NS)))
            self.monitor.stops.soon_resolved()

    def _enough(self) -> bool:
        """What every run must have met before things may get better."""
        kinds = {name.rpartition(" ")[0] for name in self._faults}
        copied = self.people.master_acts >= MASTER_ACTS_MIN and (
            self.monitor.signals >= SIGNALS_MIN or self._lasted_ns > PATIENCE_NS
        )
        return copied and len(kinds) >= FAULT_KINDS_MIN and bool(self.kills)

    @property
    def _signals_missing(self) -> int:
        return SIGNALS_MIN - self.monitor.signals

    @property
    def _lasted_ns(self) -> int:
        return self.scheduler.now_ns - self._began_ns

    @property
    def _faults(self) -> Counter[str]:
        return self.network.faults + self.broker.faults + self._world

    def _plan_the_world(self) -> None:
        """What befalls everybody at once, each in every third run or so."""
        chance = self.chance
        if chance.randrange(3) == 0:
            self._befall(self.broker.flush)
        if chance.randrange(4) == 0:
            self._befall(lambda: self.broker.go_away(chance.randrange(1, 12)))
        if chance.randrange(3) == 0:
            self._world["reads lag"] += 1
            self.network.lag_ns = chance.randrange(1, 5) * NS
        if chance.randrange(3) == 0:
            for _ in range(chance.randrange(1, 3)):
                step_ms = chance.choice(CLOCK_STEPS_MS)
                self._befall(lambda step_ms=step_ms: self._step_clock(step_ms))  # type: ignore[misc]

    def _befall(self, event: Callable[[], None]) -> None:
        """Some time in the bad times; not once they are over."""
        self.scheduler.at(self.chance.randrange(NS, BEFALLS_WITHIN_NS), lambda: None if self._healing else event())

    def _step_clock(self, step_ms: int) -> None:
        """Our own clock, as when somebody sets it; the exchange's goes on."""
        self._world[f"clock stepped {'forward' if step_ms > 0 else 'back'}"] += 1
        self.scheduler.note(f"clock stepped {step_ms} ms")
        self.skew_ns += step_ms * 1_000_000
        self.skew_ns = max(-5 * NS, min(self.skew_ns, SKEW_MAX_NS))
        self.monitor.clock_error_s = (5 * NS + SKEW_MAX_NS) / NS

        def known() -> None:
            self.monitor.clock_error_s = abs(self.skew_ns) / NS / 1000

        self.scheduler.at(UNNOTICED_NS, known)

    def _heal(self) -> None:
        """All faults end; within a minute everything that was begun must be finished, twice: once more when all is sold."""
        self._healing = True
        self.network.fault_share = self.broker.fault_share = 0
        self.network.lag_ns = self.broker.away_until_ns = 0
        self.broker.beat_share = 100
        self.people.over = False
        self.people.let_go()
        self._settle("everything that was begun", lambda: [*self._outside(), *final.owing()])
        if not self._ends_stopped:
            self._in_person(lambda: halts.resume_platform(actor="operator", clock=self.clock))
        self._sell_all()
        self.skew_ns = 0
        for _ in range(SIGNALS_MIN):
            if self._signals_missing > 0:
                # Whatever is bought is sold, in two parts if need be, which makes more of them.
                instruments = -(-self._signals_missing // SIGNALS_OF_A_PURCHASE)
                self._in_person(partial(self.people.buy_in_peace, instruments))
                self._settle("a purchase in peace", final.owing)
                self._sell_all(in_parts=True)
        # Nobody needs to tick for what only rests.
        self.broker.beats = False
        self._in_person(self._check_books)

    def _in_person(self, act: Callable[[], None]) -> None:
        self.people.over = False

        def body() -> None:
            act()
            self.people.over = True

        self.scheduler.spawn("people", "people", body)
        self.scheduler.run(until=lambda: self.people.over, steps_max=STEPS_MAX)

    def _sell_all(self, *, in_parts: bool = False) -> None:
        self._in_person(lambda: self._sell(in_parts=in_parts))
        self._settle("the master's last sale", final.still_held)

    def _sell(self, *, in_parts: bool) -> None:
        while self.people.sell_everything(signals_missing=self._signals_missing if in_parts else 0):
            self.scheduler.sleep(NS)

    def _check_books(self) -> None:
        """The product's own check, both halves: it must agree."""
        self.scheduler.sleep(BOOKS_REST_S * NS)
        report = books.check(clock=self.clock, sleep=lambda seconds: self.scheduler.sleep(int(seconds * NS)))
        for finding in report.findings:
            self.monitor.broken(f"check_books: {finding.invariant}, {finding.row}: {finding.sentence}")
        for missed in report.not_compared:
            self.monitor.broken(f"check_books: account {missed.account}: {missed.sentence}")

    def _outside(self) -> list[str]:
        missing = final.outside_trades_missing(self)
        return [f"{missing} trades outside NIJA"] if missing else []

    def _settle(self, what: str, besides: Callable[[], list[str]]) -> None:
        """`besides` is dearer to find out, and asked only when nothing else is left."""
        began_ns = self.scheduler.now_ns
        ends_at_ns, calm_since_ns, looked_at_ns = began_ns + CONVERGES_WITHIN_NS, 0, 0

        still, looked_upon = [""], (-1, -1)

        def left() -> list[str]:
            nonlocal still, looked_upon
            # It tells of the database and of the exchange's trades, and can only change with them.
            there_is = self.monitor.version, len(self.network.exchange.trades)
            if there_is != looked_upon:
                looked_upon, still = there_is, self.monitor.unsettled() or besides()
            return still

        def done() -> bool:
            nonlocal calm_since_ns, looked_at_ns
            now_ns = self.scheduler.now_ns
            if now_ns - looked_at_ns < NS // 4:
                return False
            looked_at_ns = now_ns
            if left():
                calm_since_ns = 0
            elif not calm_since_ns:
                calm_since_ns = now_ns
            return now_ns > ends_at_ns or bool(calm_since_ns and now_ns - calm_since_ns > ALL_CALM_NS)

        self.scheduler.run(until=done, steps_max=STEPS_MAX)
        if left():
            self.monitor.broken(f"I15: {what} was not settled within a minute: {', '.join(still)}")
        elif calm_since_ns:
            self._settled_after_s = max(self._settled_after_s, (calm_since_ns - began_ns) / NS)

    def _passing(self, thread: Thread, point: str) -> None:
        """Wherever somebody may come between, a kill may come as well."""
        points = [point]
        if point == "committed":
            points += self.monitor.look()
        if self._healing or not self._kills_left or thread.process not in self.workers:
            return
        kind = thread.process.partition("-")[0]
        meant = [name for name in points if (kind, name) in self._meant]
        # One commit may be several of them.
        chosen = self.chance.choice(meant) if meant else ""
        if meant and ((kind, chosen) in coverage.RARE or self.chance.randrange(MEANT_ONE_IN) == 0):
            self._meant.discard((kind, chosen))
            self._kill(thread.process, chosen)
        elif (
            self.chance.randrange(ANYWHERE_ONE_IN if self.kills or self._lasted_ns < MEANT_WITHIN_NS else SOON_ONE_IN)
            == 0
        ):
            self._kill(thread.process, points[-1])

    def _kill(self, process: str, point: str) -> None:
        self._kills_left -= 1
        worker = self.workers[process]
        self.kills[coverage.kill_of(process.partition("-")[0], point)] += 1
        self.scheduler.note(f"kill {process} at {point}")
        # Not now: the thread that is killed is the one that asks; it goes to the hub and is never resumed.
        self.scheduler.kill(process)
        self.network.forget_senders_of(process)
        connection = self.connections.pop(process, None)
        if connection is not None:
            connection.cut()
        worker.die()
        worker.start(delay_ns=self.chance.randrange(*RESTARTS_AFTER_NS))

    def _task_failed(self, task: str, error: BaseException) -> None:
        self.scheduler.note(f"{task} failed: {type(error).__name__}")
        self.task_errors.append(f"{task} failed: {type(error).__name__}: {error}")

    @property
    def signals(self) -> int:
        return int(self._counted["signals"])

    @property
    def outcomes(self) -> Counter[str]:
        return Counter({name: n for name, n in self._counted.items() if name != "signals"})

    def _close(self) -> None:
        self._counted = Counter(signals=self.monitor.rows("SELECT count(*) n FROM trading_signal")[0]["n"])
        for row in self.monitor.rows(
            "SELECT kind, status, reason, count(*) n FROM copytrade_copyorder GROUP BY 1, 2, 3"
        ):
            self._counted[f"{row['kind']} {row['status']} {row['reason']}".strip()] += row["n"]
        self.monitor.close()
        Hooks.reset()
        for connection in self.connections.values():
            connection.cut()
        self.network.exchange._store._db.close()
        self._template.discard(self._run)
