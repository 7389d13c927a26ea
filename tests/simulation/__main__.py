"""`python -m tests.simulation --seeds 300 --start 0 --jobs 2`: runs, prints what was hit, ends with a summary line."""

from __future__ import annotations

import os
import sys

if os.environ.get("PYTHONHASHSEED") != "0":
    # The order of sets of text must not differ from one process to the next.
    os.environ["PYTHONHASHSEED"] = "0"
    os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])

from tests.simulation import prepare

prepare.django()

from tests.simulation import command  # noqa: E402

if __name__ == "__main__":
    sys.exit(command.main(sys.argv[1:]))
