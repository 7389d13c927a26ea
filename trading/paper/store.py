"""One SQLite file that survives SIGKILL. Writes are queued and committed together; answers wait for the commit.

WAL with synchronous=NORMAL: a committed transaction outlives the process, which is what a paper exchange needs.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from trading.paper.pairs import plain
from trading.paper.records import Account, ApiKey, Order, Trade, document_of, order_from, trade_from

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS accounts (
  id TEXT PRIMARY KEY, label TEXT NOT NULL, iban TEXT NOT NULL, created_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS api_keys (
  key TEXT PRIMARY KEY, account_id TEXT NOT NULL, secret TEXT NOT NULL, permissions TEXT NOT NULL, name TEXT NOT NULL,
  created_at REAL NOT NULL, nonce TEXT NOT NULL, nonce_window TEXT NOT NULL, revoked INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS balances (
  account_id TEXT NOT NULL, asset TEXT NOT NULL, amount TEXT NOT NULL, PRIMARY KEY (account_id, asset));
CREATE TABLE IF NOT EXISTS orders (txid TEXT PRIMARY KEY, opened_at REAL NOT NULL, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS trades (txid TEXT PRIMARY KEY, trade_id INTEGER NOT NULL, document TEXT NOT NULL);
"""


class StateUnavailable(Exception):
    """The state file cannot be used; the text is a sentence for the person who started the exchange."""


@dataclass(slots=True)
class Loaded:
    """Everything the file held, in the order it happened."""

    meta: dict[str, Any] = field(default_factory=dict)
    accounts: list[Account] = field(default_factory=list)
    keys: list[ApiKey] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    trades: list[Trade] = field(default_factory=list)


class Store:
    def __init__(self, path: Path, *, on_failure: Callable[[str], None] | None = None) -> None:
        """Opens or creates the file and locks it; raises StateUnavailable."""
        self._pending: list[tuple[str, tuple[Any, ...]]] = []
        self._commit_done: asyncio.Future[None] | None = None
        self._on_failure = on_failure
        try:
            self._db = sqlite3.connect(path, isolation_level=None, timeout=0.5)
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute("BEGIN IMMEDIATE")
            for statement in filter(str.strip, _SCHEMA.split(";")):
                self._db.execute(statement)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            why = "another paper exchange is using it" if "locked" in str(error) else str(error)
            raise StateUnavailable(f"The state file {path} cannot be used: {why}.") from error

    def load(self) -> Loaded:
        loaded = Loaded(meta={name: json.loads(value) for name, value in self._db.execute("SELECT * FROM meta")})
        by_id: dict[str, Account] = {}
        for account_id, label, iban, created_at in self._db.execute("SELECT * FROM accounts ORDER BY rowid"):
            by_id[account_id] = Account(account_id, label, iban, created_at)
        for account_id, asset, amount in self._db.execute("SELECT * FROM balances ORDER BY rowid"):
            by_id[account_id].balances[asset] = Decimal(amount)
        loaded.accounts = list(by_id.values())
        for row in self._db.execute("SELECT * FROM api_keys ORDER BY rowid"):
            key, account_id, secret, permissions, name, created_at, nonce, window, revoked = row
            rights = json.loads(permissions)
            loaded.keys.append(
                ApiKey(key, account_id, secret, rights, name, created_at, int(nonce), int(window), bool(revoked))
            )
        orders = self._db.execute("SELECT document FROM orders ORDER BY opened_at, rowid")
        loaded.orders = [order_from(json.loads(document)) for (document,) in orders]
        trades = self._db.execute("SELECT document FROM trades ORDER BY trade_id")
        loaded.trades = [trade_from(json.loads(document)) for (document,) in trades]
        return loaded

    def put_meta(self, name: str, value: Any) -> None:
        self._queue("INSERT OR REPLACE INTO meta VALUES (?, ?)", name, json.dumps(value))

    def put_account(self, account: Account) -> None:
        self._queue(
            "INSERT INTO accounts VALUES (?, ?, ?, ?)", account.id, account.label, account.iban, account.created_at
        )

    def put_key(self, key: ApiKey) -> None:
        self._queue(
            "INSERT OR REPLACE INTO api_keys VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            *(key.key, key.account_id, key.secret, json.dumps(key.permissions), key.name, key.created_at),
            *(str(key.nonce), str(key.nonce_window), int(key.revoked)),
        )

    def put_nonce(self, key: ApiKey) -> None:
        self._queue("UPDATE api_keys SET nonce = ? WHERE key = ?", str(key.nonce), key.key)

    def put_balance(self, account_id: str, asset: str, amount: Decimal) -> None:
        self._queue(
            "INSERT INTO balances VALUES (?, ?, ?)"
            " ON CONFLICT (account_id, asset) DO UPDATE SET amount = excluded.amount",
            *(account_id, asset, plain(amount)),
        )

    def put_order(self, order: Order) -> None:
        document = json.dumps(document_of(order))
        self._queue(
            "INSERT INTO orders VALUES (?, ?, ?) ON CONFLICT (txid) DO UPDATE SET document = excluded.document",
            *(order.txid, order.opened_at, document),
        )

    def put_trade(self, trade: Trade) -> None:
        self._queue("INSERT INTO trades VALUES (?, ?, ?)", trade.txid, trade.trade_id, json.dumps(document_of(trade)))

    async def committed(self) -> None:
        """Returns once everything queued so far is on disk; requests that wait together share one transaction."""
        if not self._pending:
            return
        if self._commit_done is None:
            loop = asyncio.get_running_loop()
            self._commit_done = loop.create_future()
            loop.call_soon(self._commit_and_tell)
        await asyncio.shield(self._commit_done)

    def commit(self) -> None:
        """Write the queue in one transaction; raises sqlite3.Error with nothing of it written."""
        if not self._pending:
            return
        batch, self._pending = self._pending, []
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for statement, values in batch:
                self._db.execute(statement, values)
            self._db.execute("COMMIT")
        except sqlite3.Error:
            self._db.rollback()
            raise

    def close(self) -> None:
        self.commit()
        self._db.close()

    def _queue(self, statement: str, *values: Any) -> None:
        self._pending.append((statement, values))

    def _commit_and_tell(self) -> None:
        done, self._commit_done = self._commit_done, None
        assert done is not None
        try:
            self.commit()
        except sqlite3.Error as error:
            done.set_exception(StateUnavailable(f"The state file can no longer be written: {error}."))
            # Memory is now ahead of the disk, so going on would acknowledge orders that a restart forgets.
            if self._on_failure is not None:
                self._on_failure(f"The state file can no longer be written: {error}.")
        else:
            done.set_result(None)
