"""Bulk onboarding: each entry becomes a user with a connected Kraken account, or a reason why not.

A key is checked by the running system, which alone can open it; here it is sealed and the verdict awaited.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TextIO, TypeAlias

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction

from accounts import selectors
from accounts.models import KeyCheck, User
from accounts.services import credentials, people, risk
from accounts.services.credentials import Secret
from trading.models import Account
from trading.services import intake
from trading.services.clock import SYSTEM, Clock

LINES_MAX = 100_000
LINE_CHARACTERS_MAX = 20_000
VERDICT_TIMEOUT_S = 60.0
POLL_S = 0.1

ROLES = ("follower", "master", "operator")
_FIELDS = {"email", "role", "api_key", "api_secret", "risk", "password"}
_TEXTS = ("email", "role", "api_key", "api_secret", "password")


class Refused(Exception):
    """Why an entry cannot be taken, in a sentence without secrets."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One account to import. `role` operator has no key; `password` is for demonstrations and may be None."""

    email: str
    role: str
    api_key: Secret | None = None
    api_secret: Secret | None = None
    risk: Mapping[str, Any] = field(default_factory=dict)
    password: Secret | None = None


class Skipped(Exception):
    """Why an entry is none of ours, in a sentence; nothing is wrong with it."""


#: Where an entry stands (line 3), and the entry or why there is none.
Item: TypeAlias = tuple[str, Entry | Refused | Skipped]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one entry; `where` names it for the reader (line 3)."""

    where: str
    email: str
    accepted: bool
    message: str
    skipped: bool = False

    def __str__(self) -> str:
        verdict = "skipped" if self.skipped else "accepted" if self.accepted else "refused"
        text = f"{self.where}: {self.email or '-'}: {verdict}: {self.message}"
        # A name quoted from the file may hold what a terminal obeys or cannot show.
        return "".join(character if character.isprintable() else "?" for character in text)


@dataclass(frozen=True, slots=True)
class Waiting:
    """How a verdict is awaited; tests pass a `pause` that does the engine's part."""

    timeout_s: float = VERDICT_TIMEOUT_S
    pause: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic


def lines_of(file: TextIO) -> Iterator[str]:
    """Lines of an open file. Of one too long to be an account only the beginning is kept, so that any file can be read."""
    for _ in range(LINES_MAX + 1):
        line = file.readline(LINE_CHARACTERS_MAX + 1)
        if not line:
            return
        rest = line
        while rest and not rest.endswith("\n"):
            rest = file.readline(LINE_CHARACTERS_MAX)
        yield line


def from_jsonl(lines: Iterable[str]) -> Iterator[Item]:
    """Entries of a JSON Lines text, blank lines skipped; what cannot be one is a Refused in its place."""
    for number, line in enumerate(lines, start=1):
        if number > LINES_MAX:
            yield f"line {number}", Refused(f"A file has at most {LINES_MAX} lines; split it.")
            return
        if not line.strip():
            continue
        try:
            yield f"line {number}", _entry(line)
        except Refused as refusal:
            yield f"line {number}", refusal


def run(entries: Iterable[Item], *, clock: Clock = SYSTEM, waiting: Waiting | None = None) -> Iterator[Outcome]:
    """Import one entry after the other; each outcome is known before the next begins."""
    for where, entry in entries:
        if isinstance(entry, (Refused, Skipped)):
            skipped = isinstance(entry, Skipped)
            yield Outcome(where, "", accepted=skipped, message=str(entry), skipped=skipped)
            continue
        try:
            message = _import(entry, clock=clock, waiting=waiting or Waiting())
        except Refused as refusal:
            yield Outcome(where, entry.email, accepted=False, message=str(refusal))
        else:
            yield Outcome(where, entry.email, accepted=True, message=message)


def _entry(line: str) -> Entry:
    if len(line) > LINE_CHARACTERS_MAX:
        raise Refused("The line is too long to be an account.")
    try:
        line.encode()
        found = json.loads(line, parse_float=Decimal, parse_constant=_no_constant, object_pairs_hook=_no_field_twice)
    except UnicodeEncodeError:
        raise Refused("This line is not text in UTF-8.") from None
    except (ValueError, RecursionError):
        raise Refused("This line is not JSON.") from None
    if not isinstance(found, dict):
        raise Refused("A line holds one JSON object.")
    unknown = sorted(set(found) - _FIELDS)
    if unknown:
        raise Refused(f"There is no field called {unknown[0][:40]}; the fields are {', '.join(sorted(_FIELDS))}.")
    not_text = [name for name in _TEXTS if name in found and not _is_text(found[name])]
    if not_text:
        raise Refused(f"The field {not_text[0]} is a text.")
    settings = found.get("risk", {})
    if not isinstance(settings, dict):
        raise Refused("The field risk is an object of settings.")
    return Entry(
        email=email_address(found.get("email", "")),
        role=_role(found),
        api_key=_secret(found.get("api_key")),
        api_secret=_secret(found.get("api_secret")),
        risk=settings,
        password=_secret(found.get("password")),
    )


def email_address(text: str) -> str:
    """In lower case. Raises Refused."""
    email = text.strip().lower()
    try:
        validate_email(email)
    except ValidationError:
        raise Refused("The field email is not an e-mail address.") from None
    return email


def _role(found: Mapping[str, Any]) -> str:
    role = found.get("role")
    if role not in ROLES:
        raise Refused("The field role is follower or master.")
    has_key = "api_key" in found or "api_secret" in found
    if role == "operator" and has_key:
        raise Refused("An operator has no Kraken key; give the master a line of its own.")
    if role != "operator" and not (found.get("api_key") and found.get("api_secret")):
        raise Refused("The fields api_key and api_secret are needed.")
    return str(role)


def _import(entry: Entry, *, clock: Clock, waiting: Waiting) -> str:
    """What was done, in a sentence. After a refusal, or an interruption, everything is as it was before."""
    _refuse_known(entry)
    user, before = _user(entry)
    if entry.role == "operator":
        return "Operator."
    assert entry.api_key is not None, "a trading role has a key"
    assert entry.api_secret is not None, "a trading role has a secret"
    credential = None
    try:
        credential = intake.submit(
            user,
            api_key=entry.api_key.reveal(),
            api_secret=entry.api_secret.reveal(),
            role=entry.role,
            clock=clock,
        )
        return _verdict(credential.pk, waiting=waiting)
    except (credentials.KeyRefused, credentials.VaultError, Refused) as refusal:
        _undo(user, before)
        raise Refused(str(refusal)) from None
    except BaseException:
        # Ctrl-C, or a database that went away: a verdict that came first stands.
        if credential is None or credentials.withdraw(credential.pk):
            _undo(user, before)
        raise


def _refuse_known(entry: Entry) -> None:
    """Raises Refused for an address that cannot be what the entry wants, before anything is changed."""
    known = User.objects.filter(email=entry.email).first()
    if known is None:
        return
    if not known.is_active:
        raise Refused("This user is disabled; enable them first.")
    if entry.role == "operator":
        if not known.is_staff:
            raise Refused("This address belongs to a user who is not an operator.")
        return
    if selectors.active_credential(known) is not None:
        raise Refused("This user has a connected key already; replace it on the Kraken page.")
    account = Account.objects.filter(user=known).first()
    if account is not None and account.role != entry.role:
        raise Refused(f"This user's account is a {account.role}'s and stays one.")


def _user(entry: Entry) -> tuple[User, Mapping[str, Any] | None]:
    """The user of this entry with their settings, and their settings before; None for a user made now."""
    known = User.objects.filter(email=entry.email).first()
    before = {name: getattr(known.risk, name) for name in risk.FIELDS} if known is not None else None
    try:
        with transaction.atomic():
            password = entry.password.reveal() if entry.password else None
            user = known or people.create(entry.email, password=password, operator=entry.role == "operator")
            if entry.risk:
                risk.change(user, entry.risk, imported=True)
    except ValidationError as error:
        raise Refused(f"The password is too weak: {' '.join(error.messages)}") from None
    except risk.RiskRefused as error:
        problems = "; ".join(f"{name}: {' '.join(sentences)}" for name, sentences in error.problems.items())
        raise Refused(f"The risk settings cannot be: {problems}") from None
    return user, before


def _undo(user: User, before: Mapping[str, Any] | None) -> None:
    if before is None:
        user.delete()
    else:
        type(user.risk).objects.filter(user=user).update(**before)


def _verdict(credential_id: Any, *, waiting: Waiting) -> str:
    """Wait for the running system. Raises Refused with the reason."""
    end = waiting.monotonic() + waiting.timeout_s
    while True:
        check = KeyCheck.objects.filter(credential_id=credential_id).first()
        if check is None:
            raise Refused("The key was withdrawn while it was checked.")
        if check.finished_at is not None:
            if not check.accepted:
                raise Refused(check.message)
            return check.message
        if waiting.monotonic() >= end and credentials.withdraw(credential_id):
            raise Refused(check.message or _NOBODY.format(seconds=waiting.timeout_s))
        waiting.pause(POLL_S)


_NOBODY = "The running system gave no verdict within {seconds:g} s. Is NIJA running, with its execution process?"


def _secret(text: str | None) -> Secret | None:
    return None if text is None else Secret(text)


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _no_field_twice(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field stands twice")
    return found


def _is_text(value: Any) -> bool:
    """Text that can be stored: JSON may escape halves of characters, which no encoding takes."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
