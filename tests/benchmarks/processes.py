"""CPU seconds and memory of a process with everything it started, from /proc."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Usage:
    """`peak_mb` adds up each process's largest resident size, pages that processes share counted for each of them;
    `share_mb` is what they hold at the moment, such pages divided among their holders."""

    cpu_s: float
    peak_mb: float
    share_mb: float
    processes: int


def usage(pid: int, *, with_memory: bool = True) -> Usage:
    """Of the process and of all it started; what has ended and was waited for counts with its CPU."""
    family = _family(pid)
    ticks = 0
    peak_kb = share_kb = 0
    for member in family:
        try:
            own, reaped = _ticks(member)
            ticks += own + reaped
            if with_memory:
                peak_kb += _kilobytes(member, "status", "VmHWM:")
                share_kb += _kilobytes(member, "smaps_rollup", "Pss:")
        except OSError:
            # It ended between the look at the list and the look at it; its parent counts it next time.
            continue
    return Usage(ticks * TICK_S, peak_kb / 1024, share_kb / 1024, len(family))


def _family(pid: int) -> list[int]:
    children: dict[int, list[int]] = defaultdict(list)
    for path in PROC.iterdir():
        if path.name.isdigit():
            try:
                parent = int(_fields(int(path.name))[1])
            except OSError:
                continue
            children[parent].append(int(path.name))
    found, waiting = [], [pid]
    while waiting:
        member = waiting.pop()
        found.append(member)
        waiting += children[member]
    return found


def _ticks(pid: int) -> tuple[int, int]:
    fields = _fields(pid)
    return int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])


def _fields(pid: int) -> list[str]:
    """Of /proc/PID/stat, those after the name, which may hold anything."""
    return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()


def _kilobytes(pid: int, file: str, name: str) -> int:
    for line in (PROC / str(pid) / file).read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    return 0
