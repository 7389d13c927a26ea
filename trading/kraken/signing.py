"""Kraken's request signature, and the credentials it is made with. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from typing import NoReturn

from trading.kraken.errors import CredentialsRefused

SECRET_BYTES_MIN = 16
SECRET_BYTES_MAX = 512
KEY_LENGTH_MAX = 128


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """An API key and its secret, decoded. Never shown, never pickled."""

    key: str
    secret: bytes

    @classmethod
    def from_text(cls, key: str, secret: str) -> Credentials:
        """From the two texts Kraken shows when a key is made.

        Raises CredentialsRefused when either cannot be one, without repeating it.
        """
        key = key.strip()
        decoded = _decoded(secret)
        if not (0 < len(key) <= KEY_LENGTH_MAX and key.isascii() and key.isprintable() and " " not in key):
            raise CredentialsRefused("This is not an API key as Kraken writes them.")
        if decoded is None or not SECRET_BYTES_MIN <= len(decoded) <= SECRET_BYTES_MAX:
            raise CredentialsRefused("This is not an API secret as Kraken writes them; copy it again, whole.")
        return cls(key=key, secret=decoded)

    def __repr__(self) -> str:
        return "Credentials(key=***, secret=***)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("Credentials are never pickled")


def sign(path: str, *, nonce: str, body: bytes, secret: bytes) -> str:
    """The `API-Sign` header: base64(HMAC-SHA512(secret, path + SHA256(nonce + body))).

    `path` starts at `/0/private/`, `nonce` is the text inside `body`, `body` the exact bytes that are sent
    (kraken-api section 1.2).
    """
    digest = hashlib.sha256(nonce.encode("ascii") + body).digest()
    return base64.b64encode(hmac.new(secret, path.encode("ascii") + digest, hashlib.sha512).digest()).decode("ascii")


def _decoded(secret: str) -> bytes | None:
    try:
        return base64.b64decode(secret.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
