"""The window of `make bench-background`: how its followers come to hold something, what happens in it, and what is counted."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from functools import partial
from itertools import pairwise

from django.db import connection

from accounts.models import RiskSettings
from copytrade.services import closing
from tests.benchmarks import measured, null_books, trips
from tests.benchmarks.measured import TaskCost
from tests.benchmarks.processes import Usage
from tests.benchmarks.stage import Stage
from tests.benchmarks.trips import Unfinished
from trading.models import Account, Adjustment, Execution, OrderKind, Position, Role
from trading.services.clock import SYSTEM

SYMBOL = "BEAM-USD"
TRADE_WAIT_S = 180.0
#: On a machine that is busy with other things some copies come too late, which is not what is measured here.
HOLDERS_MIN = 0.8
#: Afterwards balances have been read once more than the fills made necessary, and everything is booked.
WARM_UP_S = 45.0
AGES_EVERY_S = 5.0
#: Of the window, in which both are spread over the first half, so that there is time to see what came of them.
SALES_BY_HAND, CLOSES, ANSWERS_LOST = 20, 10, 3
#: They trip for nobody; every second follower has them.
DAILY_LOSS, DRAWDOWN = Decimal(100_000), Decimal("0.9")


@dataclass
class Window:
    """`ages_s` are of every follower's stored balance at every look, sorted; `gaps_s` the longest time of each follower
    between two requests for it, or to the window's ends; `noticed_s` after a sale by hand."""

    followers: int
    holders: int = 0
    seconds: float = 0.0
    before: dict[str, Usage] = field(default_factory=dict)
    after: dict[str, Usage] = field(default_factory=dict)
    costs: dict[str, TaskCost] = field(default_factory=dict)
    ages_s: list[float] = field(default_factory=list)
    gaps_s: list[float] = field(default_factory=list)
    reads: Counter[int] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    noticed_s: list[float] = field(default_factory=list)
    booked: int = 0
    problems: list[str] = field(default_factory=list)

    def cpu_s(self, name: str) -> float:
        return self.after[name].cpu_s - self.before[name].cpu_s


def measure(stage: Stage, *, window_s: float, sold: Fraction, say: Callable[[str], None]) -> Window:
    """`sold`: the part that the master has sold before, and everybody with him. Raises Unfinished."""
    window = Window(stage.size)
    say(f"the master buys, {stage.size:,} followers copy it")
    _limit_losses()
    entry = trips.run(stage, "entry", SYMBOL, "buy", wait_s=TRADE_WAIT_S)
    window.holders = Position.objects.filter(account__role=Role.FOLLOWER, is_open=True).count()
    if window.holders < HOLDERS_MIN * stage.size:
        raise Unfinished(
            f"of {stage.size} followers only {window.holders} got something to hold: {dict(entry.outcomes)}"
        )
    if sold:
        say(f"the master sells {sold}")
        trips.run(stage, "exit", SYMBOL, "sell", wait_s=TRADE_WAIT_S, fraction=sold)
    say(f"{window.holders:,} hold something; {WARM_UP_S:.0f} s for everything to come to rest")
    time.sleep(WARM_UP_S)
    say(f"measuring for {window_s:.0f} s")
    counts = Counter(stage.exchange.ask("stats")["counts"])
    window.before, began = stage.usages(with_memory=False), time.time()
    by_hand = _pass(stage, window, began=began, window_s=window_s)
    ended = time.time()
    window.after, window.seconds = stage.usages(), ended - began
    window.requests = Counter(stage.exchange.ask("stats")["counts"]) - counts
    window.costs = measured.costs_of(stage.tasks(since=began, until=ended))
    since = datetime.fromtimestamp(began, UTC)
    window.booked = Execution.objects.filter(booked_at__gte=since, order__kind=OrderKind.EXIT).count()
    _count_reads(stage, window, began=began, ended=ended)
    _judge(stage, window, by_hand, began=began)
    return window


def _limit_losses() -> None:
    """Limits are looked at whenever equity is recorded."""
    limited = [account.user_id for account in Account.objects.filter(role=Role.FOLLOWER).order_by("pk")[::2]]
    RiskSettings.objects.filter(user__in=limited).update(max_daily_loss=DAILY_LOSS, max_drawdown=DRAWDOWN)


def _pass(stage: Stage, window: Window, *, began: float, window_s: float) -> dict[int, float]:
    """Lets the time go by, with what a few followers do in it; when each of those sold by hand, by index."""
    sold: dict[int, float] = {}
    deeds = list(_deeds(stage, sold))
    # Who acts first is told by when: all within the first half.
    due = [began + (number + 0.5) * window_s / 2 / len(deeds) for number in range(len(deeds))]
    look_at = began
    while (now := time.time()) < began + window_s:
        if due and now >= due[0]:
            due.pop(0)
            deeds.pop(0)()
        elif now >= look_at:
            window.ages_s += _ages_s()
            look_at += AGES_EVERY_S
        else:
            time.sleep(max(0.0, min([look_at, began + window_s, *due[:1]]) - now))
    window.ages_s.sort()
    return sold


def _deeds(stage: Stage, sold: dict[int, float]) -> Iterator[Callable[[], None]]:
    def sell(index: int) -> None:
        stage.exchange.ask(f"sell_by_hand/{index}")
        sold[index] = time.time()

    def close(index: int, *, answer_is_lost: bool) -> None:
        if answer_is_lost:
            stage.exchange.ask("lose_answer")
        closing.close_account(_account(index), actor="its owner", clock=SYSTEM)

    holding = Position.objects.filter(account__role=Role.FOLLOWER, is_open=True).order_by("pk")
    ibans = holding.values_list("account__iban", flat=True)[: SALES_BY_HAND + CLOSES]
    indices = [null_books.index_of(iban) for iban in ibans]
    for number, index in enumerate(indices[:SALES_BY_HAND]):
        yield partial(sell, index)
        if number < CLOSES:
            yield partial(close, indices[SALES_BY_HAND + number], answer_is_lost=number < ANSWERS_LOST)


def _account(index: int) -> Account:
    return Account.objects.get(iban=null_books.iban_of(index))


def _ages_s() -> list[float]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT array_agg(extract(epoch FROM clock_timestamp() - balances_as_of)::float8) FROM trading_account "
            "WHERE role = 'follower'"
        )
        (ages,) = cursor.fetchone() or ([],)
    return list(ages)


def _count_reads(stage: Stage, window: Window, *, began: float, ended: float) -> None:
    """The exchange's own record of every follower's balance."""
    every = stage.exchange.ask("balance_reads")
    for index in range(1, stage.size + 1):
        reads = [at for at in every.get(str(index), []) if began <= at <= ended]
        window.reads[len(reads)] += 1
        window.gaps_s.append(max(after - before for before, after in pairwise([began, *reads, ended])))
    window.gaps_s.sort()


def _judge(stage: Stage, window: Window, sold: dict[int, float], *, began: float) -> None:
    for index, at in sold.items():
        noticed = Adjustment.objects.filter(account=_account(index)).values_list("created_at", flat=True).first()
        if noticed is None:
            window.problems.append(f"account {index} sold by hand, which was not noticed")
        else:
            window.noticed_s.append(noticed.timestamp() - at)
    window.noticed_s.sort()
    if window.booked != CLOSES:
        window.problems.append(f"{CLOSES} followers closed their position, {window.booked} sales were booked")
    adjusted = Adjustment.objects.count()
    if adjusted != len(sold):
        window.problems.append(f"{adjusted} positions were taken for reduced by hand, {len(sold)} were")
    window.problems += trips.refused(window.requests)
    window.problems += [*trips.orders(stage), *trips.holdings(stage), *trips.alerts(since=began)]
