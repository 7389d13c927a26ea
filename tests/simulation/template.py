"""The state every run starts from: a migrated database, a master, followers with connected keys, an exchange that knows them."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock

from django.conf import settings
from django.core.management import call_command
from django.db import connections

from accounts.models import User
from tests.simulation.network import Network, Packet
from tests.simulation.scheduler import NS, Scheduler
from trading import doorbell
from trading.kraken.endpoints import PublicClient
from trading.kraken.transport import Answer
from trading.models import Account, MarketPrice, Role
from trading.paper.engine import Exchange
from trading.paper.gateway import Gateway
from trading.paper.limits import RateLimits
from trading.paper.market import PinnedMarket
from trading.paper.matching import Fees
from trading.paper.pairs import PAIRS
from trading.paper.store import Store
from trading.services import balances, fees, intake, market, private

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
MASTER_USD = Decimal("1000")
FOLLOWERS_USD: Mapping[str, Decimal] = {
    "ada": Decimal("840.25"),
    "ben": Decimal("2600"),
    "cleo": Decimal("5200.5"),
}


class SteppingClock:
    """Before a run there is nobody to come between: time moves a millisecond a look."""

    def __init__(self) -> None:
        self.now_ns = int(START.timestamp()) * NS

    def now(self) -> datetime:
        self.now_ns += 1_000_000
        return datetime.fromtimestamp(self.now_ns / NS, UTC)

    def ns(self) -> int:
        self.now_ns += 1
        return self.now_ns

    def shared(self) -> datetime:
        return self.now()

    def uptime(self) -> float:
        return self.now().timestamp()


class Direct:
    """A transport with nothing in between."""

    def __init__(self, network: Network, clock: SteppingClock) -> None:
        self._network, self._clock = network, clock

    def get(self, path: str, params: Mapping[str, str], *, timeout_s: float) -> Answer:
        self._network.scheduler.now_ns = self._clock.now_ns
        return self._network.get(path, params, timeout_s=timeout_s)

    async def post(
        self,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        timeout_s: float,
        before_write: Callable[[], None] | None = None,
    ) -> Answer:
        self._network.scheduler.now_ns = self._clock.now_ns
        self._network.set_time()
        return self._network._carry_out(Packet(path.rpartition("/")[2], headers["API-Key"], body, headers, ""))


class Template:
    """Built once in a process, copied for each run."""

    def __init__(self) -> None:
        memory = Path("/dev/shm")
        self.directory = Path(tempfile.mkdtemp(prefix="nija-sim-", dir=memory if memory.is_dir() else None))
        atexit.register(shutil.rmtree, self.directory, ignore_errors=True)
        self.clock = SteppingClock()
        self.paper_ids: dict[int, str] = {}
        use_database(self.directory / "template.sqlite3")
        call_command("migrate", verbosity=0)
        exchange = open_exchange(self.directory / "paper.sqlite3")
        self._people(exchange)
        exchange._store.close()
        connections["default"].close()

    def copy(self, run: str) -> tuple[Path, Exchange]:
        """A fresh database file and an exchange that both know the same people."""
        database, paper = self.directory / f"{run}.sqlite3", self.directory / f"{run}-paper.sqlite3"
        shutil.copyfile(self.directory / "template.sqlite3", database)
        shutil.copyfile(self.directory / "paper.sqlite3", paper)
        return database, open_exchange(paper)

    def discard(self, run: str) -> None:
        for file in self.directory.glob(f"{run}[.-]*"):
            file.unlink()

    def _people(self, exchange: Exchange) -> None:
        network = Network(Scheduler(seed=0, now_ns=self.clock.now_ns), Gateway(exchange, exchange._store))
        direct = Direct(network, self.clock)
        # Nobody listens to bells yet, and nobody is to wait for a broker that is not there.
        with (
            mock.patch.object(private, "transport", return_value=direct),
            mock.patch.object(doorbell, "_send"),
            mock.patch.object(doorbell, "_publish"),
        ):
            market.refresh_instruments(clock=self.clock, client=PublicClient(direct))
            market.measure_venue_clock(clock=self.clock, client=PublicClient(direct), sleep=lambda _s: None)
            self._join(exchange, "master", MASTER_USD, role=Role.MASTER)
            for name, usd in FOLLOWERS_USD.items():
                self._join(exchange, name, usd, role=Role.FOLLOWER)
            market.refresh_prices(clock=self.clock, client=PublicClient(direct))
            assert MarketPrice.objects.exists()

    def _join(self, exchange: Exchange, name: str, usd: Decimal, *, role: str) -> None:
        account = exchange.accounts.create(name, {"ZUSD": usd}, now=self.clock.now_ns / NS)
        key = exchange.accounts.add_key(account, None, name=name, nonce_window=0, now=self.clock.now_ns / NS)
        user = User.objects.create_user(email=f"{name}@nija.example", password=None)
        credential = intake.submit(user, api_key=key.key, api_secret=key.secret, clock=self.clock, role=role)
        intake.check_pending(credential.pk, clock=self.clock)
        ours = Account.objects.get(user=user)
        balances.refresh_due(clock=self.clock)
        fees.refresh_due(clock=self.clock)
        self.paper_ids[ours.pk] = account.id


def open_exchange(file: Path) -> Exchange:
    store = Store(file)
    exchange = Exchange(
        PinnedMarket(PAIRS.values(), spread_bps=Decimal(4)), store, fees=Fees(), limits=RateLimits(None, 2.0)
    )
    exchange.clock.set(START.timestamp())
    return exchange


def use_database(file: Path) -> None:
    """Every connection opened from now on is to this file."""
    wanted: dict[str, Any] = connections.settings["default"]
    wanted["NAME"] = str(file)
    settings.DATABASES["default"]["NAME"] = str(file)
