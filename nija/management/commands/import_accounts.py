"""`manage.py import_accounts FILE.jsonl` or `--from-env`: one printed line per account, exit 1 if any was refused."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from nija import importing, predecessor
from nija.management.arguments import add_timeout


class Command(BaseCommand):
    help = "Import accounts from a JSON Lines file or from the environment; keys are checked by the running system."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, nargs="?", metavar="FILE.jsonl")
        parser.add_argument(
            "--from-env", action="store_true", help="read KRAKEN_PLATFORM_…, KRAKEN_USER_… and the predecessor's files"
        )
        parser.add_argument(
            "--users",
            type=Path,
            default=settings.BASE_DIR / "config" / "users",
            metavar="DIRECTORY",
            help="where the predecessor's files of users are (default: config/users)",
        )
        parser.add_argument("--master-email", default="", metavar="ADDRESS", help="whose KRAKEN_PLATFORM_API_KEY is")
        add_timeout(parser, default_s=importing.VERDICT_TIMEOUT_S, awaited="one key's verdict")

    def handle(self, *_args: Any, **options: Any) -> None:
        if options["from_env"] == (options["file"] is not None):
            raise CommandError("Give either a file or --from-env.")
        if options["from_env"]:
            self._run(self._from_env(options), timeout_s=options["timeout"])
            return
        try:
            # What is not UTF-8 is refused line by line; a byte order mark is what some editors begin a file with.
            with options["file"].open(encoding="utf-8-sig", errors="surrogateescape") as file:
                self._run(importing.from_jsonl(importing.lines_of(file)), timeout_s=options["timeout"])
        except OSError as error:
            raise CommandError(f"{options['file']} cannot be read: {error.strerror}") from None

    def _from_env(self, options: dict[str, Any]) -> Iterable[importing.Item]:
        return predecessor.entries(
            directory=options["users"],
            variables=settings.KRAKEN_USER_VARIABLES,
            platform=(settings.KRAKEN_PLATFORM_API_KEY, settings.KRAKEN_PLATFORM_API_SECRET),
            master_email=options["master_email"],
        )

    def _run(self, items: Iterable[importing.Item], *, timeout_s: float) -> None:
        refused = 0
        for outcome in importing.run(items, waiting=importing.Waiting(timeout_s=timeout_s)):
            self.stdout.write(str(outcome))
            self.stdout.flush()
            refused += not outcome.accepted
        if refused:
            raise CommandError(f"{refused} refused.", returncode=1)
