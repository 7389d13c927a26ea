"""When beat rings: from the periods alone, kept in no file."""

from __future__ import annotations

from typing import Any

from celery.beat import Scheduler as CelerysScheduler


class Scheduler(CelerysScheduler):
    """Begins anew after the clock was set back: what was last rung in the future would stand still until then, and every sale,
    stop and alert with it."""

    def tick(self, *told: Any, **more: Any) -> Any:
        now = self.app.now()
        ahead = [entry for entry in self.schedule.values() if entry.last_run_at and entry.last_run_at > now]
        for entry in ahead:
            entry.last_run_at = now
        if ahead:
            self._heap = None
        return super().tick(*told, **more)
