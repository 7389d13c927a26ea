"""Whether all has come right: nothing open here, the exchange's books equal to ours, and no order there twice."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

from django.db.models import Count, F, Max, Q

from accounts.models import Credential
from copytrade.models import CopyOrder, CopyStatus
from tests.chaos.stage import Person, Stage, held_quantity
from trading.domain import order_state
from trading.models import Execution, Order, Position, Role, Signal, SignalKind


def _client_ids(account: Any) -> list[str]:
    return [order["cl_ord_id"] for order in account["orders"] if order["cl_ord_id"]]


def managed(person: Person) -> Decimal:
    position = Position.objects.filter(account__user__email=person.email).first()
    return position.managed if position is not None else Decimal(0)


class Ledger:
    """Looks at one trip, which begins when this is made."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._signal_before = Signal.objects.aggregate(last=Max("pk"))["last"] or 0
        self._bought_before = {person.email: self._bought(stage.account(person)) for person in stage.people}

    def unsettled(self) -> list[str]:
        """What is still under way, or different at the exchange; empty when all has come right."""
        open_here = {
            "orders not final": Order.objects.filter(state__in=order_state.LIVE),
            "fills not signalled": Execution.objects.filter(account__role=Role.MASTER, signal__isnull=True),
            "signals not fanned out": Signal.objects.filter(fan_out__isnull=True),
            "copies pending": CopyOrder.objects.filter(status=CopyStatus.PENDING),
            "keys not judged": Credential.objects.filter(status=Credential.Status.PENDING),
        }
        counts = {what: rows.count() for what, rows in open_here.items()}
        reasons = [f"{count} {what}" for what, count in counts.items() if count]
        if not managed(self._stage.master):
            reasons += [f"{p.email} is not flat" for p in self._stage.followers if managed(p)]
        return reasons or self._differences()

    def contradictions(self) -> list[str]:
        """What must never be, at the exchange and here."""
        found: list[str] = []
        entries = Signal.objects.filter(pk__gt=self._signal_before, kind=SignalKind.ENTRY).count()
        for person in self._stage.people:
            account = self._stage.account(person)
            twice = [name for name, n in Counter(_client_ids(account)).items() if n > 1]
            found += [f"{person.email}: the exchange took {name} twice" for name in twice]
            bought = self._bought(account) - self._bought_before.get(person.email, 0)
            if person is not self._stage.master and bought > entries:
                found.append(f"{person.email}: {bought} entries at the exchange for {entries} signals")
            requests = account["requests"]
            if requests["max_in_flight"] > 1 or requests["invalid_nonces"]:
                found.append(f"{person.email}: {requests}")
        return found + self._entries_sent_twice() + self._nonces_that_fell() + self._without_outcome()

    def _differences(self) -> list[str]:
        found: list[str] = []
        for person in self._stage.people:
            account = self._stage.account(person)
            mine = Order.objects.filter(account__user__email=person.email)
            ids = set(mine.exclude(venue_order_id="").values_list("venue_order_id", flat=True))
            trades = Execution.objects.filter(account__user__email=person.email).values_list("trade_id", flat=True)
            if ids != {order["txid"] for order in account["orders"]}:
                found.append(f"{person.email}: other orders at the exchange than here")
            if sorted(trades) != sorted(trade["txid"] for trade in account["trades"]):
                found.append(f"{person.email}: other trades at the exchange than here")
            if managed(person) != held_quantity(account):
                found.append(f"{person.email}: manages {managed(person)} and holds {held_quantity(account)}")
        return found

    def _bought(self, account: Any) -> int:
        return sum(order["descr"]["type"] == "buy" for order in account["orders"])

    def _entries_sent_twice(self) -> list[str]:
        """Orders at the exchange per copy of an entry, by their client order ids."""
        twice = (
            Order.objects.filter(signal__isnull=False)
            .values("signal", "account")
            .annotate(rows=Count("pk"), placed=Count("pk", filter=~Q(venue_order_id="")))
            .filter(rows__gt=1)
        )
        return [f"{row['placed']} orders for one copy: {row}" for row in twice]

    def _nonces_that_fell(self) -> list[str]:
        found = []
        last: dict[str, int] = {}
        for row in self._stage.log():
            key = row["api_key"]
            if not key or not row["nonce"].isdigit():
                continue
            if int(row["nonce"]) <= last.get(key, 0):
                found.append(f"nonce {row['nonce']} of {key} after {last[key]}")
            last[key] = int(row["nonce"])
        return found

    def _without_outcome(self) -> list[str]:
        """Signals that lack a copy of one of their followers, or have a live one after all came to rest."""
        short = Signal.objects.annotate(made=Count("copies")).exclude(made=F("fan_out__followers"))
        return [f"signal {pk} has not a copy for every follower" for pk in short.values_list("pk", flat=True)]
