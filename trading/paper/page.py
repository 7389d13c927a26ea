"""The page /paper/ where people make themselves a paper account and see its key once."""

from __future__ import annotations

import re
from decimal import Decimal
from html import escape
from pathlib import Path
from string import Template

from aiohttp import web

from trading.paper.control import Control
from trading.paper.errors import KrakenError
from trading.paper.records import TRADING_PERMISSIONS
from trading.paper.same_origin import is_loopback
from trading.paper.store import Store

_PAGES = Path(__file__).parent / "pages"
_USD_MAX = Decimal(10_000_000)
_DEFAULT_USD = "84.57"
_DOLLARS = re.compile(r"\$?([0-9]{1,3}(,[0-9]{3})+|[0-9]{1,20})(\.[0-9]{1,20})?")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
_SCRIPT = "text/javascript"
_ASSETS = {"paper.css": "text/css", "copy.js": _SCRIPT, "market.js": _SCRIPT, "icon.svg": "image/svg+xml"}


class Page:
    def __init__(self, control: Control, store: Store) -> None:
        self._control = control
        self._store = store

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self.to_form),
            web.get("/paper", self.to_form),
            web.get("/paper/", self.form),
            web.post("/paper/", self.create),
            web.get("/paper/static/{name}", self.asset),
        ]

    async def to_form(self, _request: web.Request) -> web.Response:
        raise web.HTTPSeeOther("/paper/")

    async def form(self, request: web.Request) -> web.Response:
        return html("form.html", _form_values(request.query.get("back", "")))

    async def create(self, request: web.Request) -> web.Response:
        fields = await request.post()
        back, label, usd = (str(fields.get(name, "")).strip() for name in ("back", "label", "usd"))
        withdraw = "withdraw" in fields
        try:
            amount = _usd(usd)
            rights = [*TRADING_PERMISSIONS, *(["withdraw-funds"] if withdraw else [])]
            opened = self._control.open_account(label or "Paper account", {"ZUSD": amount}, permissions=rights)
        except (KrakenError, ValueError) as error:
            values = _form_values(back, label=label, usd=usd, withdraw=withdraw, problem=str(error))
            return html("form.html", values, status=400)
        await self._store.committed()
        warning = (
            "Its key may withdraw, so NIJA must refuse it."
            if withdraw
            else "Its key may query and trade, not withdraw."
        )
        values = {
            "label": escape(label or "Paper account"),
            "usd": f"{amount:,.2f}",
            "api_key": opened["api_key"],
            "api_secret": opened["api_secret"],
            "rights": warning,
            "back": _back_link(back),
        }
        return html("key.html", values)

    async def asset(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in _ASSETS:
            raise web.HTTPNotFound
        return web.Response(text=(_PAGES / name).read_text(), content_type=_ASSETS[name], headers=HEADERS)


def _usd(given: str) -> Decimal:
    """Raises ValueError with a sentence for the reader."""
    # A comma parts thousands and nothing else: 84,57 is not eight thousand.
    if not _DOLLARS.fullmatch(given.strip()):
        raise ValueError("Give the balance as an amount in dollars, for example 84.57.")
    amount = Decimal(given.strip().lstrip("$").replace(",", ""))
    if not 0 <= amount <= _USD_MAX:
        raise ValueError(f"The balance must lie between $0 and ${_USD_MAX:,}.")
    if amount != amount.quantize(Decimal("0.0001")):
        raise ValueError("Dollars have at most four decimals here.")
    return amount


def _form_values(
    back: str, *, label: str = "", usd: str = _DEFAULT_USD, withdraw: bool = False, problem: str = ""
) -> dict[str, str]:
    return {
        "back_url": escape(back if is_loopback(back) else ""),
        "back": _back_link(back),
        "label": escape(label),
        "usd": escape(usd),
        "withdraw": "checked" if withdraw else "",
        "problem": _problem(problem),
    }


def _problem(sentence: str) -> str:
    if not sentence:
        return ""
    return f'<p class="problem" role="alert" data-testid="paper-problem">{escape(sentence)}</p>'


def _back_link(back: str) -> str:
    if not is_loopback(back):
        return "Go back to the NIJA tab"
    return f'<a href="{escape(back)}">Go back to NIJA</a>'


def html(name: str, values: dict[str, str], *, status: int = 200) -> web.Response:
    body = Template((_PAGES / name).read_text()).substitute(values)
    return web.Response(text=body, status=status, content_type="text/html", headers=HEADERS)
