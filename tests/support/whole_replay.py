"""`make replay` after the bootstrap: all real candles through exchange and engine, on PostgreSQL.

`make replay CANDLES=2000` ends each part after so many candles; `make replay FAULTS=1 SEED=7` lets private requests fail on
the way.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from tests.support import postgres
from tests.support.suite import BASE_DIR, OURS, say

REPLAY = "tests/functional/whole_replay.py"


def main(arguments: list[str]) -> int:
    # A plain kill must still remove the database cluster.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
    environment = {name: value for name, value in os.environ.items() if name not in OURS}
    try:
        with postgres.provided(say) as url:
            pytest = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "load", REPLAY, *arguments]
            environment["DATABASE_URL"] = url
            return subprocess.run(pytest, cwd=BASE_DIR, env=environment, check=False).returncode
    except postgres.NoPostgres as error:
        print(f"nija: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("nija: stopped", file=sys.stderr)
        sys.exit(130)
