"""The database of `make bench-pages`: ten thousand followers with a past, written in bulk by the two SQL files beside this one.

The trades add up as booking would have left them (`test_pages.py` has the books checked), so that pages meet what they would meet.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from psycopg import sql

from copytrade.models import CopyOrder
from copytrade.services import exits
from tests.benchmarks import stage
from trading.models import (
    Account,
    Execution,
    Instrument,
    Levels,
    MarketPrice,
    Order,
    Position,
    Pulse,
    Role,
    Schedule,
    Venue,
)
from trading.services.clock import SYSTEM

HERE = Path(__file__).parent
#: Base asset and bid; the strategy looks at the first six.
MARKET = {
    "BTC": "61000", "ETH": "2500", "SOL": "145", "XRP": "0.58", "DOGE": "0.11", "BEAM": "0.0029",
    "ADA": "0.36", "LTC": "68", "LINK": "11.2", "DOT": "4.3", "AVAX": "27", "NEAR": "4.6",
}  # fmt: skip
#: So many of the master's last round trips were copied by everybody: more signals than any page shows.
WHOLE_TRIPS = 8
#: Of the last trips everybody has an entry, and an exit of all but two.
SIGNALS_OF_WHOLE = 2 * WHOLE_TRIPS - 2
COPIES_PER_SIGNAL = 10
FEWEST_TRIPS = 40
STEP_MAX = timedelta(minutes=20)
PAST = timedelta(days=700)
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Size:
    """`rows` copy orders, and about as many fills, of `followers`."""

    followers: int
    rows: int

    @property
    def trips(self) -> int:
        return max(FEWEST_TRIPS, self.rows // COPIES_PER_SIGNAL // 2)

    @property
    def signals(self) -> int:
        return 2 * self.trips - 2

    @property
    def sampled(self) -> int:
        """Trips of followers that are neither the first nor in those that everybody copied."""
        taken = SIGNALS_OF_WHOLE * self.followers + 2 * (self.trips - WHOLE_TRIPS)
        return max(self.followers, (self.rows - taken) // 2)


def fill(size: Size) -> None:
    """Everything, into a database that was just migrated."""
    now = datetime.now(UTC)
    values = _values(size, now=now)
    stage.join_all(size.followers)
    with transaction.atomic():
        _market(now=now)
        with connection.cursor() as cursor:
            # Rows that follow from each other need no proof that they exist, and an index is made faster than it is kept.
            cursor.execute("SET LOCAL session_replication_role = replica")
            indexes = _without_indexes(cursor)
            for name in ("page_trades.sql", "page_surroundings.sql"):
                for statement in (HERE / name).read_text().split(";\n"):
                    if statement.strip():
                        cursor.execute(statement, values)
                if name == "page_trades.sql":
                    for definition in indexes:
                        cursor.execute(definition)
        _levels(now=now)
    # Who owes nothing was found to since, as the planner leaves it after its first look.
    exits.plan_due(clock=SYSTEM)
    with connection.cursor() as cursor:
        # What autovacuum would have done long since: statistics, and pages known to be visible to everybody.
        cursor.execute("VACUUM ANALYZE")


def _without_indexes(cursor: Any) -> list[str]:
    """Drop those of the largest tables that no constraint stands on; the statements that make them again."""
    cursor.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = ANY(%s) AND schemaname = current_schema() "
        "AND indexname NOT IN (SELECT conname FROM pg_constraint) ORDER BY indexname",
        [[model._meta.db_table for model in (Order, Execution, CopyOrder)]],
    )
    found = cursor.fetchall()
    for name, _ in found:
        cursor.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))
    return [definition for _, definition in found]


def _values(size: Size, *, now: datetime) -> dict[str, Any]:
    clean = {
        "checks": [{"invariant": "I7", "what": "positions", "looked_at": size.followers, "found": 0, "findings": []}]
    }
    parts = {
        "price_action": {
            "points": "12",
            "maximum": "20",
            "lines": [{"rule": "ema stack", "points": "12", "maximum": "15"}],
        }
    }
    small = size.rows < 100_000
    return {
        "now": now,
        "followers": size.followers,
        "trips": size.trips,
        "signals": size.signals,
        "whole": WHOLE_TRIPS,
        "sampled": size.sampled,
        "instruments": len(MARKET),
        "step": min(STEP_MAX, PAST / size.signals),
        "points": 3 * DAY_S // 30 if small else 30 * DAY_S // 30,
        "points_of_others": 5 if small else 20,
        "events": 200 if small else 20_000,
        "inspections": 30 if small else 1_000,
        "cycles": 120 if small else 10_080,
        "candles": 2_000 if small else 43_200,
        "report": json.dumps(clean),
        "parts": json.dumps(parts),
    }


def _market(*, now: datetime) -> None:
    venue = settings.VENUE
    rows = [
        Instrument(
            venue=venue, symbol=f"{base}-USD", pair_id=f"{base}USD", altname=f"{base}USD", base_asset=base, quote_asset="ZUSD",
            tick_size=Decimal("0.000001"), lot_size=Decimal("0.00000001"), quantity_min=Decimal("0.000001"),
            notional_min=Decimal("0.5"), updated_at=now,
        )
        for base in MARKET
    ]  # fmt: skip
    Instrument.objects.bulk_create(rows)
    bids = [Decimal(bid) for bid in MARKET.values()]
    MarketPrice.objects.bulk_create(
        MarketPrice(instrument=row, bid=bid, ask=bid, last=bid, as_of=now) for row, bid in zip(rows, bids, strict=True)
    )
    Venue.objects.create(url=venue, offset_ms=12, offset_error_ms=3, offset_at=now, status="online", answered_at=now)
    Schedule.objects.create(name="master-cycle", due_at=now + timedelta(seconds=26))
    Pulse.objects.bulk_create(
        Pulse(queue=name, at=now, since=now) for name in ("default", "entries", "exits", "planning")
    )


def _levels(*, now: datetime) -> None:
    """Of all the master holds but one position, which he opened by hand."""
    held = Position.objects.filter(account__role=Role.MASTER, is_open=True).select_related("instrument__price")
    for position in held.order_by("pk")[1:]:
        price = position.instrument.price.bid
        targets = [{"level": str(price * (1 + Decimal(n) / 50)), "fraction": "1/2", "hit": n == 1} for n in (1, 2)]
        bought = Order.objects.filter(account=position.account, instrument=position.instrument, kind="entry").latest(
            "pk"
        )
        Levels.objects.create(
            position=position, entry_order=bought, strategy="apex", version="1", parameters_hash="0" * 64, entry_price=price,
            plan={"stop": str(price * Decimal("0.97")), "targets": targets}, opened_market_at=now, updated_at=now,
        )  # fmt: skip


def account(number: int) -> Account:
    """0 is the master, 1 who copied everything, the last one who copied only what everybody did."""
    return Account.objects.select_related("user").get(iban=f"AA{number:014d}")


def counts() -> dict[str, int]:
    """Rows of the larger tables, by the databases's own statistics."""
    tables = [model._meta.db_table for model in (Order, Execution, Position)]
    tables += ["copytrade_copyorder", "trading_signal", "trading_equitypoint"]
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("SELECT relname, reltuples::bigint FROM pg_class WHERE relname = ANY(%s)"), [tables])
        return {name.partition("_")[2]: max(rows, 0) for name, rows in cursor.fetchall()}
