"""Accounts and their keys: creation, deposits, what each key was seen doing."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from trading.paper.errors import KrakenError, invalid_argument
from trading.paper.pairs import CONTEXT, ZERO, asset_named
from trading.paper.records import PERMISSIONS, TRADING_PERMISSIONS, Account, ApiKey, new_iban
from trading.paper.store import Loaded, Store

BALANCE_MAX = Decimal(10) ** 12


@dataclass(slots=True)
class KeyUse:
    """Counted since the start, not kept over a restart."""

    requests: int = 0
    accepted_orders: int = 0
    invalid_nonces: int = 0
    in_flight: int = 0
    max_in_flight: int = 0


class Accounts:
    def __init__(self, store: Store, loaded: Loaded) -> None:
        self._store = store
        self.by_id = {account.id: account for account in loaded.accounts}
        self.keys = {key.key: key for key in loaded.keys}
        self._use: dict[str, KeyUse] = {}

    def create(self, label: str, balances: Mapping[str, Decimal], *, now: float) -> Account:
        """Raises KrakenError for an unknown asset or an absurd amount."""
        account = Account(id=secrets.token_hex(6), label=label[:80], iban=new_iban(), created_at=now)
        wanted = [(asset_named(name).id, _checked(amount)) for name, amount in balances.items()]
        self.by_id[account.id] = account
        self._store.put_account(account)
        for asset, amount in wanted:
            self.change(account, asset, amount)
        return account

    def add_key(
        self, account: Account, permissions: Sequence[str] | None, *, name: str, nonce_window: int, now: float
    ) -> ApiKey:
        """A key with a random secret; None gives it the rights that trading needs."""
        rights = list(TRADING_PERMISSIONS if permissions is None else permissions)
        if not set(rights) <= set(PERMISSIONS) or nonce_window < 0:
            raise invalid_argument("permissions")
        key = ApiKey(
            key=base64.b64encode(secrets.token_bytes(42)).decode(),
            account_id=account.id,
            secret=base64.b64encode(secrets.token_bytes(64)).decode(),
            permissions=rights,
            name=name[:32],
            created_at=now,
            nonce_window=nonce_window,
        )
        self.keys[key.key] = key
        self._store.put_key(key)
        return key

    def save_key(self, key: ApiKey) -> None:
        self._store.put_key(key)

    def save_nonce(self, key: ApiKey) -> None:
        self._store.put_nonce(key)

    def named(self, account_id: str) -> Account:
        """Raises KrakenError for an unknown one."""
        account = self.by_id.get(account_id)
        if account is None:
            raise KrakenError("EGeneral:Unknown account")
        return account

    def usable_key(self, key: str) -> ApiKey:
        """Raises EAPI:Invalid key."""
        found = self.keys.get(key)
        if found is None or found.revoked:
            raise KrakenError("EAPI:Invalid key")
        return found

    def keys_of(self, account: Account) -> list[ApiKey]:
        return [key for key in self.keys.values() if key.account_id == account.id]

    def use_of(self, key: str) -> KeyUse:
        return self._use.setdefault(key, KeyUse())

    def change(self, account: Account, asset: str, amount: Decimal) -> None:
        """Add to a balance (negative takes away). A balance below zero is a bug, never a state."""
        balance = CONTEXT.add(account.balances.get(asset, ZERO), amount)
        assert balance >= 0, f"{asset} balance of {account.id} would become {balance}"
        account.balances[asset] = balance
        self._store.put_balance(account.id, asset, balance)


def _checked(amount: Decimal) -> Decimal:
    if not amount.is_finite() or not 0 <= amount <= BALANCE_MAX:
        raise invalid_argument("balances")
    return amount
