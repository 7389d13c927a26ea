"""Sealing secrets to a public key (HPKE, RFC 9180). Whoever holds only the public key can store and never read.

Only `accounts.services` imports this module.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

PUBLIC_PREFIX = "nija-vault-public-1:"
PRIVATE_PREFIX = "nija-vault-private-1:"
_KEY_BYTES = 32
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class VaultError(Exception):
    """The vault's key is unusable, or something sealed does not open here."""


class VaultClosed(VaultError):
    """This process does not hold the private key."""


class Secret:
    """Text that shows itself only to `reveal()`; masked in every print, log and traceback, and never pickled."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._text.encode(), other._text.encode())

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is never pickled")


def generate_key_pair() -> tuple[str, Secret]:
    """A new (public, private) pair, printable on one line each."""
    private = X25519PrivateKey.generate()
    public_raw = private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    private_raw = private.private_bytes(
        serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
    )
    return _printable(PUBLIC_PREFIX, public_raw), Secret(_printable(PRIVATE_PREFIX, private_raw))


def seal(plaintext: bytes, *, public: str, info: bytes) -> bytes:
    """Sealed so that it opens only with the private key and the same `info`. Raises VaultError for an unusable key."""
    key = X25519PublicKey.from_public_bytes(_raw(PUBLIC_PREFIX, public, "NIJA_VAULT_PUBLIC_KEY"))
    return _SUITE.encrypt(plaintext, key, info)


def open_sealed(sealed: bytes, *, private: Secret, info: bytes) -> bytes:
    """Raises VaultClosed without a private key, VaultError when it was sealed to another key or for another `info`."""
    if not private.reveal():
        raise VaultClosed("This process holds no vault private key; only execution processes open API keys.")
    key = X25519PrivateKey.from_private_bytes(_raw(PRIVATE_PREFIX, private.reveal(), "NIJA_VAULT_PRIVATE_KEY"))
    try:
        return _SUITE.decrypt(sealed, key, info)
    except (InvalidTag, ValueError):
        raise VaultError("A sealed API key does not open: it belongs to another row or to another vault key.") from None


def public_of(private: Secret) -> str:
    """The public key that belongs to a private one. Raises VaultError for an unusable key."""
    key = X25519PrivateKey.from_private_bytes(_raw(PRIVATE_PREFIX, private.reveal(), "NIJA_VAULT_PRIVATE_KEY"))
    raw = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return _printable(PUBLIC_PREFIX, raw)


def _printable(prefix: str, raw: bytes) -> str:
    return prefix + base64.urlsafe_b64encode(raw).decode("ascii")


def _raw(prefix: str, text: str, name: str) -> bytes:
    if not text.startswith(prefix):
        raise VaultError(f"{name} is not set or not a vault key: it starts with {prefix!r}.")
    try:
        raw = base64.b64decode(text.removeprefix(prefix), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != _KEY_BYTES:
        raise VaultError(f"{name} is damaged: after its prefix it is {_KEY_BYTES} bytes in base64.")
    return raw
