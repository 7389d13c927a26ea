"""Whether all has come right: nothing open here, the exchange's books equal to ours, and no order there twice."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django.db.models import Count, F, Max, Q

from accounts.models import Credential
from copytrade.models import CopyOrder, CopyStatus
from tests.chaos.stage import SYMBOL, Person, Stage
from trading.domain import order_state
from trading.domain.order_state import OrderState
from trading.models import Execution, Order, Position, Role, Signal, SignalKind

CASH = "ZUSD"
#: Final at the exchange.
AT_REST = frozenset({OrderState.FILLED, OrderState.CANCELED, OrderState.EXPIRED})


def _client_ids(account: Any) -> list[str]:
    return [order["cl_ord_id"] for order in account["orders"] if order["cl_ord_id"]]


def _oversold(account: Any) -> list[tuple[str, Decimal]]:
    """The pairs of which more was sold than bought, and how much."""
    sold: dict[str, Decimal] = defaultdict(Decimal)
    for order in account["orders"]:
        sold[order["pair"]] += Decimal(order["vol_exec"]) * (1 if order["descr"]["type"] == "sell" else -1)
    return [(pair, over) for pair, over in sold.items() if over > 0]


def managed(person: Person, symbol: str = SYMBOL) -> Decimal:
    position = Position.objects.filter(account__user__email=person.email, instrument__symbol=symbol).first()
    return position.managed if position is not None else Decimal(0)


def misjudged(order: Order, account: Any) -> list[str]:
    """How what we hold of a sent order, once it is final, differs from what the exchange holds of it; empty when right."""
    there = [venue for venue in account["orders"] if venue["cl_ord_id"] == str(order.client_order_id)]
    booked = sorted(order.executions.values_list("trade_id", flat=True))
    if len(there) > 1:
        return [f"the exchange holds {len(there)} orders of one id"]
    if not there:
        right = order.state == OrderState.NOT_PLACED and not order.venue_order_id and not booked
        return [] if right else [f"{order.state}, and the exchange never took it"]
    found = []
    if order.state not in AT_REST or order.venue_order_id != there[0]["txid"]:
        found.append(f"{order.state} as {order.venue_order_id or 'no order'}, and the exchange took {there[0]['txid']}")
    if booked != sorted(t["txid"] for t in account["trades"] if t["ordertxid"] == there[0]["txid"]):
        found.append("other executions than the exchange's are booked")
    return found


class Ledger:
    """Looks at one trip, which begins when this is made."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._signal_before = Signal.objects.aggregate(last=Max("pk"))["last"] or 0
        accounts = {person.email: stage.account(person) for person in stage.people}
        self._bought_before = {email: self._bought(account) for email, account in accounts.items()}
        self._refused_before = {email: account["requests"]["invalid_nonces"] for email, account in accounts.items()}

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
        masters = Position.objects.filter(account__role=Role.MASTER, managed__gt=0).values("instrument")
        left = Position.objects.filter(account__role=Role.FOLLOWER, managed__gt=0).exclude(instrument__in=masters)
        reasons += [f"{email} is not flat" for email in left.values_list("account__user__email", flat=True)]
        return reasons or self._differences()

    def contradictions(self, nonces_refused: Mapping[str, int] | None = None) -> list[str]:
        """What must never be, at the exchange and here.

        `nonces_refused` by e-mail address is how many requests the exchange was told to call, or to make, too late.
        """
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
            refused = requests["invalid_nonces"] - self._refused_before.get(person.email, 0)
            if requests["max_in_flight"] > 1 or refused > (nonces_refused or {}).get(person.email, 0):
                found.append(f"{person.email}: {requests}")
            found += [f"{person.email}: sold {over} {pair} more than was bought" for pair, over in _oversold(account)]
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
            positions = Position.objects.filter(account__user__email=person.email, managed__gt=0)
            manages = dict(positions.values_list("instrument__base_asset", "managed"))
            balances = {asset: Decimal(amount) for asset, amount in account["balances"].items() if asset != CASH}
            holds = {asset: amount for asset, amount in balances.items() if amount}
            if manages != holds:
                found.append(f"{person.email}: manages {manages} and holds {holds}")
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
