"""What commands refuse before they do anything."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command


@pytest.mark.parametrize("command", ["diagnose", "check_books", "import_accounts"])
@pytest.mark.parametrize("given", ["nan", "inf", "-1", "1e9", "soon"])
def test_nobody_waits_for_what_is_no_time(command: str, given: str) -> None:
    with pytest.raises(CommandError, match=f"'{given}' is no number of seconds from 0 to 86400"):
        call_command(command, f"--timeout={given}")
