"""Private Kraken calls: many keys side by side, one request each at a time. Runs where keys can be opened.

The senders do HTTP only; leases, nonces and results are the calling thread's business.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from typing import TypeVar

from django.conf import settings
from django.db import transaction

from accounts.models import Credential
from accounts.services import credentials
from trading.kraken.connections import CONNECTIONS_MAX, LoopTransport
from trading.kraken.endpoints import API_KEY_INFO, BALANCE_EX, PrivateClient
from trading.kraken.errors import CredentialsRefused, KeyNotOpened, KrakenError, OutcomeUnknown, Unavailable
from trading.kraken.senders import Batch, Ended, Senders, of_this_process
from trading.kraken.signing import Credentials
from trading.kraken.transport import PrivateTransport
from trading.kraken.values import ApiKeyInfo
from trading.services import lanes
from trading.services.clock import Clock
from trading.services.lanes import Grant, Purpose

T = TypeVar("T")
Request = Callable[[PrivateClient, int], Awaitable[T]]
#: How many requests of this process are on the wire at once.
SENDERS = CONNECTIONS_MAX
SEAT_WAIT_S = 2.0
OPEN_CLIENTS_MAX = 20_000

logger = logging.getLogger(__name__)
_clients: dict[uuid.UUID, PrivateClient] = {}
_clients_lock = threading.Lock()
#: Of the senders, how many are taken by orders.
_seats, _taken = threading.Condition(), [0]


class LaneBusy(Exception):
    """The key's lane is in use, blocked or out of budget; come again."""


def transport() -> PrivateTransport:
    return _transport(settings.KRAKEN_API_URL)


@cache
def _transport(url: str) -> PrivateTransport:
    return LoopTransport(url, SENDERS)


def senders() -> Senders:
    return of_this_process()


@contextmanager
def seats(wanted: int) -> Iterator[int]:
    """Senders for orders of this thread alone, at most `wanted`: no order is claimed that would wait for another's answer.

    Waits while none is free, at most SEAT_WAIT_S, and then has none. A process of a pool does one task at a time and never
    waits; the threads of `up` share their senders.
    """
    with _seats:
        _seats.wait_for(lambda: _taken[0] < SENDERS, timeout=SEAT_WAIT_S)
        mine = min(wanted, SENDERS - _taken[0])
        _taken[0] += mine
    try:
        yield mine
    finally:
        with _seats:
            _taken[0] -= mine
            _seats.notify_all()


def client(credential_id: uuid.UUID) -> PrivateClient:
    """The client of one key. A sealed row never changes, so an opened key is kept for the life of the process.

    Raises KeyNotOpened.
    """
    known = _clients.get(credential_id)
    if known is None:
        known = open_keys(Credential.objects.filter(pk=credential_id)).get(credential_id)
    if known is None:
        raise KeyNotOpened("The stored key does not open here: the vault's key of this installation does not fit.")
    return known


def open_keys(rows: Iterable[Credential]) -> dict[uuid.UUID, PrivateClient]:
    """Open those of these keys that this process has not opened yet; `client` then has them at hand.

    One that does not open is logged and absent.
    """
    made: dict[uuid.UUID, PrivateClient] = {}
    for credential_id, opened in credentials.open_credentials(row for row in rows if row.pk not in _clients).items():
        try:
            if isinstance(opened, credentials.VaultError):
                raise opened
            key = Credentials.from_text(opened.api_key.reveal(), opened.api_secret.reveal())
        except (credentials.VaultError, CredentialsRefused) as error:
            logger.error("key %s does not open: %s", credential_id, error)
            continue
        made[credential_id] = PrivateClient(transport(), key)
    with _clients_lock:
        if len(_clients) + len(made) > OPEN_CLIENTS_MAX:
            _clients.clear()
        _clients.update(made)
    return made


def open_all(credential_ids: Collection[uuid.UUID]) -> None:
    """Those that are not open yet, in one statement; one that does not open is told by `client`."""
    missing = [credential_id for credential_id in credential_ids if credential_id not in _clients]
    if missing:
        open_keys(Credential.objects.filter(pk__in=missing))


def call_each(
    requests: Mapping[uuid.UUID, Request[T]],
    *,
    purpose: Purpose,
    cost: int,
    clock: Clock,
    room: int = 0,
) -> dict[uuid.UUID, T | KrakenError]:
    """One request for every key whose lane is free now: result or error by key. Busy lanes are absent.

    `room`: what this request and those that must follow it cost together, so that no first half is paid for in vain.
    """
    outcomes: dict[uuid.UUID, T | KrakenError] = {}
    keys = list(requests)
    for start in range(0, len(keys), SENDERS):
        part = {key: requests[key] for key in keys[start : start + SENDERS]}
        with transaction.atomic(durable=True):
            grants = lanes.claim(list(part), purpose=purpose, cost=cost, clock=clock, room=room)
        outcomes |= _call_part(part, grants, clock=clock)
    return outcomes


def _call_part(
    requests: Mapping[uuid.UUID, Request[T]], grants: Mapping[uuid.UUID, Grant], *, clock: Clock
) -> dict[uuid.UUID, T | KrakenError]:
    """Not more keys than there are senders, so that no lease waits behind another's request."""
    outcomes: dict[uuid.UUID, T | KrakenError] = {}
    works = {}
    batch: Batch[uuid.UUID, T] = senders().batch()
    try:
        open_all(grants)
        for key, grant in grants.items():
            try:
                works[key] = partial(_in_time, requests[key], client(key), grant, clock)
            except CredentialsRefused as error:
                outcomes[key] = error
        batch.begin(works)
        for key, ended in batch.wait_for_all():
            outcomes[key] = _outcome(ended)
    finally:
        batch.wait_for_all()
        lanes.release(list(grants.values()), outcomes, clock=clock)
    return outcomes


async def _in_time(request: Request[T], kraken: PrivateClient, grant: Grant, clock: Clock) -> T:
    """The request, unless it waited so long for a connection that it might outlive its lease."""

    def look() -> None:
        if clock.uptime() > grant.write_until:
            raise Unavailable("Its turn came too late.")

    return await request(kraken.looking(look), grant.nonce)


class Session:
    """One key's lane held for a few requests in a row."""

    def __init__(self, grant: Grant, *, clock: Clock) -> None:
        self.grant, self.clock, self.outcome = grant, clock, None
        self._used = False

    outcome: object

    def call(self, request: Request[T], *, cost: int) -> T:
        """Raises KrakenError, or LaneBusy when the lease was lost."""
        if self._used:
            renewed = lanes.renew(self.grant, cost=cost, clock=self.clock)
            if renewed is None:
                raise LaneBusy("the lane passed to another owner")
            self.grant = renewed
        self._used = True
        try:
            kraken, grant = client(self.grant.credential_id), self.grant
            result = ask(lambda: request(kraken, grant.nonce))
        except KrakenError as error:
            self.outcome = error
            raise
        self.outcome = result
        return result


@contextmanager
def session(credential_id: uuid.UUID, *, purpose: Purpose, cost: int, clock: Clock) -> Iterator[Session]:
    """Hold one key's lane. Raises LaneBusy."""
    with transaction.atomic(durable=True):
        grant = lanes.claim([credential_id], purpose=purpose, cost=cost, clock=clock).get(credential_id)
    if grant is None:
        raise LaneBusy("the lane is not free")
    held = Session(grant, clock=clock)
    try:
        yield held
    finally:
        lanes.release([held.grant], {credential_id: held.outcome}, clock=clock)


def key_info(credential_id: uuid.UUID, *, clock: Clock) -> ApiKeyInfo:
    """GetApiKeyInfo on the key's own lane. Raises KrakenError."""
    try:
        with session(credential_id, purpose=Purpose.REFRESH, cost=API_KEY_INFO.cost, clock=clock) as held:
            return held.call(lambda kraken, nonce: kraken.api_key_info(nonce=nonce), cost=API_KEY_INFO.cost)
    except LaneBusy:
        raise Unavailable("The key is in use at the moment.") from None


def fence(credential_ids: Collection[uuid.UUID], *, clock: Clock) -> None:
    """Make lanes of lost leases usable for orders again, by a read whose nonce is above everything sent before."""
    stale = lanes.needing_fence(credential_ids, now=clock.shared())
    call_each(
        dict.fromkeys(stale, lambda kraken, nonce: kraken.reach(nonce=nonce)),
        purpose=Purpose.FENCE,
        cost=BALANCE_EX.cost,
        clock=clock,
    )


def ask(request: Callable[[], Awaitable[T]]) -> T:
    """One request, waited for. Raises KrakenError."""
    return senders().run(request)


def _outcome(ended: Ended[T]) -> T | KrakenError:
    try:
        return ended.result()
    except KrakenError as error:
        return error
    except Exception:
        # An error of ours while a request was under way: nothing is proved, and the log has the trace.
        logger.exception("a private call failed in our own code")
        return OutcomeUnknown("an internal error while calling Kraken")
