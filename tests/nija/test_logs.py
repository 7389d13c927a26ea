from __future__ import annotations

import base64
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nija import logs

KRAKEN_KEY = base64.b64encode(bytes(range(3, 45))).decode()
KRAKEN_SECRET = base64.b64encode(bytes(range(64, 128))).decode()


@pytest.mark.parametrize(
    "line",
    [
        "Authorization: Token hush-hush",
        "{'Authorization': 'Token hush-hush', 'Accept': '*/*'}",
        "api_secret=hush-hush&nonce=1",
        '{"api_key": "hush-hush", "role": "master"}',
        "API-Sign: hush-hush",
        "password1=hush-hush",
        "postgres://nija:hush-hush@db.example/nija",
        "NIJA_VAULT_PRIVATE_KEY=hush-hush",
        "KRAKEN_PLATFORM_API_SECRET='hush-hush'",
        "nija-vault-private-1:hush-hush",
        "Cookie: sessionid=hush-hush",
    ],
)
def test_a_line_that_names_a_secret_loses_its_value(line: str) -> None:
    assert "hush-hush" not in logs.redact(line)
    assert logs.REDACTED in logs.redact(line)


@pytest.mark.parametrize("secret", [KRAKEN_KEY, KRAKEN_SECRET])
def test_a_bare_kraken_key_or_secret_is_recognised_by_its_shape(secret: str) -> None:
    assert secret not in logs.redact(f"could not use {secret} today")


@given(st.binary(min_size=64, max_size=64))
def test_no_random_kraken_secret_passes(raw: bytes) -> None:
    secret = base64.b64encode(raw).decode()
    if any(map(str.isupper, secret)) and any(map(str.islower, secret)) and any(map(str.isdigit, secret)):
        assert secret not in logs.redact(f'error: {{"note": "{secret}"}}')


@pytest.mark.parametrize(
    "line",
    [
        "order OPEES6-DAFXZ-AOJ7BS filled 2898.51 BEAM at 0.002918",
        "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "/usr/lib/python3.11/site-packages/django/core/management/commands/migrate.py",
    ],
)
def test_ordinary_lines_stay_as_they_are(line: str) -> None:
    assert logs.redact(line) == line


def test_a_traceback_is_redacted_with_the_line() -> None:
    formatter = logs.RedactingFormatter("%(message)s")
    try:
        raise ValueError(f"api_secret={KRAKEN_SECRET}")
    except ValueError as error:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "failed", (), (type(error), error, None))
    written = formatter.format(record)
    assert KRAKEN_SECRET not in written
    assert "ValueError" in written
