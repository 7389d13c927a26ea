"""`manage.py up`: see nija.launch, which manage.py calls before settings are read."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from nija import launch


class Command(BaseCommand):
    help = "Runs every process of NIJA in the foreground, with SQLite and an embedded Redis where none is configured."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        launch.add_arguments(parser)

    def handle(self, *_args: Any, **options: Any) -> None:
        sys.exit(launch.start(launch.Options(demo=options["demo"], port=options["port"])))
