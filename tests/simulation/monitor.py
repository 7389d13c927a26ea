"""What must hold at every moment: looked up in the committed database, from outside, and at the exchange."""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.simulation.doubts import Doubts
from tests.simulation.network import Network, Packet
from tests.simulation.scheduler import NS, Scheduler
from tests.simulation.stops import Stops
from trading.domain import order_state
from trading.domain.order_state import OrderState
from trading.paper.records import Order as PaperOrder

_STATES = "SELECT id, state, kind, origin, client_order_id, nonce, expires_at, sent_at FROM trading_order"
#: How often each of these happened: what grew since the last look is what the commit in between did.
_GROWN = (
    "SELECT (SELECT count(*) FROM trading_execution) AS 'executions booked',"
    " (SELECT count(*) FROM trading_signal) AS 'signal committed',"
    " (SELECT count(*) FROM copytrade_fanout) AS 'fanned out',"
    " (SELECT count(*) FROM trading_adjustment) AS 'reduction booked',"
    " (SELECT sum(epoch) FROM trading_lane) AS 'nonce taken'"
)
#: What an entry was allowed when it was sent, and everything of its account that counts against the same limits.
_ENTRY = (
    "SELECT o.quantity, o.limit_price, o.sent_at, o.expires_at, o.account_id, o.instrument_id, c.equity,"
    " s.price, s.order_id AS master_order, r.max_risk, r.max_open_positions, r.stopped_at, r.close_only_until, r.state"
    " FROM trading_order o JOIN copytrade_copyorder c ON c.order_id = o.id JOIN trading_signal s ON s.id = c.signal_id"
    " JOIN trading_account a ON a.id = o.account_id JOIN accounts_risksettings r ON r.user_id = a.user_id WHERE o.id = ?"
)
_SAME_MASTER_ORDER = (
    "SELECT o.state, o.filled, c.notional, s.price FROM copytrade_copyorder c JOIN trading_signal s ON s.id = c.signal_id"
    " JOIN trading_order o ON o.id = c.order_id WHERE c.account_id = ? AND s.order_id = ? AND c.kind = 'entry'"
)
_OUTSTANDING = ("sending", "unknown", "acked", "partial", "manual")
_IN_BUYING = (
    "SELECT quantity, limit_price, instrument_id, id FROM trading_order WHERE account_id = ? AND kind = 'entry'"
    f" AND state IN {_OUTSTANDING}"
)
_ENTRIES_UNDER_WAY = (
    "SELECT o.id, o.account_id, l.rate_points FROM trading_order o JOIN trading_lane l ON l.id = o.lane_id"
    f" WHERE o.kind = 'entry' AND o.origin <> 'outside' AND o.state IN {_OUTSTANDING}"
)
#: Claimed while it had so long to live (DESIGN section 3).
_LIFE_LEFT_S = 2.5


def _reachable() -> dict[str, frozenset[str]]:
    """Every state that a row may be seen in after it was seen in another."""
    direct: defaultdict[str, set[str]] = defaultdict(set)
    for (before, _), after in order_state.TRANSITIONS.items():
        direct[str(before)].add(str(after))
    closed = {}
    for state in OrderState:
        found, new = {str(state)}, {str(state)}
        while new:
            new = set().union(*(direct[one] for one in new)) - found
            found |= new
        closed[str(state)] = frozenset(found)
    return closed


REACHABLE = _reachable()
SENT = {str(state) for state in OrderState} - {"planned", "ready", "skipped", "missed"}


@dataclass
class Monitor:
    """`violations` are sentences that begin with the invariant they break (DESIGN section 9)."""

    scheduler: Scheduler
    network: Network
    database: Path
    violations: list[str] = field(default_factory=list)
    _states: dict[int, str] = field(default_factory=dict)
    #: How far our clock may be from the exchange's without anybody having noticed yet.
    clock_error_s: float = 0.0
    doubts: Doubts = field(default_factory=Doubts)
    _accepted: dict[str, str] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._db = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._version = -1
        self._stopped = False
        self.stops = Stops(self.scheduler, self.rows, self.broken)

    def close(self) -> None:
        self._db.close()

    def rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        return self._db.execute(query, values).fetchall()

    def broken(self, text: str) -> None:
        self.violations.append(text)
        self.scheduler.note(f"VIOLATION {text}")

    def entry_is_taken(self) -> bool:
        return bool(self.rows("SELECT 1 FROM trading_order WHERE state = 'acked' AND kind = 'entry' LIMIT 1"))

    @property
    def version(self) -> int:
        """Another one whenever anything was committed."""
        (version,) = self._db.execute("PRAGMA data_version").fetchone()
        return int(version)

    def look(self) -> list[str]:
        """After every commit: orders moved only as the table of states allows, and no entry past a stop or a limit.

        What the commit did, in the words of `coverage.KILLED_AT`.
        """
        version = self.version
        if version == self._version:
            return []
        self._version = version
        control = self.rows("SELECT stopped_at FROM trading_control")
        stopped = bool(control and control[0]["stopped_at"])
        did = self._grown()
        for row in self.rows(_STATES):
            before, now = self._states.get(row["id"]), row["state"]
            if before == now:
                continue
            self._states[row["id"]] = now
            if before is not None and now not in REACHABLE[before]:
                self.broken(f"I3: order {row['id']} went from {before} to {now}")
            if now == "sending" and row["kind"] == "entry":
                if stopped:
                    self.broken(f"I6: entry {row['id']} entered SENDING after a stop had committed")
                self._within_limits(row["id"])
            did += _named(row, before)
            if before == "sending" and now == "unknown":
                self.doubts.add(row)
            self.scheduler.note(f"order {row['id']} is {now}")
        if stopped and not self._stopped:
            self.stops.committed(self.rows(_ENTRIES_UNDER_WAY))
        self._stopped = stopped
        return did

    @property
    def signals(self) -> int:
        """Committed so far."""
        return self._counts.get("signal committed", 0)

    def judge_doubts(self) -> Counter[str]:
        """At the end; by path and by what the exchange had done."""
        orders = self.rows("SELECT id, state, venue_order_id, client_order_id FROM trading_order")
        cases, wrong = self.doubts.judge(
            {row["id"]: row for row in orders}, {name.replace("-", "") for name in self._accepted}
        )
        for violation in wrong:
            self.broken(violation)
        return cases

    def _grown(self) -> list[str]:
        found = {name: value or 0 for name, value in dict(self.rows(_GROWN)[0]).items()}
        grown = [name for name, value in found.items() if value > self._counts.get(name, value)]
        self._counts = found
        return grown

    def _within_limits(self, order_id: int) -> None:
        """I6, in the rows as they were committed together with the entry: claims serialise, so they are what it saw."""
        found = self.rows(_ENTRY, order_id)
        if not found:
            return
        entry = found[0]
        account, cap = entry["account_id"], Decimal(str(entry["max_risk"])) * Decimal(entry["equity"])
        taken = sum((_taken(row) for row in self.rows(_SAME_MASTER_ORDER, account, entry["master_order"])), Decimal(0))
        if Decimal(entry["quantity"]) * Decimal(entry["price"]) > cap or taken > cap:
            self.broken(f"I6: entry {order_id}: {taken} for one master order, above the cap of {cap}")
        if entry["stopped_at"] or entry["state"] != "active":
            self.broken(f"I6: entry {order_id} was sent for a stopped account")
        if entry["close_only_until"] and _unix(entry["close_only_until"]) > _unix(entry["sent_at"]):
            self.broken(f"I6: entry {order_id} was sent after a loss limit")
        if _unix(entry["expires_at"]) - _unix(entry["sent_at"]) < _LIFE_LEFT_S:
            self.broken(f"I6: entry {order_id} was claimed with less than {_LIFE_LEFT_S} s to live")
        buying = self.rows(_IN_BUYING, account)
        cash = self.rows("SELECT total FROM trading_assetbalance WHERE account_id = ? AND asset = 'ZUSD'", account)
        spends = sum((Decimal(row["quantity"]) * Decimal(row["limit_price"]) for row in buying), Decimal(0))
        if spends > Decimal(cash[0]["total"]):
            self.broken(f"I6: entry {order_id}: orders under way may spend {spends}, more than there is")
        held = self.rows("SELECT instrument_id FROM trading_position WHERE account_id = ? AND is_open", account)
        before = {row["instrument_id"] for row in (*held, *(row for row in buying if row["id"] != order_id))}
        if entry["instrument_id"] not in before and len(before) >= entry["max_open_positions"]:
            self.broken(f"I6: entry {order_id} opens a position more than {entry['max_open_positions']}")

    def before_write(self, packet: Packet) -> None:
        """I3 and I6: the intent is committed, and the order still has time, at the moment the first byte leaves."""
        if packet.method != "AddOrder":
            return
        params = packet.params()
        row = self._order(params["cl_ord_id"])
        if row is None or row["state"] not in ("sending", "unknown"):
            self.broken(f"I3: an order was written while its row was {row and row['state']}")
        elif row["nonce"] != int(params["nonce"]):
            self.broken("I3: an order was written with another nonce than was committed")

    def accepted(self, packet: Packet, result: Any) -> None:
        """At the exchange, the moment it has taken something."""
        if packet.method != "AddOrder":
            return
        params = packet.params()
        name, txid = params["cl_ord_id"], result["txid"][0]
        if name in self._accepted:
            self.broken("I1: one client order id was accepted twice")
        self._accepted[name] = txid
        row = self._order(name)
        if row is None or row["state"] not in SENT:
            self.broken(f"I2: the exchange accepted an order whose row is {row and row['state']}")
        self._one_per_copy(name)
        order = self.network.exchange.orders[txid]
        if order.side == "sell":
            self._only_what_was_bought(order)
        elif row is not None and row["expires_at"]:
            self._in_time(row)

    def _only_what_was_bought(self, order: PaperOrder) -> None:
        """I10: our sales, with what is still open of them, never exceed our purchases; the master's own count as ours."""
        exchange = self.network.exchange
        account = exchange.accounts.by_id[order.account_id]
        bought = sold = Decimal(0)
        for other in exchange.orders_of(account):
            if other.pair_id != order.pair_id or (other.cl_ord_id is None and account.label != "master"):
                continue
            if other.side == "buy":
                bought += other.executed
            elif other.cl_ord_id is not None:
                sold += other.volume if other.is_open else other.executed
        if sold > bought:
            self.broken(f"I10: {sold} {order.pair_id} sold, {bought} bought")

    def _in_time(self, row: sqlite3.Row) -> None:
        now_s = self.scheduler.now_ns / NS
        expires = _unix(row["expires_at"])
        # Kraken's deadline is what refuses a late one; it is at most the end of life.
        if now_s > expires + 0.001 + self.clock_error_s:
            self.broken("I6: the exchange took an entry after its time to live")

    def _one_per_copy(self, name: str) -> None:
        same = self.rows(
            "SELECT o.client_order_id AS name FROM trading_order o JOIN trading_order this"
            " ON this.client_order_id = ? AND o.signal_id = this.signal_id AND o.account_id = this.account_id"
            " WHERE o.kind = 'entry' AND this.kind = 'entry'",
            name.replace("-", ""),
        )
        if sum(_dashed(row["name"]) in self._accepted for row in same) > 1:
            self.broken("I1: two orders were accepted for one entry copy")

    def _order(self, name: str) -> sqlite3.Row | None:
        found = self.rows(f"{_STATES} WHERE client_order_id = ?", name.replace("-", ""))
        return found[0] if found else None

    def unsettled(self) -> list[str]:
        """What was begun and is not finished; empty when nothing is left."""
        counts = {
            "live orders": "SELECT count(*) FROM trading_order WHERE state IN"
            " ('planned', 'ready', 'sending', 'unknown', 'acked', 'partial')",
            "pending copies": "SELECT count(*) FROM copytrade_copyorder WHERE status = 'pending'",
            "signals not fanned out": "SELECT count(*) FROM trading_signal s LEFT JOIN copytrade_fanout f"
            " ON f.signal_id = s.id WHERE f.signal_id IS NULL",
            "fills not signalled": "SELECT count(*) FROM trading_execution e JOIN trading_account a ON a.id = e.account_id"
            " WHERE a.role = 'master' AND e.signal_id IS NULL",
        }
        found = {name: self._db.execute(query).fetchone()[0] for name, query in counts.items()}
        return [f"{number} {name}" for name, number in found.items() if number]


def _named(row: sqlite3.Row, before: str | None) -> list[str]:
    now, kind = row["state"], row["kind"]
    if now == "sending":
        return [f"{kind} SENDING committed"]
    if before == "sending":
        return ["outcome committed", "orphan adopted"] if now == "unknown" else ["outcome committed"]
    if before == "unknown":
        return ["unknown resolved"]
    if before is None and row["origin"] == "outside":
        return ["outside order adopted"]
    if before is None and kind == "exit" and row["origin"] == "copy":
        return ["exit planned"]
    return ["order final"] if now in ("filled", "canceled", "expired") else []


def _taken(row: sqlite3.Row) -> Decimal:
    """At the signal price: what has filled of a final order, all of one that may still fill."""
    if row["state"] in _OUTSTANDING:
        return Decimal(row["notional"])
    return Decimal(row["filled"]) * Decimal(row["price"])


def _unix(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def _dashed(name: str) -> str:
    return f"{name[:8]}-{name[8:12]}-{name[12:16]}-{name[16:20]}-{name[20:]}"
