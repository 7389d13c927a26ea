"""`manage.py stop_trading --reason …`: no new entry of any account is sent from now on; exits go on."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError

from trading.services import halts
from trading.services.clock import SYSTEM

ACTOR = "manage.py stop_trading"


class Command(BaseCommand):
    help = "Stop all entries, the master's and the followers'. Exits go on. resume_trading lifts it."
    # An installation that something is wrong with can be stopped all the same.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--reason", default="stopped from a shell", help="shown to everybody")

    def handle(self, *_: Any, **options: Any) -> None:
        try:
            report = halts.stop_platform(actor=ACTOR, reason=options["reason"], clock=SYSTEM)
        except OperationalError as error:
            raise CommandError(
                f"The stop could not be written down: the database does not answer ({str(error).strip()}).\n"
                "Nothing can be sent without it either. Stop again as soon as it answers."
            ) from error
        self.stdout.write(
            f"Entries are stopped for the master and {_counted(report.followers, 'follower', 'followers')}.\n"
            f"{_counted(report.already_sent, 'entry', 'entries')} had already left for Kraken"
            f"{'; the exits sell what was bought.' if report.already_sent else '.'}\n"
            f"{_counted(report.open_positions, 'open position stays', 'open positions stay')}; exits go on.\n"
            f"Lift the stop with: manage.py resume_trading"
        )


def _counted(count: int, one: str, many: str) -> str:
    return f"{count or 'No'} {one if count == 1 else many}"
