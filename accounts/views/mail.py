"""Mail that a development installation keeps instead of sending, for the browser on the same machine."""

from __future__ import annotations

import email
import email.policy
import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

SHOWN_MAX = 50
_SEPARATOR = b"-" * 79


@dataclass(frozen=True, slots=True)
class KeptMail:
    to: str
    subject: str
    body: str
    kept_at: datetime


@never_cache
@require_safe
def kept(request: HttpRequest) -> HttpResponse:
    """Codes and reset links of everybody here, so only for this machine and only where mail is not sent."""
    if not settings.MAIL_IS_KEPT or not _is_this_machine(request):
        raise Http404
    return render(request, "accounts/mail.html", {"mails": read(Path(settings.MAIL_DIR)), "shown_max": SHOWN_MAX})


def read(directory: Path) -> list[KeptMail]:
    """The newest kept mails first."""
    files = sorted(directory.glob("*.log"), key=lambda path: path.stat().st_mtime, reverse=True)[:SHOWN_MAX]
    mails: list[KeptMail] = []
    for path in files:
        kept_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        parts = [part for part in path.read_bytes().split(_SEPARATOR) if part.strip()]
        mails.extend(_parse(part.lstrip(), kept_at) for part in reversed(parts))
    return mails[:SHOWN_MAX]


def _parse(raw: bytes, kept_at: datetime) -> KeptMail:
    message = email.message_from_bytes(raw, _class=EmailMessage, policy=email.policy.default)
    body = message.get_body(preferencelist=("plain",))
    text = str(body.get_content()) if body is not None else ""
    return KeptMail(to=str(message["To"]), subject=str(message["Subject"]), body=text, kept_at=kept_at)


def _is_this_machine(request: HttpRequest) -> bool:
    try:
        return ipaddress.ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False
