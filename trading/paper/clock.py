"""The exchange's wall clock: real, or moved by hand for lockstep replays."""

from __future__ import annotations

import time


class WallClock:
    """Unix seconds for Time, deadlines, order and trade times and rate counters."""

    def __init__(self) -> None:
        self._manual: float | None = None

    @property
    def mode(self) -> str:
        return "real" if self._manual is None else "manual"

    def now(self) -> float:
        return time.time() if self._manual is None else self._manual

    def use_real(self) -> None:
        self._manual = None

    def set(self, unix_s: float) -> None:
        self._manual = unix_s
