"""Logging: plain lines on standard error, with everything that looks like a secret blacked out."""

from __future__ import annotations

import logging
import logging.config
import re
from typing import Any

REDACTED = "[redacted]"
_NAMES = (
    r"(?:api[-_ ]?(?:key|secret|sign)|authorization|x-csrftoken|cookie|set-cookie|sessionid|csrftoken|password\w*|passwd"
    r"|secret(?:_key)?|token|otp|private[-_ ]?key|nija_vault_private_key|kraken_\w+_(?:key|secret))"
)
_PATTERNS = (
    # name: value, name=value, "name": "value", 'name': b'value', and the scheme word of an Authorization header.
    re.compile(
        rf"""(?i)(?P<keep>\b{_NAMES}['"]?\s*[:=]\s*)(?:b?(?P<quote>['"]).*?(?P=quote)|(?:(?:token|bearer|basic)\s+)?[^\s,;&'"\]}})]+)"""
    ),
    re.compile(r"(?i)(?P<keep>\b(?:token|bearer|basic)\s+)[A-Za-z0-9+/=_.-]{16,}"),
    re.compile(r"(?P<keep>://[^\s:/@]*:)[^\s/@]+(?=@)"),
    re.compile(r"(?P<keep>nija-vault-private-1:)[A-Za-z0-9_=-]+"),
    # A Kraken key is 56 and its secret 88 characters of base64; hexadecimal digests are no secrets.
    re.compile(
        r"(?P<keep>)(?<![\w+/])(?=[\w+/]*[A-Z])(?=[\w+/]*[a-z])(?=[\w+/]*[0-9])[A-Za-z0-9+/]{54,}={0,2}(?![\w+/])"
    ),
)


def redact(text: str) -> str:
    """`text` without what looks like keys, tokens, passwords, signatures or Authorization headers."""
    for pattern in _PATTERNS:
        text = pattern.sub(rf"\g<keep>{REDACTED}", text)
    return text


class RedactingFormatter(logging.Formatter):
    """Redacts the finished line, so that arguments, tracebacks and exception texts are covered alike."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


CONFIGURATION: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "plain": {"()": RedactingFormatter, "format": "%(asctime)s %(levelname)s %(name)s: %(message)s"},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {
        # Seventeen ticks a second would bury everything else.
        "celery.app.trace": {"level": "WARNING"},
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.beat": {"level": "WARNING"},
        "urllib3": {"level": "WARNING"},
        # Django's own handlers would write past the redaction.
        "django": {"handlers": [], "level": "INFO", "propagate": True},
        "django.server": {"handlers": [], "level": "WARNING", "propagate": True},
    },
}


def configure(**_signal: Any) -> None:
    logging.config.dictConfig(CONFIGURATION)
