"""`manage.py diagnose [EMAIL …]`: what works and what does not, one line each; exit 1 if anything fails or stays unknown."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from nija import diagnosis
from nija.diagnosis import Block, Waiting
from nija.management.arguments import add_timeout


class Command(BaseCommand):
    help = "Ask Kraken about each account and say what works: ok, off (a person decided so), fails or unknown."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("emails", nargs="*", metavar="EMAIL", help="look at these accounts only")
        add_timeout(parser, default_s=diagnosis.TIMEOUT_S, awaited="the execution process")

    def handle(self, *_: Any, **options: Any) -> None:
        blocks: list[Block] = []
        try:
            for block in diagnosis.diagnose(options["emails"], waiting=Waiting(timeout_s=options["timeout"])):
                blocks.append(block)
                self._print(block)
        except diagnosis.CannotAsk as error:
            raise CommandError(str(error)) from None
        count = diagnosis.bad(blocks)
        if count:
            raise CommandError(f"{count} {'check does' if count == 1 else 'checks do'} not come out well.")

    def _print(self, block: Block) -> None:
        self.stdout.write(block.title)
        for check in block.checks:
            self.stdout.write(f"  {check.verdict.value:<8} {check.name:<12} {check.sentence}")
            if check.remedy:
                self.stdout.write(f"  {'':<21} {check.remedy}")
        self.stdout.write("")
