"""What a process needs before it may import the engine. Imports nothing of it, for a spawned one begins here."""

from __future__ import annotations

import os


def django() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.simulation.settings"
    import django

    django.setup()
