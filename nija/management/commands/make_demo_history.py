"""`manage.py make_demo_history`: what `up --demo` runs at its first start, in a process that may open keys."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand

from nija import demo_process


class Command(BaseCommand):
    help = "Make the demo's earlier history; `up --demo` does this itself."
    requires_system_checks: list[str] = []

    def handle(self, *_args: Any, **_options: Any) -> None:
        sys.exit(demo_process.run())
