"""Who is calling: body parsing, Kraken's signature over the raw bytes, nonces, permissions.

Written from Kraken's documentation alone; the client under test shares no line with it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from trading.paper.errors import KrakenError, invalid_argument
from trading.paper.records import ApiKey

NONCE_MAX = 2**64 - 1
Params = dict[str, str]


def parse_body(body: bytes, content_type: str) -> Params:
    """Form or JSON fields as text, numbers exactly as they were written; raises KrakenError."""
    try:
        if content_type.partition(";")[0].strip().lower() == "application/json":
            return _parse_json(body.decode())
        return dict(parse_qsl(body.decode(), keep_blank_values=True))
    except ValueError as error:
        raise KrakenError("EAPI:Bad request") from error


def _parse_json(body: str) -> Params:
    fields = json.loads(body, parse_float=str, parse_int=str)
    if not isinstance(fields, dict):
        raise ValueError("not an object")
    return {str(name): _as_text(name, value) for name, value in fields.items() if value is not None}


def _as_text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    raise invalid_argument(name)


def signature(path: str, *, nonce: str, body: bytes, secret: str) -> str:
    """API-Sign of a request: base64(HMAC-SHA512(secret, path + SHA256(nonce + body)))."""
    digest = hashlib.sha256(nonce.encode() + body).digest()
    mac = hmac.new(base64.b64decode(secret), path.encode() + digest, hashlib.sha512)
    return base64.b64encode(mac.digest()).decode()


def check_signature(key: ApiKey, path: str, *, nonce: str, body: bytes, given: str) -> None:
    """Raises EAPI:Invalid signature."""
    try:
        given_bytes = base64.b64decode(given, validate=True)
    except (binascii.Error, ValueError):
        given_bytes = b""
    expected = base64.b64decode(signature(path, nonce=nonce, body=body, secret=key.secret))
    if not hmac.compare_digest(expected, given_bytes):
        raise KrakenError("EAPI:Invalid signature")


def consume_nonce(key: ApiKey, nonce: str) -> None:
    """Move the key's counter; raises EAPI:Invalid nonce and leaves it alone otherwise.

    An exact repeat of the highest nonce is refused whatever the window.
    """
    if not (nonce.isascii() and nonce.isdigit()) or int(nonce) > NONCE_MAX:
        raise KrakenError("EAPI:Invalid nonce")
    value = int(nonce)
    if value == key.nonce or value <= key.nonce - key.nonce_window:
        raise KrakenError("EAPI:Invalid nonce")
    key.nonce = max(key.nonce, value)


def check_permission(key: ApiKey, any_of: tuple[str, ...]) -> None:
    """Raises EGeneral:Permission denied unless the key has one of the rights; none needed passes."""
    if any_of and not set(any_of) & set(key.permissions):
        raise KrakenError("EGeneral:Permission denied")


def truthy(params: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    """Kraken's flags come as true, True or 1."""
    return params[name].lower() in ("true", "1", "yes") if name in params else default
