"""`manage.py resume_trading`: lifts the platform's stop."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from trading.services import halts
from trading.services.clock import SYSTEM

ACTOR = "manage.py resume_trading"


class Command(BaseCommand):
    help = "Lift the stop of all entries. Followers who stopped on their own stay stopped."

    def handle(self, *_: Any, **__: Any) -> None:
        halts.resume_platform(actor=ACTOR, clock=SYSTEM)
        self.stdout.write("Entries go on, except for followers who stopped on their own.")
        if settings.ENTRY_BLOCKING:
            self.stdout.write("ENTRY_BLOCKING is set in the environment and still blocks entries.")
