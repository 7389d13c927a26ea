"""What every page shows: whether money is real."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest


def site(_request: HttpRequest) -> dict[str, Any]:
    return {
        "venue_badge": "PAPER" if settings.VENUE_IS_LOCAL else "LIVE",
        "orders_allowed": settings.ORDERS_ALLOWED,
        "paper_accounts_url": f"{settings.KRAKEN_API_URL}/paper/" if settings.VENUE_IS_LOCAL else "",
        "mail_is_kept": settings.MAIL_IS_KEPT,
    }
