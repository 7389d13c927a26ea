"""`manage.py import_accounts FILE.jsonl`: one object a line, one printed line per account, exit 1 if any was refused."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from nija import importing


class Command(BaseCommand):
    help = "Import accounts from a JSON Lines file; keys are checked by the running system."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE.jsonl")
        parser.add_argument(
            "--timeout",
            type=float,
            default=importing.VERDICT_TIMEOUT_S,
            metavar="SECONDS",
            help="how long one key's verdict is awaited (default: %(default)g)",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        try:
            with options["file"].open(encoding="utf-8", errors="replace") as lines:
                refused = self._run(lines, timeout_s=options["timeout"])
        except OSError as error:
            raise CommandError(f"{options['file']} cannot be read: {error.strerror}") from None
        if refused:
            raise CommandError(f"{refused} refused.", returncode=1)

    def _run(self, lines: Any, *, timeout_s: float) -> int:
        refused = 0
        for outcome in importing.run(importing.from_jsonl(lines), waiting=importing.Waiting(timeout_s=timeout_s)):
            self.stdout.write(str(outcome))
            self.stdout.flush()
            refused += not outcome.accepted
        return refused
