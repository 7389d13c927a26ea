"""What tests of the master's trades outside NIJA share."""

from __future__ import annotations

from copytrade.services import books
from tests.functional.scenario import Fleet
from trading.models import Event, Order, Schedule
from trading.services import outside

#: Looks are 4 s apart in these rounds; after so many rounds what is at Kraken was found and copied.
FOUND = 9


def at_rest(fleet: Fleet) -> Fleet:
    fleet.live(1)
    fleet.world.move(61)
    fleet.world.refresh()
    fleet.live(1)
    return fleet


def outside_orders(fleet: Fleet) -> list[Order]:
    return list(Order.objects.filter(account=fleet.master.account, origin="outside").order_by("pk"))


def assert_books_are_clean(fleet: Fleet) -> None:
    """`check_books`, also against what Kraken tells, once everything is half a minute old."""
    fleet.world.move(31)
    fleet.live(1)
    fleet.world.move(31)
    report = books.check(clock=fleet.world.clock, sleep=fleet.world.move)
    assert [finding.sentence for finding in report.findings] == []
    assert report.not_compared == ()


def alerts() -> list[str]:
    return list(Event.objects.filter(kind="alert").values_list("message", flat=True))


def requests_of(fleet: Fleet, endpoint: str) -> int:
    return fleet.asked(fleet.master, endpoint)


def look_now(fleet: Fleet) -> int:
    """A look out of turn."""
    Schedule.objects.filter(name=outside.TURN).update(due_at=fleet.world.clock.now())
    return outside.look(clock=fleet.world.clock)
