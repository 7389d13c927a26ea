"""When and with which nonce orders were sent: I4 and I6's stops."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from accounts.models import RiskSettings
from trading.models import Control, Event, EventKind, Lane, Order, OrderKind, OrderOrigin
from trading.selectors.books.reading import CHUNK, SKEW
from trading.selectors.books.report import Check

#: A claim that was under way when a stop came commits first, with an instant that may be later than the stop's by the time
#: the stop waited for it.
STOP_RACE = timedelta(seconds=5)
#: A tripped loss limit ends with its day and without an event, so its span cannot be told afterwards.
LOSS_LIMIT = ": entries closed"
FOR_EVER = datetime.max.replace(tzinfo=UTC)

Stops = list[tuple[datetime, datetime]]


def checks() -> list[Check]:
    return [_nonces(), _entries()]


def _nonces() -> Check:
    """The epoch of a lane counts its claims, so it is the order of sending whatever the clocks of the processes say."""
    check = Check("I4", "a key's nonces rise from order to order and never repeat", "orders")
    last_of_lane = dict(Lane.objects.values_list("pk", "last_nonce").iterator(CHUNK))
    sent = Order.objects.filter(nonce__isnull=False, lane__isnull=False).order_by("lane_id", "lane_epoch", "pk")
    fields = ("pk", "account_id", "lane_id", "lane_epoch", "nonce")
    lane, before = 0, 0
    for pk, account_id, lane_id, epoch, nonce in sent.values_list(*fields).iterator(CHUNK):
        assert nonce is not None, "only these were asked for"
        assert lane_id is not None, "only these were asked for"
        check.looked_at += 1
        row = f"order {pk}"
        if lane_id != lane:
            lane, before = lane_id, 0
        if nonce <= before:
            word = "the same nonce as" if nonce == before else "a smaller nonce than"
            check.tell(f"it has {word} the order sent before it (epoch {epoch})", account=account_id, row=row)
        if nonce > last_of_lane.get(lane_id, nonce):
            check.tell("its nonce is above the last one of its lane", account=account_id, row=row)
        before = max(before, nonce)
    return check


def _entries() -> Check:
    check = Check("I6", "no entry was sent after its time to live or after a stop", "entries")
    everybody, accounts = _stops()
    sent = Order.objects.filter(kind=OrderKind.ENTRY, sent_at__isnull=False).exclude(origin=OrderOrigin.OUTSIDE)
    rows = sent.order_by("pk").values_list("pk", "account_id", "sent_at", "expires_at")
    for pk, account_id, sent_at, expires_at in rows.iterator(CHUNK):
        assert sent_at is not None, "only these were asked for"
        check.looked_at += 1
        row = f"order {pk}"
        if expires_at is None or sent_at > expires_at:
            end = "without an end of life" if expires_at is None else f"after its life ended at {expires_at:%H:%M:%S}"
            check.tell(f"it was sent at {sent_at:%H:%M:%S}, {end}", account=account_id, row=row)
        for whose, stops in (("everybody", everybody), ("this account", accounts.get(account_id, []))):
            stopped = next((start for start, end in stops if start + STOP_RACE < sent_at < end - SKEW), None)
            if stopped is not None:
                what = f"entries of {whose} had been stopped at {stopped:%Y-%m-%d %H:%M:%S}"
                check.tell(f"it was sent at {sent_at:%H:%M:%S}, when {what}", account=account_id, row=row)
    return check


def _stops() -> tuple[Stops, dict[int, Stops]]:
    """When entries were stopped: of everybody, and by account.

    A stop and its end lock the same row, so that the order of their events is theirs, whatever the clocks said.
    """
    since: dict[int | None, datetime] = {}
    stops: dict[int | None, Stops] = defaultdict(list)
    told = Event.objects.filter(kind__in=(EventKind.STOPPED, EventKind.RESUMED)).exclude(message__endswith=LOSS_LIMIT)
    for account_id, kind, at in told.order_by("pk").values_list("account_id", "kind", "at").iterator(CHUNK):
        if kind == EventKind.STOPPED:
            since.setdefault(account_id, at)
        elif account_id in since:
            stops[account_id].append((since.pop(account_id), at))
    for stopped, at in _standing_stops():
        stops[stopped].append((min(at, since.get(stopped, at)), FOR_EVER))
    everybody = stops.pop(None, [])
    return everybody, {whose: rows for whose, rows in stops.items() if whose is not None}


def _standing_stops() -> Iterator[tuple[int | None, datetime]]:
    control = Control.objects.filter(pk=Control.SINGLETON, stopped_at__isnull=False).first()
    if control is not None and control.stopped_at is not None:
        yield None, control.stopped_at
    stopped = RiskSettings.objects.filter(stopped_at__isnull=False, user__trading_account__isnull=False)
    for account_id, at in stopped.values_list("user__trading_account", "stopped_at"):
        if at is not None:
            yield account_id, at
