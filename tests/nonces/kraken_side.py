"""What Kraken would say to the simulated requests of one key: which nonces it takes, how many are on the wire at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.simulation.scheduler import NS, Scheduler
from trading.kraken.errors import OutcomeUnknown, Unavailable
from trading.services import lanes

MS = 1_000_000
REQUEST_MAX_NS = int(lanes.REQUEST_MAX.total_seconds() * NS)
#: Of a thousand requests: never written, longer under way than their sender waits, answered in vain.
REFUSED, SLOW, ANSWER_LOST = 4, 1, 3
LATE_NS = (8 * NS, 30 * NS)


@dataclass(eq=False)
class Request:
    """One request. `waited_for` until it is over for its sender: answered, given up, or the sender was killed."""

    nonce: int
    sender: str
    arrives_at_ns: int
    waited_for: bool = True
    orphaned: bool = False
    answered: bool = False
    taken: bool = False


@dataclass
class KrakenSide:
    """Stands where a key's PrivateClient does. `violations` are sentences.

    A nonce is invalid when it does not exceed all that was written before it, or when it is refused on arrival while its sender
    waits. A request that comes late, of a sender that was killed or gave up, is refused as it has to be.
    """

    scheduler: Scheduler
    counts: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    written_last: int = 0
    taken_last: int = 0
    in_flight_max: int = 0
    _on_the_wire: list[Request] = field(default_factory=list)

    def looking(self, before_write: Callable[[], None]) -> KrakenSide:
        """Whoever waits so long that the look would tell here writes all the same: late ones are what this is about."""
        return self

    async def balance_ex(self, *, nonce: int) -> str:
        return self._send(nonce)

    async def reach(self, *, nonce: int) -> str:
        return self._send(nonce)

    async def add_order(self, *, nonce: int) -> str:
        """As a read, but nothing older that Kraken might still take may be on the wire after a sender's death."""
        return self._send(nonce, is_order=True)

    def forget_senders_of(self, process: str) -> None:
        """It was killed. What it wrote arrives all the same, half of it much later."""
        chance = self.scheduler.random
        for request in self._on_the_wire:
            if request.sender == process and request.waited_for:
                request.waited_for, request.orphaned = False, True
                self.counts["requests of killed senders"] += 1
                if chance.randrange(2):
                    request.arrives_at_ns = self.scheduler.now_ns + chance.randrange(*LATE_NS)

    def _send(self, nonce: int, *, is_order: bool = False) -> str:
        scheduler, chance = self.scheduler, self.scheduler.random
        fate = chance.randrange(1000)
        scheduler.pause("about to write")
        if fate < REFUSED:
            raise Unavailable("Kraken could not be reached.")
        is_slow = REFUSED <= fate < REFUSED + SLOW
        delay_ns = chance.randrange(*LATE_NS) if is_slow else chance.randrange(1, 40) * MS
        assert scheduler.current is not None
        request = Request(nonce, scheduler.current.process, scheduler.now_ns + delay_ns)
        self._write(request, is_order=is_order)
        scheduler.pause("written")
        scheduler.wait_for(lambda: request.answered, at_most_ns=REQUEST_MAX_NS)
        request.waited_for = False
        scheduler.pause("answer read")
        if not request.answered or REFUSED + SLOW <= fate < REFUSED + SLOW + ANSWER_LOST:
            self.counts["answers lost"] += 1
            raise OutcomeUnknown("Kraken did not answer in time.")
        return "ok"

    def _write(self, request: Request, *, is_order: bool) -> None:
        self.counts["requests written"] += 1
        if request.nonce <= self.written_last:
            self._invalid(f"nonce {request.nonce} was written after {self.written_last}")
        if is_order:
            self.counts["orders written"] += 1
            if any(other.orphaned and other.nonce > self.taken_last for other in self._on_the_wire):
                self.violations.append("an order was written while a killed sender's request could still be taken")
        self.written_last = max(self.written_last, request.nonce)
        self._on_the_wire.append(request)
        in_flight = sum(other.waited_for for other in self._on_the_wire)
        self.in_flight_max = max(self.in_flight_max, in_flight)
        if in_flight > 1:
            self.violations.append(f"{in_flight} requests of one key at once")
        self.scheduler.at(request.arrives_at_ns - self.scheduler.now_ns, lambda: self._arrive(request))

    def _arrive(self, request: Request) -> None:
        if request.arrives_at_ns > self.scheduler.now_ns:
            self.scheduler.at(request.arrives_at_ns - self.scheduler.now_ns, lambda: self._arrive(request))
            return
        self._on_the_wire.remove(request)
        if request.nonce > self.taken_last:
            self.taken_last, request.taken = request.nonce, True
            self.counts["nonces accepted"] += 1
        elif request.waited_for:
            self._invalid(f"nonce {request.nonce} came after {self.taken_last}")
        else:
            self.counts["late ones refused"] += 1
        request.answered = request.waited_for

    def _invalid(self, what: str) -> None:
        self.counts["invalid"] += 1
        self.violations.append(what)
