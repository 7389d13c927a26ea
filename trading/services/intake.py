"""Checking API keys at the exchange: the only way into the system for a Kraken account. Runs where keys can be opened."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Collection
from datetime import datetime

from django.conf import settings
from django.core.mail import send_mail
from django.db import IntegrityError, transaction

from accounts.models import Credential, User
from accounts.services import credentials
from trading import doorbell
from trading.domain import key_policy, order_state
from trading.domain.key_policy import KeyFacts, Refused
from trading.domain.nonce import next_nonce
from trading.domain.order_state import OrderState
from trading.kraken.endpoints import PrivateClient
from trading.kraken.errors import (
    CredentialsRefused,
    KeyNotOpened,
    KrakenError,
    NotPlaced,
    PermissionsUnknown,
    RateLimited,
    Unavailable,
)
from trading.kraken.signing import Credentials
from trading.kraken.transport import PrivateTransport
from trading.kraken.values import ApiKeyInfo
from trading.models import Account, Event, EventKind, Lane, Order, Position, Role
from trading.services import private, reconciliation
from trading.services.clock import Clock

logger = logging.getLogger(__name__)

CHECK_TASK = "trading.tasks.check_credential"
RECHECK_MAX = 10_000
CONNECTED = "Your Kraken account is connected."

_IN_DOUBT = (OrderState.SENDING, OrderState.UNKNOWN)
NOT_HERE = "The key cannot be checked at the moment. It is kept sealed and tried again until {until:%H:%M} UTC."
AWAY = "Kraken does not answer at the moment. The key is kept sealed and tried again until {until:%H:%M} UTC."


class _CannotTake(Exception):
    """The key is fine but the account is not; the text is for its owner."""


class _NotYet(Exception):
    """The key is fine but must wait; the text is for its owner."""


def submit(user: User, *, api_key: str, api_secret: str, clock: Clock, role: str = Role.FOLLOWER) -> Credential:
    """Seal a key and wake its check. Raises credentials.KeyRefused with a sentence."""
    with transaction.atomic():
        credential = credentials.submit_key(user, api_key=api_key, api_secret=api_secret, now=clock.now(), role=role)
        doorbell.ring(CHECK_TASK, str(credential.pk))
    return credential


def check_pending(credential_id: uuid.UUID | str, *, clock: Clock, transport: PrivateTransport | None = None) -> None:
    """Ask Kraken what a pending key may do, then promote it or delete it, and leave a sentence for its owner.

    Does nothing when the key is gone, expired, or being checked elsewhere. When Kraken does not answer the key stays
    pending for `check_all_pending` to try again.
    """
    now = clock.now()
    credential = credentials.claim_check(credential_id, now=now)
    if credential is None:
        return
    if credential.venue != settings.VENUE:
        _refuse(credential, "This key was submitted for another exchange than this installation talks to.", now=now)
        return
    nonce = next_nonce(previous=_last_nonce(credential.fingerprint), clock_ns=clock.ns())
    try:
        info = _ask(credential, transport or private.transport(), nonce=nonce)
    except credentials.VaultClosed:
        assert credential.expires_at is not None, "a pending key expires"
        logger.error("key %s waits: this process has no NIJA_VAULT_PRIVATE_KEY", credential.pk)
        credentials.postpone_check(credential.pk, message=NOT_HERE.format(until=credential.expires_at))
        return
    except credentials.VaultError as error:
        logger.error("key %s does not open: %s", credential.pk, error)
        _refuse(credential, "This key could not be opened after it was sealed. Submit it again.", now=now)
        return
    except KrakenError as error:
        _judge_failure(credential, error, now=clock.now())
        return
    facts = facts_of(info)
    decision = key_policy.verdict(facts, now=now)
    if isinstance(decision, Refused):
        _refuse(credential, decision.sentence, now=clock.now())
        return
    try:
        _connect(credential, facts, nonce=nonce, clock=clock)
    except _NotYet as reason:
        credentials.postpone_check(credential.pk, message=str(reason))
    except _CannotTake as problem:
        _refuse(credential, str(problem), now=clock.now())
    except IntegrityError:
        _refuse(credential, "This Kraken account was connected elsewhere at the same moment.", now=clock.now())
    except credentials.LostRace:
        logger.info("key %s was withdrawn while it was checked", credential.pk)


def check_all_pending(*, clock: Clock, transport: PrivateTransport | None = None) -> int:
    """Forget what expired and try again what still waits. Returns how many were tried."""
    credentials.purge_expired(now=clock.now())
    waiting = credentials.pending_ids(now=clock.now())
    for credential_id in waiting:
        check_pending(credential_id, clock=clock, transport=transport)
    return len(waiting)


def recheck(credential_id: uuid.UUID, *, ask: Callable[[uuid.UUID], ApiKeyInfo], clock: Clock) -> str:
    """Look again at an active key; a reason against entries is recorded and its owner told, once per change.

    `ask` calls GetApiKeyInfo on the key's lane. Returns the reason, empty when the key is in order or Kraken did not say.
    """
    credential = Credential.objects.select_related("user").get(pk=credential_id)
    now = clock.now()
    sees_all = None
    try:
        facts = facts_of(ask(credential_id))
    except KeyNotOpened as error:
        # Not the owner's to mend: nothing is held against the key, and nobody is told to replace it.
        logger.error("key %s: %s", credential_id, error.sentence)
        return credential.entries_blocked_reason
    except CredentialsRefused as error:
        reason = f"{error.sentence} Replace the key."
    except PermissionsUnknown:
        reason = _without_permissions(now)
    except KrakenError as error:
        logger.warning("key %s was not checked: %s", credential_id, error.sentence)
        return credential.entries_blocked_reason
    else:
        sees_all = facts.sees_all
        decision = key_policy.verdict(facts, now=now)
        reason = decision.sentence if isinstance(decision, Refused) else ""
        if not reason and credential.iban and facts.iban != credential.iban:
            reason = (
                "This key now belongs to another Kraken account. Replace it with one of the account that is connected."
            )
    with transaction.atomic():
        if credentials.block_entries(credential.pk, reason=reason, sees_all=sees_all, now=now):
            _tell(credential.user, reason, now=now)
    return reason


def recheck_all(*, ask: Callable[[uuid.UUID], ApiKeyInfo], clock: Clock) -> int:
    """The daily look at every active key of this exchange. Returns how many may open nothing new."""
    active = Credential.objects.filter(status=Credential.Status.ACTIVE, venue=settings.VENUE).order_by("pk")
    reasons = [recheck(pk, ask=ask, clock=clock) for pk in active.values_list("pk", flat=True)[:RECHECK_MAX]]
    return sum(1 for reason in reasons if reason)


def open_positions(user: User) -> int:
    """How many managed positions the user's account has open (named in settings for `accounts` to ask)."""
    return Position.objects.filter(account__user=user, is_open=True).count()


def disconnect_refusal(user: User) -> str:
    """Why the key must stay for now, in a sentence; empty when it may go."""
    open_count = open_positions(user)
    if open_count:
        noun, them = ("position is", "it") if open_count == 1 else ("positions are", "them")
        if Account.objects.filter(user=user, role=Role.MASTER).exists():
            return (
                f"{open_count} {noun} still open, and without the key NIJA could not sell {them}. Have {them} closed on the "
                "operator's page, then disconnect."
            )
        return (
            f"{open_count} copied {noun} still open, and without the key NIJA could not sell {them} for you. Sell or take "
            f"over {them}, or wait until the master has sold; then disconnect."
        )
    if Order.objects.filter(account__user=user, state__in=order_state.OUTSTANDING).exists():
        return "An order is still on its way to Kraken. Wait until its outcome is known, then disconnect."
    return ""


def disconnect(user: User, *, clock: Clock) -> str:
    """Destroy the user's key. Returns why not, empty when it is done."""
    with transaction.atomic():
        account = Account.objects.select_for_update().filter(user=user).first()
        refusal = disconnect_refusal(user)
        if refusal:
            return refusal
        if credentials.disconnect(user) and account is not None:
            _event(account, "The Kraken key was disconnected.", actor=user.email, now=clock.now())
    return ""


def _ask(credential: Credential, transport: PrivateTransport, *, nonce: int) -> ApiKeyInfo:
    opened = credentials.open_credential(credential.pk)
    key = Credentials.from_text(opened.api_key.reveal(), opened.api_secret.reveal())
    return private.ask(lambda: PrivateClient(transport, key).api_key_info(nonce=nonce))


def facts_of(info: ApiKeyInfo) -> KeyFacts:
    return KeyFacts(
        permissions=info.permissions,
        nonce_window=info.nonce_window,
        iban="".join(info.iban.split()),
        valid_until=info.valid_until,
        sees_all=info.query_from is None and info.query_to is None,
    )


def _judge_failure(credential: Credential, error: KrakenError, *, now: datetime) -> None:
    """A refusal of the key is a verdict; silence and overload are not."""
    if error.says("EAPI:Invalid nonce"):
        _refuse(
            credential,
            "Another program has used this key with higher nonces, and two programs cannot share a key. Create a new key "
            "for NIJA alone and submit that.",
            now=now,
        )
    elif isinstance(error, CredentialsRefused):
        _refuse(credential, f"{error.sentence} Copy both parts of the key again.", now=now)
    elif isinstance(error, PermissionsUnknown):
        _refuse(credential, _without_permissions(now), now=now)
    elif isinstance(error, NotPlaced) and not isinstance(error, (RateLimited, Unavailable)):
        _refuse(credential, f"Kraken refused the key's check: {error.sentence}", now=now)
    else:
        assert credential.expires_at is not None, "a pending key expires"
        credentials.postpone_check(credential.pk, message=AWAY.format(until=credential.expires_at))
        doorbell.changed([credential.user_id])


def _without_permissions(now: datetime) -> str:
    decision = key_policy.verdict(KeyFacts(permissions=None, nonce_window=0, iban=""), now=now)
    assert isinstance(decision, Refused)
    return decision.sentence


def _connect(credential: Credential, facts: KeyFacts, *, nonce: int, clock: Clock) -> None:
    """Account, lane and key become active together or not at all."""
    in_doubt = Order.objects.filter(account__user_id=credential.user_id, state__in=_IN_DOUBT)
    harmless = {order.pk for order in reconciliation.beyond_deadline(list(in_doubt), clock.now(), clock=clock)}
    now = clock.now()
    with transaction.atomic():
        account = _account_for(credential, facts.iban, harmless=harmless, now=now)
        credentials.promote(credential, iban=facts.iban, permissions=facts.permissions or (), now=now)
        Lane.objects.create(credential_id=credential.pk, last_nonce=nonce)
        credentials.finish_check(credential.pk, accepted=True, message=CONNECTED, now=now)
        _event(
            account, f"The Kraken key {credential.api_key_hint} was connected.", actor=credential.user.email, now=now
        )
        doorbell.changed([credential.user_id])


def _account_for(credential: Credential, iban: str, *, harmless: Collection[int], now: datetime) -> Account:
    """The user's account for this Kraken account, made when new. Raises _CannotTake and _NotYet.

    `harmless`: orders in doubt whose request Kraken would refuse by now. The new key looks for them.
    """
    holder = Account.objects.filter(venue=credential.venue, iban=iban).first()
    if holder is not None and holder.user_id != credential.user_id:
        if holder.role == Role.MASTER:
            raise _CannotTake(
                "This is the master's Kraken account, and the master cannot copy itself. Submit a key of another Kraken "
                "account."
            )
        raise _CannotTake(
            "This Kraken account is connected to another NIJA account already, and can be copied into only once. Submit a "
            "key of another Kraken account."
        )
    mine = Account.objects.select_for_update().filter(user_id=credential.user_id).first()
    if mine is None:
        if credential.role == Role.MASTER and Account.objects.filter(venue=credential.venue, role=Role.MASTER).exists():
            raise _CannotTake("There is a master on this exchange already, and there is exactly one.")
        return Account.objects.create(
            user_id=credential.user_id,
            role=credential.role,
            venue=credential.venue,
            iban=iban,
            created_at=now,
            # What the master traded before is his own.
            trades_known_until=now if credential.role == Role.MASTER else None,
        )
    if mine.venue != credential.venue:
        raise _CannotTake(f"Your account belongs to {mine.venue}; this installation now talks to another exchange.")
    if mine.orders.filter(state__in=_IN_DOUBT).exclude(pk__in=harmless).exists():
        # Until its deadline only a read on the old key makes a late request of the old key invalid.
        raise _NotYet(
            "The key is good. An order was sent with the present key just now; within a minute the key is replaced."
        )
    if mine.iban != iban:
        if mine.orders.exists():
            raise _CannotTake(
                "This key belongs to another Kraken account than the one your positions and history are in. Submit a key "
                "of the account that was connected first."
            )
        mine.iban = iban
        mine.balances_as_of = mine.balances_tried_at = mine.taker_fee = mine.fees_as_of = None
        if mine.role == Role.MASTER:
            # What he traded there before is his own, as when it is the first he connects.
            mine.created_at = mine.trades_known_until = now
            mine.trades_read_at = None
        mine.save()
        mine.balances.all().delete()
    return mine


def _refuse(credential: Credential, sentence: str, *, now: datetime) -> None:
    with transaction.atomic():
        credentials.refuse(credential.pk, message=sentence, now=now)
        doorbell.changed([credential.user_id])


def _last_nonce(fingerprint: str) -> int:
    """The highest nonce this key ever used here, zero when it is new."""
    nonces = Lane.objects.filter(credential__fingerprint=fingerprint).values_list("last_nonce", flat=True)
    return max(nonces, default=0)


def _tell(user: User, reason: str, *, now: datetime) -> None:
    """Record that a key drifted or is in order again, and write to its owner once that is committed."""
    account = Account.objects.filter(user=user).first()
    text = reason or "Your Kraken key is in order again; entries may go on."
    if account is not None:
        _event(account, text, actor="", now=now)
    doorbell.changed([user.pk])
    subject = "Your Kraken key needs attention" if reason else "Your Kraken key is in order again"
    after = (
        "\n\nNothing new is bought until this is settled. Open positions are still closed when the master closes his."
    )
    body = text + (after if reason else "")
    transaction.on_commit(lambda: _mail(user, subject, body), robust=True)


def _mail(user: User, subject: str, body: str) -> None:
    try:
        send_mail(subject, body, None, [user.email])
    except OSError as error:
        logger.warning("user %s could not be told by mail: %s", user.pk, type(error).__name__)


def _event(account: Account, message: str, *, actor: str, now: datetime) -> None:
    Event.objects.create(at=now, kind=EventKind.KEY, account=account, actor=actor, message=message[:500])
