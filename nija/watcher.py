"""Ends what `manage.py up` started when `up` itself is gone, even by SIGKILL. Run as a script; standard library only.

Standard input is a pipe from `up`: a line `+N` adds process group N, `-N` drops it. The pipe closes when `up` dies,
whatever killed it; then every group left gets SIGTERM and, after a grace, SIGKILL. The watcher also holds a copy of the data
directory's lock, so that the next `up` waits until nothing of this one is left.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable

TERM_GRACE_S = 2.0


def is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        # macOS says so for a group whose only members are zombies.
        return False
    return True


def send(groups: Iterable[int], number: signal.Signals) -> None:
    for group in groups:
        try:
            os.killpg(group, number)
        except (ProcessLookupError, PermissionError):
            continue


def end(groups: set[int], *, grace_s: float) -> None:
    """SIGTERM to all, SIGKILL after `grace_s` to those that did not go."""
    send(groups, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while time.monotonic() < deadline and any(map(is_alive, groups)):
        time.sleep(0.05)
    send(groups, signal.SIGKILL)


def main() -> None:
    # A terminal's Ctrl-C is for `up`, which then tells us what is left.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin.buffer:
        group = int(line[1:])
        if line.startswith(b"+"):
            groups.add(group)
        else:
            groups.discard(group)
    end(groups, grace_s=TERM_GRACE_S)


if __name__ == "__main__":
    main()
