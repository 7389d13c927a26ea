"""Keeps other sites' pages away from /paper: loopback names only, and no request that a foreign page made."""

from __future__ import annotations

from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]", "::1"})
_SAFE = frozenset({"GET", "HEAD"})


def is_loopback(url: str) -> bool:
    """Whether an http(s) URL points at this machine."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and parts.hostname in _LOOPBACK
    except ValueError:
        return False


def refusal(request: web.Request) -> str | None:
    """Why a /paper request is not served; None when it is."""
    if not is_loopback(f"http://{request.host}"):
        return "This page is only served on 127.0.0.1."
    if request.method in _SAFE:
        return None
    origin = request.headers.get("Origin")
    if origin is not None and origin != f"http://{request.host}":
        return "This form was sent from another site."
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        return "This form was sent from another site."
    return None


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.path.startswith("/paper"):
        sentence = refusal(request)
        if sentence is not None:
            return web.Response(status=403, text=sentence)
    return await handler(request)
