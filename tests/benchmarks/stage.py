"""What a fan-out is measured on: a database of its own, a broker, the null exchange, the workers as production starts them."""

from __future__ import annotations

import hashlib
import json
import os
import pstats
import re
import shlex
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import redis
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.db import connection, transaction

from accounts import vault
from accounts.models import Credential, RiskSettings, User
from accounts.services import credentials
from nija.supervisor import Child
from tests.benchmarks import null_books, processes, worker
from tests.benchmarks.null_exchange import NullExchange
from tests.benchmarks.processes import Usage
from tests.support.paper import BASE_DIR
from tests.support.postgres import Cluster
from tests.support.stack import Stack
from trading.models import Account, AssetBalance, Lane, Role
from trading.services import market, master_orders
from trading.services.clock import SYSTEM

WORKERS = ("worker", "execution", "booking", "exits")
ROWS_AT_ONCE = 2_000
LOCKED_AT_ONCE = 200
READY_TIMEOUT_S = 60
POLL_S = 0.1


class NotReady(Exception):
    """The workers do not come to where they could trade; the text is a sentence."""


@dataclass
class Stage:
    size: int
    exchange: NullExchange
    stack: Stack
    cluster: Cluster
    broker: redis.Redis
    ledger: Path

    def pids(self) -> dict[str, int]:
        """Whose CPU and memory are told, by name."""
        named = {name: self.stack.pid(name) for name in (*WORKERS, "beat")}
        named |= {"PostgreSQL": self.cluster.pid, "Redis": int(self.broker.info("server")["process_id"])}
        named["null exchange"] = self.exchange.pid
        return {name: pid for name, pid in named.items() if pid is not None}

    def usages(self, *, with_memory: bool = True) -> dict[str, Usage]:
        return {name: processes.usage(pid, with_memory=with_memory) for name, pid in self.pids().items()}

    def freshen_balances(self) -> None:
        """Stores what every follower holds at the exchange, as if each had been read this moment."""
        holdings = self.exchange.ask("holdings")
        ids = list(Account.objects.filter(role=Role.FOLLOWER).order_by("pk").values_list("pk", flat=True))
        for start in range(0, len(ids), LOCKED_AT_ONCE):
            _freshen(ids[start : start + LOCKED_AT_ONCE], holdings)

    def tasks(self, *, since: float, until: float) -> list[dict[str, Any]]:
        """What the workers' tasks cost that began between two instants (unix seconds)."""
        lines = [line for file in self.ledger.glob("*.jsonl") for line in file.read_text().splitlines()]
        rows = [json.loads(line) for line in lines if line.endswith("}")]
        return [row for row in rows if since <= row["began_at"] <= until]

    def profiles(self) -> pstats.Stats | None:
        files = sorted(map(str, self.ledger.glob("*.pstats")))
        return pstats.Stats(*files) if files else None

    def wait_until_tradable(self) -> None:
        """Raises NotReady."""
        end = time.monotonic() + READY_TIMEOUT_S
        while True:
            account = master_orders.master_account()
            assert account is not None, "joined before"
            market.ensure_instruments(clock=SYSTEM)
            problems = master_orders.entry_problems(account, now=SYSTEM.now())
            if not problems:
                return
            if time.monotonic() > end:
                raise NotReady(f"The master cannot trade: {problems[0].sentence}")
            time.sleep(POLL_S)


@contextmanager
def built(
    size: int, *, cluster: Cluster, broker: redis.Redis, scratch: Path, latency_ms: float, time_to_live_s: float | None
) -> Iterator[Stage]:
    """`size` followers and a master on a fresh copy of the migrated database, and the workers, ready to trade."""
    ledger = scratch / f"ledger-{size}"
    ledger.mkdir()
    broker.flushall()
    with NullExchange(latency_ms=latency_ms) as exchange:
        settings.KRAKEN_API_URL = settings.VENUE = exchange.url
        settings.VENUE_IS_LOCAL = settings.ORDERS_ALLOWED = True
        url = fresh_database(cluster, f"size_{size}")
        join_all(size)
        extra = {
            "NIJA_ENV": "production",
            worker.DIRECTORY: str(ledger),
            worker.PROFILE: os.environ.get("PROFILE", ""),
            # Its one candle lets the strategy judge nothing: the master trades by hand alone.
            "MASTER_PAIRS": "BEAM-USD",
        }
        if time_to_live_s is not None:
            extra[worker.TIME_TO_LIVE] = str(time_to_live_s)
        stack = Stack(
            database_url=url,
            redis_url=settings.REDIS_URL,
            kraken_api_url=exchange.url,
            data_dir=scratch / f"stack-{size}",
            with_web=False,
            extra=extra,
            altered=_as_in_production,
        )
        with stack:
            stage = Stage(size, exchange, stack, cluster, broker, ledger)
            stage.wait_until_tradable()
            yield stage
        connection.close()


def _freshen(account_ids: Sequence[int], holdings: Mapping[str, Mapping[str, str]]) -> None:
    now = SYSTEM.now()
    with transaction.atomic():
        # The account's row first and in order, as the engine takes them, so that neither waits for the other.
        accounts = list(Account.objects.select_for_update().filter(pk__in=account_ids).order_by("pk"))
        rows = []
        for account in accounts:
            index = null_books.index_of(account.iban)
            held = holdings.get(str(index)) or {"ZUSD": str(null_books.cash_of(index))}
            rows += [
                AssetBalance(account=account, asset=asset, total=Decimal(total), as_of=now)
                for asset, total in held.items()
            ]
        AssetBalance.objects.bulk_create(
            rows, update_conflicts=True, unique_fields=["account", "asset"], update_fields=["total", "as_of"]
        )
        Account.objects.filter(pk__in=account_ids).update(balances_as_of=now, balances_tried_at=now)


def fresh_database(cluster: Cluster, name: str) -> str:
    """A copy of the migrated database, which this process uses from here on; its address."""
    server, _, original = cluster.url.rpartition("/")
    connection.close()
    with psycopg.connect(f"{server}/postgres", autocommit=True) as maintenance:
        maintenance.execute(f'CREATE DATABASE "{name}" TEMPLATE "{original}"'.encode())
    connection.settings_dict["NAME"] = name
    return f"{server}/{name}"


def _as_in_production(child: Child) -> Child:
    """Workers with the options of the Procfile, through the launcher that counts; beat as ever."""
    if child.name not in WORKERS:
        return child
    lines = dict(line.split(": ", 1) for line in (BASE_DIR / "Procfile").read_text().splitlines() if ": " in line)
    # As a shell reads them in an environment that says nothing.
    words = shlex.split(re.sub(r"\$\{\w+:-(\w+)\}", r"\1", lines[child.name]))
    before, options = words[: words.index("python")], words[words.index("nija.worker") + 1 :]
    return replace(child, command=(*before, child.command[0], "-m", "tests.benchmarks.worker", *options))


def join_all(size: int) -> None:
    """The master and `size` followers, connected as a checked key connects them, in bulk."""
    now, venue = SYSTEM.now(), settings.VENUE
    indices = range(size + 1)
    password = make_password(None)
    users = [User(email=f"account{index}@nija.example", password=password, date_joined=now) for index in indices]
    with transaction.atomic():
        User.objects.bulk_create(users, batch_size=ROWS_AT_ONCE)
        RiskSettings.objects.bulk_create([RiskSettings(user=user) for user in users], batch_size=ROWS_AT_ONCE)
        keys = [_credential(user, index) for index, user in zip(indices, users, strict=True)]
        Credential.objects.bulk_create(keys, batch_size=ROWS_AT_ONCE)
        Lane.objects.bulk_create([Lane(credential=key) for key in keys], batch_size=ROWS_AT_ONCE)
        accounts = [
            Account(
                user=user,
                role=Role.MASTER if index == null_books.MASTER else Role.FOLLOWER,
                venue=venue,
                iban=null_books.iban_of(index),
                created_at=now,
                balances_as_of=now,
                balances_tried_at=now,
                taker_fee=null_books.FEE,
                maker_fee=null_books.FEE,
                fees_as_of=now,
                trades_known_until=now if index == null_books.MASTER else None,
            )
            for index, user in zip(indices, users, strict=True)
        ]
        Account.objects.bulk_create(accounts, batch_size=ROWS_AT_ONCE)
        rows = [
            AssetBalance(account=account, asset="ZUSD", total=null_books.cash_of(index), as_of=now)
            for index, account in zip(indices, accounts, strict=True)
        ]
        AssetBalance.objects.bulk_create(rows, batch_size=ROWS_AT_ONCE)
    with connection.cursor() as cursor:
        # What autovacuum would have done long since.
        cursor.execute("ANALYZE")


def _credential(user: User, index: int) -> Credential:
    """An active key, sealed as `credentials.submit_key` seals it."""
    api_key, credential_id, now = null_books.api_key_of(index), uuid.uuid4(), SYSTEM.now()
    plaintext = json.dumps({"key": api_key, "secret": null_books.secret_text_of(index)}).encode("ascii")
    info = credentials._info(user_id=user.pk, credential_id=credential_id, version=1)
    return Credential(
        id=credential_id,
        user=user,
        venue=settings.VENUE,
        role=Role.MASTER if index == null_books.MASTER else Role.FOLLOWER,
        version=1,
        status=Credential.Status.ACTIVE,
        fingerprint=hashlib.sha256(api_key.encode("ascii")).hexdigest(),
        api_key_hint=f"{api_key[:4]}…{api_key[-4:]}",
        sealed=vault.seal(plaintext, public=settings.NIJA_VAULT_PUBLIC_KEY, info=info),
        iban=null_books.iban_of(index),
        permissions=sorted(null_books.PERMISSIONS),
        created_at=now,
        checked_at=now,
    )
