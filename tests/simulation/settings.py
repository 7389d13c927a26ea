"""Settings of a simulating process: the tests' own, on the database that the simulation watches."""

from __future__ import annotations

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES, SCRATCH_DIR

DATABASES["default"] = {
    "ENGINE": "tests.simulation.database",
    "NAME": str(SCRATCH_DIR / "simulation.sqlite3"),
    "OPTIONS": {
        # Writers queue for the simulation's own pen, so that nobody ever waits inside SQLite.
        "timeout": 0,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA busy_timeout=0;",
    },
}
KRAKEN_API_URL = VENUE = "http://127.0.0.1:9"
VENUE_IS_LOCAL = ORDERS_ALLOWED = True
LOGGING_CONFIG = None
