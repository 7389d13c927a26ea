"""Ambiguous sends: an order whose answer is lost, broken or late, told by what the exchange has of it.

The exchange acts and then fails, or fails and never acts, in every way it knows; on every path an order can take, several of
them in doubt at a time. What NIJA then says of each order must be what the exchange says.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from accounts.models import RiskSettings
from accounts.models.risk import CopyState
from tests.chaos import acts, ledger
from tests.chaos.acts import Failed
from tests.chaos.stage import SYMBOL, Person, Stage
from trading.models import Order, OrderKind

#: Longer than a request may take.
DELAY_S = 9.0
#: Reads may lag 5 s behind the matching engine.
LAG_S = 4.0
LAGGING = ("OpenOrders", "ClosedOrders", "TradesHistory")
ACTED = (
    *("drop_after", "http_520_after", "html_after", "bad_json_after"),
    *("error_after:EService:Busy", "error_after:EGeneral:Internal error", "delay_after"),
)
NEVER_ACTED = (
    *("drop_before", "http_520_before", "html", "bad_json"),
    *("error:EService:Busy", "error:EGeneral:Internal error", "wrong_nonce", "delay"),
)
#: In turn, so that what has to be proved absent, which takes the longest, is spread over the rounds.
FAULTS = tuple(fault for both in itertools.zip_longest(NEVER_ACTED, ACTED) for fault in both if fault)
#: What the exchange says in its log of a fault with a short name.
LOGGED = {"wrong_nonce": "EAPI:Invalid nonce"}
#: Found at the first look, or nearly so.
SHORT = ("drop_after", "html_after", "error_after:EService:Busy")
#: Pairs in which the master's orders are in doubt together; more would wait for the read budget of his key.
TOGETHER = 5
SYMBOLS = ("BTC-USD", "ETH-USD", "SOL-USD", "XRP-USD", "LTC-USD", "FLR-USD", "PEPE-USD", "DOGE-USD", SYMBOL)
#: Followers who copy the master's orders in doubt; the others watch.
COPIERS = 2
ROUNDS_MAX = 12
NEVER_S = float("inf")


class Path(StrEnum):
    MASTER_ENTRY = "master's entry"
    MASTER_EXIT = "master's exit"
    ENTRY = "follower's entry"
    EXIT = "follower's exit"


@dataclass(frozen=True, slots=True)
class Send:
    """One order request that a fault struck. `in_doubt`: its row went from SENDING to UNKNOWN."""

    path: Path
    fault: str
    in_doubt: bool
    accepted: bool
    settled_s: float
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wish:
    """Every one of these faults on every one of these paths at least so many times."""

    times: int
    faults: Sequence[str] = FAULTS
    paths: Sequence[Path] = tuple(Path)


#: Of the followers, since the master has one key for all that is in doubt.
QUICK = Wish(1, SHORT, (Path.ENTRY, Path.EXIT))


@dataclass
class Report:
    wish: Wish
    sends: list[Send] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    #: After a round that did not come right again nothing later can be judged.
    hopeless: bool = False
    took_s: float = 0.0

    def of(self, path: Path, fault: str) -> list[Send]:
        return [send for send in self.sends if send.in_doubt and (send.path, send.fault) == (path, fault)]

    def missing(self, path: Path) -> list[str]:
        """Faults that this path has not met often enough, the rarest first, once for each."""
        if path not in self.wish.paths:
            return []
        met = {fault: len(self.of(path, fault)) for fault in self.wish.faults}
        return [fault for fault in sorted(met, key=met.__getitem__) if met[fault] < self.wish.times]

    @property
    def wrong(self) -> int:
        return sum(bool(send.problems) for send in self.sends)

    @property
    def good(self) -> bool:
        return not (self.wrong or self.problems or any(self.missing(path) for path in Path))

    @property
    def told(self) -> list[str]:
        """Every problem, in a line."""
        return [*(problem for send in self.sends for problem in send.problems), *self.problems]

    def table(self) -> str:
        head = f"{'path':<18}{'fault':<38}{'sent':>5}{'accepted':>10}{'placed':>8}{'not placed':>12}{'slowest s':>11}{'wrong':>7}"
        rows = [self._row(path, fault) for path, fault in itertools.product(self.wish.paths, self.wish.faults)]
        return "\n".join([head, *rows])

    def summary(self) -> str:
        doubtful = [send for send in self.sends if send.in_doubt]
        accepted = sum(send.accepted for send in doubtful)
        slowest = max((send.settled_s for send in doubtful), default=0.0)
        missing = sum(len(self.missing(path)) for path in Path)
        return (
            f"sends: {len(doubtful)} ambiguous sends on {len(self.wish.paths)} paths by {len(self.wish.faults)} faults, "
            f"{accepted} accepted there, {len(doubtful) - accepted} not, {self.wrong} judged wrong, "
            f"{len(self.problems)} other problems, "
            f"{missing} pairs of path and fault met less than {self.wish.times} times, slowest to settle {slowest:.1f} s, "
            f"{self.took_s:.0f} s"
        )

    def _row(self, path: Path, fault: str) -> str:
        mine = self.of(path, fault)
        right = Counter(send.accepted for send in mine if not send.problems)
        slowest = f"{max(send.settled_s for send in mine):.1f}" if mine else "-"
        accepted, wrong = sum(send.accepted for send in mine), sum(bool(send.problems) for send in mine)
        return f"{path:<18}{fault:<38}{len(mine):>5}{accepted:>10}{right[True]:>8}{right[False]:>12}{slowest:>11}{wrong:>7}"


@dataclass(frozen=True, slots=True)
class _Spoilt:
    """Faults waiting for the next order requests of one person, in this order."""

    path: Path
    person: Person
    faults: Sequence[str]


def run(stage: Stage, wish: Wish, *, say: Callable[[str], None]) -> Report:
    report, began = Report(wish), time.monotonic()
    stage.stack.wait_ready()
    stage.gather(len(wish.faults))
    for number in range(ROUNDS_MAX):
        rounds: list[Callable[[Proof], None]] = []
        if report.missing(Path.ENTRY) or report.missing(Path.EXIT):
            rounds.append(Proof.of_followers)
        if report.missing(Path.MASTER_ENTRY) or report.missing(Path.MASTER_EXIT):
            rounds.append(Proof.of_master)
        for proceed in rounds:
            Proof(stage, report, lagging=number % 2 == 1).run(proceed)
            say(
                f"after {time.monotonic() - began:.0f} s: {sum(send.in_doubt for send in report.sends)} ambiguous sends"
            )
        if not rounds or report.hopeless:
            break
    report.took_s = time.monotonic() - began
    return report


class Proof:
    """One round trip in which many orders are in doubt."""

    def __init__(self, stage: Stage, report: Report, *, lagging: bool) -> None:
        self._stage, self._report, self._lagging = stage, report, lagging
        self._ledger = ledger.Ledger(stage)
        self._too_late: Counter[str] = Counter()

    def run(self, proceed: Callable[[Proof], None]) -> None:
        try:
            proceed(self)
            self._sell_all()
            self._report.problems += self._ledger.contradictions(self._too_late)
        except Exception as error:
            # A mistake of the test's own must not cost the sends before it.
            self._report.problems.append(f"{type(error).__name__}: {error}")
            self._recover()

    def of_followers(self) -> None:
        """Everybody's copy of one entry, then of its exit, each with a fault of its own."""
        followers, faults = self._stage.followers, self._report.missing(Path.ENTRY)
        spoilt = [_Spoilt(Path.ENTRY, person, [fault]) for person, fault in zip(followers, faults, strict=False)]
        self._in_doubt(spoilt, acts.buy)
        holders = [person for person in followers if ledger.managed(person)]
        faults = self._report.missing(Path.EXIT)
        spoilt = [_Spoilt(Path.EXIT, person, [fault]) for person, fault in zip(holders, faults, strict=False)]
        self._in_doubt(spoilt, lambda: acts.sell("1"))

    def of_master(self) -> None:
        """Entries of the master in several pairs, then exits of what he holds."""
        with _watching(self._stage.followers[COPIERS:]):
            master = self._stage.master
            wanted = len(_bearable(self._report.missing(Path.MASTER_EXIT)))
            for symbol in SYMBOLS[len(SYMBOLS) - wanted :]:
                acts.buy(symbol)
            acts.converge(self._ledger.unsettled)
            entries = _bearable(self._report.missing(Path.MASTER_ENTRY))
            symbols = SYMBOLS[: len(entries)]
            self._in_doubt([_Spoilt(Path.MASTER_ENTRY, master, entries)], lambda: [acts.buy(name) for name in symbols])
            exits = _bearable(self._report.missing(Path.MASTER_EXIT))
            held = [symbol for symbol in reversed(SYMBOLS) if ledger.managed(master, symbol)][: len(exits)]
            exits = exits[: len(held)]
            self._in_doubt([_Spoilt(Path.MASTER_EXIT, master, exits)], lambda: [acts.sell("1", name) for name in held])
            self._sell_all()

    def _in_doubt(self, spoilt: Sequence[_Spoilt], act: Callable[[], object]) -> None:
        began = time.time()
        for each in spoilt:
            for fault in each.faults:
                self._stage.spoil(each.person, fault, delay_s=DELAY_S if fault.startswith("delay") else 0.0)
                self._too_late[each.person.email] += fault in ("wrong_nonce", "delay")
        if self._lagging:
            for endpoint in LAGGING:
                self._stage.lag(endpoint, delay_s=LAG_S)
        try:
            act()
            acts.until(lambda: self._all_asked(spoilt), "not every order that was to be spoilt was sent")
            acts.converge(self._ledger.unsettled)
        finally:
            # What has not come right is judged too.
            self._stage.heal()
            asked = self._stage.orders_asked(since=began)
            self._report.sends += [send for each in spoilt for send in self._judge(each, asked)]

    def _all_asked(self, spoilt: Sequence[_Spoilt]) -> bool:
        """Whether every fault has met its order request, or its order was too late to be sent."""
        active = {fault["api_key"] for fault in self._stage.paper("GET", "/faults")["faults"] if fault["kind"] != "lag"}
        return not active & {each.person.api_key for each in spoilt} or not self._ledger.unsettled()

    def _judge(self, spoilt: _Spoilt, asked: Sequence[Any]) -> list[Send]:
        account = self._stage.account(spoilt.person)
        mine = [row for row in asked if row["api_key"] == spoilt.person.api_key]
        return [
            _judged(spoilt.path, fault, row, account=account) for row, fault in zip(mine, spoilt.faults, strict=False)
        ]

    def _sell_all(self) -> None:
        """What a fault has left: the master sells it again, as a person would."""
        for symbol in SYMBOLS:
            if ledger.managed(self._stage.master, symbol):
                acts.sell("1", symbol)
        acts.converge(self._ledger.unsettled)

    def _recover(self) -> None:
        """So that one failure does not make every later round fail."""
        self._stage.heal()
        try:
            self._sell_all()
        except Failed as failure:
            self._report.problems.append(f"and not healed: {failure}")
            self._report.hopeless = True


def _judged(path: Path, fault: str, row: Any, *, account: Any) -> Send:
    order = Order.objects.select_related("account", "instrument").get(client_order_id=row["cl_ord_id"])
    accepted = any(venue["cl_ord_id"] == row["cl_ord_id"] for venue in account["orders"])
    problems = ledger.misjudged(order, account)
    if order.unknown_at is None:
        problems.append("its outcome was never in doubt")
    if accepted != (fault in ACTED):
        problems.append(f"the exchange {'took' if accepted else 'did not take'} it, against the fault")
    # What a request that is held back comes to is the exchange's to say.
    if fault != "delay" and LOGGED.get(fault, fault).removeprefix("error:") not in row["result"]:
        problems.append(f"the exchange's log says {row['result']}")
    if not accepted and path is Path.EXIT and not _sold_again(order):
        problems.append("its quantity was not sold by another exit")
    settled_s = NEVER_S
    if order.sent_at is not None and order.closed_at is not None:
        settled_s = (order.closed_at - order.sent_at).total_seconds()
    if settled_s > acts.CONVERGE_MAX_S:
        problems.append(f"settled after {settled_s:.0f} s")
    told = tuple(f"{path}, {fault}: {problem}" for problem in problems)
    return Send(path, fault, order.unknown_at is not None, accepted, settled_s, told)


def _sold_again(order: Order) -> bool:
    """By the exit that the obligation planned after this one."""
    later = Order.objects.filter(account=order.account, instrument=order.instrument, kind=OrderKind.EXIT)
    return later.filter(exit_number__gt=order.exit_number, filled__gte=order.quantity).exists()


def _bearable(faults: Sequence[str]) -> list[str]:
    """So many as may be in doubt on one key; of those that occupy its lane one, and last."""
    quick = [fault for fault in faults if not fault.startswith("delay")]
    slow = [fault for fault in faults if fault.startswith("delay")][:1]
    return [*quick[: TOGETHER - len(slow)], *slow]


@contextmanager
def _watching(followers: Sequence[Person]) -> Iterator[None]:
    """These followers copy no entry while the block lasts."""
    theirs = RiskSettings.objects.filter(user__email__in=[person.email for person in followers])
    theirs.update(state=CopyState.CLOSE_ONLY)
    try:
        yield
    finally:
        theirs.update(state=CopyState.ACTIVE)
