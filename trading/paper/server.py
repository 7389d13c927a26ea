"""The paper exchange as a process: `python -m trading.paper.server --port N --state FILE --market demo|replay|pinned`.

One asyncio thread serves everything, so a request is carried out without another one in between.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib import request as urllib_request
from urllib.error import HTTPError

from aiohttp import web

from trading.paper import market_page, page, same_origin
from trading.paper.control import Control
from trading.paper.engine import Exchange
from trading.paper.gateway import Gateway
from trading.paper.matching import Fees
from trading.paper.settings import MARKETS, RATE_TIERS, PaperSettings
from trading.paper.store import StateUnavailable, Store

HOST = "127.0.0.1"
_MATCH_EVERY_S = 0.25
_SHUTDOWN_S = 0.5
# Longer than any client's pause, so that an idle connection is not closed under a request on its way.
_KEEPALIVE_S = 900.0
_BODY_BYTES_MAX = 256 * 1024


class CannotStart(Exception):
    """The text is a sentence for whoever started the exchange."""


def build_app(exchange: Exchange, store: Store) -> web.Application:
    app = web.Application(client_max_size=_BODY_BYTES_MAX, middlewares=[same_origin.guard])
    gateway = Gateway(exchange, store)
    control = Control(gateway, store)
    app.add_routes(gateway.routes())
    app.add_routes(control.routes())
    # Before the page's own files: the chart library is served among them.
    app.add_routes(market_page.MarketPage(gateway).routes())
    app.add_routes(page.Page(control, store).routes())
    return app


async def _match_forever(exchange: Exchange, store: Store) -> None:
    while True:
        await asyncio.sleep(_MATCH_EVERY_S)
        if exchange.has_open_orders:
            exchange.match_resting(now=exchange.clock.now())
            await store.committed()


@contextlib.asynccontextmanager
async def serving(settings: PaperSettings, *, on_failure: Callable[[str], None]) -> AsyncIterator[str]:
    """Listens while the context lasts and yields the URL; raises CannotStart. Nothing is left behind."""
    try:
        market = settings.build_market()
        store = Store(settings.state, on_failure=on_failure)
    except OSError as error:
        raise CannotStart(f"{error.filename} cannot be read: {error.strerror}.") from error
    except (StateUnavailable, ValueError) as error:
        raise CannotStart(str(error)) from error
    exchange = Exchange(market, store, fees=settings.fees, limits=settings.limits())
    runner = web.AppRunner(
        build_app(exchange, store), access_log=None, shutdown_timeout=_SHUTDOWN_S, keepalive_timeout=_KEEPALIVE_S
    )
    matcher: asyncio.Task[None] | None = None
    try:
        await runner.setup()
        try:
            await web.TCPSite(runner, HOST, settings.port, backlog=1024).start()
        except OSError as error:
            raise CannotStart(f"Port {settings.port} on {HOST} is already in use.") from error
        store.commit()
        if market.moves_by_itself:
            matcher = asyncio.create_task(_match_forever(exchange, store))
        yield f"http://{HOST}:{runner.addresses[0][1]}"
    finally:
        if matcher is not None:
            matcher.cancel()
        await runner.cleanup()
        store.close()


async def _serve_until_told(settings: PaperSettings) -> str | None:
    """Returns None after SIGTERM or SIGINT, else a sentence on what went wrong."""
    stop = asyncio.Event()
    failures: list[str] = []

    def fail(sentence: str) -> None:
        failures.append(sentence)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with serving(settings, on_failure=fail) as url:
        print(json.dumps({"ready": True, "url": url}), flush=True)
        await stop.wait()
    return failures[0] if failures else None


def main(arguments: list[str] | None = None) -> int:
    try:
        failure = asyncio.run(_serve_until_told(_settings_from(arguments)))
    except CannotStart as error:
        failure = str(error)
    if failure is not None:
        print(failure, file=sys.stderr)
        return 1
    return 0


def _settings_from(arguments: list[str] | None) -> PaperSettings:
    parser = argparse.ArgumentParser(description="A paper exchange that speaks Kraken's protocol.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port")
    parser.add_argument("--state", type=Path, required=True, help="SQLite file, created when absent")
    parser.add_argument("--market", choices=MARKETS, required=True)
    parser.add_argument("--seed", type=int, default=7, help="of the demo market")
    parser.add_argument("--candles", default="", help="OHLCVT files or directories for replay, by commas")
    parser.add_argument("--interval", type=int, help="use only files of so many minutes")
    parser.add_argument("--warmup", type=int, default=720, help="candles already closed when a replay starts")
    parser.add_argument("--start", type=int, help="market time a replay starts at, unix seconds")
    parser.add_argument("--spread-bps", type=Decimal, default=Decimal(4))
    parser.add_argument("--rate-tier", choices=RATE_TIERS, default="none")
    parser.add_argument("--history-cost", type=float, default=2.0)
    parser.add_argument("--maker-fee", type=Decimal, default=Decimal("0.40"), help="percent")
    parser.add_argument("--taker-fee", type=Decimal, default=Decimal("0.80"), help="percent")
    given = parser.parse_args(arguments)
    return PaperSettings(
        state=given.state,
        market=given.market,
        port=given.port,
        seed=given.seed,
        candles=tuple(Path(name) for name in given.candles.split(",") if name),
        interval_min=given.interval,
        warmup_candles=given.warmup,
        start_at=given.start,
        spread_bps=given.spread_bps,
        rate_tier=given.rate_tier,
        history_cost=given.history_cost,
        fees=Fees(given.maker_fee, given.taker_fee),
    )


@dataclass(frozen=True, slots=True)
class RunningExchange:
    """A paper exchange in a thread of this process."""

    url: str

    def get(self, path: str) -> Any:
        """The JSON at `path`, e.g. `/paper/log` or `/0/public/Time`."""
        return _call("GET", self.url + path, None)

    def post(self, path: str, **fields: Any) -> Any:
        """The control API's answer; a refusal comes back as `{"error": …}`."""
        return _call("POST", self.url + path, fields)

    def delete(self, path: str) -> Any:
        return _call("DELETE", self.url + path, None)


def _call(method: str, url: str, fields: dict[str, Any] | None) -> Any:
    # The URL is the one this module has just bound, so there is no foreign scheme to fear.
    body = None if fields is None else json.dumps(fields).encode()
    headers = {"Content-Type": "application/json"}
    call = urllib_request.Request(url, data=body, headers=headers, method=method)  # noqa: S310
    try:
        with urllib_request.urlopen(call, timeout=30) as response:  # noqa: S310
            return json.load(response)
    except HTTPError as refusal:
        with refusal:
            return json.load(refusal)


@contextlib.contextmanager
def run_in_thread(settings: PaperSettings) -> Iterator[RunningExchange]:
    """The exchange on a free port until the context ends; raises CannotStart. Leaving it keeps the state file."""
    ready = threading.Event()
    outcome: dict[str, Any] = {}

    async def serve() -> None:
        stop = asyncio.Event()
        outcome["stop"] = lambda loop=asyncio.get_running_loop(): loop.call_soon_threadsafe(stop.set)
        async with serving(settings, on_failure=lambda _: stop.set()) as url:
            outcome["url"] = url
            ready.set()
            await stop.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except CannotStart as error:
            outcome["error"] = error
        finally:
            ready.set()

    thread = threading.Thread(target=run, name="paper-exchange", daemon=True)
    thread.start()
    ready.wait()
    if "url" not in outcome:
        thread.join()
        raise outcome.get("error") or CannotStart("The paper exchange did not start.")
    try:
        yield RunningExchange(outcome["url"])
    finally:
        outcome["stop"]()
        thread.join()


if __name__ == "__main__":
    sys.exit(main())
