"""What a process needs before it may import the engine. Imports nothing of it, for a spawned one begins here."""

from __future__ import annotations

import logging
import os


def django(silent_up_to: int = logging.NOTSET) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.simulation.settings"
    import django

    logging.disable(silent_up_to)
    django.setup()
