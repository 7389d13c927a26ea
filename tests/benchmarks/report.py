"""The tables of `make bench`, and its targets."""

from __future__ import annotations

import io
import os
import platform
import pstats
import statistics
from collections import Counter
from collections.abc import Sequence

from django.db import connection

from tests.benchmarks.measured import ENTRY, EXIT, EXIT_AMONG_ENTRIES, FIRST_ENTRY, Measured, TaskCost
from tests.benchmarks.raw_limit import RawLimit
from tests.benchmarks.trips import INSTANTS, Trip, is_entry

WHOLE, LARGEST = 1_000, 10_000
BATCH = 50
RAW_ORDERS_PER_S_MIN = 2_500
ACKNOWLEDGED_MAX, BOOKED_MAX, GROWTH_MAX = 1.5, 3.0, 11.0
STATEMENTS_MAX = 10
FIRST_WRITTEN_MAX_S = 0.150
MEMORY_MAX_MB = 400.0
#: An exit among entries counts as not behind them while it takes so much longer than one alone: they share two cores.
EXIT_SHARE_MAX = 1.5
EXECUTION = ("execution", "booking", "exits")
TASKS_SHOWN = 8
KINDS_SHOWN = 12
SEAMS_SHOWN = 16
FUNCTIONS_SHOWN = 80


def machine(*, latency_ms: float) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        (version,) = cursor.fetchone() or ("",)
    print(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, PostgreSQL {version}, "
        f"exchange answers after {latency_ms:g} ms"
    )


def raw_limit(raw: RawLimit) -> None:
    print(f"\nraw limit: {raw.variants[0].orders:,} signed orders, no database; median of the rounds")
    print(
        f"{'client':10}{'connections':>13}{'wall ms':>9}{'best ms':>9}{'orders/s':>10}{'CPU ms':>8}{'exchange CPU ms':>17}"
    )
    for v in raw.variants:
        print(
            f"{v.client:10}{v.connections:>13,}{v.wall_s * 1000:>9.0f}{v.best_s * 1000:>9.0f}{v.orders_per_s:>10,.0f}"
            f"{v.cpu_s * 1000:>8.0f}{v.exchange_cpu_s * 1000:>17.0f}"
        )


def trip(found: Trip, costs: dict[str, TaskCost]) -> None:
    _instants(found)
    _tasks(costs, found.followers)
    if found.followers == WHOLE:
        _seams(costs)


def _instants(trip: Trip) -> None:
    outcomes = ", ".join(f"{count:,} {state}" for state, count in sorted(trip.outcomes.items()))
    taken = trip.seconds.get("acknowledged") or [float("nan")]
    print(
        f"\n{trip.followers:,} followers, {trip.name}: {outcomes}; {trip.missed} MISSED; "
        f"{len(taken) / max(taken):,.0f} orders/s from the fill to the last acknowledgement"
    )
    print(f"{'ms after the fill was booked':32}{'first':>9}{'p50':>9}{'p95':>9}{'p99':>9}{'last':>9}{'of':>8}")
    print(f"{'signal taken':32}{trip.fanned_out_s * 1000:>9.0f}")
    for name in INSTANTS:
        if trip.seconds.get(name):
            values = [
                trip.first(name),
                *(trip.quantile(name, share) for share in (0.5, 0.95, 0.99)),
                max(trip.seconds[name]),
            ]
            shown = "".join(f"{value * 1000:>9.0f}" for value in values)
            print(f"{name:32}{shown}{len(trip.seconds[name]):>8,}")


def _tasks(costs: dict[str, TaskCost], followers: int) -> None:
    """What took most, until the last copy was booked."""
    print(
        f"{'task':24}{'runs':>6}{'wall s':>9}{'database s':>12}{'CPU s':>8}{'statements':>12}{'p50':>6}{'max':>6}{'per copy':>10}"
    )
    largest = sorted(costs.items(), key=lambda item: -item[1].wall_s)
    for name, cost in largest[:TASKS_SHOWN]:
        total = sum(cost.statements)
        print(
            f"{name:24}{cost.runs:>6}{cost.wall_s:>9.2f}{cost.database_s:>12.2f}{cost.cpu_s:>8.2f}{total:>12,}"
            f"{statistics.median(cost.statements):>6.0f}{max(cost.statements):>6}{total / followers:>10.1f}"
        )
    kinds: Counter[str] = Counter()
    for cost in costs.values():
        kinds.update(cost.kinds)
    total, batches = kinds.total(), -(-followers // BATCH)
    print(f"all tasks: {total:,} statements, {total / batches:,.0f} for each batch of {BATCH}; most of them:")
    shown = [f"{count:,} {kind}" for kind, count in kinds.most_common(KINDS_SHOWN)]
    for start in range(0, len(shown), 4):
        print(f"  {'; '.join(shown[start : start + 4])}")


def _seams(costs: dict[str, TaskCost]) -> None:
    """Where the time of the tasks went, each function with all that it calls."""
    print(
        f"{'inside':18}{'function':24}{'calls':>7}{'wall s':>8}{'CPU s':>7}   a call:{'wall ms':>9}{'CPU ms':>8}{'statements':>12}"
    )
    rows = [
        (task, seam.rpartition(".")[2], figures) for task, cost in costs.items() for seam, figures in cost.seams.items()
    ]
    for task, seam, (calls, wall_s, cpu_s, statements) in sorted(rows, key=lambda row: -row[2][1])[:SEAMS_SHOWN]:
        print(
            f"{task:18}{seam:24}{calls:>7.0f}{wall_s:>8.2f}{cpu_s:>7.2f}{'':10}{wall_s / calls * 1000:>9.1f}"
            f"{cpu_s / calls * 1000:>8.1f}{statements / calls:>12.1f}"
        )


def processes(measured: Measured) -> None:
    print(f"\n{measured.size:,} followers, processes with all they started")
    busy = {name: _cpu(measured.trips, name) for name in measured.usages}
    columns = [trip.name for trip in measured.trips]
    print(f"{'':16}{'processes':>10}{'peak MB':>9}{'share MB':>10}   CPU s by trip: {'; '.join(columns)}")
    for name, usage in measured.usages.items():
        cpu = "".join(f"{seconds:>8.2f}" for seconds in busy[name])
        print(f"{name:16}{usage.processes:>10}{usage.peak_mb:>9.0f}{usage.share_mb:>10.0f}   {cpu}")


def profile(profiles: pstats.Stats | None, *, size: int) -> None:
    """Of the tasks that `worker` names, from the first trip on; each function with all that it calls."""
    if profiles is None:
        return
    told = io.StringIO()
    profiles.stream = told  # type: ignore[attr-defined]
    profiles.sort_stats("cumulative").print_stats(r"trading/|copytrade/|celery|kombu|django/db", FUNCTIONS_SHOWN)
    print(f"\n{size:,} followers, CPU seconds by function\n{told.getvalue().strip()}")


def _cpu(trips: Sequence[Trip], name: str) -> list[float]:
    return [
        trip.after[name].cpu_s - trip.before[name].cpu_s if name in trip.after and name in trip.before else float("nan")
        for trip in trips
    ]


def growth(measured: Sequence[Measured]) -> None:
    print(
        f"\n{'followers':>10}{'entry: first':>14}{'acknowledged':>14}{'booked':>9}{'MISSED':>8}{'exit: acknowledged':>20}{'booked':>9}   s"
    )
    for found in sorted(measured, key=lambda item: item.size):
        entry, leaving = found.trip(FIRST_ENTRY), found.trip(EXIT)
        if entry is None:
            continue
        exits = (
            f"{leaving.last('acknowledged'):>20.2f}{leaving.last('booked'):>9.2f}" if leaving else f"{'-':>20}{'-':>9}"
        )
        print(
            f"{found.size:>10,}{entry.first('written'):>14.3f}{entry.last('acknowledged'):>14.2f}"
            f"{entry.last('booked'):>9.2f}{entry.missed:>8}{exits}"
        )


def targets(measured: Sequence[Measured], raw: RawLimit) -> None:
    """One line each: value, target, met or not."""
    by_size = {found.size: found for found in measured}
    whole = by_size.get(WHOLE)
    fastest = raw.fastest
    print()
    target("raw client, orders a second", fastest.orders_per_s, RAW_ORDERS_PER_S_MIN, at_least=True)
    entry = (whole.trip(ENTRY) or whole.trip(FIRST_ENTRY)) if whole else None
    if whole and entry:
        usual = min((v for v in raw.variants if v.client == "aiohttp"), key=lambda v: v.wall_s)
        for what, instant, limit in (
            ("acknowledged", "acknowledged", ACKNOWLEDGED_MAX),
            ("booked", "booked", BOOKED_MAX),
        ):
            note = f"; {entry.last(instant) / usual.wall_s:.1f} x aiohttp"
            target(f"1,000 entries {what}, x the raw limit", entry.last(instant) / fastest.wall_s, limit, note=note)
    if whole and whole.entry_batches:
        target("statements of a batch of entries, most", max(whole.entry_batches), STATEMENTS_MAX)
    largest = by_size.get(LARGEST)
    if whole and largest:
        small, large = whole.trip(FIRST_ENTRY), largest.trip(FIRST_ENTRY)
        if small and large:
            target("10,000 entries booked, x 1,000", large.last("booked") / small.last("booked"), GROWTH_MAX)
    if whole:
        firsts = [trip.first("written") for trip in whole.trips if is_entry(trip)]
        what = f"first order of 1,000 written, ms, worst of {len(firsts)}"
        target(what, max(firsts, default=float("inf")) * 1000, FIRST_WRITTEN_MAX_S * 1000)
        alone, among = whole.trip(EXIT), whole.trip(EXIT_AMONG_ENTRIES)
        if alone and among:
            share = among.quantile("acknowledged", 0.95) / alone.quantile("acknowledged", 0.95)
            target("exit among entries acknowledged, p95, x alone", share, EXIT_SHARE_MAX)
        held = [whole.usages[name] for name in EXECUTION if name in whole.usages]
        note = f"; {sum(usage.peak_mb for usage in held):.0f} with shared pages counted for each"
        target("execution workers, MB", sum(usage.share_mb for usage in held), MEMORY_MAX_MB, note=note)
    target("told that it takes longer than 30 s, all sizes", sum(found.late for found in measured), 0)
    target("MISSED", sum(trip.missed for found in measured for trip in found.trips), 0)


def target(what: str, value: float, limit: float, *, at_least: bool = False, note: str = "") -> None:
    """A line with the value, what it is to be, and whether it is."""
    met = value >= limit if at_least else value <= limit
    sign = "at least" if at_least else "at most"
    print(f"target: {what}: {value:,.1f}, {sign} {limit:,g}: {'met' if met else 'NOT met'}{note}")
