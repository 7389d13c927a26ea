"""`manage.py close_positions --all|EMAIL --yes`: sell everything NIJA manages, of everybody or of one account."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from copytrade.services import closing
from copytrade.services.closing import ClosingRefused, ClosingReport
from trading.models import Account, Position
from trading.services.clock import SYSTEM

ACTOR = "manage.py close_positions"


class Command(BaseCommand):
    help = "Sell at the market whatever NIJA bought and still manages. Owners' own coins and orders are not touched."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", nargs="?", default="", help="whose account; the master's sales are copied")
        parser.add_argument("--all", action="store_true", help="every follower and the master; stop entries first")
        parser.add_argument("--yes", action="store_true", help="really sell; without it only the count is printed")

    def handle(self, *_: Any, **options: Any) -> None:
        if bool(options["email"]) == options["all"]:
            raise CommandError("Name an e-mail address or --all, not both.")
        account = None if options["all"] else _account(options["email"])
        held = Position.objects.filter(account__venue=settings.VENUE, is_open=True)
        count = (held if account is None else held.filter(account=account)).count()
        if not options["yes"]:
            raise CommandError(f"{count} open positions would be sold at the market. Say --yes to sell them.")
        try:
            self._report(_close(account))
        except ClosingRefused as refusal:
            raise CommandError(f"{refusal} (manage.py stop_trading)") from None

    def _report(self, report: ClosingReport) -> None:
        noun = "position is" if report.positions == 1 else "positions are"
        self.stdout.write(f"{report.positions or 'No'} {noun} being sold; the running system does it.")
        if report.refused:
            raise CommandError(" ".join(report.refused))


def _account(email: str) -> Account:
    account = Account.objects.filter(user__email=email.strip().lower(), venue=settings.VENUE).first()
    if account is None:
        raise CommandError(f"{email} has no account on this exchange.")
    return account


def _close(account: Account | None) -> ClosingReport:
    if account is None:
        return closing.close_everybody(actor=ACTOR, clock=SYSTEM)
    return closing.close_account(account, actor=ACTOR, clock=SYSTEM)
