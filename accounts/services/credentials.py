"""The life of a Kraken API key: submitted, checked, active, replaced or disconnected.

The text of a key exists in two places only: between the form and `submit_key`, and in what `open_credential` returns.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import logging
import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Max, QuerySet
from django.views.decorators.debug import sensitive_variables

from accounts import vault
from accounts.models import Credential, KeyCheck, User

logger = logging.getLogger(__name__)

Secret = vault.Secret
VaultError = vault.VaultError
VaultClosed = vault.VaultClosed

PENDING_LIFE = timedelta(minutes=10)
#: A check that began this long ago has died; whole requests are bounded to less.
CHECK_LEASE = timedelta(seconds=15)
KEY_CHARACTERS = range(20, 129)
SECRET_CHARACTERS = range(40, 513)
SECRET_BYTES = range(32, 385)
PENDING_BATCH_MAX = 50
#: Rows whose sealed text is still there.
_OPENABLE = frozenset({Credential.Status.PENDING, Credential.Status.ACTIVE})

EXPIRED = (
    "The key could not be connected within ten minutes, so it was forgotten. Nothing was changed; submit it again."
)
SUPERSEDED = "Another key was submitted before this one was checked; this one was forgotten."


class KeyRefused(Exception):
    """A key that cannot be taken; the text is for its owner and holds nothing of the key."""


class LostRace(Exception):
    """The key changed its state meanwhile; nothing was done."""


@dataclass(frozen=True, slots=True)
class OpenedKey:
    """An API key in clear, for one use. Both halves are masked in print."""

    credential_id: uuid.UUID
    user_id: int
    api_key: Secret
    api_secret: Secret


@sensitive_variables("api_key", "api_secret", "plaintext")
def submit_key(user: User, *, api_key: str, api_secret: str, now: datetime, role: str = "follower") -> Credential:
    """Seal a key into a pending row, replacing an earlier pending one of this user, and open its check.

    `role` is what the account becomes when it is new: follower, or master (operators only). The caller rings the task that
    checks it, after commit. Raises KeyRefused with a sentence.
    """
    api_key, api_secret = api_key.strip(), api_secret.strip()
    _check_shapes(api_key, api_secret)
    fingerprint = hashlib.sha256(api_key.encode("ascii")).hexdigest()
    credential_id = uuid.uuid4()
    plaintext = json.dumps({"key": api_key, "secret": api_secret}).encode("ascii")
    try:
        with transaction.atomic():
            User.objects.select_for_update().get(pk=user.pk)
            _forget(Credential.objects.filter(status=Credential.Status.PENDING, expires_at__lte=now), EXPIRED, now=now)
            _refuse_known(user, fingerprint)
            _forget(Credential.objects.filter(user=user, status=Credential.Status.PENDING), SUPERSEDED, now=now)
            latest: int | None = user.credentials.aggregate(latest=Max("version"))["latest"]
            version = (latest or 0) + 1
            info = _info(user_id=user.pk, credential_id=credential_id, version=version)
            credential = Credential.objects.create(
                id=credential_id,
                user=user,
                venue=settings.VENUE,
                role=role,
                version=version,
                status=Credential.Status.PENDING,
                fingerprint=fingerprint,
                api_key_hint=f"{api_key[:4]}…{api_key[-4:]}",
                sealed=vault.seal(plaintext, public=settings.NIJA_VAULT_PUBLIC_KEY, info=info),
                created_at=now,
                expires_at=now + PENDING_LIFE,
            )
            KeyCheck.objects.create(user=user, credential_id=credential_id, requested_at=now)
    except VaultError as error:
        logger.error("no key can be stored: %s", error)
        raise KeyRefused(
            "Keys cannot be stored here at the moment, because the vault of this installation is not set up. Tell its operator."
        ) from None
    except IntegrityError:
        raise KeyRefused("This key was submitted twice at the same moment; wait for its verdict.") from None
    return credential


@sensitive_variables("opened")
def open_credential(credential_id: uuid.UUID | str) -> OpenedKey:
    """The key in clear. Only where NIJA_VAULT_PRIVATE_KEY is: raises VaultClosed elsewhere.

    Raises Credential.DoesNotExist when it is gone, VaultError when the row was moved or damaged.
    """
    return _open(Credential.objects.get(pk=credential_id, status__in=_OPENABLE))


def open_credentials(rows: Iterable[Credential]) -> dict[uuid.UUID, OpenedKey | VaultError]:
    """The keys of rows already read, in clear, or why one does not open; rows that hold no key any more are absent.

    Only where NIJA_VAULT_PRIVATE_KEY is: every answer is VaultClosed elsewhere.
    """
    found: dict[uuid.UUID, OpenedKey | VaultError] = {}
    for credential in rows:
        if credential.status in _OPENABLE:
            try:
                found[credential.pk] = _open(credential)
            except VaultError as error:
                found[credential.pk] = error
    return found


@sensitive_variables("opened")
def _open(credential: Credential) -> OpenedKey:
    info = _info(user_id=credential.user_id, credential_id=credential.pk, version=credential.version)
    private = Secret(settings.NIJA_VAULT_PRIVATE_KEY)
    opened = json.loads(vault.open_sealed(bytes(credential.sealed), private=private, info=info))
    return OpenedKey(
        credential_id=credential.pk,
        user_id=credential.user_id,
        api_key=Secret(opened["key"]),
        api_secret=Secret(opened["secret"]),
    )


def claim_check(credential_id: uuid.UUID | str, *, now: datetime) -> Credential | None:
    """Take the one check of a pending key that may run at a time; None when there is nothing to do now."""
    pending = Credential.objects.filter(pk=credential_id, status=Credential.Status.PENDING, expires_at__gt=now)
    fresh = pending.filter(checked_at__isnull=True) | pending.filter(checked_at__lte=now - CHECK_LEASE)
    if fresh.update(checked_at=now) != 1:
        return None
    return Credential.objects.select_related("user").get(pk=credential_id)


def promote(credential: Credential, *, iban: str, permissions: Collection[str], now: datetime) -> None:
    """Make a pending key the user's active one; the one before it is replaced and its sealed text destroyed.

    Call inside the transaction that makes what belongs to it. Raises LostRace when it is no longer pending, IntegrityError
    when the same Kraken account became active elsewhere.
    """
    earlier = Credential.objects.filter(user_id=credential.user_id, status=Credential.Status.ACTIVE)
    earlier.update(status=Credential.Status.REPLACED, sealed=b"")
    changed = Credential.objects.filter(pk=credential.pk, status=Credential.Status.PENDING).update(
        status=Credential.Status.ACTIVE,
        iban=iban,
        permissions=sorted(permissions),
        entries_blocked_reason="",
        expires_at=None,
        checked_at=now,
    )
    if changed != 1:
        raise LostRace("The key is no longer pending")


def finish_check(credential_id: uuid.UUID, *, accepted: bool, message: str, now: datetime) -> None:
    KeyCheck.objects.filter(credential_id=credential_id, finished_at__isnull=True).update(
        finished_at=now, accepted=accepted, message=message
    )


def postpone_check(credential_id: uuid.UUID, *, message: str) -> None:
    """Say on the page why there is no verdict yet; the key stays pending."""
    KeyCheck.objects.filter(credential_id=credential_id, finished_at__isnull=True).update(message=message)


def refuse(credential_id: uuid.UUID, *, message: str, now: datetime) -> None:
    """Delete a pending key and keep the sentence that says what to change."""
    with transaction.atomic():
        deleted, _ = Credential.objects.filter(pk=credential_id, status=Credential.Status.PENDING).delete()
        if deleted:
            finish_check(credential_id, accepted=False, message=message, now=now)


def block_entries(credential_id: uuid.UUID, *, reason: str, sees_all: bool | None = None, now: datetime) -> bool:
    """Record why an active key may open nothing new (empty: it may again), and whether it sees every order, unless that is not
    known. True when the reason changed."""
    active = Credential.objects.filter(pk=credential_id, status=Credential.Status.ACTIVE)
    active.update(checked_at=now, **({} if sees_all is None else {"sees_all": sees_all}))
    return active.exclude(entries_blocked_reason=reason).update(entries_blocked_reason=reason) == 1


def disconnect(user: User) -> bool:
    """Forget the active and any pending key: their sealed text is destroyed. True when there was one.

    Whether open positions forbid it is decided by the caller, who knows them.
    """
    with transaction.atomic():
        Credential.objects.filter(user=user, status=Credential.Status.PENDING).delete()
        KeyCheck.objects.filter(user=user, finished_at__isnull=True).delete()
        active = Credential.objects.filter(user=user, status=Credential.Status.ACTIVE)
        return active.update(status=Credential.Status.DISCONNECTED, sealed=b"") == 1


def withdraw(credential_id: uuid.UUID) -> bool:
    """Forget a key that still waits for its verdict. False when the verdict came first."""
    with transaction.atomic():
        deleted, _ = Credential.objects.filter(pk=credential_id, status=Credential.Status.PENDING).delete()
        if deleted:
            KeyCheck.objects.filter(credential_id=credential_id, finished_at__isnull=True).delete()
        return bool(deleted)


def purge_expired(*, now: datetime) -> int:
    """Delete pending keys whose ten minutes are over. Returns how many."""
    with transaction.atomic():
        expired = Credential.objects.filter(status=Credential.Status.PENDING, expires_at__lte=now)
        return _forget(expired, EXPIRED, now=now)


def pending_ids(*, now: datetime) -> list[uuid.UUID]:
    """Pending keys that still wait for a verdict, oldest first, a bounded number."""
    pending = Credential.objects.filter(status=Credential.Status.PENDING, expires_at__gt=now).order_by("created_at")
    return list(pending.values_list("pk", flat=True)[:PENDING_BATCH_MAX])


def _forget(rows: QuerySet[Credential], message: str, *, now: datetime) -> int:
    # Locked, or one that is promoted between the two statements would be deleted with its lane.
    ids = list(rows.select_for_update().values_list("pk", flat=True))
    Credential.objects.filter(pk__in=ids).delete()
    for credential_id in ids:
        finish_check(credential_id, accepted=False, message=message, now=now)
    return len(ids)


def _refuse_known(user: User, fingerprint: str) -> None:
    known = Credential.objects.filter(
        fingerprint=fingerprint, status__in=[Credential.Status.PENDING, Credential.Status.ACTIVE]
    ).first()
    if known is None or (known.user_id == user.pk and known.status == Credential.Status.PENDING):
        return
    if known.user_id == user.pk:
        raise KeyRefused("This key is the one that is connected already. To replace it, create a new key at Kraken.")
    raise KeyRefused("This key is in use by another NIJA account. Create a key of your own at Kraken.")


def _check_shapes(api_key: str, api_secret: str) -> None:
    if api_key == api_secret:
        raise KeyRefused("The API key and the private key are the same text; the private key is the longer one.")
    if len(api_key) not in KEY_CHARACTERS or not _is_printable(api_key):
        raise KeyRefused("This is not an API key as Kraken writes them; copy it again, whole.")
    if len(api_secret) not in SECRET_CHARACTERS or _decoded_length(api_secret) not in SECRET_BYTES:
        raise KeyRefused(
            "This is not a private key (API secret) as Kraken writes them: about 88 characters ending in =. Copy it again."
        )
    if len(api_key) > len(api_secret):
        # A secret in the key's place would be sent to Kraken in clear, and its ends kept as the key's.
        raise KeyRefused(
            "The API key is longer than the private key: they may be in each other's place. Enter both anew."
        )


def _is_printable(text: str) -> bool:
    return text.isascii() and all(character.isalnum() or character in "+/=-_" for character in text)


def _decoded_length(text: str) -> int:
    try:
        return len(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return 0


def _info(*, user_id: int, credential_id: uuid.UUID, version: int) -> bytes:
    """What a sealed key is bound to: moved to another user, row or version it does not open."""
    return f"nija credential 1|user {user_id}|id {credential_id}|version {version}".encode("ascii")
