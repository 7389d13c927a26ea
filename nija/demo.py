"""The demo's people: an operator, the master and two followers with funded accounts on the demo's own exchange."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import requests

from accounts import selectors
from accounts.models import User
from nija import importing
from nija.data_directory import DataDirectory, Refused
from trading.services.clock import SYSTEM, Clock

LOGINS_FILE = "demo.json"
VERDICT_TIMEOUT_S = 45.0
EXCHANGE_TIMEOUT_S = 10


@dataclass(frozen=True)
class Person:
    """`usd` is what their account at the paper exchange is funded with; None has no account there."""

    email: str
    role: str
    usd: str | None


#: The balances are those of the golden numbers (DESIGN section 3).
PEOPLE = (
    Person("operator@nija.example", "operator", None),
    Person("master@nija.example", "master", "60.534"),
    Person("ada@nija.example", "follower", "84.5785"),
    Person("ben@nija.example", "follower", "65.8698"),
)


def load(*, data: DataDirectory, paper_url: str, say: Callable[[str], None]) -> None:
    """Onboards whoever is missing, through the same code as `import_accounts`, and says the log-ins. Raises Refused."""
    known = passwords(data)
    onboard(known, paper_url=paper_url)
    for person in PEOPLE:
        say(f"log in as {person.email} with the password {known[person.email]}")


def onboard(
    known: Mapping[str, str],
    *,
    paper_url: str,
    clock: Clock = SYSTEM,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Import whoever is missing; `pause` is called until the key has its verdict. Raises Refused."""
    missing = [person for person in PEOPLE if not _is_here(person)]
    for outcome in importing.run(
        _entries(missing, passwords=known, paper_url=paper_url),
        clock=clock,
        waiting=importing.Waiting(timeout_s=VERDICT_TIMEOUT_S, pause=pause),
    ):
        if not outcome.accepted:
            raise Refused(f"The demo could not be prepared: {outcome}")


def passwords(data: DataDirectory) -> dict[str, str]:
    """Random, made once and kept for the next start, by e-mail address."""
    kept: dict[str, str] = data.read_json(LOGINS_FILE)
    if set(kept) != {person.email for person in PEOPLE}:
        kept = {person.email: kept.get(person.email) or secrets.token_urlsafe(12) for person in PEOPLE}
        data.write_json(LOGINS_FILE, kept)
    return kept


def _is_here(person: Person) -> bool:
    user = User.objects.filter(email=person.email).first()
    return user is not None and (person.usd is None or selectors.active_credential(user) is not None)


def _entries(
    people: list[Person], *, passwords: Mapping[str, str], paper_url: str
) -> Iterator[tuple[str, importing.Entry | importing.Refused | importing.Skipped]]:
    """One at a time, so that an account at the exchange is made only when its turn has come."""
    for person in people:
        line = {"email": person.email, "role": person.role, "password": passwords[person.email]}
        if person.usd is not None:
            line |= _open_account(person, usd=person.usd, paper_url=paper_url)
        yield from importing.from_jsonl([json.dumps(line)])


def _open_account(person: Person, *, usd: str, paper_url: str) -> dict[str, str]:
    body = {"label": person.email, "balances": {"USD": usd}}
    with requests.Session() as session:
        # A proxy of the user's is for the outside world.
        session.trust_env = False
        try:
            answer = session.post(f"{paper_url}/paper/accounts", json=body, timeout=EXCHANGE_TIMEOUT_S)
            answer.raise_for_status()
        except requests.RequestException as error:
            raise Refused(f"The demo's exchange does not answer: {error}") from error
    account = answer.json()
    return {"api_key": account["api_key"], "api_secret": account["api_secret"]}
