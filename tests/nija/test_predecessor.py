from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from nija import predecessor
from nija.importing import Entry, Refused, Skipped

VARIABLES = {f"KRAKEN_USER_{name}{part}": "hush" for name in ("ANNA", "BEN") for part in ("_API_KEY", "_API_SECRET")}


def _found(
    directory: Path, *, variables: dict[str, str] | None = None, platform: tuple[str, str] = ("", ""), email: str = ""
) -> dict[str, Entry | Refused | Skipped]:
    known = VARIABLES if variables is None else variables
    return dict(predecessor.entries(directory=directory, variables=known, platform=platform, master_email=email))


def _user(**fields: Any) -> dict[str, Any]:
    return {"name": "Anna Example", "broker": "kraken", "email": "anna@example.com", "enabled": True} | fields


def test_a_file_of_one_user_becomes_an_entry_with_its_settings(tmp_path: Path) -> None:
    user = _user(risk_multiplier=0.5, copy_from_master=False, disabled_symbols=["BTC/USD", "ETH-USD"])
    (tmp_path / "anna.json").write_text(json.dumps(user))
    entry = _found(tmp_path, variables={k: v for k, v in VARIABLES.items() if "ANNA" in k})["anna.json"]
    assert isinstance(entry, Entry)
    assert (entry.email, entry.role) == ("anna@example.com", "follower")
    assert {k: str(v) for k, v in entry.risk.items()} == {
        "multiplier": "0.5",
        "state": "off",
        "denied_symbols": "['BTC-USD', 'ETH-USD']",
    }
    assert entry.api_key is not None
    assert entry.api_key.reveal() == "hush"


def test_a_master_who_copies_nobody_is_not_switched_off_by_that(tmp_path: Path) -> None:
    (tmp_path / "anna.json").write_text(json.dumps(_user(role="master", copy_from_master=False)))
    entry = _found(tmp_path, variables={k: v for k, v in VARIABLES.items() if "ANNA" in k})["anna.json"]
    assert isinstance(entry, Entry)
    assert (entry.role, dict(entry.risk)) == ("master", {})


def test_a_group_file_holds_a_list_and_an_address_may_be_the_user_id(tmp_path: Path) -> None:
    group = [
        {"user_id": "anna@example.com", "name": "Anna", "broker_type": "KRAKEN"},
        {"user_id": "ben", "name": "ben b", "broker_type": "kraken", "enabled": True},
        {"user_id": "c", "name": "Cleo", "broker_type": "coinbase"},
        {"user_id": "d", "name": "Dora", "broker_type": "kraken", "enabled": False},
        "nonsense",
    ]
    (tmp_path / "group.json").write_text(json.dumps(group))
    found = _found(tmp_path)
    assert isinstance(found["group.json entry 1"], Entry)
    assert 'add "email"' in str(found["group.json entry 2"])
    assert isinstance(found["group.json entry 3"], Skipped)
    assert "coinbase" in str(found["group.json entry 3"])
    assert isinstance(found["group.json entry 4"], Skipped)
    assert isinstance(found["group.json entry 5"], Refused)


def test_two_users_with_one_first_name_are_both_refused(tmp_path: Path) -> None:
    for surname in ("One", "Two"):
        (tmp_path / f"{surname}.json").write_text(json.dumps(_user(name=f"Anna {surname}")))
    found = _found(tmp_path, variables={k: v for k, v in VARIABLES.items() if "ANNA" in k})
    assert len(found) == 2
    assert all(
        isinstance(entry, Refused) and "2 users have the first name ANNA" in str(entry) for entry in found.values()
    )


def test_missing_keys_broken_files_and_nameless_keys_are_said(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "cleo.json").write_text(json.dumps(_user(name="Cleo")))
    found = _found(tmp_path)
    assert "not JSON" in str(found["broken.json"])
    assert "KRAKEN_USER_CLEO_API_KEY" in str(found["cleo.json"])
    assert "first name ANNA" in str(found["KRAKEN_USER_ANNA_API_KEY"])
    assert "hush" not in str(found)


def test_the_platform_key_is_the_masters(tmp_path: Path) -> None:
    found = _found(tmp_path, variables={}, platform=("k", "s"), email="M@example.com")["KRAKEN_PLATFORM_API_KEY"]
    assert isinstance(found, Entry)
    assert (found.email, found.role) == ("m@example.com", "master")
    for platform, email in ((("k", ""), "m@example.com"), (("k", "s"), ""), (("k", "s"), "nobody")):
        refused = _found(tmp_path, variables={}, platform=platform, email=email)["KRAKEN_PLATFORM_API_KEY"]
        assert isinstance(refused, Refused)


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "anna.json").write_text(json.dumps(_user()), encoding="utf-8-sig")
    assert isinstance(_found(tmp_path)["anna.json"], Entry)


def test_a_missing_directory_holds_nobody(tmp_path: Path) -> None:
    assert _found(tmp_path / "none", variables={}) == {}


@pytest.mark.django_db
def test_the_command_reads_the_environment_and_says_what_it_skips(tmp_path: Path, settings: Settings) -> None:
    settings.KRAKEN_USER_VARIABLES = {"KRAKEN_USER_BEN_API_KEY": "hush"}
    (tmp_path / "c.json").write_text(json.dumps(_user(name="Cleo", broker="coinbase")))
    out = io.StringIO()
    with pytest.raises(CommandError, match="1 refused"):
        call_command("import_accounts", "--from-env", "--users", str(tmp_path), stdout=out)
    assert "c.json: -: skipped: The broker is 'coinbase'" in out.getvalue()
    assert "hush" not in out.getvalue()
    with pytest.raises(CommandError, match="either a file or --from-env"):
        call_command("import_accounts", stdout=out)
