"""Users of the system before this one: its files of users, and keys that stand in environment variables.

Its files are `config/users/<user_id>.json` with one user, or one file per group with a list of users. A user's key stands in
KRAKEN_USER_<NAME>_API_KEY and _API_SECRET, NAME being the first name in capitals.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from accounts.services.credentials import Secret
from nija.importing import Entry, Item, Refused, Skipped, email_address

FILES_MAX = 10_000
FILE_BYTES_MAX = 1_000_000
_KEY, _SECRET = "_API_KEY", "_API_SECRET"
_PREFIX = "KRAKEN_USER_"


def entries(
    *, directory: Path, variables: Mapping[str, str], platform: tuple[str, str], master_email: str
) -> Iterator[Item]:
    """The master of `platform` (key, secret), then every user of the files, then keys that no file names."""
    if any(platform):
        yield "KRAKEN_PLATFORM_API_KEY", _master(platform, master_email)
    found = list(_users(directory))
    names = Counter(_first_name(user) for _, user in found if isinstance(user, dict) and _uses_kraken(user))
    for where, user in found:
        yield where, user if isinstance(user, Refused) else _entry(user, names=names, variables=variables)
    for variable in sorted(variables):
        name = variable.removeprefix(_PREFIX).removesuffix(_KEY)
        if variable.endswith(_KEY) and name not in names:
            yield variable, Refused(f"No Kraken user with the first name {name} stands in {directory}.")


def _master(platform: tuple[str, str], email: str) -> Entry | Refused:
    if not all(platform):
        return Refused("KRAKEN_PLATFORM_API_KEY and KRAKEN_PLATFORM_API_SECRET belong together; one is not set.")
    if not email:
        return Refused("Say whose account the master is with --master-email ADDRESS.")
    try:
        return Entry(email_address(email), "master", api_key=Secret(platform[0]), api_secret=Secret(platform[1]))
    except Refused as refusal:
        return refusal


def _users(directory: Path) -> Iterator[tuple[str, dict[str, Any] | Refused]]:
    files = sorted(directory.glob("*.json"))[:FILES_MAX] if directory.is_dir() else []
    for file in files:
        try:
            if file.stat().st_size > FILE_BYTES_MAX:
                raise ValueError
            content = json.loads(file.read_text(encoding="utf-8-sig"), parse_float=Decimal)
        except (OSError, ValueError, RecursionError):
            yield file.name, Refused("This file is not JSON that can be read.")
            continue
        yield from _of_file(file, content)


def _of_file(file: Path, content: Any) -> Iterable[tuple[str, dict[str, Any] | Refused]]:
    if isinstance(content, dict):
        return [(file.name, {"user_id": file.stem} | content)]
    if isinstance(content, list):
        return [
            (f"{file.name} entry {number}", user if isinstance(user, dict) else Refused("An entry is an object."))
            for number, user in enumerate(content, start=1)
        ]
    return [(file.name, Refused("The file holds one user or a list of users."))]


def _entry(user: Mapping[str, Any], *, names: Counter[str], variables: Mapping[str, str]) -> Entry | Refused | Skipped:
    if not _uses_kraken(user):
        return Skipped(f"The broker is {_broker(user)!r}; NIJA trades on Kraken only.")
    if user.get("enabled") is False:
        return Skipped("The user is not enabled.")
    name = _first_name(user)
    if not name:
        return Refused("The user has no name, which names the variables of the key.")
    if names[name] > 1:
        return Refused(
            f"{names[name]} users have the first name {name}, so {_PREFIX}{name}{_KEY} could be anybody's. Import them with "
            f"a file of accounts."
        )
    api_key, api_secret = (variables.get(f"{_PREFIX}{name}{suffix}", "") for suffix in (_KEY, _SECRET))
    if not api_key or not api_secret:
        return Refused(f"{_PREFIX}{name}{_KEY} and {_PREFIX}{name}{_SECRET} are not both set.")
    role = "master" if user.get("role") == "master" else "follower"
    try:
        email = email_address(str(user.get("email") or user.get("user_id") or ""))
    except Refused:
        return Refused('The user has no e-mail address; add "email" to the entry.')
    return Entry(email, role, api_key=Secret(api_key), api_secret=Secret(api_secret), risk=_risk(user, role=role))


def _risk(user: Mapping[str, Any], *, role: str) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    if "risk_multiplier" in user:
        settings["multiplier"] = user["risk_multiplier"]
    # Of a master it says nothing: he copies nobody.
    if user.get("copy_from_master") is False and role != "master":
        settings["state"] = "off"
    denied = user.get("disabled_symbols")
    if denied:
        settings["denied_symbols"] = (
            [str(symbol).replace("/", "-") for symbol in denied] if isinstance(denied, list) else denied
        )
    return settings


def _broker(user: Mapping[str, Any]) -> str:
    return str(user.get("broker") or user.get("broker_type") or "kraken").lower()[:40]


def _uses_kraken(user: Mapping[str, Any]) -> bool:
    return _broker(user) == "kraken"


def _first_name(user: Mapping[str, Any]) -> str:
    words = str(user.get("name") or "").split()
    return words[0].upper() if words else ""
