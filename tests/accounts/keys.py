"""Keys in Kraken's form that belong to nobody, and an exchange that knows what they may do."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs

from django.conf import settings

from accounts.models import Credential, KeyCheck, User
from accounts.services import credentials
from trading.domain.key_policy import REQUIRED
from trading.kraken.errors import KrakenError
from trading.kraken.transport import Answer
from trading.models import Account, Instrument, Position

NOW = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
PERMISSIONS = tuple(REQUIRED)


def pair(name: str) -> tuple[str, str]:
    """An (API key, secret) pair, always the same for the same name."""
    key = (name.encode() * 40)[:42]
    secret = (b"secret of " + name.encode() * 64)[:64]
    return base64.b64encode(key).decode(), base64.b64encode(secret).decode()


@dataclass
class MovedClock:
    at: datetime = NOW

    def now(self) -> datetime:
        return self.at

    def ns(self) -> int:
        return int(self.at.timestamp()) * 1_000_000_000

    def shared(self) -> datetime:
        return self.at

    def uptime(self) -> float:
        return self.at.timestamp()

    def advance(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@dataclass
class KeyExchange:
    """Answers GetApiKeyInfo by API key; `failure` is raised instead, `errors` are answered instead."""

    keys: dict[str, dict[str, object]] = field(default_factory=dict)
    failure: KrakenError | None = None
    errors: Sequence[str] = ()
    raw: Answer | None = None
    nonces: list[int] = field(default_factory=list)

    def knows(
        self,
        name: str,
        *,
        permissions: Sequence[str] | None = PERMISSIONS,
        iban: str = "",
        nonce_window: int = 0,
    ) -> tuple[str, str]:
        """Make a key known, on the Kraken account `iban` (its own by default)."""
        api_key, secret = pair(name)
        info: dict[str, object] = {"nonceWindow": nonce_window, "iban": iban or f"AA {name}", "validUntil": "0"}
        if permissions is not None:
            info["permissions"] = list(permissions)
        self.keys[api_key] = info
        return api_key, secret

    async def post(
        self,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        timeout_s: float,
        before_write: Callable[[], None] | None = None,
    ) -> Answer:
        assert path == "/0/private/GetApiKeyInfo"
        self.nonces.append(int(parse_qs(body.decode())["nonce"][0]))
        if self.failure is not None:
            raise self.failure
        if self.raw is not None:
            return self.raw
        info = self.keys.get(headers["API-Key"])
        errors = list(self.errors) or ([] if info else ["EAPI:Invalid key"])
        answer = {"error": errors} if errors else {"error": [], "result": info}
        return Answer(status=200, body=json.dumps(answer).encode())


def user(email: str = "reader@example.com") -> User:
    return User.objects.create_user(email, "a long pass phrase")


def submitted(owner: User, name: str = "one", *, now: datetime = NOW, role: str = "follower") -> Credential:
    api_key, api_secret = pair(name)
    return credentials.submit_key(owner, api_key=api_key, api_secret=api_secret, now=now, role=role)


def verdict(credential: Credential) -> KeyCheck:
    return KeyCheck.objects.get(credential_id=credential.pk)


def open_position(account: Account) -> Position:
    beam = Instrument.objects.create(
        venue=settings.VENUE,
        symbol="BEAM-USD",
        pair_id="BEAMUSD",
        altname="BEAMUSD",
        base_asset="BEAM",
        quote_asset="ZUSD",
        tick_size="0.000001",
        lot_size="0.00001",
        quantity_min="400",
        notional_min="0.5",
        updated_at=NOW,
    )
    return Position.objects.create(
        account=account, instrument=beam, managed="2898.5", cost="8.46", is_open=True, updated_at=NOW
    )
